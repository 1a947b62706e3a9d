"""One image from the web: its bytes, or one line that says why not."""

from __future__ import annotations

import base64
import http.client
import time
from collections.abc import Sequence
from urllib import error, parse, request

from glip_cli.data.public_url import PublicHandler, TrustedServer
from glip_cli.errors import ImageError, UnavailableError
from glip_cli.utils.http import USER_AGENT, why_unreachable
from glip_cli.utils.text_format import one_line, shown_url

MAX_DOWNLOAD_BYTES = 100_000_000
STALL_SECONDS = 20.0  # without one byte
TOTAL_SECONDS = 300.0
BUSY = {408, 425, 429, 500, 502, 503, 504}  # answers that may be another one in a moment

_USER_AGENT = f"{USER_AGENT} (Python urllib)"  # some hosts of images want to know the library


def fetch(
    url: str,
    max_bytes: int = MAX_DOWNLOAD_BYTES,
    stall: float = STALL_SECONDS,
    *,
    public: bool = False,
    trusted: TrustedServer | None = None,
) -> bytes:
    """The body behind an http(s) URL, redirects followed to http(s) only.

    Args:
        url: as typed, with user:password@ where the server asks for it; spaces and letters beyond ASCII are quoted.
        max_bytes: more than this is refused.
        stall: seconds to wait for the next byte; the whole may take `TOTAL_SECONDS`.
        public: only addresses of the public internet, and no proxy; see `public_url`.
        trusted: the server that may have another address; only with `public`.

    Raises:
        UnavailableError: one line with the server's answer, or the reason that there was none.
        ImageError: what came is no image, or more than `max_bytes`.
    """
    name, advice = shown_url(url), "check the URL"
    try:
        asked = _request(url)
        if trusted and trusted.is_origin_of(asked):
            asked.add_unredirected_header("Authorization", trusted.authorization)
            advice = trusted.advice
        with _opener(public, trusted).open(asked, timeout=stall) as response:
            return _body(response, name, max_bytes)
    except error.HTTPError as failure:
        failure.close()
        answer = f"{failure.code} {http.client.responses.get(failure.code, '')}".strip()
        raise UnavailableError(f"{name}: the server answers {answer}; {advice}", brief=failure.code in BUSY) from None
    except TimeoutError:
        raise UnavailableError(f"{name}: no answer within {stall:g} s; try again later", brief=True) from None
    except http.client.InvalidURL:  # its words are parts of the URL, of a password perhaps
        raise ImageError(f"{name}: cannot be fetched (no URL); check its host and port") from None
    except (OSError, http.client.HTTPException, ValueError) as failure:
        raise UnavailableError(
            f"{name}: cannot be fetched ({why_unreachable(failure)}); check the URL and the network",
            brief=not isinstance(failure, ValueError),
        ) from None


def _request(url: str) -> request.Request:
    """Without user and password, which go into a header: the library has no way with them in a URL."""
    scheme, mark, rest = parse.quote(url, safe="%/:=&?~#+!$,;'@()*[]").partition("://")
    authority, slash, path = rest.partition("/")
    login, _, host = authority.rpartition("@")
    made = request.Request(f"{scheme}{mark}{host}{slash}{path}", headers={"User-Agent": _USER_AGENT})
    if login:
        code = base64.b64encode(parse.unquote_to_bytes(login)).decode()
        made.add_unredirected_header("Authorization", f"Basic {code}")  # for this host alone
    return made


def _opener(public: bool, trusted: TrustedServer | None) -> request.OpenerDirector:
    """Python's own, without the handlers for file:, ftp: and data:, to which a redirect could lead."""
    opener = request.OpenerDirector()
    connecting: Sequence[request.BaseHandler] = (
        (PublicHandler(trusted),) if public else (request.ProxyHandler(), request.HTTPHandler(), request.HTTPSHandler())
    )
    for handler in (
        *connecting,
        request.UnknownHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _body(response: http.client.HTTPResponse, name: str, max_bytes: int) -> bytes:
    expected = response.headers.get("Content-Length", "")
    body, deadline = bytearray(), time.monotonic() + TOTAL_SECONDS
    while chunk := response.read(1 << 16):
        body += chunk
        if body.lstrip().startswith((b"<", b"{")):
            kind = one_line(response.headers.get_content_type())
            raise ImageError(f"{name}: the server sent text ({kind}), not an image; give the image's own URL")
        if len(body) > max_bytes or (expected.isdecimal() and int(expected) > max_bytes):
            raise ImageError(f"{name}: more than {max_bytes / 1e6:g} MB; download it yourself and give the file")
        if time.monotonic() > deadline:
            raise ImageError(f"{name}: not finished after {TOTAL_SECONDS:g} s; download it yourself and give the file")
    if expected.isdecimal() and len(body) < int(expected):
        raise UnavailableError(f"{name}: cut short after {len(body)} of {expected} bytes; try again", brief=True)
    return bytes(body)
