"""One picture from the web: its bytes, or one line that says why not."""

from __future__ import annotations

import http.client
import time
from urllib import error, parse, request

from glip_cli import __version__
from glip_cli.errors import ImageError, UnavailableError
from glip_cli.readable import one_line

MAX_DOWNLOAD_BYTES = 100_000_000
STALL_SECONDS = 20.0  # without one byte
TOTAL_SECONDS = 300.0
BUSY = {408, 425, 429, 500, 502, 503, 504}  # answers that may be another one in a moment

_USER_AGENT = f"glip-cli/{__version__} (Python urllib)"


def fetch(url: str, max_bytes: int = MAX_DOWNLOAD_BYTES, stall: float = STALL_SECONDS) -> bytes:
    """The body behind an http(s) URL, redirects followed to http(s) only.

    Args:
        url: as typed; spaces and letters beyond ASCII in its path are quoted.
        max_bytes: more than this is refused.
        stall: seconds to wait for the next byte; the whole may take `TOTAL_SECONDS`.

    Raises:
        UnavailableError: one line with the server's answer, or the reason that there was none.
        ImageError: what came is no image, or more than `max_bytes`.
    """
    try:
        asked = request.Request(parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]"), headers={"User-Agent": _USER_AGENT})
        with _opener().open(asked, timeout=stall) as response:
            return _body(response, one_line(url), max_bytes)
    except error.HTTPError as failure:
        failure.close()
        answer = f"{failure.code} {http.client.responses.get(failure.code, '')}".strip()
        raise UnavailableError(
            f"{one_line(url)}: the server answers {answer}; check the URL", brief=failure.code in BUSY
        ) from None
    except TimeoutError:
        raise UnavailableError(f"{one_line(url)}: no answer within {stall:g} s; try again later", brief=True) from None
    except (OSError, http.client.HTTPException, ValueError) as failure:
        reason = " ".join(str(getattr(failure, "reason", failure)).split()) or type(failure).__name__
        raise UnavailableError(
            f"{one_line(url)}: cannot be fetched ({reason}); check the URL and the network",
            brief=not isinstance(failure, ValueError),
        ) from failure


def _opener() -> request.OpenerDirector:
    """Python's own, without the handlers for file:, ftp: and data:, to which a redirect could lead."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener


def _body(response: http.client.HTTPResponse, name: str, max_bytes: int) -> bytes:
    expected = response.headers.get("Content-Length", "")
    body, deadline = bytearray(), time.monotonic() + TOTAL_SECONDS
    while chunk := response.read(1 << 16):
        body += chunk
        if len(body) > max_bytes:
            raise ImageError(f"{name}: more than {max_bytes / 1e6:g} MB; download it yourself and give the file")
        if time.monotonic() > deadline:
            raise UnavailableError(
                f"{name}: not finished after {TOTAL_SECONDS:g} s; download it yourself and give the file"
            )
    if expected.isdecimal() and len(body) < int(expected):
        raise UnavailableError(f"{name}: cut short after {len(body)} of {expected} bytes; try again", brief=True)
    if body.lstrip().startswith((b"<", b"{")):
        kind = response.headers.get_content_type()
        raise ImageError(f"{name}: the server sent text ({kind}), not a picture; give the picture's own URL")
    return bytes(body)
