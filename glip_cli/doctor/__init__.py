"""`glip doctor`: checks the installation and suggests fixes.

finding    one line: name, value, and a problem with its remedy
versions   what is installed, held against what each package asks for
probe      a script that really imports and computes, in a process of its own
machine    its answers: which imports work, which devices and dtypes there are
storage    the cache: whole files, leftovers, room
network    the hosts of weights.toml
settings   variables of the environment
models     which of weights.toml are here

Everything works where torch cannot be imported, since nothing here imports it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

from glip_cli.doctor import machine, models, network, settings, storage, versions
from glip_cli.doctor.finding import Finding, Section

__all__ = ["Finding", "Section", "examine", "problems"]


def examine(offline: bool = False, verify: bool = False, flags: Collection[str] = ()) -> tuple[Section, ...]:
    """Look at everything; ten seconds on a slow machine, most of them for importing torch.

    Args:
        offline: ask no host.
        verify: read every file of the cache and compare its hash.
        flags: of all commands, which variables may stand for.
    """
    reached: list[Section] = []
    asking = threading.Thread(target=lambda: reached.append(robust("network", network.look, offline)), daemon=True)
    asking.start()
    answers: dict[str, dict[str, Any]] = {}
    first = robust("versions", versions.look)
    kept = robust("cache", storage.look, verify)
    robust("imports", lambda: answers.update(machine.ask_probe()) or machine.imports(answers))
    asking.join()
    reachable = any(finding.value == network.REACHABLE for finding in reached[0].findings)
    return (
        first,
        robust("imports", machine.imports, answers),
        robust("devices", machine.devices, answers),
        robust("settings", settings.look, flags),
        kept,
        reached[0],
        robust("models", models.look, reachable),
    )


def robust(title: str, look: Callable[..., Section], *arguments: object) -> Section:
    """What `look` finds; where it fails itself, that is the finding."""
    try:
        return look(*arguments)
    except Exception as error:
        problem = " ".join(str(error).split()) or type(error).__name__
        remedy = "fix the other problems first; if this line stays, please report it"
        return Section(title, (Finding(title, "unknown", f"cannot be examined: {problem}", remedy),))


def problems(sections: tuple[Section, ...]) -> tuple[Finding, ...]:
    return tuple(finding for section in sections for finding in section.findings if finding.problem)
