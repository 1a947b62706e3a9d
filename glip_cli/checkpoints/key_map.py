"""Tables of names: where each tensor of this package comes from in a foreign checkpoint.

A dialect is a tuple of `KeyRow`s, patterns on both sides, and a dict of patterns that are dropped on purpose, each with
its reason. `expand` writes them out for one architecture; `translate` then applies the table, and a key that it does
not name is an error. `{p}` stands for weight and bias; the other blanks are filled by the row's axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from glip_cli.errors import CheckpointError
from glip_cli.model.config import GlipConfig
from glip_cli.utils.text_format import listed

Blanks = dict[str, int | str]
Axis = Callable[[GlipConfig], Iterable[Blanks]]
Transform = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class KeyRow:
    axis: Axis
    ours: str
    theirs: str
    transform: Transform | None = None


def rows(
    axis: Axis, pairs: Mapping[str, str], transform: Transform | None = None, *, ours: str = "", theirs: str = ""
) -> tuple[KeyRow, ...]:
    """Rows of one axis: pairs of ends of names, behind what their beginnings have in common."""
    return tuple(KeyRow(axis, ours + mine, theirs + other, transform) for mine, other in pairs.items())


@dataclass(frozen=True)
class TensorSource:
    """The foreign key of one native tensor, and its transform."""

    key: str
    transform: Transform | None = None

    def take(self, state: Mapping[str, Tensor]) -> Tensor:
        tensor = state[self.key]
        return self.transform(tensor) if self.transform else tensor


@dataclass(frozen=True)
class KeyTable:
    """A dialect, written out for one architecture."""

    sources: dict[str, TensorSource]  # native key -> source
    dropped: dict[str, str]  # foreign key -> why it is not needed


# Axes: what the blanks of a row run over.


def once(config: GlipConfig) -> Iterable[Blanks]:
    yield {}


def blocks(config: GlipConfig) -> Iterable[Blanks]:
    """Every Swin block."""
    for stage, depth in enumerate(config.swin.depths):
        for block in range(depth):
            yield {"stage": stage, "block": block}


def merges(config: GlipConfig) -> Iterable[Blanks]:
    """The three patch mergings: timm counts them with the stage behind, the others with the stage before."""
    for stage in (1, 2, 3):
        yield {"stage": stage, "before": stage - 1}


def outputs(config: GlipConfig) -> Iterable[Blanks]:
    """C3, C4, C5: `index` from 0, `stage` from 1, `number` as the official pyramid counts."""
    for index in range(3):
        yield {"index": index, "stage": index + 1, "number": index + 2}


def levels(config: GlipConfig) -> Iterable[Blanks]:
    """P3 .. P7."""
    for level in range(5):
        yield {"level": level}


BERT_PARTS = (
    "attention.self.query",
    "attention.self.key",
    "attention.self.value",
    "attention.output.dense",
    "attention.output.LayerNorm",
    "intermediate.dense",
    "output.dense",
    "output.LayerNorm",
)


def bert_layers(config: GlipConfig) -> Iterable[Blanks]:
    for layer in range(config.text.layers):
        for part in BERT_PARTS:
            yield {"layer": layer, "part": part}


def head_layers(config: GlipConfig) -> Iterable[Blanks]:
    """The foreign tower is one flat list: fusion, BERT layer, dynamic convolution; without fusion the last alone."""
    for i in range(config.head_layers):
        if config.fusion is None:
            yield {"layer": i, "conv": i}
        else:
            yield {"layer": i, "fusion": 3 * i, "text": 3 * i + 1, "conv": 3 * i + 2}


def branches(config: GlipConfig) -> Iterable[Blanks]:
    """The three deformable convolutions of every layer of the head."""
    return ({**blanks, "branch": branch} for blanks in head_layers(config) for branch in range(3))


def fusion_layers(config: GlipConfig) -> Iterable[Blanks]:
    return head_layers(config) if config.fusion else ()


def projections(config: GlipConfig) -> Iterable[Blanks]:
    """The six linear layers of every fusion."""
    names = ("v_proj", "l_proj", "values_v_proj", "values_l_proj", "out_v_proj", "out_l_proj")
    return ({**blanks, "projection": name} for blanks in fusion_layers(config) for name in names)


def text_layers(config: GlipConfig) -> Iterable[Blanks]:
    """Every part of the BERT layers between the fusions."""
    return ({**blanks, "part": part} for blanks in fusion_layers(config) for part in BERT_PARTS)


# Transforms.


def as_linear(tensor: Tensor) -> Tensor:
    """A 1x1 convolution's weight [O, I, 1, 1] -> a linear layer's [O, I]; a bias stays."""
    return tensor.flatten(1) if tensor.ndim > 1 else tensor


def from_unfold(tensor: Tensor) -> Tensor:
    """Columns of a patch merging from nn.Unfold's order (channel slowest) to timm's.

    Foreign column 4c + p is pixel p of channel c, pixels (0,0), (0,1), (1,0), (1,1); timm goes pixel by pixel,
    (0,0), (1,0), (0,1), (1,1), channel fastest.
    """
    columns = tensor if tensor.ndim else tensor[None]  # a wrong shape is reported later, with all others
    return torch.cat([columns[..., pixel::4] for pixel in (0, 2, 1, 3)], dim=-1)


def expand(config: GlipConfig, rows: Iterable[KeyRow], dropped: Mapping[str, tuple[Axis, str]]) -> KeyTable:
    """Write the patterns of a dialect out for one architecture."""
    sources = {
        row.ours.format(**blanks, p=p): TensorSource(row.theirs.format(**blanks, p=p), row.transform)
        for row in rows
        for blanks in row.axis(config)
        for p in ("weight", "bias")
    }
    reasons = {
        pattern.format(**blanks, p=p): why
        for pattern, (axis, why) in dropped.items()
        for blanks in axis(config)
        for p in ("weight", "bias")
    }
    return KeyTable(sources, reasons)


def translate(
    state: Mapping[str, Tensor], table: KeyTable, shapes: Mapping[str, torch.Size], what: str
) -> dict[str, Tensor]:
    """Foreign state dict -> native one, float32.

    Args:
        state: tensors under foreign names.
        table: the names.
        shapes: of every native tensor.
        what: file and model, for the error.

    Raises CheckpointError that names every kind of disagreement: missing keys, unknown keys, wrong shapes.
    """
    used = {source.key for source in table.sources.values()}
    missing = sorted(used - state.keys())
    unknown = sorted(state.keys() - used - table.dropped.keys())
    native = {ours: source.take(state) for ours, source in table.sources.items() if source.key in state}
    wrong = [
        f"{table.sources[key].key} gives {list(tensor.shape)} for {list(shapes[key])}"
        for key, tensor in native.items()
        if tensor.shape != shapes[key]
    ]
    raise_mismatch(what, missing=missing, unknown=unknown, wrong=wrong)
    return {key: _float32(tensor) for key, tensor in native.items()}


def _float32(tensor: Tensor) -> Tensor:
    """Contiguous; of half precision the kernels in channels_last memory, which detection wants them in."""
    if tensor.dtype != torch.float32 and tensor.ndim == 4:
        return tensor.to(torch.float32, memory_format=torch.channels_last)
    return tensor.to(torch.float32).contiguous()


def raise_mismatch(what: str, *, missing: list[str], unknown: list[str], wrong: list[str]) -> None:
    """Raise one CheckpointError for all faults; do nothing when there are none."""
    faults = {"keys are missing": missing, "keys are unknown": unknown, "shapes are wrong": wrong}
    summary = [f"{len(keys)} {fault} ({listed(keys, room=40)})" for fault, keys in faults.items() if keys]
    if summary:
        raise CheckpointError(f"{what}: {'; '.join(summary)}. Is it a checkpoint of another model?")
