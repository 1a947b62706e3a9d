"""An image file, its bytes, an array or a tensor -> upright 8-bit RGB."""

from __future__ import annotations

import io
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Union, cast

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from glip_cli.data.disk import MAX_FILE_BYTES, from_disk
from glip_cli.data.image_files_below import HEIF_EXTRA, reads_heif
from glip_cli.data.pillow import decoding_room, open_image, quiet
from glip_cli.errors import ImageError
from glip_cli.utils.text_format import shown_url, words_of
from glip_cli.utils.threads import READ_SECONDS, within

if TYPE_CHECKING:
    import torch

ImageSource = Union[str, Path, bytes, IO[bytes], Image.Image, npt.NDArray[np.generic], "torch.Tensor"]
_URL = re.compile(r"\w{2,}:/")  # a Path has one slash; one letter is a drive
ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEAD_FIRST_BYTES = 16_000_000  # of a larger file the header is read first
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"  # encoded data hold no other 255 than before 0 or a restart mark
# That hold frames or pages; the layers of a PSD are none.
SEQUENCES = frozenset({"AVIF", "DCX", "FLI", "GIF", "HEIF", "MPO", "PNG", "TIFF", "WEBP"})
FRAMES = "frames"
"""In the `info` of an image that was read: how many its file holds, where there are several."""
MAX_SCANS = 200  # libjpeg writes up to 11; previews and the frames of a panorama have theirs
_HEIF = {b"ftyp" + brand for brand in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")}
_DRAWINGS = {b"%!PS": "EPS", b"\xc5\xd0\xd3\xc6": "EPS", b"\xd7\xcd\xc6\x9a": "WMF"}  # by their first bytes
# Pillow has no direct, silent way to RGB from these.
_BY_WAY_OF = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_BIT_DEPTHS = (8, 12, 16, 32)


def read_image(source: ImageSource, name: str | None = None, max_pixels: float = math.inf) -> Image.Image:
    """Read an image as viewers show it: 8-bit RGB, upright (EXIF orientation applied), the first frame.

    Transparency is dropped and not composited, as mmdetection and `Image.convert("RGB")` do. Grey of more
    than 8 bits is scaled by the smallest of 8, 12, 16 or 32 bits that holds its brightest pixel.

    Args:
        source: a path, the bytes of a file, a file open for reading bytes, a Pillow image; an array or tensor of uint8
            [h, w, 3] (RGB) or [h, w] (grey), a tensor also [3, h, w] or [1, h, w].
        name: what errors call the image; by default the path.
        max_pixels: of a file's bytes, before they are decoded; more is an ImageError.

    Raises:
        ImageError: there is no such file, or it cannot be decoded. No other exception.
    """
    if hasattr(source, "cpu"):  # a tensor; torch itself is not needed here
        return _from_array(_channels_last(cast("torch.Tensor", source)), name or "tensor")
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "array")
    if isinstance(source, Image.Image):
        with _decoding(name or "image"):
            return _rgb(_upright(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), name or "image data", max_pixels)
    if isinstance(source, str | os.PathLike):
        if _URL.match(str(source)) and not os.path.lexists(source):
            raise ImageError(
                f"{name or shown_url(str(source))}: a URL, which only the command line fetches; download it first, or "
                "give what urllib.request.urlopen(url) opens"
            )
        name = name or str(source)
        return _decode(read_bytes(Path(source), name), name)
    if hasattr(source, "read"):
        return _decode(_read_stream(source, name or "file"), name or "file")
    raise ImageError(f"{type(source).__name__}: no image; give a path, bytes, a Pillow image or an array")


def read_bytes(source: bytes | Path | Image.Image, name: str) -> bytes:
    """The file of an image, not decoded: what `read_image` takes too. Raises ImageError as it does.

    Of an image that is decoded already, the PNG.
    """
    if isinstance(source, Image.Image):
        source.save(stream := io.BytesIO(), "PNG", compress_level=1)
        return stream.getvalue()
    return source if isinstance(source, bytes) else from_disk(name, lambda: _read_file(source, name))


def holds_several(source: bytes | Path | Image.Image, name: str) -> bool:
    """Whether a file holds more frames than one, as its header says. Raises ImageError."""
    if isinstance(source, Image.Image):
        return False
    return within(READ_SECONDS, _is_sequence, source, name)


def _is_sequence(source: bytes | Path, name: str) -> bool:
    stream: IO[bytes] = io.BytesIO(source) if isinstance(source, bytes) else _regular(source, name).open("rb")
    with stream, _decoding(name), open_image(cast(BinaryIO, stream)) as image:
        return image.format in SEQUENCES and getattr(image, "is_animated", False)


def read_frames(source: bytes | Path | Image.Image, name: str, every: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Each page of a TIFF or frame of an animation with its number from 0, as `read_image` gives the first.

    Every `every`-th alone; the others are not decoded where the format allows. Raises ImageError at the first that
    cannot be decoded.
    """
    data = _checked(read_bytes(source, name), name)
    with _decoding(name):
        image = open_image(io.BytesIO(data))
    with image:
        for number in count(step=every):
            with _decoding(name), decoding_room(image.size):
                frame = within(READ_SECONDS, _frame, image, number)
            if frame is None:
                return
            yield number, frame


def _frame(image: Image.Image, number: int) -> Image.Image | None:
    with quiet():
        try:
            image.seek(number)
        except EOFError:
            return None
        if image.width * image.height > 2 * (Image.MAX_IMAGE_PIXELS or math.inf):  # Pillow checks the first alone
            raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
        return _rgb(_upright(image))


def _channels_last(pixels: torch.Tensor) -> npt.NDArray[np.generic]:
    """[3, h, w] -> [h, w, 3] and [1, h, w] -> [h, w], where that is what it is."""
    array: npt.NDArray[np.generic] = pixels.detach().cpu().numpy()
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] != 3:
        return array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    return array if array.ndim != 3 or array.shape[0] != 3 else array[None]  # [3, h, 3] may be either


def _from_array(pixels: npt.NDArray[np.generic], name: str) -> Image.Image:
    grey, rgb = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (grey or rgb) or pixels.size == 0:
        raise ImageError(
            f"{name}: {pixels.dtype} of shape {list(pixels.shape)}; give uint8 of shape [height, width, 3] (RGB) or "
            "[height, width] (grey)"
        )
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def _read_stream(stream: IO[bytes], name: str) -> bytes:
    """All of a file that is open, from its begin on where it can be rewound."""
    try:
        if stream.seekable():
            stream.seek(0)
        data = stream.read()
    except Exception as error:  # another library's object may raise anything
        raise ImageError(f"{name}: cannot be read ({words_of(error)})") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name}: gives {type(data).__name__}, not bytes; open it with mode 'rb'")
    return data


def _read_file(path: Path, name: str) -> bytes:
    size = _regular(path, name).stat().st_size
    if size > MAX_FILE_BYTES:
        raise ImageError(f"{name}: {size / 1e9:.1f} GB, too large for an image; cut it up or shrink it first")
    if size > _HEAD_FIRST_BYTES:
        with _decoding(name), path.open("rb") as stream, open_image(stream):
            pass
    return path.read_bytes()


def _regular(path: Path, name: str) -> Path:
    """`path`, which is a file: a pipe may never say a word, a device such as /dev/zero never ends."""
    kind = stat.S_IFMT(path.stat().st_mode)
    if kind != stat.S_IFREG:
        others = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
        raise ImageError(f"{name}: {others.get(kind, 'a device')}, not a file; give an image's path")
    return path


def _decode(data: bytes, name: str, max_pixels: float = math.inf) -> Image.Image:
    with _decoding(name), open_image(io.BytesIO(_checked(data, name))) as image, decoding_room(image.size):
        if image.width * image.height > max_pixels:
            size = f"{image.width} x {image.height} pixels"
            raise ImageError(f"{name}: {size}; at most {max_pixels / 1e6:g} million are taken here")
        return within(READ_SECONDS, _pixels, image)


def _checked(data: bytes, name: str) -> bytes:
    """`data`, which may be an image that can be decoded. Raises ImageError for the others."""
    if not data:
        raise ImageError(f"{name}: empty, 0 bytes; copy or download it again")
    if data[:2] == _JPEG and (scans := data.count(_SCAN)) > MAX_SCANS:  # each costs as much as a whole image
        raise ImageError(f"{name}: a JPEG of {scans:,} scans, as no camera writes; export it again")
    if data[:4] in _DRAWINGS:
        raise ImageError(f"{name}: {_DRAWINGS[data[:4]]} is a vector format; export it as PNG")
    if data[4:12] in _HEIF and not reads_heif():
        raise ImageError(f"{name}: HEIC, which needs pillow-heif: {HEIF_EXTRA}; or convert it to JPEG")
    return data


def _pixels(image: Image.Image) -> Image.Image:
    with quiet():
        rgb = _rgb(_upright(image))
        with suppress(Exception):  # what follows a good first frame may be damaged
            if image.format in SEQUENCES - {"MPO"} and (frames := getattr(image, "n_frames", 1)) > 1:
                rgb.info[FRAMES] = frames  # an MPO is a photograph with its preview, depth or gain map
        return rgb


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turns whatever Pillow raises into one `ImageError`, and keeps its warnings from the person."""
    try:
        with quiet():
            yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image in a known format; convert it to JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too large to decode ({words_of(error)}); cut it up or shrink it first") from error
    except TimeoutError as error:  # a JPEG of a megabyte can hold scans for hours
        raise ImageError(f"{name}: not decoded within {READ_SECONDS:g} s; export it again") from error
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to decode it; cut it up or shrink it first") from error
    except Exception as error:  # damaged data makes decoders raise anything: SyntaxError, struct.error, IndexError ...
        raise ImageError(f"{name}: damaged or cut short ({words_of(error)}); copy or export it again") from error


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        orientation = image.getexif().get(ORIENTATION_TAG, 1)
    except Exception:  # metadata that cannot be parsed turns nothing; the pixels are already here
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(_eight_bit(np.asarray(image))).convert("RGB")
    # always a new image, so the caller's own is never changed
    return image.convert(_BY_WAY_OF.get(image.mode, image.mode)).convert("RGB")


def _eight_bit(grey: npt.NDArray[np.generic]) -> npt.NDArray[np.uint8]:
    """[h, w] of any number to uint8: by its bit depth; floats in [0, 1] or [0, 255]; else stretched min to max."""
    values = np.nan_to_num(grey.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = values.min(), values.max()
    if low < 0 or high >= 2**32 or (grey.dtype.kind == "f" and high > 255):
        values, white = values - low, high - low
    elif grey.dtype.kind == "f":
        white = 1.0 if high <= 1 else 255.0
    else:
        white = next(2.0**bits - 1 for bits in _BIT_DEPTHS if high < 2**bits)
    scaled: npt.NDArray[np.float64] = np.round(values * (255 / max(white, np.finfo(np.float32).tiny)))
    return scaled.astype(np.uint8)
