"""Connections to the public internet alone, for URLs that others choose: no way into a private network.

The address that is checked is the one that is connected to, so a name server that changes its answer gains nothing.
Each redirect makes a new connection, with a check of its own.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
from dataclasses import dataclass
from functools import cache
from urllib import parse, request


class NotPublicError(OSError):
    pass


def is_public(address: str) -> bool:
    """Whether an IP address is of the public internet: not private, loopback, link-local, reserved or multicast.

    An IPv6 address that stands for an IPv4 one (mapped, 6to4, Teredo, NAT64) counts as that one.
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address) and (inner := _inner(ip)):
        return all(is_public(str(one)) for one in inner)
    return ip.is_global and not ip.is_multicast


_NAT64 = ipaddress.ip_network("64:ff9b::/96")


def _inner(ip: ipaddress.IPv6Address) -> list[ipaddress.IPv4Address]:
    """The IPv4 addresses that an IPv6 address stands for."""
    teredo = ip.teredo or ()
    nat64 = (ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF),) if ip in _NAT64 else ()
    return [one for one in (ip.ipv4_mapped, ip.sixtofour, *teredo, *nat64) if one is not None]


def connect(host: str, port: int, timeout: float | None) -> socket.socket:
    """A connection to a host of which every address is public. Raises NotPublicError; OSError where none answers."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if not all(is_public(str(address[0])) for *_, address in found):
        raise NotPublicError("its address is not of the public internet")
    failure: OSError | None = None
    for family, kind, protocol, _, address in found:
        opened = socket.socket(family, kind, protocol)
        try:
            opened.settimeout(timeout)
            opened.connect(address)
        except OSError as error:
            opened.close()
            failure = error
        else:
            return opened
    raise failure or NotPublicError("its name has no address")


class PublicHTTPConnection(http.client.HTTPConnection):
    def connect(self) -> None:
        self.sock = connect(self.host, self.port, self.timeout)


class PublicHTTPSConnection(http.client.HTTPSConnection):
    def connect(self) -> None:
        self.sock = _tls().wrap_socket(connect(self.host, self.port, self.timeout), server_hostname=self.host)


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


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
        kind = http.client.HTTPConnection if _is_trusted(req, self._trusted) else PublicHTTPConnection
        return self.do_open(kind, req)

    def https_open(self, req: request.Request) -> http.client.HTTPResponse:
        kind = http.client.HTTPSConnection if _is_trusted(req, self._trusted) else PublicHTTPSConnection
        return self.do_open(kind, req)


def _is_trusted(asked: request.Request, trusted: TrustedServer | None) -> bool:
    """Whether any address will do. Raises NotPublicError for a server that may not be asked at all."""
    if trusted is None:
        return False
    if not (own := trusted.is_origin_of(asked)) and not trusted.allow_others:
        raise NotPublicError(f"it leads away from {trusted.url}, for which --allow-urls is needed")
    return own
