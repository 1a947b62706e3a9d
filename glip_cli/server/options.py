"""The options of the server: address, access and limits."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass

from glip_cli.errors import OptionError
from glip_cli.utils.option import HOW, POSITIVE, SERVER, Constraint, at_least, check_options, option

MAX_LABELS = 2000
"""Labels of a prompt; LVIS has 1,203."""
MAX_CHARACTERS = 100_000
"""Of all texts of a prompt."""
MAX_NAME = 1000
"""Characters of an image's name."""
MAX_SIZE_PIXELS = 25_000_000
"""Of `size`: the model's memory grows with them, and cannot be given back before the image is done."""

_PORT = Constraint(lambda port: 0 <= port <= 65_535, "give a port from 1 to 65535, or 0 for a free one")

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^\sA-Z/?#@]+")  # as browsers write it
_SITE = re.compile(r"https?://[^\s/?#@]+(/[^\s?#]*)?")


@dataclass(frozen=True)
class ServeOptions:
    """Raises OptionError for a value that is not allowed.

    Attributes:
        host, port: the address; port 0 is a free one.
        token: what a client must send; needed for any address but a loopback one.
        allow_urls: a request may name images by URLs, of public addresses alone.
        label_studio, label_studio_token: Label Studio's URL, and a token of it to read images of tasks.
        allow_origin: origins ("https://example.org") whose pages may ask from a browser.
        queue: images that may be in the server at once, waiting or in work.
        time_limit: seconds for a request.
        max_upload: size of a request in MB (10^6 bytes).
        max_pixels: of an image, in millions.
        max_images: of a request.
    """

    host: str = option("127.0.0.1", "Address to listen on.", SERVER, "ADDRESS", show_default=True)
    port: int = option(8000, "Port to listen on; 0: a free one.", SERVER, "PORT", show_default=True, allowed=_PORT)
    token: str | None = option(None, "What clients must send; needed beyond this machine.", SERVER, "TOKEN")
    allow_urls: bool = option(False, "Requests may name images by public URLs.", SERVER)
    label_studio: str | None = option(None, "Label Studio, whose tasks' images may be fetched.", SERVER, "URL")
    label_studio_token: str | None = option(None, "Access token of a user of Label Studio.", SERVER, "TOKEN")
    allow_origin: Sequence[str] = option(
        (), "Origin whose pages may ask, as https://example.org; repeatable.", SERVER, "ORIGIN",
        flags=("--allow-origin",), typed=list[str],
    )  # fmt: skip
    queue: int = option(
        64, "Images at once, waiting included; more get 503.", HOW, "N", show_default=True, allowed=at_least(1)
    )
    time_limit: float = option(60.0, "Seconds for a request.", HOW, "SECONDS", show_default=True, allowed=POSITIVE)
    max_upload: float = option(64.0, "Largest request in MB.", HOW, "MB", show_default=True, allowed=POSITIVE)
    max_pixels: float = option(
        100.0, "Largest image in millions of pixels.", HOW, "MILLIONS", show_default=True, allowed=POSITIVE
    )
    max_images: int = option(32, "Images of a request.", HOW, "N", show_default=True, allowed=at_least(1))

    def __post_init__(self) -> None:
        object.__setattr__(self, "allow_origin", tuple(self.allow_origin))
        check_options(self)
        object.__setattr__(self, "max_images", min(self.max_images, self.queue))  # more could never be taken
        self._check_token()
        for origin in self.allow_origin:
            if origin not in ("*", "null") and not _ORIGIN.fullmatch(origin):
                raise OptionError("allow_origin", origin, "give scheme and host alone, as https://example.org")
        self._check_label_studio()
        if self.token is None and not self.is_loopback:
            raise OptionError("host", self.host, "others can reach it: give --token, which they then must send")

    def _check_token(self) -> None:
        token = self.token
        if token == "":
            raise OptionError("token", "''", "it is empty; give one, or neither --token nor GLIP_TOKEN")
        if token is not None and not (token.isascii() and token.isprintable() and token == token.strip()):
            raise OptionError(
                "token", "***", "it has outer blanks, line ends or letters beyond ASCII, which no header carries"
            )

    def _check_label_studio(self) -> None:
        url, token = self.label_studio, self.label_studio_token
        if url is not None and not _SITE.fullmatch(url):
            raise OptionError("label_studio", url, "give the URL of its first page, as http://localhost:8080")
        if url and not token:
            raise OptionError("label_studio", url, "it asks for a token: give --label-studio-token too")
        if token and not (url and token.isascii() and token.isprintable()):
            raise OptionError("label_studio_token", "***", "give the token as it is shown, and --label-studio URL")

    @property
    def is_loopback(self) -> bool:
        """Only this machine can reach the address."""
        try:
            return ipaddress.ip_address(self.host.strip("[]")).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def max_bytes(self) -> int:
        return int(self.max_upload * 1e6)
