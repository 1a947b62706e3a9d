"""Reading from a disk that may be far away, slow or gone: an answer or one line, and never a wait without end."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from glip_cli.errors import ImageError, UnavailableError
from glip_cli.utils.text_format import words_of
from glip_cli.utils.threads import READ_SECONDS, within

MAX_FILE_BYTES = 1_500_000_000  # no image that Pillow decodes has more, as it limits pixels
_OF_THE_PATH = (errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)  # which do not pass

T = TypeVar("T")


def from_disk(name: str, read: Callable[[], T]) -> T:
    """Call `read`; errors of the disk become UnavailableError or ImageError."""
    try:
        return within(READ_SECONDS, read)
    except FileNotFoundError:
        raise UnavailableError(f"{name}: no such file; check the path") from None
    except PermissionError:
        raise UnavailableError(f"{name}: no permission to read it; change the file's rights") from None
    except TimeoutError:
        raise no_answer(name) from None
    except OSError as error:
        if error.errno in _OF_THE_PATH:
            raise UnavailableError(f"{name}: no such file ({error.strerror}); check the path") from None
        raise UnavailableError(f"{name}: cannot be read ({words_of(error)})", brief=True) from error
    except ValueError as error:  # a null character in the name
        raise ImageError(f"{name}: cannot be read ({words_of(error)})") from error


def no_answer(name: str | Path) -> UnavailableError:
    """The error of a file that nothing came from in time."""
    return UnavailableError(
        f"{name}: not read within {READ_SECONDS:g} s; check the disk or network it is on", hung=True
    )
