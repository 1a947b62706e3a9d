"""Pillow for files from anywhere: raster formats alone, without a word on stderr, and one huge image at a time."""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from functools import lru_cache
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError, _imaging

# All that Pillow decodes by itself. EPS and WMF start another program (Ghostscript, GDI); IPTC may hold an EPS; MPEG,
# BUFR, GRIB and HDF5 have no decoder; FPX and MIC need a library that is not installed.
# fmt: off
FORMATS = frozenset({
    "AVIF", "BLP", "BMP", "CUR", "DCX", "DDS", "DIB", "FITS", "FLI", "FTEX", "GBR", "GIF", "HEIF", "ICNS", "ICO", "IM",
    "IMT", "JPEG", "JPEG2000", "MCIDAS", "MPO", "MSP", "PCD", "PCX", "PIXAR", "PNG", "PPM", "PSD", "QOI", "SGI",
    "SPIDER", "SUN", "TGA", "TIFF", "WEBP", "XBM", "XPM", "XVTHUMB",
})
# fmt: on
HUGE_PIXELS = 40_000_000  # some 300 MB while it is decoded and converted

_one_huge = threading.Lock()
_filters = threading.Lock()
_quiet_threads: set[int] = set()


def open_image(stream: BinaryIO) -> ImageFile.ImageFile:
    """As `Image.open`, of `FORMATS` alone; its header is read, not its pixels."""
    start = stream.tell()
    try:
        return Image.open(stream, formats=_common_formats())
    except UnidentifiedImageError:
        stream.seek(start)
    return Image.open(stream, formats=_formats())


@lru_cache(maxsize=1)
def _common_formats() -> tuple[str, ...]:
    """BMP, GIF, JPEG, PNG and PPM: importing all others takes a tenth of a second."""
    Image.preinit()
    return tuple(name for name in Image.ID if name in FORMATS)


@lru_cache(maxsize=1)
def _formats() -> tuple[str, ...]:
    """In Pillow's own order: the common ones first, and not those without a signature, as `init` alone would."""
    _silence_libtiff()
    Image.preinit()
    Image.init()
    with suppress(ImportError):  # the extra "heic"; it turns images upright by itself
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in Image.ID if name in FORMATS)


def _silence_libtiff() -> None:
    """Libtiff writes what it thinks of a file to stderr, past Python; Pillow reports what matters as an exception."""
    with suppress(OSError, AttributeError):  # where it is linked statically, as on Windows
        library = ctypes.CDLL(_imaging.__file__)  # finds what that library is linked to
        library.TIFFSetErrorHandler(None)
        library.TIFFSetWarningHandler(None)


def decoding_room(size: tuple[int, int]) -> AbstractContextManager[object]:
    """Held while an image of (width, height) pixels is decoded: several huge ones at once would fill the memory."""
    return _one_huge if size[0] * size[1] > HUGE_PIXELS else nullcontext()


class _InQuietThread:
    """A pattern for a warning filter that matches in some threads only."""

    def match(self, text: str) -> bool:
        return threading.get_ident() in _quiet_threads


_IGNORED: object = ("ignore", _InQuietThread(), Warning, None, 0)


@contextmanager
def quiet() -> Iterator[None]:
    """No warning of this thread is shown; those of other threads are, which `warnings.catch_warnings` would hide."""
    with _filters:
        _quiet_threads.add(threading.get_ident())
        if warnings.filters[:1] != [_IGNORED]:  # a thread whose decoder never returns is quiet for ever
            warnings.filters.insert(0, _IGNORED)  # type: ignore[attr-defined]
    try:
        yield
    finally:
        with _filters:
            _quiet_threads.discard(threading.get_ident())
            if not _quiet_threads:  # another thread may have put back the filters of before
                while _IGNORED in warnings.filters:
                    warnings.filters.remove(_IGNORED)  # type: ignore[attr-defined]
