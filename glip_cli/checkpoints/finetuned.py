"""The folders that `glip finetune` writes, and the config.json in each.

RUN/run.json                        the settings of the training
RUN/best/config.json                what the folder holds (`RunConfig`)
RUN/best/model.safetensors          mode full: the whole model
RUN/best/adapter_model.safetensors  other modes: the adapter (`adapters`)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from glip_cli.checkpoints.cache import atomic
from glip_cli.errors import CheckpointError
from glip_cli.utils.json import JsonObject, parsed_object
from glip_cli.utils.text_format import one_line

CONFIG_FILE = "config.json"
MODEL = "model.safetensors"
TENSORS = "adapter_model.safetensors"
BEST = "best"
RUN = "run.json"
FORMAT = "glip-tuned/1"
MODES = ("full", "head", "prompt", "lora")


@dataclass(frozen=True)
class RunConfig:
    """The config.json of a folder.

    Attributes:
        mode: one of `MODES`.
        name: in records.
        architecture: a key of `glip_cli.model.config.ARCHITECTURES`.
        base: the model that the training started from, "glip-t@c24ce662"; empty for random weights.
        base_sha256: of that model's file.
        source: of that model: a name in weights.toml, or an absolute path.
        labels: the training labels; empty for captions.
        training: how it was trained, for the reader.
        words: label -> the words that the model reads for it, where they differ.
    """

    mode: str
    name: str
    architecture: str
    base: str = ""
    base_sha256: str = ""
    source: str = ""
    labels: tuple[str, ...] = ()
    training: Mapping[str, object] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.training, Mapping) or not isinstance(self.words, Mapping):
            raise ValueError("a value is not a text")
        texts = (self.mode, self.name, self.architecture, self.base, self.base_sha256, self.source)
        if not all(isinstance(text, str) for text in (*texts, *self.labels, *self.words, *self.words.values())):
            raise ValueError("a value is not a text")
        if self.mode not in MODES:
            raise ValueError(f"no mode is called {self.mode!r}")
        if self.mode != "full" and not self.base_sha256:
            raise ValueError("an adapter is nothing without the network that it was made for")


def write_run_config(folder: Path, config: RunConfig) -> Path:
    """Write config.json; readers see the whole of it or nothing. Raises OSError."""
    path = folder / CONFIG_FILE
    content = asdict(config)
    if not config.words:  # a key that earlier versions do not know
        del content["words"]
    text = json.dumps({"format": FORMAT, **content}, indent=2, ensure_ascii=False)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def read_run_config(folder: Path) -> RunConfig:
    """Raises CheckpointError where there is none, or none that this version wrote."""
    path = folder / CONFIG_FILE
    content = read_json(path)
    try:
        if content.pop("format", None) != FORMAT:
            raise ValueError("of another format")
        return RunConfig(**{**content, "labels": tuple(content.get("labels", ()))})
    except (TypeError, ValueError) as error:  # may name a key of the file
        reason = one_line(str(error))
        raise CheckpointError(
            f"{path} is not what `glip finetune` writes ({reason}): take the folder again from where it came"
        ) from None


def read_json(path: Path) -> JsonObject:
    """A JSON object. Raises CheckpointError."""
    try:
        content = parsed_object(path.read_bytes())
    except OSError as error:
        raise CheckpointError(
            f"cannot read {path} ({error.strerror or error}): give a folder that `glip finetune` left"
        ) from None
    if content is None:
        raise CheckpointError(f"{path} is truncated or damaged: take the folder again from where it came")
    return content


def best_of(path: Path) -> Path:
    """The best checkpoint of a run folder; the folder of an adapter's file; any other path unchanged.

    Raises CheckpointError for a run that was stopped before it had one.
    """
    if path.name == TENSORS and (path.parent / CONFIG_FILE).is_file():
        return path.parent
    if any(path.glob("*.safetensors")):
        return path
    if (path / RUN).is_file() and not (path / BEST).is_dir():
        raise CheckpointError(f"{path} is a training that has no {BEST}/ yet: `glip finetune --resume` resumes it")
    return path / BEST if (path / BEST).is_dir() else path


def is_adapter(path: Path) -> bool:
    return (path / TENSORS).is_file()
