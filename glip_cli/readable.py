"""For a person's line: names as a computer gave them, escaped where a byte would break it, and numbers of things."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def valid_unicode(text: str) -> str:
    """`text` with escapes for what UTF-8 cannot hold: the bytes of a file name or argument that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """`valid_unicode`, with escapes for control characters and line ends too."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), valid_unicode(text))


def counted(number: int, noun: str, plural: str = "s") -> str:
    """ "1 image", "2 images", "2 boxes" with "es" as its plural."""
    return f"{number} {noun}{'' if number == 1 else plural}"
