"""A network that stays on its device: prepared images in, `Features` out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from PIL import Image
from torch import Tensor

from glip_cli.errors import PromptError
from glip_cli.inference.device import for_inference, out_of_memory, pick_device, pick_dtype
from glip_cli.inference.features import LEVELS, Features, Placement
from glip_cli.inference.postprocess import label_scores
from glip_cli.inference.preprocess import ImageSize, PreprocessedImage, collate, padded_size, preprocess
from glip_cli.model.boxes import anchors, decode
from glip_cli.model.config import STRIDES
from glip_cli.model.csp import CspBackbone
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput
from glip_cli.model.swin import Backbone
from glip_cli.options import FeatureOptions, choose_features
from glip_cli.prompts.chunking import Chunk

Thing = TypeVar("Thing")


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
class _Made:
    """What the network made of a batch, as far as it was needed; tensors with a leading B."""

    maps: dict[str, list[Tensor]]
    raw: RawOutput | None = None
    hidden: Tensor | None = None


@dataclass(frozen=True, eq=False)
class Extractor:
    """Takes features out of a network. Raises UsageError where those that are asked for cannot be had.

    Attributes:
        backbone: on `device`, in `dtype`, in evaluation mode; so is `model`, whose part it is.
        image_size: to which images are resized.
        model: None where there is a backbone alone.
        text: None where no text is asked about.
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
        """The kinds that are made."""
        return choose_features(self.options, self.model is not None, self.text is not None)

    def prepare(self, image: Image.Image) -> PreprocessedImage:
        """An upright RGB image, resized for the network."""
        return preprocess(image, *self.image_size)

    def stream(self, images: Iterable[Image.Image]) -> Iterator[Features]:
        """Image by image, in order. As when detecting, only neighbours of one padded shape share a batch."""
        for batch in alike(map(self.prepare, images), padded_size, self.options.batch_size):
            yield from self(batch)

    @torch.no_grad()  # tensors of `inference_mode` could not be trained on
    def __call__(self, batch: Sequence[PreprocessedImage]) -> list[Features]:
        """Features of prepared images of one padded shape. Raises OutOfMemoryError."""
        with out_of_memory(self.device):
            pixels = collate(batch).to(self.device, self.dtype, memory_format=torch.channels_last)
            made = self._make(pixels)
            height, width = pixels.shape[2:]
            places = [self._place(item, (width, height)) for item in batch]
            return [self._of_one(made, i, place) for i, place in enumerate(places)]

    def _place(self, item: PreprocessedImage, padded: tuple[int, int]) -> Placement:
        strides = self.model.config.strides if self.model else STRIDES
        return Placement(item.size, (item.pixels.shape[2], item.pixels.shape[1]), padded, item.scale, strides)

    def _make(self, pixels: Tensor) -> _Made:
        """Run the network as far as it is needed."""
        stages = self.backbone(pixels)
        maps = {"backbone": stages}
        if self.model is None or self.which[-1] == "backbone":
            return _Made(maps)
        maps["fpn"] = self.model.fpn(stages)
        if self.text is None or self.which[-1] == "fpn":
            return _Made(maps)
        count = len(pixels)
        hidden, mask = self.text.hidden.expand(count, -1, -1), self.text.mask.expand(count, -1)
        maps["fused"], hidden = self.model.head.encode(maps["fpn"], hidden, mask)
        wanted = {"similarity", "logits"} & set(self.which)
        return _Made(maps, self.model.head.predict(maps["fused"], hidden) if wanted else None, hidden)

    def _of_one(self, made: _Made, i: int, place: Placement) -> Features:
        maps = {
            kind: {
                level: self._pooled(made.maps[kind][number][i], place.cells(stride))
                for number, (level, stride) in zip(range(len(made.maps[kind])), levels.items(), strict=False)
            }
            for kind, levels in LEVELS.items()
            if kind in self.which
        }
        features = Features(place, maps.get("backbone", {}), maps.get("fpn", {}), maps.get("fused", {}))
        if self.text is None:
            return features
        tokens, prompt = self.text.chunk.tokens, self.text.chunk.prompt
        tensors = self._rows(made.raw, i, place) | self._words(made.hidden, i)
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
        return own(image.float().mean((1, 2)) if self.options.pool == "mean" else image)

    def _rows(self, raw: RawOutput | None, i: int, place: Placement) -> dict[str, Tensor]:
        """What each location says, without those of padding."""
        if raw is None or self.text is None:
            return {}
        kept = _rows_of(raw.sizes, place).to(self.device)
        logits = raw.logits[i, kept].float()
        rows = {"boxes": own(_boxes(raw.deltas[i].float(), raw.sizes, place)[kept])}
        if raw.centerness is not None:
            rows["centerness"] = own(raw.centerness[i, kept].float().sigmoid())
        if "logits" in self.which:
            rows["logits"] = own(logits[:, : self.text.count])
        if "similarity" in self.which:
            assert self.model is not None
            agg, places = self.model.config.score_agg, self.text.chunk.tokens.label_tokens
            scores = label_scores(agg, places, logits.shape[1], self.device)
            rows["similarity"] = own(scores(logits.sigmoid()))
        return rows

    def _words(self, hidden: Tensor | None, i: int) -> dict[str, Tensor]:
        if hidden is None or self.text is None or "text" not in self.which:
            return {}
        count = self.text.count
        return {"text": own(self.text.hidden[0, :count]), "fused_text": own(hidden[i, :count])}


def backbone_extractor(
    backbone: Backbone, image_size: tuple[int, int], options: FeatureOptions, device: str = "auto", dtype: str = "auto"
) -> Extractor:
    """For an image backbone alone (`checkpoints.parts.load_backbone_parts`). Raises DeviceError, UsageError."""
    place = pick_device(device)
    kind = pick_dtype(dtype, place)
    size = ImageSize.chosen(image_size, options.size)
    return Extractor(for_inference(backbone, place, kind), options, place, kind, size)


def alike(things: Iterable[Thing], shape: Callable[[Thing], tuple[int, int]], most: int) -> Iterator[list[Thing]]:
    """Neighbours of one shape, at most so many at once, in order."""
    batch: list[Thing] = []
    for thing in things:
        if batch and (len(batch) == most or shape(thing) != shape(batch[0])):
            yield batch
            batch = []
        batch.append(thing)
        if len(batch) == most:
            yield batch
            batch = []
    if batch:
        yield batch


def own(tensor: Tensor) -> Tensor:
    """A copy in float32 on the CPU that shares no memory and can be trained on."""
    return tensor.to("cpu", torch.float32, copy=True).contiguous(memory_format=torch.contiguous_format)


def _rows_of(sizes: tuple[tuple[int, int], ...], place: Placement) -> Tensor:
    """Which of the network's rows hold any of the image: int64 [N]."""
    kept, first = [], 0
    for (height, width), (h, w) in zip(sizes, place.sizes, strict=True):
        kept.append(torch.arange(height * width).view(height, width)[:h, :w].flatten() + first)
        first += height * width
    return torch.cat(kept)


def _boxes(deltas: Tensor, sizes: tuple[tuple[int, int], ...], place: Placement) -> Tensor:
    """Deltas [N, 4] -> boxes [N, 4] in the original image, clipped, far corner moved by 1 px, as detections are."""
    limit = deltas.new_tensor(place.resized * 2) - 1
    boxes = decode(deltas, anchors(sizes, deltas.device)).clamp(min=0).minimum(limit)
    return boxes / deltas.new_tensor(place.scale * 2) + deltas.new_tensor([0.0, 0.0, 1.0, 1.0])
