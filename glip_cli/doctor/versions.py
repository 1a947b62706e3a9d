"""Which versions are installed, and whether each suits what the others ask for. Nothing is imported to tell.

A package says itself what it needs (torchvision: an exact torch), so there is no table of pairs to grow old.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli import __version__
from glip_cli.doctor.checks import Check

if TYPE_CHECKING:
    from packaging.requirements import Requirement

PACKAGE = "glip-cli"
EXTRAS = {"ray": "glip batch --ray", "finetune": "glip finetune", "serve": "glip serve",
          "heic": "HEIC images", "parquet": "--format parquet"}  # fmt: skip
"""Optional extras of users, and what each is for; those of developers are not checked."""
LEAST_PYTHON = (3, 11)
PAIR = ("torch", "torchvision")


def check_versions() -> Iterator[Check]:
    """Python, every package that this one needs, and the optional ones."""
    yield Check("glip", __version__)
    yield _python()
    try:
        wanted = requirements()
    except Exception as error:  # a broken `packaging`, a damaged installation
        remedy = "pip install --force-reinstall glip-cli"
        yield Check("packages", "unknown", f"what glip needs cannot be read ({error})", remedy)
        return
    for extra in ("", *EXTRAS):
        yield from (_package(requirement, extra) for requirement in wanted.get(extra, ()))


def requirements() -> dict[str, list[Requirement]]:
    """The requirements of this package, under "", and those of each optional extra.

    From the checkout that it runs from, whose installation may be older, or else from what is installed.
    """
    from packaging.requirements import Requirement

    project = Path(__file__).parents[2] / "pyproject.toml"
    if project.is_file():
        table = tomllib.loads(project.read_text("utf-8")).get("project", {})
        if table.get("name") == PACKAGE:
            parts: Mapping[str, list[str]] = {"": table["dependencies"], **table.get("optional-dependencies", {})}
            return {name: [Requirement(line) for line in lines] for name, lines in parts.items()}
    rows = [Requirement(line) for line in metadata.requires(PACKAGE) or ()]
    return {part: [row for row in rows if _belongs(row, part)] for part in ("", *EXTRAS)}


def _belongs(row: Requirement, part: str) -> bool:
    """Whether a requirement is of one extra, or, for "", of the package."""
    always = row.marker is None or row.marker.evaluate({"extra": ""})
    return always if not part else not always and row.marker is not None and row.marker.evaluate({"extra": part})


def _python() -> Check:
    version = sys.version.split()[0]
    if sys.version_info < LEAST_PYTHON:
        return Check("python", version, "is too old", "install Python 3.11 or newer, and glip in it")
    return Check("python", f"{version}  {sys.executable}")


def installed_version(name: str) -> str | None:
    """None where it is not installed, or its record is damaged."""
    try:
        return metadata.version(name)
    except Exception:  # a damaged record has no Version: KeyError, TypeError, None
        return None


def _package(requirement: Requirement, extra: str = "") -> Check:
    """One that this package needs, always or for an extra."""
    name, version = requirement.name, installed_version(requirement.name)
    wanted = f"'glip-cli[{extra}]'" if extra else f"'{requirement}'"
    if version is None and extra:
        return Check(name, f"not installed; for {EXTRAS[extra]}: pip install {wanted}")
    if version is None:
        return Check(name, "missing", "is not installed", f"pip install {wanted}")
    if not requirement.specifier.contains(version, prereleases=True):
        return Check(name, version, f"is not {requirement.specifier}", f"pip install -U {wanted}")
    return _suits(name, version)


def _suits(name: str, version: str) -> Check:
    """Whether the others are what a package itself asks for."""
    for own in _requirements_of(name):
        other = installed_version(own.name)
        if other is None:
            return Check(name, version, f"needs {own}, which is not installed", f"pip install '{_plain(own)}'")
        if not own.specifier.contains(other, prereleases=True):
            return Check(name, version, f"needs {_plain(own)}, but {other} is installed", _remedy(name, version, own))
    return Check(name, version)


def _requirements_of(name: str) -> Iterator[Requirement]:
    from packaging.requirements import InvalidRequirement, Requirement

    for line in metadata.requires(name) or ():
        try:
            row = Requirement(line)
        except InvalidRequirement:  # old packages write what is none
            continue
        if row.marker is None or row.marker.evaluate({"extra": ""}):
            yield row


def _plain(requirement: Requirement) -> str:
    return f"{requirement.name}{requirement.specifier}"


def _remedy(name: str, version: str, own: Requirement) -> str:
    if {name, own.name.lower()} == set(PAIR):
        return f"pip install '{_plain(own)}' {name}=={version.partition('+')[0]}, or pip install -U torch torchvision"
    return f"pip install '{_plain(own)}', or pip install -U {name}"
