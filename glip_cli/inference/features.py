"""The features of one image, their positions in it, and their file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialized
from torch import Tensor

from glip_cli.checkpoints.safetensors_io import sorted_header
from glip_cli.errors import UsageError
from glip_cli.model.boxes import anchors as make_anchors
from glip_cli.model.config import STRIDES
from glip_cli.outputs.files import atomic_write, writing

LEVELS: dict[str, dict[str, int]] = {
    "backbone": {"C3": 8, "C4": 16, "C5": 32},
    "fpn": {f"P{i}": stride for i, stride in enumerate(STRIDES, 3)},
    "fused": {f"P{i}": stride for i, stride in enumerate(STRIDES, 3)},
}
"""Kind of maps -> level -> pixels of the resized image per cell, both ways."""


@dataclass(frozen=True)
class ImageMeta:
    """The geometry of a preprocessed image.

    Attributes:
        size: (width, height) of the upright original image in pixels.
        resized: (width, height) in the network, without padding.
        padded: (width, height) of the network's input; the image lies in its upper left corner.
        scale: (x, y), resized over original.
        strides: pixels of the network's input per cell of each feature level.
    """

    size: tuple[int, int]
    resized: tuple[int, int]
    padded: tuple[int, int]
    scale: tuple[float, float]
    strides: tuple[int, ...] = STRIDES

    def cells(self, stride: int) -> tuple[int, int]:
        """(h, w) of the cells that hold any of the image; those of padding alone are cut off."""
        width, height = self.resized
        return -(-height // stride), -(-width // stride)

    @property
    def sizes(self) -> tuple[tuple[int, int], ...]:
        """(h, w) of P3 .. P7; their products sum to N."""
        return tuple(map(self.cells, self.strides))

    @property
    def anchors(self) -> Tensor:
        """The square that each row's box is coded relative to: float32 [N, 4], xyxy in pixels of the original image.

        Its sides are 8 cells, so it may pass the image's edges.
        """
        return make_anchors(self.sizes) / torch.tensor(self.scale * 2)

    @property
    def centres(self) -> Tensor:
        """The middle of each row's cell: float32 [N, 2], (x, y) in pixels of the original image.

        At the right and lower edge of the image it may lie outside by less than half a cell.
        """
        return self.anchors.unflatten(1, (2, 2)).mean(1)


@dataclass(frozen=True, eq=False)
class Features:
    """Features of one image; float32 on the CPU, detached.

    The N rows are the locations of P3 .. P7, level by level (`meta.sizes`), row by row. T tokens are those of the
    text with [CLS] and [SEP], K its labels. What was not extracted is empty or None.

    Attributes:
        meta: positions of cells and rows in the image.
        backbone: "C3", "C4", "C5" -> [C, h, w], strides 8, 16, 32, each after its own LayerNorm; pooled [C].
            C is 192, 384, 768 in GLIP-T, twice as many in GLIP-L.
        fpn: "P3" .. "P7" -> [256, h, w] (glip-mini: 96), strides 8 .. 128; of glip-nano "P3" .. "P5" -> [128, h, w].
            They depend on the image alone.
        fused: the same after the last layer of the head, where image and text have met (never in GLIP-T (A) and
            glip-nano).
        similarity: [N, K], how a row fits a label: the mean of the probabilities of the label's tokens; of glip-nano
            the largest.
        logits: [N, T], row by token, before the sigmoid.
        boxes: [N, 4], the region that a row stands for, xyxy in pixels of the original image, as detections have it.
        centerness: [N] in [0, 1]; a detection's score is sqrt(similarity * centerness). None of glip-nano, whose score
            is the similarity.
        text: [T, L], the tokens as BERT leaves them.
        fused_text: [T, L], the same after the last layer of the head.
        prompt: the text that the model read; "" without one.
        labels: as typed.
        tokens: word pieces.
        label_tokens: for each label the positions of its tokens.
    """

    meta: ImageMeta
    backbone: Mapping[str, Tensor] = field(default_factory=dict)
    fpn: Mapping[str, Tensor] = field(default_factory=dict)
    fused: Mapping[str, Tensor] = field(default_factory=dict)
    similarity: Tensor | None = None
    logits: Tensor | None = None
    boxes: Tensor | None = None
    centerness: Tensor | None = None
    text: Tensor | None = None
    fused_text: Tensor | None = None
    prompt: str = ""
    labels: tuple[str, ...] = ()
    tokens: tuple[str, ...] = ()
    label_tokens: tuple[tuple[int, ...], ...] = ()


# ------------------------------------------------------------------------------------------------------ feature files
# `Features` as a safetensors file: tensors by name, and strings that say what they are.
#
#     backbone.C3 .. C5, fpn.P3 .. P7, fused.P3 .. P7      [C, h, w], or [C] pooled (glip-nano: P3 .. P5)
#     similarity [N, K], logits [N, T], centerness [N]     rows: P3 first, row by row (glip-nano: no centerness)
#     boxes [N, 4], centres [N, 2], anchors [N, 4]         always float32, pixels of the original image
#     text.encoded, text.fused                             [T, L]
#
# The strings: schema "glip-features/1", image, model, prompt; as JSON labels, tokens, label_tokens, size, resized,
# padded, scale, strides and sizes of the levels, which, pool, asked_size, dtype, saved.

SCHEMA = "glip-features/1"
DTYPES = {"float32": torch.float32, "float16": torch.float16}
EXACT = ("boxes", "centres", "anchors")  # float16 has no room for pixels
TEXT = {"text.encoded": "text", "text.fused": "fused_text"}
ROWS = ("similarity", "logits", "boxes", "centerness")
PLAIN_STRINGS = ("schema", "image", "model", "prompt")


def tensors_of(features: Features) -> dict[str, Tensor]:
    """Name -> tensor, without those that were not extracted."""
    tensors = {f"{stage}.{level}": x for stage in LEVELS for level, x in getattr(features, stage).items()}
    tensors |= {name: getattr(features, name) for name in ROWS if getattr(features, name) is not None}
    tensors |= {name: getattr(features, key) for name, key in TEXT.items() if getattr(features, key) is not None}
    if features.boxes is not None:
        tensors |= {"centres": features.meta.centres, "anchors": features.meta.anchors}
    return tensors


def save(path: Path, features: Features, metadata: Mapping[str, object], dtype: str = "float32") -> int:
    """Write one image's features; readers see the whole file or none. Returns its size in bytes.

    Args:
        path: ends in .safetensors.
        features: of the image.
        metadata: what the file says besides what the features know of themselves: image, model ...
        dtype: "float32" or "float16", of all but positions in the image.

    Raises:
        UsageError: a value is too large for float16.
        OutputError: the file cannot be written.
    """
    tensors = {name: x if name in EXACT else x.to(DTYPES[dtype]) for name, x in tensors_of(features).items()}
    for name, tensor in tensors.items():
        if dtype != "float32" and not tensor.isfinite().all():
            raise UsageError(f"{path.name}: {name} has values beyond float16; save float32")
    # not by safetensors itself, whose files only their owner may read
    data = sorted_header(serialized(tensors, strings({**metadata, **_described(features)})))
    with writing(path, "make room or choose another --out-dir"), atomic_write(path) as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())  # a name that outlives a power cut must not stand for a file that does not
    return len(data)


def read(path: Path) -> Features:
    """Read a file of `save`, as float32. Raises UsageError for any other file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path} cannot be read as safetensors: {error}") from None
    if metadata.get("schema") != SCHEMA:
        raise UsageError(f"{path} holds no features: its schema is {metadata.get('schema')!r}, not {SCHEMA!r}")
    strides = tuple(stride for level, stride in json.loads(metadata["strides"]).items() if level in LEVELS["fpn"])
    size, resized, padded, scale = (tuple(json.loads(metadata[key])) for key in ("size", "resized", "padded", "scale"))
    meta = ImageMeta(size, resized, padded, scale, strides)
    maps = {stage: {level: tensors[f"{stage}.{level}"] for level in levels if f"{stage}.{level}" in tensors}
            for stage, levels in LEVELS.items()}  # fmt: skip
    labels, tokens, label_tokens = (json.loads(metadata[key]) for key in ("labels", "tokens", "label_tokens"))
    return Features(
        meta, maps["backbone"], maps["fpn"], maps["fused"],
        **{name: tensors.get(name) for name in ROWS},
        **{key: tensors.get(name) for name, key in TEXT.items()},
        prompt=metadata["prompt"], labels=tuple(labels), tokens=tuple(tokens),
        label_tokens=tuple(map(tuple, label_tokens)),
    )  # fmt: skip


def read_metadata(path: Path) -> dict[str, str] | None:
    """The metadata of a file; None where it is missing or damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except (OSError, SafetensorError):
        return None


def strings(metadata: Mapping[str, object]) -> dict[str, str]:
    """Metadata as safetensors holds it: strings, JSON but for PLAIN_STRINGS."""
    return {
        key: str(value) if key in PLAIN_STRINGS else json.dumps(value, ensure_ascii=False)
        for key, value in metadata.items()
    }


def _described(features: Features) -> dict[str, object]:
    meta = features.meta
    all_strides = {level: stride for levels in LEVELS.values() for level, stride in levels.items()}
    strides = {level: stride for level, stride in all_strides.items() if stride in meta.strides}
    return {
        "schema": SCHEMA,
        "prompt": features.prompt,
        "labels": features.labels,
        "tokens": features.tokens,
        "label_tokens": features.label_tokens,
        "size": meta.size,
        "resized": meta.resized,
        "padded": meta.padded,
        "scale": meta.scale,
        "strides": strides,
        "sizes": {level: meta.cells(stride) for level, stride in strides.items()},
    }
