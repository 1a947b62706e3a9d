"""Images that a disk or server does not give at once, or never."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from PIL import Image

from glip_cli.data import disk, image_io
from glip_cli.data.sources import ImageInput
from glip_cli.errors import GlipError, ImageError, UnavailableError
from glip_cli.runs import read_image
from glip_cli.runs.read_image import GIVE_UP, ImageReader, failed_record


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_image, "PAUSES", (0.0, 0.0))


@pytest.fixture
def photo(tmp_path: Path) -> ImageInput:
    Image.new("RGB", (4, 4)).save(path := tmp_path / "a.png")
    return ImageInput("a.png", str(path))


class Disk:
    """Reads files, but for `failures` times in between."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failures: int, error: OSError) -> None:
        self.read, self.failures, self.error, self.tries = image_io._read_file, failures, error, 0
        monkeypatch.setattr(image_io, "_read_file", self)

    def __call__(self, path: Path, name: str) -> bytes:
        self.tries += 1
        if self.tries <= self.failures:
            raise self.error
        return self.read(path, name)


@pytest.mark.parametrize(("failures", "tries"), [(0, 1), (1, 2), (2, 3)])
def test_what_passes_is_tried_again(
    photo: ImageInput, monkeypatch: pytest.MonkeyPatch, failures: int, tries: int
) -> None:
    disk = Disk(monkeypatch, failures, OSError(5, "Input/output error"))
    assert ImageReader()(photo).size == (4, 4)
    assert disk.tries == tries


def test_a_disk_that_fails_for_good_is_not_asked_thrice_for_each(
    photo: ImageInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, read = Disk(monkeypatch, 10**6, OSError(5, "Input/output error")), ImageReader()
    for _ in range(GIVE_UP + 5):
        with pytest.raises(UnavailableError, match="Input/output error"):
            read(photo)
    assert disk.tries == 3 * GIVE_UP + 5


@pytest.mark.parametrize("error", [FileNotFoundError(), PermissionError()])
def test_what_a_moment_does_not_change_is_not_tried_again(
    photo: ImageInput, monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    disk = Disk(monkeypatch, 9, error)
    with pytest.raises(UnavailableError) as caught:
        ImageReader()(photo)
    assert disk.tries == 1
    assert failed_record("a.png", caught.value, "m")["host"]
    assert "host" not in failed_record("a.png", ImageError("a.png: damaged"), "m")


def test_a_dead_disk_ends_the_run(photo: ImageInput, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each image would take two minutes, and each would be called a failed one."""
    hold, read = threading.Event(), ImageReader()
    monkeypatch.setattr(disk, "READ_SECONDS", 0.01)
    monkeypatch.setattr(image_io, "_read_file", lambda path, name: hold.wait())
    for _ in range(GIVE_UP - 1):
        with pytest.raises(UnavailableError, match="not read within"):
            read(photo)
    with pytest.raises(
        GlipError, match=r"8 images in a row gave no answer, the last a\.png: .*; then the same command"
    ):
        read(photo)
    hold.set()
