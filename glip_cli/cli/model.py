"""The model that a command asks: of a checkpoint, of `--onnx FILE`, or of `--server URL`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol, cast

from glip_cli.cli.console import Console, DownloadBar
from glip_cli.cli.flags import AnyModelFlags, ModelFlags, ServerFlags
from glip_cli.cli.parse import note_dtype, read_batch_size, tuned_prompt_of
from glip_cli.errors import UsageError
from glip_cli.utils.option import flag_of

if TYPE_CHECKING:
    from glip_cli.detector import Detector
    from glip_cli.options import DetectOptions, LoadKeywords
    from glip_cli.prompts.chunking import Explanation
    from glip_cli.prompts.compile import PromptCompiler
    from glip_cli.runs.local import ImageRunner
    from glip_cli.types import Prompt


class Model(Protocol):
    """The model of a command: local, or on a server. Nothing is loaded or requested before it is needed."""

    def own_prompt(self) -> Prompt | None:
        """The prompt of the labels that it was tuned for, or that are part of its file; else None. Raises GlipError."""
        ...

    def batch_size(self, asked: int | None) -> int:
        """Images at once, where the command line does not say. Raises DeviceError."""
        ...

    @property
    def dtype(self) -> str:
        """The number format as --dtype says it, which is part of a run's settings."""
        ...

    def explain(self, prompt: Prompt, options: DetectOptions) -> Explanation:
        """How it reads a prompt; without loading weights. Raises GlipError."""
        ...

    def check(self, prompt: Prompt, options: DetectOptions) -> tuple[str, ...]:
        """Notes on a prompt, before the network is loaded. Raises UsageError for one that it cannot read, GlipError."""
        ...

    def runner(self, prompt: Prompt | None, options: DetectOptions, workers: int | None = None) -> ImageRunner:
        """The runner that detects in images; without a prompt, each image must have its own. Raises GlipError."""
        ...


def choose_model(
    model_flags: AnyModelFlags, server_flags: ServerFlags, console: Console, *, offline: bool,
    ray: str | None = None, batch_size: int | None = None,
) -> Model:  # fmt: skip
    """The one that the flags name; a server chooses by itself how many images go at once.

    Raises UsageError for flags of two of them, CheckpointError for a file that is no model.
    """
    if not server_flags.server:
        return local_model(model_flags, console, offline=offline, ray=ray)
    _alone(
        "--server",
        {"onnx": model_flags.onnx, **_named(model_flags), "ray": ray, "batch_size": batch_size not in (None, 1)},
    )
    from glip_cli.client.connection import Server
    from glip_cli.client.model import RemoteModel

    return RemoteModel(Server(server_flags.server, server_flags.token or "", say=console.warn))


def local_model(model_flags: AnyModelFlags, console: Console, *, offline: bool, ray: str | None = None) -> LocalModel:
    """As `choose_model`, where a server is none of the choices."""
    given = vars(model_flags) | {"offline": offline}
    onnx = given.pop("onnx")
    if onnx is None:
        return LocalModel(model_flags, cast("LoadKeywords", given), console)
    held = {"device": model_flags.device, "dtype": model_flags.dtype}
    _alone("--onnx", {name: value for name, value in _named(model_flags).items() if name not in held} | {"ray": ray})
    from glip_cli.onnx_export.session import load_onnx

    return LocalModel(model_flags, cast("LoadKeywords", given), console, load_onnx(onnx, **held))


def _named(model_flags: AnyModelFlags) -> dict[str, object]:
    """All that say more than the default, but for --onnx."""
    return {name: value for name, value in vars(model_flags).items() if value not in (None, "auto") and name != "onnx"}


def _alone(flag: str, others: Mapping[str, object]) -> None:
    if clash := [name for name, value in others.items() if value]:
        raise UsageError(f"{flag} does not go with {flag_of(clash[0])}: leave one of them out")


@dataclass
class LocalModel:
    """A detector of this process.

    Attributes:
        load: arguments of `Detector.load`.
        loaded: that of --onnx.
    """

    model_flags: ModelFlags
    load: LoadKeywords
    console: Console
    loaded: Detector | None = None

    @property
    def dtype(self) -> str:
        return self.model_flags.dtype

    def own_prompt(self) -> Prompt | None:
        return self.loaded.own_prompt if self.loaded else tuned_prompt_of(self.model_flags)

    def batch_size(self, asked: int | None) -> int:
        return read_batch_size(asked, self.model_flags.device)

    def explain(self, prompt: Prompt, options: DetectOptions) -> Explanation:
        from glip_cli.checkpoints.parts import load_prompt_compiler
        from glip_cli.prompts.chunking import Explanation

        compiler = self.loaded.prompt_compiler if self.loaded else load_prompt_compiler(self.load, fetch=False)
        compiled = compiler.compile_prompt(prompt, options)
        return Explanation.of(compiled.chunks, compiled.notes)

    @cached_property
    def prompt_compiler(self) -> PromptCompiler:
        """Raises WeightsError."""
        from glip_cli.checkpoints.parts import load_prompt_compiler

        return (
            self.loaded.prompt_compiler if self.loaded else load_prompt_compiler(self.load, DownloadBar(self.console))
        )

    def check(self, prompt: Prompt, options: DetectOptions) -> tuple[str, ...]:
        return self.prompt_compiler.compile_prompt(prompt, options).notes

    def detector(self) -> Detector:
        """Raises WeightsError, DeviceError."""
        from glip_cli.detector import Detector

        note_dtype(self.model_flags, self.console)
        return self.loaded or Detector.load(**self.load, report=DownloadBar(self.console))

    def runner(self, prompt: Prompt | None, options: DetectOptions, workers: int | None = None) -> ImageRunner:
        from glip_cli.runs.runner import Runner

        detector = self.detector()
        return Runner(detector, detector.compile_prompt(prompt, options) if prompt else None, options, workers)
