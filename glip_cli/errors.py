"""Every error that a user can cause, as one tree. `str(error)` is one line: what, where, and the way out.

    GlipError
    ├── UsageError               arguments that cannot be meant
    │   ├── OptionError          a value that an option cannot have
    │   └── PromptError          labels, captions or spans that the model cannot read
    ├── DataError                annotations, captions or results that cannot be used
    ├── ImageError               an image that cannot be read; other images go on
    │   └── UnavailableError     an image that is out of reach here and now; elsewhere or later it may be read
    ├── OutputError              a place where results cannot be written
    ├── DeviceError              a device or dtype that this machine does not have
    │   └── OutOfMemoryError     work that does not fit into the device's memory
    └── WeightsError             a model that cannot be loaded
        ├── UnknownModelError    no such name in weights.toml
        ├── FetchError           a download that failed, or that is forbidden offline
        ├── UnsafeFileError      a pickle that would run code; nothing of it was run
        └── CheckpointError      a file that is truncated, altered, or of another model

Only `glip_cli.cli` catches `GlipError` and gives it an exit code; everything below raises it.
"""

from __future__ import annotations

from typing import TypeVar

E = TypeVar("E", bound=BaseException)


class GlipError(Exception):
    pass


class UsageError(GlipError):
    pass


class OptionError(UsageError):
    """An option has a value that cannot be meant.

    Attributes:
        option: its name in Python, "batch_size"; the command line says --batch-size.
    """

    def __init__(self, option: str, value: object, advice: str):
        super().__init__(f"{option} {value}: {advice}")
        self.option, self.value, self.advice = option, value, advice

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.option, self.value, self.advice)


class PromptError(UsageError):
    pass


class DataError(GlipError):
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
    pass


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
