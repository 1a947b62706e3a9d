"""One image from the web: its bytes, or one line that says why not."""

from __future__ import annotations

import base64
import http.client
import ipaddress
import socket
import time
from dataclasses import dataclass
from urllib import error, parse, request

from glip_cli.errors import ImageError, UnavailableError
from glip_cli.utils.http import USER_AGENT, why_unreachable
from glip_cli.utils.text_format import one_line, shown_url, whole_number

MAX_DOWNLOAD_BYTES = 100_000_000
STALL_SECONDS = 20.0  # without one byte
TOTAL_SECONDS = 300.0
_HEAD_BYTES = 1000  # in which a page or JSON shows itself
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
        public: only addresses of the public internet, and no proxy; see `PublicHandler`.
        trusted: the server that may have another address; only with `public`.

    Raises:
        UnavailableError: one line with the server's answer, or the reason that there was none.
        ImageError: what came is no image, or more than `max_bytes`.
    """
    name, advice = shown_url(url), "check the URL"
    try:
        request = _request(url)
        if trusted and trusted.is_origin_of(request):
            request.add_unredirected_header("Authorization", trusted.authorization)
            advice = trusted.advice
        with _opener(public, trusted).open(request, timeout=stall) as response:
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
    if "%" in host:  # letters beyond ASCII, which name servers have in a form of their own
        host = parse.unquote(host).encode("idna").decode()
    made = request.Request(f"{scheme}{mark}{host}{slash}{path}", headers={"User-Agent": _USER_AGENT})
    if login:
        code = base64.b64encode(parse.unquote_to_bytes(login)).decode()
        made.add_unredirected_header("Authorization", f"Basic {code}")  # for this host alone
    return made


def _opener(public: bool, trusted: TrustedServer | None) -> request.OpenerDirector:
    """Python's own, without the handlers for file:, ftp: and data:, to which a redirect could lead."""
    opener = request.OpenerDirector()
    any_address = (request.ProxyHandler, request.HTTPHandler, request.HTTPSHandler)
    for handler in (
        *([PublicHandler(trusted)] if public else [kind() for kind in any_address]),
        request.UnknownHandler(),
        request.HTTPDefaultErrorHandler(),
        request.HTTPRedirectHandler(),
        request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _body(response: http.client.HTTPResponse, name: str, max_bytes: int) -> bytes:
    expected = whole_number(response.headers.get("Content-Length", "")) or 0
    body, deadline = bytearray(), time.monotonic() + TOTAL_SECONDS
    while chunk := response.read(1 << 16):
        body += chunk
        if body[:_HEAD_BYTES].lstrip().startswith((b"<", b"{")):
            kind = one_line(response.headers.get_content_type())
            raise ImageError(f"{name}: the server sent text ({kind}), not an image; give the image's own URL")
        if max(len(body), expected) > max_bytes:
            raise ImageError(f"{name}: more than {max_bytes / 1e6:g} MB; download it yourself and give the file")
        if time.monotonic() > deadline:
            raise ImageError(f"{name}: not finished after {TOTAL_SECONDS:g} s; download it yourself and give the file")
    if len(body) < expected:
        raise UnavailableError(f"{name}: cut short after {len(body)} of {expected} bytes; try again", brief=True)
    return bytes(body)


# -------------------------------------------------------------------------------------------------- the public internet
# For URLs that others choose: no way into a private network. The address that is checked is the one that is connected
# to, so a name server that changes its answer gains nothing. Each redirect makes a new connection, with its own check.


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class NotPublicError(OSError):
    pass


def is_public(address: str) -> bool:
    """Whether an IP address is of the public internet: not private, loopback, link-local, reserved or multicast.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64) counts as that one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        nat64 = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        if inner := [one for one in (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ()), nat64) if one is not None]:
            return all(is_public(str(one)) for one in inner)
    return ip.is_global and not ip.is_multicast


def connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """A connection to a host of which every address is public. Raises NotPublicError; OSError where none answers."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not all(is_public(str(address[0])) for *_, address in found):
        raise NotPublicError("its address is not of the public internet")
    failure: OSError | None = None
    for *_, address in found:
        try:
            return socket.create_connection((str(address[0]), port), timeout)
        except OSError as error:
            failure = error
    raise failure or NotPublicError("its name has no address")


class PublicHTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = connect(self.host, self.port, self.timeout)


class PublicHTTPSConnection(http.client.HTTPSConnection, PublicHTTPConnection):
    """TLS over such a connection."""


@dataclass(frozen=True)
class TrustedServer:
    """A server that is trusted, whatever its address.

    Attributes:
        url: "http://localhost:8080"; a path counts for nothing.
        authorization: the header that it is asked with; no redirect takes it along.
        allow_others: URLs and redirects may lead to others too, at public addresses.
        advice: the way out where it refuses.
    """

    url: str
    authorization: str
    allow_others: bool
    advice: str

    def is_origin_of(self, asked: request.Request) -> bool:
        mine = parse.urlsplit(self.url)
        return _origin(asked.type, asked.host) == _origin(mine.scheme, mine.netloc)


def _origin(scheme: str, host: str) -> tuple[str, str]:
    scheme = scheme.lower()
    return scheme, host.lower().removesuffix({"http": ":80", "https": ":443"}.get(scheme, ""))


class PublicHandler(request.HTTPHandler, request.HTTPSHandler):
    """http and https, to addresses of the public internet and to the server that is trusted."""

    def __init__(self, trusted: TrustedServer | None = None):
        super().__init__()
        self._trusted = trusted

    def http_open(self, req: request.Request) -> http.client.HTTPResponse:
        return self.do_open(http.client.HTTPConnection if self._trusts(req) else PublicHTTPConnection, req)

    def https_open(self, req: request.Request) -> http.client.HTTPResponse:
        return self.do_open(http.client.HTTPSConnection if self._trusts(req) else PublicHTTPSConnection, req)

    def _trusts(self, asked: request.Request) -> bool:
        """Whether the server is trusted at any address. Raises NotPublicError for a server that is not allowed."""
        if self._trusted is None or self._trusted.is_origin_of(asked):
            return self._trusted is not None
        if not self._trusted.allow_others:
            raise NotPublicError(f"it leads away from {self._trusted.url}, for which --allow-urls is needed")
        return False
