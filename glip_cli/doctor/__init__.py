"""`glip doctor`: checks the installation and suggests fixes.

checks     one line: name, value, and a problem with its remedy; variables, models
versions   what is installed, held against what each package asks for
probe      a script that really imports and computes, in a process of its own
machine    its answers: which imports work, which devices and dtypes there are
storage    the cache: whole files, leftovers, room; the hosts of weights.toml

Everything works where torch cannot be imported, since nothing here imports it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from glip_cli.doctor import checks, machine, storage, versions
from glip_cli.doctor.checks import Check, CheckGroup
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import words_of


def examine(offline: bool = False, verify: bool = False, variables: Collection[str] = ()) -> tuple[CheckGroup, ...]:
    """Look at everything; ten seconds on a slow machine, most of them for importing torch.

    Args:
        offline: ask no host.
        verify: read every file of the cache and compare its hash.
        variables: all that are read, "GLIP_TOP_K".
    """
    reached: list[CheckGroup] = []
    asking = threading.Thread(
        target=lambda: reached.append(robust("network", storage.check_network, offline)), daemon=True
    )
    asking.start()
    answers: dict[str, JsonObject] = {}
    first = robust("versions", versions.check_versions)
    kept = robust("cache", storage.check_cache, verify)
    robust("imports", lambda: answers.update(machine.run_probe()) or machine.check_imports(answers))
    asking.join()
    reachable = any(finding.value == storage.REACHABLE for finding in reached[0].findings)
    return (
        first,
        robust("imports", machine.check_imports, answers),
        robust("devices", machine.check_devices, answers),
        robust("settings", checks.check_environment, variables),
        kept,
        reached[0],
        robust("models", checks.check_models, reachable),
    )


def robust(title: str, look: Callable[..., CheckGroup], *arguments: object) -> CheckGroup:
    """What `look` finds; where it fails itself, that is the finding."""
    try:
        return look(*arguments)
    except Exception as error:
        remedy = "fix the other problems first; if this line stays, please report it"
        return CheckGroup(title, (Check(title, "unknown", f"cannot be examined: {words_of(error)}", remedy),))


def problems(sections: tuple[CheckGroup, ...]) -> tuple[Check, ...]:
    return tuple(finding for section in sections for finding in section.findings if finding.problem)
