"""Common parts of HTTP requests: the client's name, and messages for failures."""

from __future__ import annotations

from glip_cli import __version__
from glip_cli.utils.text_format import one_line

USER_AGENT = f"glip-cli/{__version__}"


def why_unreachable(error: Exception) -> str:
    """Why no answer came, on one line: what the system says, without its number, or else the library."""
    cause = error if getattr(error, "strerror", None) else getattr(error, "reason", error)  # of urllib's URLError
    words = str(getattr(cause, "strerror", None) or cause)
    return one_line(" ".join(words.split())) or type(error).__name__
