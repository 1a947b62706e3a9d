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
from collections.abc import Callable, Collection, Iterable, Iterator

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
    network: list[CheckGroup] = []
    asking = threading.Thread(
        target=lambda: network.append(group("network", storage.check_network, offline)), daemon=True
    )
    asking.start()
    answers: dict[str, JsonObject] = {}

    def check_imports() -> Iterator[Check]:
        answers.update(machine.run_probe())
        yield from machine.check_imports(answers)

    found = [
        group("versions", versions.check_versions),
        group("imports", check_imports),
        group("devices", machine.check_devices, answers),
        group("settings", checks.check_environment, variables),
        group("cache", storage.check_cache, verify),
    ]
    asking.join()
    reachable = any(check.value == storage.REACHABLE for check in network[0].findings)
    return (*found, *network, group("models", checks.check_models, reachable))


def group(title: str, look: Callable[..., Iterable[Check]], *arguments: object) -> CheckGroup:
    """What `look` finds; where it fails itself, that is a finding."""
    found: list[Check] = []
    try:
        found.extend(look(*arguments))
    except Exception as error:
        remedy = "fix the other problems first; if this line stays, please report it"
        found.append(Check(title, "unknown", f"cannot be examined: {words_of(error)}", remedy))
    return CheckGroup(title, tuple(found))
