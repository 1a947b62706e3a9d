"""From a file to the tensor that the model reads, and the scale that leads back.

    file, bytes, array -> read_image -> upright RGB -> prepare -> float32 [3, h, w] -> collate -> [B, 3, H, W]

This room alone knows that the model reads its channels as BGR. The arithmetic is mmdetection's test
pipeline (`FixScaleResize` with the Pillow backend, then `DetDataPreprocessor`), bit for bit.
"""

from __future__ import annotations

import io
import math
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from glip_cli.errors import ImageError, UnavailableError
from glip_cli.pillow import decoding_room, open_image, quiet
from glip_cli.threads import READ_SECONDS, within

ImageSource = str | Path | bytes | IO[bytes] | Image.Image | npt.NDArray[Any] | torch.Tensor

MEAN_BGR = (103.53, 116.28, 123.675)
STD_BGR = (57.375, 57.12, 58.395)
DIVISOR = 32  # of the sides of a batch, the stride of the last stage of the backbone

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAX_FILE_BYTES = 1_500_000_000  # no image that Pillow decodes has more, as it limits pixels
_HEAD_FIRST_BYTES = 16_000_000  # a larger file is looked at before it is read
_DRAWINGS = {b"%!PS": "EPS", b"\xc5\xd0\xd3\xc6": "EPS", b"\xd7\xcd\xc6\x9a": "WMF"}  # by their first bytes
# Pillow has no direct, silent way to RGB from these.
_BY_WAY_OF = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_BIT_DEPTHS = (8, 12, 16, 32)


def read_image(source: ImageSource, name: str | None = None) -> Image.Image:
    """The picture as a person sees it: 8-bit RGB, upright (EXIF orientation applied), the first frame.

    Transparency is dropped and not composited, as mmdetection and `Image.convert("RGB")` do. Grey of more
    than 8 bits is scaled by the smallest of 8, 12, 16 or 32 bits that holds its brightest pixel.

    Args:
        source: a path, the bytes of a file, a file open for reading bytes, a Pillow image; an array or tensor of uint8
            [h, w, 3] (RGB) or [h, w] (grey), a tensor also [3, h, w] or [1, h, w].
        name: what errors call the picture; by default the path.

    Raises:
        ImageError: there is no such file, or it cannot be decoded. No other exception.
    """
    if isinstance(source, torch.Tensor):
        return _from_array(_channels_last(source), name or "tensor")
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "array")
    if isinstance(source, Image.Image):
        with _decoding(name or "image"):
            return _rgb(_upright(source))
    if isinstance(source, bytes | bytearray | memoryview):
        return _decode(bytes(source), name or "image data")
    if isinstance(source, str | os.PathLike):
        return _decode(_read_bytes(Path(source), name or str(source)), name or str(source))
    if hasattr(source, "read"):
        return _decode(_read_stream(source, name or "file"), name or "file")
    raise ImageError(f"{type(source).__name__}: no image; give a path, bytes, a Pillow image or an array")


def _channels_last(pixels: torch.Tensor) -> npt.NDArray[Any]:
    """[3, h, w] -> [h, w, 3] and [1, h, w] -> [h, w], where that is what it is."""
    array: npt.NDArray[Any] = pixels.detach().cpu().numpy()
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] != 3:
        return array[0] if len(array) == 1 else array.transpose(1, 2, 0)
    return array if array.ndim != 3 or array.shape[0] != 3 else array[None]  # [3, h, 3] may be either


def _from_array(pixels: npt.NDArray[Any], name: str) -> Image.Image:
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
        raise ImageError(f"{name}: cannot be read ({_one_line(error)})") from error
    if not isinstance(data, bytes):
        raise ImageError(f"{name}: gives {type(data).__name__}, not bytes; open it with mode 'rb'")
    return data


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        return within(READ_SECONDS, _read_file, path, name)
    except FileNotFoundError:
        raise UnavailableError(f"{name}: no such file; check the path") from None
    except PermissionError:
        raise UnavailableError(f"{name}: no permission to read it; change the file's rights") from None
    except TimeoutError:
        raise no_answer(name) from None
    except OSError as error:
        raise UnavailableError(f"{name}: cannot be read ({_one_line(error)})", brief=True) from error
    except ValueError as error:  # a null character in the name
        raise ImageError(f"{name}: cannot be read ({_one_line(error)})") from error


def no_answer(name: str | Path) -> UnavailableError:
    """The error of a file that nothing came from in time."""
    return UnavailableError(
        f"{name}: not read within {READ_SECONDS:g} s; check the disk or network it is on", hung=True
    )


def _read_file(path: Path, name: str) -> bytes:
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):  # a pipe may never say a word, a device such as /dev/zero never ends
        raise ImageError(f"{name}: {_kind(info.st_mode)}, not a file; give an image's path")
    if info.st_size > MAX_FILE_BYTES:
        raise ImageError(f"{name}: {info.st_size / 1e9:.1f} GB, too large for an image; cut it up or shrink it first")
    if info.st_size > _HEAD_FIRST_BYTES:
        with _decoding(name), path.open("rb") as stream, open_image(stream):
            pass
    return path.read_bytes()


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a named pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _decode(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageError(f"{name}: empty, 0 bytes; copy or download it again")
    if data[:4] in _DRAWINGS:
        raise ImageError(f"{name}: {_DRAWINGS[data[:4]]} is a vector format; export it as PNG")
    with _decoding(name), open_image(io.BytesIO(data)) as image, decoding_room(image.size):
        return within(READ_SECONDS, _pixels, image)


def _pixels(image: Image.Image) -> Image.Image:
    with quiet():
        return _rgb(_upright(image))


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turns whatever Pillow raises into one `ImageError`, and keeps its warnings from the person."""
    try:
        with quiet():
            yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in a known format; convert it to JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too large to decode ({_one_line(error)}); cut it up or shrink it first") from error
    except TimeoutError as error:  # a JPEG of a megabyte can hold scans for hours
        raise ImageError(f"{name}: not decoded within {READ_SECONDS:g} s; export it again") from error
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to decode it; cut it up or shrink it first") from error
    except Exception as error:  # damaged data makes decoders raise anything: SyntaxError, struct.error, IndexError ...
        raise ImageError(f"{name}: damaged or cut short ({_one_line(error)}); copy or export it again") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # metadata that cannot be parsed turns nothing; the pixels are already here
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;"):
        return Image.fromarray(_eight_bit(np.asarray(image))).convert("RGB")
    return image.convert(_BY_WAY_OF.get(image.mode, image.mode)).convert(
        "RGB"
    )  # always a new image, so the caller's own is never changed


def _eight_bit(grey: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
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


class ImageSize(NamedTuple):
    """How large a model reads an image.

    Attributes:
        shorter, longer: what its sides reach, and do not exceed, in pixels.
        multiple: where it is not 0, the image gets the area shorter * longer instead, and both sides are rounded to
            multiples of it: no padding.
    """

    shorter: int
    longer: int
    multiple: int = 0

    @property
    def in_words(self) -> str:
        area = f"the area of {self.shorter} x {self.longer} pixels"
        return area if self.multiple else f"{self.shorter} to {self.longer} pixels"


@dataclass(frozen=True, eq=False)
class Prepared:
    """One picture as the model reads it.

    Attributes:
        pixels: float32 [3, h, w], channels BGR, normalised, not padded.
        size: (width, height) of the picture before resizing.
        scale: (x, y), resized / original: a box in `pixels` divided by it is a box in the picture.
    """

    pixels: torch.Tensor
    size: tuple[int, int]
    scale: tuple[float, float]


def prepare(image: Image.Image, shorter: int = 800, longer: int = 1333, multiple: int = 0) -> Prepared:
    """Resizes to an `ImageSize`; then normalises."""
    width, height = image.size
    new_width, new_height = fitted_size(image.size, shorter, longer, multiple)
    resized = image.convert("RGB").resize((new_width, new_height), Image.Resampling.BILINEAR)
    bgr = np.ascontiguousarray(np.asarray(resized)[..., ::-1].transpose(2, 0, 1))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN_BGR, STD_BGR))
    pixels = torch.from_numpy(bgr).float().sub_(mean).div_(std)
    return Prepared(pixels, (width, height), (new_width / width, new_height / height))


def fitted_size(size: tuple[int, int], shorter: int, longer: int, multiple: int = 0) -> tuple[int, int]:
    """(width, height) after resizing to an `ImageSize`, at least 1 pixel each.

    Truncated as mmdetection's `rescale_size` does, in its order of operations: where the float product falls
    just below a whole number (a side of 799.99...), the pixel is lost there too.
    """
    if multiple:
        scale = math.sqrt(shorter * longer / (size[0] * size[1]))
        width, height = (max(1, round(side * scale / multiple)) * multiple for side in size)
        return width, height
    scale = min(longer / max(size), shorter / min(size))
    return max(1, int(size[0] * scale)), max(1, int(size[1] * scale))


def collate(items: Sequence[Prepared]) -> torch.Tensor:
    """Pads right and bottom with zeros (after normalisation: the mean colour) to one [B, 3, H, W].

    H and W are those of the largest picture, rounded up to a multiple of 32 pixels.
    """
    height, width = (max(sides) for sides in zip(*map(padded_size, items), strict=True))
    batch = items[0].pixels.new_zeros(len(items), 3, height, width)
    for row, item in zip(batch, items, strict=True):
        row[:, : item.pixels.shape[1], : item.pixels.shape[2]] = item.pixels
    return batch


def padded_size(item: Prepared) -> tuple[int, int]:
    """(height, width) of the picture alone in a batch."""
    height, width = (-(-side // DIVISOR) * DIVISOR for side in item.pixels.shape[1:])
    return height, width
