"""Every error a person can cause, as one tree.

    GlipError                    exit code 1: one line that says what, where, and the way out
    ├── UsageError               exit code 2: flags or arguments that cannot be meant
    │   └── PromptError          labels, captions or spans that the model cannot read
    ├── ImageError               an image that cannot be read; other images go on (exit code 3)
    │   └── UnavailableError     an image that cannot be had here and now; elsewhere or later it may be
    ├── OutputError              a place where results cannot be written
    ├── DeviceError              a device or dtype that this machine does not have
    │   └── OutOfMemoryError     work that does not fit into the device's memory
    └── WeightsError             a model that cannot be had
        ├── UnknownModelError    no such name in weights.toml
        ├── FetchError           a download that failed, or that --offline forbids
        ├── UnsafeFileError      a pickle that would run code; nothing of it was run
        └── CheckpointError      a file that is truncated, altered, or of another model

Only `glip_cli.cli` catches `GlipError`; everything below raises it.
"""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class GlipError(Exception):
    """The root. `str(error)` is the one line that the person sees."""

    exit_code = 1


class UsageError(GlipError):
    exit_code = 2


class PromptError(UsageError):
    pass


class ImageError(GlipError):
    pass


class UnavailableError(ImageError):
    """The fault may be this machine's or this moment's, and not the image's.

    Attributes:
        brief: it may pass within seconds (an I/O error, a busy server), so that the same machine should try again.
        hung: there was no answer at all, as from a disk that is gone.
    """

    def __init__(self, message: str, brief: bool = False, hung: bool = False):
        super().__init__(message)
        self.brief, self.hung = brief, hung


class OutputError(GlipError):
    pass


class DeviceError(GlipError):
    pass


class OutOfMemoryError(DeviceError):
    pass


class WeightsError(GlipError):
    pass


class UnknownModelError(WeightsError):
    exit_code = 2


class FetchError(WeightsError):
    pass


class UnsafeFileError(WeightsError):
    pass


class CheckpointError(WeightsError):
    pass


def without_frames(error: E) -> E:
    """`error` without traceback, cause and context, to be kept: they hold the images that its functions had in hand."""
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error
