"""A font for any text, without one in the package.

Pillow's own font (a part of Aileron) has the letters of ASCII and looks the same on every machine, so it
comes first. For other letters the system's fonts are tried, the likely ones first. Limits: one font draws a
whole text, so in a text of two scripts that no single font covers some letters come out as boxes, as they do
where no font of the script is installed; joined scripts (Arabic, Devanagari ...) need a Pillow with libraqm,
which its wheels have; colour emoji fonts cannot be scaled and are passed over in favour of outline ones.
"""

from __future__ import annotations

import os
import sys
import unicodedata
from functools import lru_cache
from itertools import chain
from pathlib import Path

from PIL import ImageFont

AnyFont = ImageFont.FreeTypeFont | ImageFont.ImageFont

# fmt: off
_LIKELY = (  # how their files' names begin: general ones, Chinese, Japanese, Korean, then other scripts, signs
    "dejavusans.", "notosans-regular", "arial.", "segoeui.", "liberationsans-regular", "notosanscjk",
    "notosansjp", "notosanssc", "sourcehansans", "wqy", "droidsansfallback", "msyh.", "yugoth", "malgun.",
    "pingfang", "hiragino", "applesdgothic", "notosansarabic", "notonaskh", "nirmala.", "notosansdevanagari",
    "kohinoor", "notosansthai", "leelawad", "thonburi", "notoemoji", "seguiemj.", "symbola", "notosanssymbols",
    "arialunicode",
)
# fmt: on
_UNLIKELY = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "mono", "color")
_PROBE_SIZE = 16
_UNASSIGNED = "\U0010ffff"  # a code point that no font has: it shows a font's sign for a missing letter


@lru_cache(maxsize=512)
def font_for(text: str, size: int) -> AnyFont:
    """The first font at `size` pixels that has every letter of `text`, else the one that has most."""
    letters = frozenset(c for c in text if _is_visible(c))
    path = _best_path(letters)
    if path is not None:
        return ImageFont.truetype(path, size)
    return ImageFont.load_default(size)


def _is_visible(letter: str) -> bool:
    """Not a space, control, joiner or variation selector: those have no shape to look for."""
    return unicodedata.category(letter)[0] not in "ZC" and not 0xFE00 <= ord(letter) <= 0xFE0F


@lru_cache(maxsize=512)
def _best_path(letters: frozenset[str]) -> str | None:
    """The font that has most of the letters; None for Pillow's own."""
    best, most = None, _covered(None, letters)
    for path in _system_fonts() if most < len(letters) else ():
        covered = _covered(path, letters)
        if covered > most:
            best, most = path, covered
        if most == len(letters):
            break
    return best


def _covered(path: str | None, letters: frozenset[str]) -> int:
    font = _probe(path)
    return sum(_has(font, letter) for letter in letters) if font else 0


@lru_cache(maxsize=64)
def _probe(path: str | None) -> AnyFont | None:
    try:
        if path is None:
            return ImageFont.load_default(_PROBE_SIZE)
        # Basic layout maps one letter to one shape; shaping would add dotted circles to lone marks.
        return ImageFont.truetype(path, _PROBE_SIZE, layout_engine=ImageFont.Layout.BASIC)
    except (OSError, ValueError):  # not a font, damaged, or of fixed sizes only
        return None


def _has(font: AnyFont, letter: str) -> bool:
    try:
        shape, missing = font.getmask(letter), font.getmask(_UNASSIGNED)
    except (OSError, UnicodeError, ValueError):
        return False
    return min(shape.size) > 0 and (shape.size, bytes(shape)) != (missing.size, bytes(missing))


@lru_cache(maxsize=1)
def _system_fonts() -> tuple[str, ...]:
    """Every font file of the system's and the person's folders, likely ones first."""
    walks = chain.from_iterable(map(os.walk, _font_folders()))
    found = (os.path.join(parent, name) for parent, _, names in walks for name in names)
    return tuple(sorted({path for path in found if path.lower().endswith((".ttf", ".ttc", ".otf"))}, key=_rank))


def _font_folders() -> list[Path]:
    home = Path(os.path.expanduser("~"))
    if sys.platform == "win32":
        local = Path(os.environ.get("LOCALAPPDATA", home / "AppData/Local"))
        return [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts", local / "Microsoft/Windows/Fonts"]
    if sys.platform == "darwin":
        return [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    return [Path("/usr/share/fonts"), Path("/usr/local/share/fonts"), home / ".local/share/fonts", home / ".fonts"]


def _rank(path: str) -> tuple[int, int, str, str]:
    name = os.path.basename(path).lower().replace(" ", "")
    likely = next((i for i, start in enumerate(_LIKELY) if name.startswith(start)), len(_LIKELY))
    return likely, sum(word in name for word in _UNLIKELY), name, path
