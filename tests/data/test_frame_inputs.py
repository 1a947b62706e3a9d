"""Files of several images: an input for each frame, and the image that the frame saved alone would give."""

from __future__ import annotations

import weakref
from itertools import islice
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image

from glip_cli.data import image_io
from glip_cli.data.frame_inputs import FrameChoice, count_images
from glip_cli.data.image_files_below import VIDEO_ADVICE, Passed
from glip_cli.data.image_io import read_image
from glip_cli.data.sources import ImageInput, expand
from glip_cli.errors import ImageError, UsageError
from glip_cli.outputs.files import FileNames
from glip_cli.runs.read_image import ImageReader
from tests.data.clips import draw, make_clip

ALL = FrameChoice(all=True)
KINDS = {
    "tif": {}, "gif": {}, "png": {}, "webp": {"lossless": True}, "mpo": {"quality": 95}, "avif": {"quality": 90},
}  # fmt: skip


def save(path: Path, count: int = 4, **options: object) -> Path:
    first, *more = map(draw, range(count))
    first.save(path, save_all=True, append_images=more, **options)
    return path


def frames(path: Path, choice: FrameChoice = ALL) -> list[ImageInput]:
    return list(expand([str(path)], frames=choice))


@pytest.mark.parametrize("kind", KINDS)
def test_each_frame_is_an_input_and_the_image_that_pillow_shows(tmp_path: Path, kind: str) -> None:
    count = 2 if kind == "mpo" else 4  # Pillow's MPO of four has wrong offsets
    path = save(tmp_path / f"a.{kind}", count, **KINDS[kind])
    found = frames(path)
    assert [source.name for source in found] == [f"{path}#frame={number}" for number in range(count)]
    assert [source.position for source in found] == [{"frame": number} for number in range(count)]
    with Image.open(path) as image:
        for number, source in enumerate(found):
            image.seek(number)
            image.convert("RGB").save(tmp_path / "alone.png")
            alone = read_image(tmp_path / "alone.png")
            assert np.array_equal(read_image(source.open()), alone)
            assert np.abs(np.asarray(alone, int) - np.asarray(draw(number), int)).mean() < 3


def test_every_second_page(tmp_path: Path) -> None:
    found = frames(save(tmp_path / "a.tif", 5), FrameChoice(all=True, every=2))
    assert [source.position for source in found] == [{"frame": 0}, {"frame": 2}, {"frame": 4}]
    assert np.array_equal(read_image(found[2].open()), draw(4))


def test_pages_of_other_sizes_depths_and_orientations(tmp_path: Path) -> None:
    deep = Image.fromarray(np.asarray(draw(1).convert("L")).astype(np.uint16) * 4)
    turned = Image.Exif()
    turned[0x0112] = 6
    draw(0).save(tmp_path / "a.tif", save_all=True, append_images=[deep, draw(2, (40, 50))])
    draw(3).save(tmp_path / "b.tif", exif=turned)
    sizes = [read_image(source.open()).size for source in frames(tmp_path)]
    assert sizes == [(96, 64), (96, 64), (40, 50), (64, 96)]


def test_one_image_stays_one_input_with_its_own_name(tmp_path: Path) -> None:
    draw(0).save(tmp_path / "a.jpg")
    (tmp_path / "b.png").write_bytes(b"none")
    assert [(source.name, source.frame) for source in frames(tmp_path)] == [
        (str(tmp_path / "a.jpg"), None),
        (str(tmp_path / "b.png"), None),
    ]
    missing = tmp_path / "missing.tif"
    assert [source.name for source in frames(missing)] == [str(missing)]


def test_a_damaged_page_ends_the_file_with_one_error(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", 4, compression="tiff_deflate")
    with Image.open(path) as image:
        image.seek(2)
        (offset, *_), (size, *_) = image.tag_v2[273], image.tag_v2[279]
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = b"\xff" * size
    path.write_bytes(data)
    found = frames(path)
    assert [source.name for source in found] == [f"{path}#frame={number}" for number in range(3)]
    assert read_image(found[1].open()).size == (96, 64)
    with pytest.raises(ImageError, match=r"a\.tif: damaged or cut short"):
        found[2].open()


def test_a_page_as_large_as_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(0).save(tmp_path / "a.tif", save_all=True, append_images=[draw(1, (200, 200))])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    first, second = frames(tmp_path / "a.tif")
    assert read_image(first.open()).size == (96, 64)
    with pytest.raises(ImageError, match="too large to decode"):
        second.open()


def test_frames_are_decoded_as_they_are_taken(tmp_path: Path) -> None:
    """None is kept, or decoded ahead."""
    path = save(tmp_path / "a.tif", 30)
    with patch.object(image_io, "_rgb", wraps=image_io._rgb) as decoded:
        found = expand([str(path)], frames=ALL)
        kept = [weakref.ref(source.open()) for source in islice(found, 20)]
        assert decoded.call_count == 20
    assert sum(image() is not None for image in kept) <= 2  # the one at hand, and the one before


def test_without_frames_the_first_is_read_and_a_note_says_so(tmp_path: Path) -> None:
    read = ImageReader()
    for name in ("a.tif", "b.gif", "c.png"):
        read(ImageInput(name, str(save(tmp_path / name))))
    draw(0).save(tmp_path / "d.png")
    draw(0).save(tmp_path / "e.mpo", save_all=True, append_images=[draw(1)])
    for name in ("d.png", "e.mpo"):
        read(ImageInput(name, str(tmp_path / name)))
    assert read.notes == (
        "3 images hold several frames (a.tif 4), of which the first is read: --frames all of detect and batch reads "
        "all",
    )


def test_videos_in_folders_are_left_alone_unless_they_are_asked_for(tmp_path: Path) -> None:
    draw(0).save(tmp_path / "a.png")
    clip = make_clip(tmp_path / "b.mp4", 3)
    passed = Passed(advice=VIDEO_ADVICE)
    pattern = str(tmp_path / "*")
    for text in (str(tmp_path), pattern):
        assert [Path(source.name).name for source in expand([text], passed=passed, frames=FrameChoice())] == ["a.png"]
        assert len(list(expand([text], frames=ALL))) == 4
    assert passed.notes == (f"2 files of formats that are not read: .mp4 2 ({VIDEO_ADVICE})",)
    for text in (str(clip), str(tmp_path / "*.mp4")):
        assert len(list(expand([text], frames=FrameChoice()))) == 3
    (tmp_path / "list.txt").write_text("b.mp4\na.png\n")
    named = list(expand([f"@{tmp_path / 'list.txt'}"], frames=FrameChoice()))
    assert [source.name for source in named] == [*(f"b.mp4#frame={number}" for number in range(3)), "a.png"]
    assert [source.name for source in expand([str(clip)])] == [str(clip)]  # commands that read none
    (tmp_path / "a.png").unlink()
    with pytest.raises(UsageError, match=r"holds no image.*\.mp4 1"):
        expand([str(tmp_path)], frames=FrameChoice())


def test_they_are_counted_where_that_takes_no_decoding(tmp_path: Path) -> None:
    save(tmp_path / "a.tif")
    clip = make_clip(tmp_path / "b.mp4", 3)
    assert count_images(expand([str(tmp_path)]), FrameChoice()) == 1
    assert count_images(expand([str(tmp_path)]), ALL) is None
    assert count_images(expand([str(tmp_path), str(clip)]), FrameChoice()) is None


def test_files_of_frames_have_names_of_their_own() -> None:
    names = FileNames("in")
    given = ["in/a.tif#frame=2", "in/x/a.tif#frame=12", "in/a.gif#frame=2", "in/a.tif", "in/a-000002.tif"]
    assert [names.of(name) for name in given] == ["a-000002", "x/a-000012", "a-000002.gif", "a", "a-000002-2"]
    assert names.of("https://host/clip.mp4?key=1#frame=3") == "clip-000003"
