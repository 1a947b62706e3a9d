"""Images that are cut short are found without decoding all of them."""

from __future__ import annotations

import io
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from glip_cli.data import image_headers
from glip_cli.data.dataset import Size
from glip_cli.data.image_headers import read_headers, whole_sizes
from glip_cli.data.image_io import read_image
from glip_cli.errors import ImageError, UnavailableError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)
KINDS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "MPO", "GIF", "PPM"]


def saved(kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(PIXELS).save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kept", [0.0, 0.05, 0.5, 0.95, 1.0])
def test_as_decoding_says(tmp_path: Path, kind: str, kept: float) -> None:
    data = saved(kind)
    path = tmp_path / "x.jpg"  # whatever the name says
    path.write_bytes(data[: int(len(data) * kept)])
    try:
        wanted: Size | str = read_image(path).size
    except ImageError as error:
        wanted = str(error)
    assert whole_size(path) == wanted
    if kept == 0.5:
        assert "damaged or cut short" in str(wanted)


def whole_size(path: Path) -> Size | str:
    return whole_sizes([path])[path]


def upright_size(path: Path) -> Size:
    return read_headers([path])[path].size


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "MPO"])
def test_whole_images_are_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    path, other = tmp_path / "x", tmp_path / "y"
    path.write_bytes(saved(kind))
    other.write_bytes(saved(kind) + bytes(5000))  # as some cameras write it
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("decoded"))
    assert whole_size(path) == whole_size(other) == upright_size(path) == (60, 40)


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("name", [b"eXIf", b"tEXt", b"zTXt"])
def test_png_that_are_turned(tmp_path: Path, before: bytes, name: bytes) -> None:
    """EXIF may stand behind the data, and in texts."""
    exif = Image.Exif()
    exif[0x0112] = 6
    packed = exif.tobytes()
    text = f"\nexif\n{len(packed)}\n{packed.hex()}".encode()
    key = b"Raw profile type exif\0"
    content = {b"eXIf": packed[6:], b"tEXt": key + text, b"zTXt": key + b"\0" + zlib.compress(text)}[name]
    data = saved("PNG")
    place = data.index(before) - 4
    crc = zlib.crc32(name + content).to_bytes(4, "big")
    path = tmp_path / "x.png"
    path.write_bytes(data[:place] + len(content).to_bytes(4, "big") + name + content + crc + data[place:])
    assert read_image(path).size == (40, 60)
    assert whole_size(path) == upright_size(path) == (40, 60)


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 1}, {"comment": b"\xff\xd9" * 50}])
def test_jpeg_with_marks_of_the_end_before_its_data(tmp_path: Path, options: dict[str, object]) -> None:
    """A thumbnail in the header ends like the image itself."""
    exif = Image.Exif()
    exif[0x010E] = "\xff\xd9"
    data = saved("JPEG", exif=exif, **options)
    path = tmp_path / "x.jpg"
    path.write_bytes(data[: len(data) * 2 // 3])
    assert "x.jpg: damaged or cut short" in str(whole_size(path))
    path.write_bytes(data)
    assert whole_size(path) == (60, 40)


def test_turned_by_exif(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "x.jpg").write_bytes(saved("JPEG", exif=exif))
    assert whole_size(tmp_path / "x.jpg") == upright_size(tmp_path / "x.jpg") == (40, 60)


def test_what_is_no_file(tmp_path: Path) -> None:
    gone = tmp_path / "gone.jpg"
    sizes = whole_sizes([gone, tmp_path])
    assert "no such file" in str(sizes[gone])
    assert isinstance(sizes[tmp_path], str)
    assert read_headers([gone, tmp_path]) == {}


def test_a_disk_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends the reading. Each image before it has the whole time, of which all together take more."""
    hold, is_file = threading.Event(), Path.is_file
    paths = [tmp_path / name for name in ("a.jpg", "b.jpg", "dead.jpg", "c.jpg")]
    for path in paths:
        path.write_bytes(saved("JPEG"))
    monkeypatch.setattr(Path, "is_file", lambda path: hold.wait(60 if "dead" in path.name else 0.6) or is_file(path))
    monkeypatch.setattr(image_headers, "READ_SECONDS", 1)
    monkeypatch.setattr("glip_cli.data.disk.READ_SECONDS", 1)
    with pytest.raises(UnavailableError, match=r"dead\.jpg: not read within 1 s; check the disk or network"):
        whole_sizes(paths)
    hold.set()
