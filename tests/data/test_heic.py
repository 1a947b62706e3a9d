"""HEIC, as phones write it: read with the extra, and said what is missing without it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from glip_cli.data import image_files_below, image_io
from glip_cli.data.image_files_below import Passed
from glip_cli.data.image_headers import read_headers
from glip_cli.data.image_io import read_image
from glip_cli.data.sources import expand
from glip_cli.errors import ImageError, UsageError

PHOTO = Path(__file__).parents[1] / "photographs" / "coffee.jpg"


@pytest.fixture
def without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (image_files_below, image_io):
        monkeypatch.setattr(module, "reads_heif", lambda: False)


@pytest.fixture
def phone(tmp_path: Path) -> Path:
    """A folder with IMG_1.HEIC, stored on its side with the orientation of a phone, and IMG_2.heic, stored upright."""
    image = read_image(PHOTO)
    pillow_heif.register_heif_opener()
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "IMG_1.HEIC", quality=95, exif=exif.tobytes())
    image.save(tmp_path / "IMG_2.heic", quality=95)
    return tmp_path


def test_it_is_found_read_and_upright(phone: Path) -> None:
    sources = list(expand([str(phone)]))
    assert [Path(source.name).name for source in sources] == ["IMG_1.HEIC", "IMG_2.heic"]
    wanted = np.asarray(read_image(PHOTO), np.int16)
    for source in sources:
        read = np.asarray(read_image(source.open()), np.int16)
        assert read.shape == wanted.shape
        assert np.abs(read - wanted).mean() < 4


def test_its_size_is_known_as_it_is_shown(phone: Path) -> None:
    sizes = {header.size for header in read_headers(sorted(phone.iterdir())).values()}
    assert sizes == {read_image(PHOTO).size}


@pytest.mark.usefixtures("without_extra")
def test_without_the_extra_one_line_says_what_to_install(phone: Path) -> None:
    with pytest.raises(ImageError, match=r"IMG_2\.heic: HEIC, which needs pillow-heif: pip install 'glip-cli\[heic\]'"):
        read_image(phone / "IMG_2.heic")
    with pytest.raises(UsageError, match=r"\.heic 2 \(to read HEIC: pip install 'glip-cli\[heic\]'\)"):
        expand([str(phone)])
    Image.new("RGB", (9, 9)).save(phone / "a.png")
    passed = Passed()
    assert [source.name for source in expand([str(phone)], passed=passed)] == [str(phone / "a.png")]
    assert passed.notes == (
        "2 files of formats that are not read: .heic 2 (to read HEIC: pip install 'glip-cli[heic]')",
    )


def test_in_a_tar(phone: Path, request: pytest.FixtureRequest) -> None:
    with tarfile.open(phone / "x.tar", "w") as tar:
        for name in ("IMG_1.HEIC", "IMG_2.heic"):
            tar.add(phone / name, name)
    found = list(expand([str(phone / "x.tar")]))
    assert [source.name for source in found] == [f"{phone}/x.tar/IMG_1.HEIC", f"{phone}/x.tar/IMG_2.heic"]
    assert {read_image(source.open()).size for source in found} == {read_image(PHOTO).size}
    request.getfixturevalue("without_extra")
    Image.new("RGB", (9, 9)).save(phone / "a.png")
    with tarfile.open(phone / "x.tar", "a") as tar:
        tar.add(phone / "a.png", "a.png")
    passed = Passed()
    assert [source.name for source in expand([str(phone / "x.tar")], passed=passed)] == [f"{phone}/x.tar/a.png"]
    assert passed.notes == (
        "2 files of formats that are not read: .heic 2 (to read HEIC: pip install 'glip-cli[heic]')",
    )


def test_a_damaged_one_is_an_error_of_its_own(phone: Path) -> None:
    data = (phone / "IMG_2.heic").read_bytes()
    for cut in (40, 300, len(data) // 2):
        with pytest.raises(ImageError):
            read_image(io.BytesIO(data[:cut]))
