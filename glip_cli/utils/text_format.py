"""Text for one line of a message: escaped, shortened, counted, lists cut; and text files as their users save them."""

from __future__ import annotations

import codecs
import io
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

LINE = 287  # characters of an error, which are 300 with what its line begins with
LIST = 120  # characters of a list within it
MOST_DIGITS = 4000  # Python makes no number of more than 4,300
QUOTED = 60  # characters of one quoted value
_MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ESCAPE = r"[tnr\\]|x[0-9a-f]{2}|u[0-9a-f]{4}"  # what `one_line` writes behind a backslash, and `shown_path`
_BEFORE_ESCAPE = re.compile(rf"\\(?={_ESCAPE}|[\ud800-\udfff]|{_CONTROL.pattern})")
# Parameters of S3, Google, Azure and CloudFront, and what others call them
_SECRET = re.compile(
    r"([?&;#](?:[\w.-]*(?:token|secret|passw(?:or)?d|pwd|signature|credential|api[-_]?key|access[-_]?key(?:id)?)|sig|auth"
    r"|key-pair-id|policy)=)[^&;#]*",
    re.IGNORECASE,
)
_PASSWORD_BEFORE_SLASH = re.compile(r"^[^@\[\]]*:[^@]*[^@0-9][^@]*$")


def valid_unicode(text: str) -> str:
    """`text` with escapes for what UTF-8 cannot hold: the bytes of a file name or argument that are not UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def one_line(text: str) -> str:
    """`valid_unicode`, with escapes for control characters and line ends too."""
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), valid_unicode(text))


def shown_path(path: str) -> str:
    """`path` as `one_line`, and no two paths alike: a backslash before what reads as an escape is doubled.

    Not on Windows, where backslashes are slashes and no name holds a control character.
    """
    return one_line(path if os.sep == "\\" else _BEFORE_ESCAPE.sub(r"\\\\", path))


def path_of_shown(text: str) -> str:
    """The path that `shown_path` shows so."""
    if os.sep == "\\":
        return text
    return re.sub(rf"\\(?:{_ESCAPE})", lambda escape: escape[0].encode().decode("unicode_escape"), text)


def spellings(stated: str) -> tuple[str, ...]:
    """The paths that one of an annotation file may mean, the likeliest first; the last has slashes for backslashes.

    As glip writes it; to the letter, for a backslash may be part of a name; as Windows writes it.
    """
    slashes = stated.replace("\\", "/")
    if os.sep == "\\" or slashes == stated:
        return (slashes,)
    path = path_of_shown(stated)
    return tuple(dict.fromkeys((path if "\0" not in path else stated, stated, slashes)))


def shown_url(url: str) -> str:
    """`url` on one line without what gives access: user and password, and the values of signatures, tokens and keys."""
    scheme, mark, rest = one_line(url).partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if _PASSWORD_BEFORE_SLASH.search(authority):  # a password with a slash or question mark in it ends a host for all
        authority = rest
    begin = authority.rfind("@") + 1
    return scheme + mark + _SECRET.sub(r"\1***", rest[begin:])


def message(text: object) -> str:
    """An error or a note for printing: `one_line`, a long text shortened in the middle.

    It is the last resort. What makes a message cuts its own lists (`listed`) and values (`quoted`).
    """
    return shorten(one_line(str(text)), LINE)


def shorten(text: str, limit: int) -> str:
    """`text` cut in its middle to at most `limit` characters: what is wrong stands first, the way out last."""
    if len(text) <= limit:
        return text
    half = limit // 2 - 2
    return f"{text[:half]}...{text[-half:]}"


def quoted(value: object) -> str:
    """`value` escaped, in quotes, shortened in the middle."""
    return shorten(repr(value), QUOTED)


def listed(values: Iterable[object], room: int = LIST) -> str:
    """Things of a user, quoted, as many as fit `room` characters: "'cat', 'dog' and 78 more"."""
    shown = [quoted(value) for value in values]
    fits, used = 1, len(shown[0]) if shown else 0
    while fits < len(shown) and (used := used + 2 + len(shown[fits])) <= room:
        fits += 1
    more = f" and {len(shown) - fits:,} more" if len(shown) > fits else ""
    return ", ".join(shown[:fits]) + more


def percent(share: float | None) -> str:
    """0.469 as "46.9"; a dash for what is undefined: None, NaN, or the evaluators' -1."""
    return f"{100 * share:.1f}" if share is not None and share >= 0 else "-"


def whole_number(text: str) -> int | None:
    """The number that decimal digits stand for; None for other text, and for thousands of them, which `int` refuses."""
    return int(text) if text.isdecimal() and len(text) < MOST_DIGITS else None


def byte_size(count: float) -> str:
    """Bytes in words: "231 kB", "1.2 GB"."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if count >= unit:
            return f"{count / unit:.3g} {name}"
    return f"{count:.0f} bytes"


def counted(number: int, one: str, several: str = "") -> str:
    """ "1 image", "2 images"; with `several` also other plurals and verbs: "1 box is", "2 boxes are"."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def open_text(path: Path | str, errors: str = "strict", newline: str | None = None) -> TextIO:
    """Open a text file in UTF-8, or in UTF-16 where its first bytes say so: Windows PowerShell's `>` writes that.

    The mark at its begin is not part of the text. Raises OSError; reading raises UnicodeError, see `why_unreadable`.
    """
    return text_of(open(path, "rb"), errors, newline)


def text_of(stream: io.BufferedReader, errors: str = "strict", newline: str | None = None) -> TextIO:
    """As `open_text`, of what is open already. It is read once: what a pipe has given is gone."""
    return io.TextIOWrapper(stream, encoding_of(stream.peek(3)), errors, newline)


def encoding_of(data: bytes, unmarked: str = "utf-8") -> str:
    """By the byte order mark at the begin of a file; the mark is then no part of the text."""
    return next((encoding for mark, encoding in _MARKS.items() if data.startswith(mark)), unmarked)


def words_of(error: BaseException) -> str:
    """The message of an error, with single blanks; its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def first_line(error: BaseException) -> str:
    """The first that an error has that is not blank; its kind where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def why_unreadable(error: Exception) -> str:
    """The system's or the decoder's reason, for the one line of an error."""
    if isinstance(error, UnicodeError):
        return "its text is neither UTF-8 nor UTF-16; save it as UTF-8"
    return getattr(error, "strerror", None) or str(error)
