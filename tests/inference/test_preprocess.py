"""From file to tensor: every kind of image, every kind of damage, and mmdetection's own numbers."""

from __future__ import annotations

import io
import os
import random
import socket
import threading
import warnings
import weakref
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, features

from glip_cli.data.image_io import read_image
from glip_cli.data.pillow import quiet
from glip_cli.errors import ImageError, without_frames
from glip_cli.inference.device import on_one_thread
from glip_cli.inference.preprocess import STD_BGR, PreprocessedImage, collate, preprocess, resized_size
from tests.shared import SHARED

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "image.npz")

CATS = SHARED / "data" / "photos" / "000000039769.png"


def synthetic() -> npt.NDArray[np.uint8]:
    """uint8 [240, 320, 3] RGB: gradients, rectangles, discs. From the recipe that the goldens were recorded with."""
    height, width = 240, 320
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) * 255 // (height + width - 2)], -1)
    for x0, y0, x1, y1, colour in (
        (20, 30, 110, 90, (220, 40, 40)),
        (200, 20, 300, 70, (30, 60, 230)),
        (130, 110, 180, 220, (250, 240, 60)),
        (240, 150, 310, 230, (10, 10, 10)),
    ):
        image[y0:y1, x0:x1] = colour
    for cx, cy, radius, colour in (
        (70, 160, 45, (40, 200, 90)),
        (230, 110, 28, (255, 255, 255)),
        (155, 60, 22, (180, 60, 200)),
    ):
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius * radius] = colour
    image[::16, 160:] = image[::16, 160:] // 2  # fine stripes: aliasing shows in the resize
    return image.astype(np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def small(mode: str = "RGB") -> Image.Image:
    """12x7 pixels, every one different."""
    values = np.arange(12 * 7 * 3, dtype=np.uint8).reshape(7, 12, 3)
    return Image.fromarray(values).convert(mode)


# --- mmdetection's numbers


@pytest.mark.parametrize(("name", "shorter", "step"), [("synthetic256", 240, 16), ("synthetic200", 200, 16)])
def test_the_synthetic_image_is_prepared_as_mmdetection_does(name: str, shorter: int, step: int) -> None:
    check_golden(name, collate([preprocess(read_image(synthetic()), shorter)]), step)


def test_a_photograph_is_prepared_as_mmdetection_does() -> None:
    if not CATS.exists():
        pytest.skip(f"needs the photograph {CATS.name} of the shared folder")
    check_golden("cats", collate([preprocess(read_image(CATS))]), 32)


def check_golden(name: str, batch: torch.Tensor, step: int) -> None:
    assert list(batch.shape) == GOLDEN[f"{name}_shape"].tolist()
    sample = batch[0, :, ::step, ::step].numpy()
    # One grey level is 0.017 after normalisation: 1e-5 allows for float32 division and nothing else.
    np.testing.assert_allclose(sample, GOLDEN[f"{name}_sample"], atol=1e-5)
    np.testing.assert_allclose(batch.double().sum().item(), GOLDEN[f"{name}_sum"], rtol=1e-7)


# --- sizes


@pytest.mark.parametrize(
    ("size", "shorter", "expected"),
    [
        ((640, 480), 800, (1066, 800)),
        ((320, 240), 200, (266, 200)),
        ((800, 800), 800, (800, 800)),
        ((2000, 1000), 800, (1333, 666)),
        ((10000, 1), 800, (1333, 1)),
        ((1, 10000), 800, (1, 1333)),
        ((97, 97), 800, (799, 799)),  # 97 * (800 / 97) is 799.99...: mmdetection loses the pixel too
    ],
)
def test_sizes(size: tuple[int, int], shorter: int, expected: tuple[int, int]) -> None:
    assert resized_size(size, shorter, 1333) == expected


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 1000), st.integers(1, 2000))
def test_no_side_exceeds_its_limit_and_none_vanishes(width: int, height: int, shorter: int, longer: int) -> None:
    fitted = resized_size((width, height), shorter, longer)
    assert 1 <= min(fitted) <= shorter
    assert 1 <= max(fitted) <= longer


@given(st.integers(1, 300), st.integers(1, 300))
@settings(max_examples=30, deadline=None)
def test_the_scale_leads_back_to_the_whole_image(width: int, height: int) -> None:
    prepared = preprocess(Image.new("RGB", (width, height)), 64, 128)
    assert prepared.size == (width, height)
    assert prepared.pixels.shape[2] / prepared.scale[0] == pytest.approx(width)
    assert prepared.pixels.shape[1] / prepared.scale[1] == pytest.approx(height)


def test_channels_are_bgr_and_mean_colour_is_zero() -> None:
    pixels = preprocess(Image.new("RGB", (40, 40), (124, 116, 104)), 40, 40).pixels
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    assert pixels.abs().max() < 0.02
    red = preprocess(Image.new("RGB", (40, 40), (255, 0, 0)), 40, 40).pixels
    assert red[2].mean().item() == pytest.approx((255 - 123.675) / STD_BGR[2])


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process")
def test_preparing_starts_no_threads() -> None:
    """Those of OpenMP in threads that read would slow the model: `on_one_thread` says why."""
    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1) as reader:
        reader.submit(torch.set_num_threads, 3).result()
        before = os.listdir("/proc/self/task")
        reader.submit(preprocess, Image.new("RGB", (1600, 1200))).result()
        assert os.listdir("/proc/self/task") == before
    torch.set_num_threads(threads)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists the threads of a process")
def test_on_one_thread() -> None:
    def started() -> int:
        before = set(os.listdir("/proc/self/task"))
        torch.rand(4, 512, 512).add_(1)
        return len(set(os.listdir("/proc/self/task")) - before)  # one of an earlier test may end meanwhile

    def both() -> tuple[int, int]:
        torch.set_num_threads(3)
        with on_one_thread():
            without = started()
        return without, started()

    threads = torch.get_num_threads()
    with ThreadPoolExecutor(1) as loader:
        assert loader.submit(both).result() == (0, 2)
    torch.set_num_threads(threads)


def test_a_image_that_already_fits_keeps_its_pixels() -> None:
    image = Image.fromarray(synthetic())
    pixels = preprocess(image, 240, 1333).pixels
    back = pixels * torch.tensor(STD_BGR).view(3, 1, 1) + torch.tensor((103.53, 116.28, 123.675)).view(3, 1, 1)
    assert np.array_equal(back.round().byte().numpy().transpose(1, 2, 0)[..., ::-1], synthetic())


def test_collate_pads_right_and_bottom_with_zero() -> None:
    shapes = [(40, 50), (64, 33), (1, 1)]
    items = [PreprocessedImage(torch.full((3, h, w), 7.0), (w, h), (1.0, 1.0)) for h, w in shapes]
    batch = collate(items)
    assert batch.shape == (3, 3, 64, 64)
    for row, (h, w) in zip(batch, shapes, strict=True):
        assert (row[:, :h, :w] == 7).all()
        assert row.sum() == 7 * 3 * h * w


def test_a_batch_is_its_images() -> None:
    items = [preprocess(Image.fromarray(synthetic()), side, 400) for side in (100, 150)]
    batch = collate(items)
    for row, item in zip(batch, items, strict=True):
        assert torch.equal(row[:, : item.pixels.shape[1], : item.pixels.shape[2]], item.pixels)


# --- orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_comes_out_upright(orientation: int, kind: str) -> None:
    upright = Image.new("RGB", (48, 32), "white")
    upright.paste("red", (0, 0, 16, 16))  # top left
    upright.paste("blue", (32, 0, 48, 16))  # top right
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # orientation -> Image.Transpose that a camera would have to undo
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind in ("JPEG", "WEBP") else {}
    image = read_image(encoded(stored, kind, exif=exif, **options))
    assert image.size == upright.size
    assert np.abs(np.asarray(image, int) - np.asarray(upright, int)).mean() < 3


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_broken_exif_turns_nothing(exif: bytes) -> None:
    assert read_image(encoded(small(), "JPEG", exif=exif)).size == (12, 7)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert read_image(encoded(small(), "PNG", exif=exif)).size == (12, 7)


# --- modes


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV"]
)
def test_every_mode_becomes_rgb(mode: str) -> None:
    by_way_of = {"La": "LA", "RGBa": "RGBA", "PA": "P"}
    read = read_image(small(by_way_of.get(mode, mode)).convert(mode))
    assert (read.mode, read.size) == ("RGB", (12, 7))


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("1", "PNG"), ("L", "JPEG"), ("LA", "PNG"), ("P", "GIF"), ("RGBA", "PNG"), ("RGBA", "WEBP"), ("CMYK", "TIFF")],
)
def test_files_of_every_mode_become_rgb(mode: str, kind: str) -> None:
    assert read_image(encoded(small(mode), kind)).mode == "RGB"


def test_transparency_is_dropped_as_mmdetection_does() -> None:
    image = Image.new("RGBA", (4, 4), (10, 200, 30, 0))
    assert read_image(encoded(image, "PNG")).getpixel((0, 0)) == (10, 200, 30)


@pytest.mark.parametrize("transparency", [0, bytes([0, 128, 255])])
def test_a_palette_with_transparency_keeps_its_colours(transparency: object) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 250, 120, 10, 1, 1, 1])
    assert read_image(encoded(image, "PNG", transparency=transparency)).getpixel((2, 2)) == (250, 120, 10)


def test_a_cmyk_jpeg_keeps_its_colours() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    pixel = read_image(encoded(red.convert("CMYK"), "JPEG", quality=95)).getpixel((8, 8))
    assert np.abs(np.subtract(pixel, (200, 30, 30))).max() < 12


@pytest.mark.parametrize(
    ("brightest", "middle", "expected"),
    [(65535, 32768, 128), (4095, 2048, 128), (255, 100, 100), (0, 0, 0)],
)
def test_sixteen_bit_grey_is_scaled_by_its_depth(brightest: int, middle: int, expected: int) -> None:
    values = np.array([[0, middle, brightest]], dtype=np.uint16)
    for kind in ("PNG", "TIFF"):
        image = read_image(encoded(Image.fromarray(values), kind))
        assert image.getpixel((1, 0)) == (expected,) * 3
        assert image.getpixel((0, 0)) == (0, 0, 0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.5, 1.0], [0, 128, 255]),
        ([0.0, 100.0, 200.0], [0, 100, 200]),
        ([-1000.0, 0.0, 1000.0], [0, 128, 255]),
        ([5e8, 5e8, 5e8], [0, 0, 0]),
        ([float("nan"), float("inf"), 1.0], [0, 0, 255]),
    ],
)
def test_float_grey_is_scaled_by_its_range(values: list[float], expected: list[int]) -> None:
    image = read_image(encoded(Image.fromarray(np.array([values], np.float32)), "TIFF"))
    assert [image.getpixel((x, 0))[0] for x in range(3)] == expected


def test_signed_grey_is_stretched() -> None:
    image = read_image(Image.fromarray(np.array([[-1000, 0, 1000]], np.int32)))
    assert [image.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_counts(kind: str) -> None:
    if kind == "WEBP" and not features.check("webp"):
        pytest.skip("this Pillow is built without WebP")
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    assert np.abs(np.subtract(read_image(data).getpixel((4, 4)), (255, 0, 0))).max() < 6


# --- what may be given


def test_path_string_bytes_image_and_array_agree(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    small().save(path)
    for source in (path, str(path), path.read_bytes(), small(), np.asarray(small())):
        assert np.array_equal(np.asarray(read_image(source)), np.asarray(small()))


def test_the_given_image_stays_as_it_was() -> None:
    image = small()
    read_image(image).putpixel((0, 0), (9, 9, 9))
    assert image.getpixel((0, 0)) == small().getpixel((0, 0))


def test_a_grey_array_and_one_with_odd_strides() -> None:
    assert read_image(np.zeros((4, 5), np.uint8)).size == (5, 4)
    assert read_image(np.zeros((8, 10, 3), np.uint8)[::2, ::-2]).size == (5, 4)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((4, 5, 3), np.float32),
        np.zeros((4, 5, 4), np.uint8),
        np.zeros((3, 4, 5, 3), np.uint8),
        np.zeros((0, 5, 3), np.uint8),
        np.zeros(5, np.uint8),
    ],
)
def test_other_arrays_are_refused(array: npt.NDArray[np.generic]) -> None:
    with pytest.raises(ImageError, match="give uint8 of shape"):
        read_image(array)


def test_tensors_and_open_files_are_what_they_hold() -> None:
    pixels = np.asarray(small())
    tensor = torch.from_numpy(pixels.copy())
    for source in (tensor, tensor.permute(2, 0, 1), io.BytesIO(encoded(small(), "PNG"))):
        assert np.array_equal(read_image(source), pixels)
    assert np.array_equal(read_image(tensor[None, :, :, 0]), np.stack([pixels[..., 0]] * 3, -1))
    stream = io.BytesIO(encoded(small(), "PNG"))
    stream.read()  # wherever it stands
    assert np.array_equal(read_image(stream), pixels)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (torch.zeros(3, 4, 5), "float32 of shape"),
        (torch.zeros(3, 4, 3, dtype=torch.uint8), "of shape"),  # either way round
        (torch.zeros(2, 3, 4, 5, dtype=torch.uint8), "of shape"),
        (io.StringIO("text"), "gives str, not bytes; open it with mode 'rb'"),
        (None, "NoneType: no image; give a path"),
        (7, "int: no image"),
        (io.BytesIO(), "empty, 0 bytes"),
    ],
)
def test_other_things_are_refused_in_one_line(source: Any, words: str) -> None:
    with pytest.raises(ImageError, match=words):
        read_image(source)


# --- damage


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nowhere\.jpg: no such file; check the path"):
        read_image(tmp_path / "nowhere.jpg")


def test_a_folder_and_a_device(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="a folder, not a file"):
        read_image(tmp_path)
    if Path("/dev/zero").exists():
        with pytest.raises(ImageError, match="not a file"):
            read_image("/dev/zero")


def test_pipes_and_sockets_are_not_waited_for(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes here")
    os.mkfifo(tmp_path / "pipe.png")
    os.symlink(tmp_path / "pipe.png", tmp_path / "link.png")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
        for name, kind in (("pipe", "a named pipe"), ("link", "a named pipe"), ("socket", "a socket")):
            with pytest.raises(ImageError, match=f"{kind}, not a file"):
                read_image(tmp_path / f"{name}.png")


def test_a_disk_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "good.png").write_bytes(encoded(small(), "PNG"))
    gone, read_bytes = threading.Event(), Path.read_bytes
    (tmp_path / "dead.png").touch()
    monkeypatch.setattr(
        Path, "read_bytes", lambda path: gone.wait() and b"" if "dead" in path.name else read_bytes(path)
    )
    monkeypatch.setattr("glip_cli.data.disk.READ_SECONDS", 0.05)
    with pytest.raises(ImageError, match=r"dead\.png: not read within 0\.05 s; check the disk or network"):
        read_image(tmp_path / "dead.png")
    monkeypatch.setattr("glip_cli.data.disk.READ_SECONDS", 60)
    assert read_image(tmp_path / "good.png").size == (12, 7)
    gone.set()


def test_a_small_file_that_takes_long_to_decode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scan of a JPEG goes over the whole image, and one may have thousands."""
    stream = io.BytesIO()
    Image.new("RGB", (1000, 1000)).save(stream, "JPEG", progressive=True)
    data = stream.getvalue()
    scan = data[data.rindex(b"\xff\xda") : -2]
    monkeypatch.setattr("glip_cli.data.image_io.READ_SECONDS", 0.001)
    before = set(threading.enumerate())
    with ThreadPoolExecutor(1) as pool:
        error = str(pool.submit(read_image, data[:-2] + 150 * scan + data[-2:], "bomb.jpg").exception())
    assert error == "bomb.jpg: not decoded within 0.001 s; export it again"
    for thread in set(threading.enumerate()) - before:
        thread.join(60)  # the decoder goes on until it has done it
    with pytest.raises(ImageError, match=r"bomb\.jpg: a JPEG of 1,0\d\d scans, as no camera writes"):
        read_image(data[:-2] + 1000 * scan + data[-2:], "bomb.jpg")  # and is not begun


def test_a_large_file_is_known_by_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> bytes:
        raise AssertionError("read whole")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    path = tmp_path / "sparse.png"
    for head, size, words in (
        (b"\0", 3_000_000_000, "3.0 GB, too large"),
        (b"\0", 20_000_000, "not an image in a known"),
    ):
        path.write_bytes(head)
        os.truncate(path, size)
        with pytest.raises(ImageError, match=words):
            read_image(path)


def test_no_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.png"
    small().save(path)

    def refuse(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(ImageError, match=r"a\.png: no permission"):
        read_image(path)


@pytest.mark.parametrize(
    ("name", "why"), [("a\0b.png", "cannot be read"), ("x" * 5000, r"no such file \(File name too long\)")]
)
def test_a_name_that_cannot_be(name: str, why: str) -> None:
    with pytest.raises(ImageError, match=why):
        read_image(name)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").touch()
    with pytest.raises(ImageError, match=r"a\.jpg: empty, 0 bytes"):
        read_image(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    "data", [b"\0", b"<html></html>", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8", b"%PDF"]
)
def test_what_is_no_image(data: bytes) -> None:
    with pytest.raises(ImageError, match=r"^it: not an image") as caught:
        read_image(data, name="it")
    assert "\n" not in str(caught.value)


@pytest.fixture
def no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise AssertionError(f"started {args}")

    for name in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork"):
        monkeypatch.setattr(name, refuse)


@pytest.mark.usefixtures("no_programs")
def test_postscript_is_refused_without_running_ghostscript() -> None:
    with pytest.raises(ImageError, match="EPS is a vector format"):
        read_image(encoded(small(), "EPS"))


@pytest.mark.usefixtures("no_programs")
def test_postscript_inside_another_format_is_not_reached() -> None:
    """An IPTC file is a list of fields, of which one holds a whole file of any format."""
    eps = encoded(small(), "EPS")

    def field(record: int, number: int, data: bytes) -> bytes:
        return bytes([0x1C, record, number]) + len(data).to_bytes(2, "big") + data

    layers = field(3, 60, b"\1\0") + field(3, 20, b"\0\x0c") + field(3, 30, b"\0\x07") + field(3, 120, b"\0\5")
    for iptc in (layers + field(8, 10, eps), field(3, 60, b"\1\0") + field(8, 10, eps)):
        with pytest.raises(ImageError, match="not an image in a known format"):
            read_image(iptc)


def every_format() -> dict[str, bytes]:
    """A small image in each format that this Pillow can write."""
    Image.init()
    files = {}
    for kind in set(Image.SAVE) - {"PDF"}:
        with suppress(OSError, ValueError, KeyError, RuntimeError), warnings.catch_warnings(action="ignore"):
            files[kind] = encoded(small("1" if kind in ("MSP", "XBM") else "RGB"), kind)
    return files


def test_every_format_that_pillow_writes_is_read_but_for_postscript() -> None:
    read = {kind for kind, data in every_format().items() if not fails(data)}
    assert read == set(every_format()) - {"EPS", "PALM"}  # of PALM there is no decoder
    assert read >= {"BMP", "GIF", "JPEG", "JPEG2000", "PCX", "PNG", "PPM", "SGI", "TGA", "TIFF", "WEBP", "XBM"}


def test_libtiff_says_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(encoded(small(), "TIFF", compression="tiff_lzw"))
    data[8:30] = b"\xff" * 22  # where the pixels are
    with pytest.raises(ImageError, match="damaged"):
        read_image(bytes(data))
    assert capfd.readouterr().err == ""


def test_an_error_that_is_kept_lets_the_pixels_go() -> None:
    class Tracked(io.BytesIO):
        pass

    def caught() -> ImageError:
        held = Tracked()
        alive.append(weakref.ref(held))
        try:
            try:
                raise ValueError("inner")
            except ValueError as error:
                raise ImageError("x") from error
        except ImageError as error:
            return without_frames(error)

    alive: list[weakref.ref[Tracked]] = []
    kept = caught()
    assert str(kept) == "x"
    assert kept.__traceback__ is kept.__cause__ is kept.__context__ is None
    assert alive[0]() is None


def test_a_decompression_bomb_is_refused_by_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    with pytest.raises(ImageError, match=r"too large to decode .*84 pixels"):
        read_image(encoded(small(), "PNG"))


def test_a_merely_big_image_is_read_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 60)
    assert read_image(encoded(small(), "PNG")).size == (12, 7)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_cut_at_every_length_it_is_a_image_or_an_image_error(kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(small(), kind, **({"exif": exif} if kind in ("JPEG", "PNG", "WEBP") else {}))
    failures = sum(fails(data[:length]) for length in range(len(data)))
    assert failures > len(data) // 2


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_with_bytes_altered_it_is_a_image_or_an_image_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500_000)  # an altered size may be a slow, honest gigabyte
    data, rng = encoded(small(), kind), random.Random(0)
    for _ in range(200):
        altered = bytearray(data)
        for _ in range(rng.randint(1, 4)):
            altered[rng.randrange(len(altered))] = rng.randrange(256)
        fails(bytes(altered))


def fails(data: bytes) -> bool:
    """True where `data` cannot be read; an exception other than `ImageError` goes through."""
    try:
        return read_image(data).mode != "RGB"
    except ImageError:
        return True


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes_are_a_image_or_an_image_error(data: bytes) -> None:
    fails(data)


def test_warnings_of_other_threads_are_shown_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    inside, leave = threading.Event(), threading.Event()

    def slow(size: tuple[int, int]) -> Any:
        warnings.warn("of the decoding thread", stacklevel=1)
        inside.set()
        assert leave.wait(10)
        return nullcontext()

    monkeypatch.setattr("glip_cli.data.image_io.decoding_room", slow)
    thread = threading.Thread(target=read_image, args=(encoded(small(), "PNG"),))
    thread.start()
    assert inside.wait(10)
    with pytest.warns(UserWarning, match="of this thread") as seen:
        warnings.warn("of this thread", stacklevel=1)
    leave.set()
    thread.join()
    assert len(seen) == 1


def test_quiet_beside_a_thread_that_is_quiet_for_ever() -> None:
    inside, hold = threading.Event(), threading.Event()

    def stay() -> None:
        with quiet():
            inside.set()
            hold.wait()

    thread = threading.Thread(target=stay)
    thread.start()
    inside.wait()
    try:
        with warnings.catch_warnings(action="error"), quiet():
            warnings.warn("a format is deprecated", DeprecationWarning, stacklevel=1)
    finally:
        hold.set()
        thread.join()


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    data = encoded(small(), "JPEG")
    threads = [threading.Thread(target=lambda: [read_image(data) for _ in range(20)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert warnings.filters == before


@given(st.integers(40, 4000), st.integers(40, 4000), st.sampled_from([320, 384, 640]))
def test_an_image_of_an_area_keeps_its_shape_and_needs_no_padding(width: int, height: int, side: int) -> None:
    new_width, new_height = resized_size((width, height), side, side, 32)
    assert new_width % 32 == new_height % 32 == 0
    scale = side / (width * height) ** 0.5
    for old, new in ((width, new_width), (height, new_height)):
        assert abs(new - old * scale) <= 16 or new == 32
