"""From a file to the tensor that the model reads, and the scale that leads back.

    file, bytes, array -> read_image -> upright RGB -> prepare -> float32 [3, h, w] -> collate -> [B, 3, H, W]

This room alone knows that the model reads its channels as BGR. The arithmetic is mmdetection's test
pipeline (`FixScaleResize` with the Pillow backend, then `DetDataPreprocessor`), bit for bit.
"""

from __future__ import annotations

import io
import stat
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, UnidentifiedImageError

from glip_cli.errors import ImageError

ImageSource = str | Path | bytes | Image.Image | npt.NDArray[Any]

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
# Pillow draws these by starting another program (Ghostscript, GDI): not with files from anywhere.
_VECTOR_FORMATS = {"EPS", "WMF"}
# Pillow has no direct, silent way to RGB from these.
_BY_WAY_OF = {"P": "RGBA", "PA": "RGBA", "La": "LA", "RGBa": "RGBA"}
_BIT_DEPTHS = (8, 12, 16, 32)


def read_image(source: ImageSource, name: str | None = None) -> Image.Image:
    """The picture as a person sees it: 8-bit RGB, upright (EXIF orientation applied), the first frame.

    Transparency is dropped and not composited, as mmdetection and `Image.convert("RGB")` do. Grey of more
    than 8 bits is scaled by the smallest of 8, 12, 16 or 32 bits that holds its brightest pixel.

    Args:
        source: a file, the bytes of one, a Pillow image, or a uint8 array [h, w, 3] (RGB) or [h, w] (grey).
        name: what errors call the picture; by default the path.

    Raises:
        ImageError: there is no such file, or it cannot be decoded. No other exception.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, name or "array")
    if isinstance(source, Image.Image):
        with _decoding(name or "image"):
            return _rgb(_upright(source))
    if isinstance(source, bytes):
        return _decode(source, name or "image data")
    return _decode(_read_bytes(Path(source), name or str(source)), name or str(source))


def _from_array(pixels: npt.NDArray[Any], name: str) -> Image.Image:
    grey, rgb = pixels.ndim == 2, pixels.ndim == 3 and pixels.shape[2] == 3
    if pixels.dtype != np.uint8 or not (grey or rgb) or pixels.size == 0:
        raise ImageError(
            f"{name}: {pixels.dtype} of shape {list(pixels.shape)}; give uint8 of shape [height, width, 3] (RGB) or "
            "[height, width] (grey)"
        )
    return Image.fromarray(np.ascontiguousarray(pixels)).convert("RGB")


def _read_bytes(path: Path, name: str) -> bytes:
    try:
        if not _is_readable_kind(path.stat().st_mode):
            raise ImageError(f"{name}: not a file; give a picture's path")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"{name}: no such file; check the path") from None
    except PermissionError:
        raise ImageError(f"{name}: no permission to read it; change the file's rights") from None
    except (OSError, ValueError) as error:  # ValueError: a null character in the name
        raise ImageError(f"{name}: cannot be read ({_one_line(error)})") from error


def _is_readable_kind(mode: int) -> bool:
    """Files, and pipes for a shell's `<(command)`; a device such as /dev/zero never ends."""
    return stat.S_ISREG(mode) or stat.S_ISFIFO(mode)


def _decode(data: bytes, name: str) -> Image.Image:
    if not data:
        raise ImageError(f"{name}: empty, 0 bytes; copy or download it again")
    with _decoding(name), Image.open(io.BytesIO(data)) as image:
        if image.format in _VECTOR_FORMATS:
            raise ImageError(f"{name}: {image.format} is a vector format; export it as PNG")
        return _rgb(_upright(image))


@contextmanager
def _decoding(name: str) -> Iterator[None]:
    """Turns whatever Pillow raises into one `ImageError`, and keeps its warnings from the person."""
    try:
        with _no_warnings:
            yield
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        raise ImageError(f"{name}: not a picture in a known format; convert it to JPEG or PNG") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{name}: too large to decode ({_one_line(error)}); cut it up or shrink it first") from error
    except MemoryError as error:
        raise ImageError(f"{name}: not enough memory to decode it; cut it up or shrink it first") from error
    except Exception as error:  # damaged data makes decoders raise anything: SyntaxError, struct.error, IndexError ...
        raise ImageError(f"{name}: damaged or cut short ({_one_line(error)}); copy or export it again") from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


class _NoWarnings:
    """Warnings are off while any thread is inside.

    Pillow warns of big pictures and odd metadata, neither of which changes the answer. `catch_warnings`
    alone, entered by two decoding threads, would leave one's filters behind for good.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._caught = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._caught = warnings.catch_warnings()
                self._caught.__enter__()
                warnings.simplefilter("ignore")
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                self._caught.__exit__(None, None, None)


_no_warnings = _NoWarnings()


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


def prepare(image: Image.Image, shorter: int = 800, longer: int = 1333) -> Prepared:
    """Resizes so that the sides reach, and do not exceed, `shorter` and `longer` pixels; then normalises."""
    width, height = image.size
    new_width, new_height = fitted_size(image.size, shorter, longer)
    resized = image.convert("RGB").resize((new_width, new_height), Image.Resampling.BILINEAR)
    bgr = np.ascontiguousarray(np.asarray(resized)[..., ::-1].transpose(2, 0, 1))
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN_BGR, STD_BGR))
    pixels = torch.from_numpy(bgr).float().sub_(mean).div_(std)
    return Prepared(pixels, (width, height), (new_width / width, new_height / height))


def fitted_size(size: tuple[int, int], shorter: int, longer: int) -> tuple[int, int]:
    """(width, height) after resizing, at least 1 pixel each.

    Truncated as mmdetection's `rescale_size` does, in its order of operations: where the float product falls
    just below a whole number (a side of 799.99...), the pixel is lost there too.
    """
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
