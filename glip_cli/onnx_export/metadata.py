"""The metadata of an exported file, with which it can be used alone. ONNX's metadata are strings:

format         "glip-onnx/1"
architecture   a name of glip_cli.model.config.ARCHITECTURES
name           "glip-t@c24ce662", the model that was exported
tuned_for      JSON: the words of the labels that the prompt was tuned for
preprocessing  JSON, for other programs: image size, order of channels, mean, standard deviation, multiple, strides
tokenizer      "tokenizer.json" or "vocab.txt"; what it holds is in `vocabulary`
tuned_labels   JSON: the labels that the model was tuned for in any mode
use_cls        JSON: whether a definition is read by [CLS]
labels, ids    JSON: the labels of a fixed prompt, and its tokens as the model reads them
tokens         JSON: for each label of a fixed prompt the columns of `logits` that are its own
words          JSON: label -> the words that the model reads for it, where they differ
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from glip_cli.checkpoints.resolve import TOKENIZER_FILES
from glip_cli.errors import CheckpointError, WeightsError
from glip_cli.inference.preprocess import DIVISOR, MEAN_BGR, STD_BGR
from glip_cli.model.config import ARCHITECTURES, Config
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import Words

FORMAT = "glip-onnx/1"


@dataclass(frozen=True)
class Fixed:
    """A prompt that is part of a file.

    Attributes:
        labels: as typed.
        ids: of its tokens.
        tokens: for each label the positions of its tokens.
    """

    labels: tuple[str, ...]
    ids: tuple[int, ...]
    tokens: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class OnnxMetadata:
    """See the module's docstring."""

    architecture: str
    name: str
    prompt_tuned_labels: tuple[str, ...]
    tokenizer: str
    vocabulary: str
    fixed: Fixed | None = None
    tuned_labels: tuple[str, ...] = ()
    use_cls: bool = False
    words: Words = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels that are detected without a prompt."""
        return self.fixed.labels if self.fixed else self.tuned_labels

    @property
    def config(self) -> Config:
        return ARCHITECTURES[self.architecture]

    def load_tokenizer(self) -> Tokenizer:
        """Raises WeightsError."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / self.tokenizer).write_text(self.vocabulary, encoding="utf-8", newline="")
            return Tokenizer.from_dir(folder)


def tokenizer_of(folder: Path) -> tuple[str, str]:
    """The file that `Tokenizer.from_dir` reads in a folder, and its content. Raises WeightsError."""
    for name in TOKENIZER_FILES:
        if (folder / name).is_file():
            with (folder / name).open(encoding="utf-8", newline="") as file:
                return name, file.read()
    raise WeightsError(f"no tokenizer in {folder}: give a folder that holds tokenizer.json or vocab.txt")


def to_metadata(source: OnnxMetadata) -> dict[str, str]:
    fixed = source.fixed
    prompt = {"labels": fixed.labels, "ids": fixed.ids, "tokens": fixed.tokens} if fixed else {}
    metadata: dict[str, object] = {
        "tuned_for": source.prompt_tuned_labels,
        "tuned_labels": source.tuned_labels,
        "use_cls": source.use_cls,
        **({"words": dict(source.words)} if source.words else {}),
    }
    metadata |= {"preprocessing": preprocessing(source.config), **prompt}
    return {
        "format": FORMAT,
        "architecture": source.architecture,
        "name": source.name,
        "tokenizer": source.tokenizer,
        "vocabulary": source.vocabulary,
        **{key: json.dumps(value, ensure_ascii=False) for key, value in metadata.items()},
    }


def from_metadata(metadata: Mapping[str, str], path: Path) -> OnnxMetadata:
    """Raises CheckpointError, naming the file, for one that `glip export` did not write."""
    if metadata.get("format") != FORMAT or metadata.get("architecture") not in ARCHITECTURES:
        raise CheckpointError(f"{path} is an ONNX file, but none that this glip export has written")
    try:
        fixed = None
        if "labels" in metadata:
            labels, ids, tokens = (json.loads(metadata[key]) for key in ("labels", "ids", "tokens"))
            fixed = Fixed(
                tuple(map(str, labels)), tuple(map(int, ids)), tuple(tuple(map(int, label_ids)) for label_ids in tokens)
            )
        return OnnxMetadata(
            architecture=metadata["architecture"],
            name=metadata["name"],
            prompt_tuned_labels=tuple(map(str, json.loads(metadata["tuned_for"]))),
            tokenizer=_tokenizer_file(metadata["tokenizer"]),
            vocabulary=metadata["vocabulary"],
            fixed=fixed,
            tuned_labels=tuple(map(str, json.loads(metadata.get("tuned_labels", "[]")))),
            use_cls=metadata.get("use_cls") == "true",
            words={label: str(words) for label, words in dict(json.loads(metadata.get("words", "{}"))).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"the metadata of {path} are damaged ({error}): export it again") from error


def preprocessing(config: Config) -> dict[str, object]:
    """The preprocessing, for other programs."""
    shorter, longer = config.image_size
    return {
        "shorter": shorter,
        "longer": longer,
        "keeps": "area" if config.size_multiple else "sides",
        "channels": "BGR",
        "mean": MEAN_BGR,
        "std": STD_BGR,
        "multiple": DIVISOR,
        "strides": config.strides,
    }


def _tokenizer_file(name: str) -> str:
    """A file's name from a stranger is not a path."""
    if name not in TOKENIZER_FILES:
        raise ValueError(f"tokenizer {name!r}")
    return name
