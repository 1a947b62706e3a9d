"""A model on its device: preprocessed images in, `Features` out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from glip_cli.errors import PromptError
from glip_cli.inference.device import for_inference, out_of_memory, pick_device, pick_dtype
from glip_cli.inference.features import LEVELS, Features, ImageMeta
from glip_cli.inference.postprocess import label_scores
from glip_cli.inference.preprocess import (
    ImageSize,
    PreprocessedImage,
    collate,
    padded_size,
    preprocess,
    same_shape_batches,
)
from glip_cli.model.boxes import anchors, decode
from glip_cli.model.config import STRIDES
from glip_cli.model.csp import CspBackbone
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput
from glip_cli.model.swin import Backbone
from glip_cli.options import FeatureOptions, choose_features
from glip_cli.prompts.chunking import Chunk


@dataclass(frozen=True, eq=False)
class Text:
    """A text that was encoded.

    Attributes:
        chunk: its labels and tokens.
        hidden: [1, T', L], T' >= T with padding.
        mask: bool [1, T'], True for the T tokens.
    """

    chunk: Chunk
    hidden: Tensor
    mask: Tensor

    @property
    def count(self) -> int:
        """T."""
        return len(self.chunk.tokens.ids)


@dataclass(frozen=True, eq=False)
class _NetworkOutput:
    """The outputs for a batch of B images, as far as the network was run."""

    maps: dict[str, list[Tensor]]
    raw: RawOutput | None = None
    hidden: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Extractor:
    """Extracts features. Raises UsageError for those that the model does not have.

    Attributes:
        backbone: on `device`, in `dtype`, in evaluation mode; so is `model`, whose part it is.
        image_size: to which images are resized.
        model: None where there is a backbone alone.
        text: None for features of the image alone.
    """

    backbone: Backbone | CspBackbone
    options: FeatureOptions
    device: torch.device
    dtype: torch.dtype
    image_size: ImageSize
    model: Glip | None = None
    text: Text | None = None

    def __post_init__(self) -> None:
        if self.model is None and self.text is not None:
            raise PromptError("the model is an image backbone alone, which reads no text; leave --texts out")
        _ = self.which

    @property
    def which(self) -> tuple[str, ...]:
        """The kinds of features that are extracted."""
        return choose_features(self.options, self.model is not None, self.text is not None)

    def prepare(self, image: Image.Image) -> PreprocessedImage:
        """An upright RGB image, resized for the network."""
        return preprocess(image, *self.image_size)

    def stream(self, images: Iterable[Image.Image]) -> Iterator[Features]:
        """Image by image, in order. As when detecting, only neighbours of one padded shape share a batch."""
        for batch in same_shape_batches(map(self.prepare, images), padded_size, self.options.batch_size):
            yield from self(batch)

    @torch.no_grad()  # tensors of `inference_mode` could not be trained on
    def __call__(self, batch: Sequence[PreprocessedImage]) -> list[Features]:
        """Features of preprocessed images of one padded shape. Raises OutOfMemoryError."""
        with out_of_memory(self.device):
            pixels = collate(batch).to(self.device, self.dtype, memory_format=torch.channels_last)
            outputs = self._run(pixels)
            height, width = pixels.shape[2:]
            metas = [self._meta(item, (width, height)) for item in batch]
            return [self._features_of(outputs, i, meta) for i, meta in enumerate(metas)]

    def _meta(self, item: PreprocessedImage, padded: tuple[int, int]) -> ImageMeta:
        strides = self.model.config.strides if self.model else STRIDES
        return ImageMeta(item.size, item.resized, padded, item.scale, strides)

    def _run(self, pixels: Tensor) -> _NetworkOutput:
        """Run the network up to the last requested stage."""
        stages = self.backbone(pixels)
        maps = {"backbone": stages}
        if self.model is None or self.which[-1] == "backbone":
            return _NetworkOutput(maps)
        maps["fpn"] = self.model.fpn(stages)
        if self.text is None or self.which[-1] == "fpn":
            return _NetworkOutput(maps)
        count = len(pixels)
        hidden, mask = self.text.hidden.expand(count, -1, -1), self.text.mask.expand(count, -1)
        maps["fused"], hidden = self.model.head.encode(maps["fpn"], hidden, mask)
        wanted = {"similarity", "logits"} & set(self.which)
        return _NetworkOutput(maps, self.model.head.predict(maps["fused"], hidden) if wanted else None, hidden)

    def _features_of(self, outputs: _NetworkOutput, i: int, meta: ImageMeta) -> Features:
        maps = {
            stage: {
                level: self._pooled(outputs.maps[stage][number][i], meta.cells(stride))
                for number, (level, stride) in zip(range(len(outputs.maps[stage])), levels.items(), strict=False)
            }
            for stage, levels in LEVELS.items()
            if stage in self.which
        }
        features = Features(meta, maps.get("backbone", {}), maps.get("fpn", {}), maps.get("fused", {}))
        if self.text is None:
            return features
        tokens, prompt = self.text.chunk.tokens, self.text.chunk.prompt
        tensors = self._rows(outputs.raw, i, meta) | self._words(outputs.hidden, i)
        return replace(
            features,
            similarity=tensors.get("similarity"),
            logits=tensors.get("logits"),
            boxes=tensors.get("boxes"),
            centerness=tensors.get("centerness"),
            text=tensors.get("text"),
            fused_text=tensors.get("fused_text"),
            prompt=prompt.text,
            labels=prompt.labels,
            tokens=tokens.tokens,
            label_tokens=tokens.label_tokens,
        )

    def _pooled(self, cells: Tensor, size: tuple[int, int]) -> Tensor:
        """[C, H, W] -> [C, h, w] without padding, or [C]."""
        image = cells[:, : size[0], : size[1]]
        return _cpu_copy(image.float().mean((1, 2)) if self.options.pool == "mean" else image)

    def _rows(self, raw: RawOutput | None, i: int, meta: ImageMeta) -> dict[str, Tensor]:
        """The outputs of each location of P3 .. P7 that is not padding."""
        if raw is None or self.text is None:
            return {}
        row_ids = _rows_of(raw.sizes, meta).to(self.device)
        logits = raw.logits[i, row_ids].float()
        rows = {"boxes": _cpu_copy(_boxes(raw.deltas[i].float(), raw.sizes, meta)[row_ids])}
        if raw.centerness is not None:
            rows["centerness"] = _cpu_copy(raw.centerness[i, row_ids].float().sigmoid())
        if "logits" in self.which:
            rows["logits"] = _cpu_copy(logits[:, : self.text.count])
        if "similarity" in self.which:
            assert self.model is not None
            agg, label_tokens = self.model.config.score_agg, self.text.chunk.tokens.label_tokens
            scores = label_scores(agg, label_tokens, logits.shape[1], self.device)
            rows["similarity"] = _cpu_copy(scores(logits.sigmoid()))
        return rows

    def _words(self, hidden: Tensor | None, i: int) -> dict[str, Tensor]:
        if hidden is None or self.text is None or "text" not in self.which:
            return {}
        count = self.text.count
        return {"text": _cpu_copy(self.text.hidden[0, :count]), "fused_text": _cpu_copy(hidden[i, :count])}


def backbone_extractor(
    backbone: Backbone, image_size: tuple[int, int], options: FeatureOptions, device: str = "auto", dtype: str = "auto"
) -> Extractor:
    """For an image backbone alone (`checkpoints.parts.load_backbone_parts`). Raises DeviceError, UsageError."""
    torch_device = pick_device(device)
    torch_dtype = pick_dtype(dtype, torch_device)
    size = ImageSize.chosen(image_size, options.size)
    return Extractor(for_inference(backbone, torch_device, torch_dtype), options, torch_device, torch_dtype, size)


def _cpu_copy(tensor: Tensor) -> Tensor:
    """In float32; shares no memory, and can be trained on."""
    return tensor.to("cpu", torch.float32, copy=True).contiguous(memory_format=torch.contiguous_format)


def _rows_of(sizes: tuple[tuple[int, int], ...], meta: ImageMeta) -> Tensor:
    """The network's rows that are not padding: int64 [N]."""
    row_ids, first = [], 0
    for (height, width), (h, w) in zip(sizes, meta.sizes, strict=True):
        row_ids.append(torch.arange(height * width).view(height, width)[:h, :w].flatten() + first)
        first += height * width
    return torch.cat(row_ids)


def _boxes(deltas: Tensor, sizes: tuple[tuple[int, int], ...], meta: ImageMeta) -> Tensor:
    """Deltas [N, 4] -> boxes [N, 4] in the original image, clipped, far corner moved by 1 px, as detections are."""
    limit = deltas.new_tensor(meta.resized * 2) - 1
    boxes = decode(deltas, anchors(sizes, deltas.device)).clamp(min=0).minimum(limit)
    return boxes / deltas.new_tensor(meta.scale * 2) + deltas.new_tensor([0.0, 0.0, 1.0, 1.0])
