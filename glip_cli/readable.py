"""For a person's line: names as a computer gave them, escaped where a byte would break it, and numbers of things."""

from __future__ import annotations

import re

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
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


def shown_url(url: str) -> str:
    """`url` on one line without what gives access: user and password, and the values of signatures, tokens and keys."""
    scheme, mark, rest = one_line(url).partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if _PASSWORD_BEFORE_SLASH.search(authority):  # a password with a slash or question mark in it ends a host for all
        authority = rest
    begin = authority.rfind("@") + 1
    return scheme + mark + _SECRET.sub(r"\1***", rest[begin:])


def counted(number: int, noun: str, plural: str = "s") -> str:
    """ "1 image", "2 images", "2 boxes" with "es" as its plural."""
    return f"{number} {noun}{'' if number == 1 else plural}"
