"""A model on its device: preprocessed images and a compiled prompt in, `Detections` out. Threads may share one.

PreprocessedImages -> encode_images -> ImageFeatures -> detect_features(compiled prompt) -> Detections
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from glip_cli.inference.device import for_inference, on_one_thread, out_of_memory, pick_device, pick_dtype, to_device
from glip_cli.inference.postprocess import (
    PostprocessOptions,
    RawDetections,
    is_capped,
    label_scores,
    merge,
    on_cpu,
    postprocess,
    postprocess_options,
    to_detections,
    to_raw,
)
from glip_cli.inference.preprocess import (
    ImageSize,
    PreprocessedImage,
    collate,
    padded_size,
    preprocess,
    same_shape_batches,
)
from glip_cli.inference.tiling import all_crops, combine, crop_options, render_crop
from glip_cli.model.compiled import SHAPES, Compiled
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput
from glip_cli.options import DetectOptions, Size
from glip_cli.prompts.chunking import Chunk
from glip_cli.prompts.compile import CompiledPrompt, allows_mirroring, with_negatives_reported
from glip_cli.types import Detections
from glip_cli.utils.lru_cache import LastUsed

TOKEN_MULTIPLE = 8  # texts are padded to it, so that few shapes occur
CACHED_TEXTS = 256
SMALL = 20_000_000  # parameters: glip-nano has 5 million, glip-mini 2, GLIP-T 232
PAIRS_AT_ONCE = 8  # pairs of an image and a text, on a GPU; a CPU gains nothing from several

Observer = Callable[[Sequence[Chunk], RawOutput, Tensor], None]
"""Called with n chunks of a prompt, the raw output for B images [n * B], the first chunk's images first, and the
mask of the tokens, bool [n * B, T]. What it raises ends the detection."""


@dataclass(frozen=True)
class ImageFeatures:
    """Images and their feature maps P3 .. P7, [B, C, h, w] each."""

    items: tuple[PreprocessedImage, ...]
    maps: list[Tensor]


class BatchDetector:
    """See the module's docstring.

    Attributes:
        model: in evaluation mode, on `device` and in `dtype`.
    """

    def __init__(self, model: Glip, device: str = "auto", dtype: str = "auto", compile: bool = False):
        """`model` itself is not changed: see `device.for_inference`. Raises DeviceError."""
        self.device = pick_device(device)
        self.dtype = pick_dtype(dtype, self.device)
        self.model = for_inference(model, self.device, self.dtype)
        self._steps = Compiled(self.model, self.device) if compile else self.model
        self._texts: LastUsed[tuple[int, ...], tuple[Tensor, Tensor]] = LastUsed()

    @property
    def notes(self) -> tuple[str, ...]:
        """Warnings about the results so far."""
        if isinstance(self._steps, Compiled) and self._steps.passed:
            return (f"images and texts came in many shapes; --compile took the first {SHAPES}, the others ran without",)
        return ()

    @cached_property
    def is_small(self) -> bool:
        """Whether the model runs on one thread, on a CPU: its answers then do not depend on the number of threads.

        Several images at once, on a thread each, are faster than one after the other on all threads; much faster beside
        other programs, where threads that share an image wait for each other.
        """
        plain = self.device.type == "cpu" and isinstance(self.model, Glip) and self._steps is self.model
        return plain and sum(parameter.numel() for parameter in self.model.parameters()) < SMALL

    def image_size(self, size: Size | None = None) -> ImageSize:
        """The size to which images are resized: `size`, else the model's own."""
        config = self.model.config
        return ImageSize.chosen(config.image_size, size, config.size_multiple)

    def stream(
        self, images: Iterable[Image.Image], compiled: CompiledPrompt, options: DetectOptions
    ) -> Iterator[Detections]:
        """Detect image by image, in order; `images` yields PIL images in RGB.

        Only neighbours of one padded shape share a batch: padding takes part in the fusion, so in any other batch an
        image's answer would depend on the other images.
        """
        if options.has_crops:
            yield from (self.detect_crops(image, compiled, options)[0] for image in images)
            return
        size = self.image_size(options.size)
        yield from self._detect_all((preprocess(image, *size) for image in images), compiled, options)

    def detect_crops(
        self,
        image: Image.Image,
        compiled: CompiledPrompt,
        options: DetectOptions,
        observe: Observer | None = None,
    ) -> tuple[Detections, bool]:
        """Detect in one image in tiles or at several scales. The bool is `is_capped` of any crop. Crops are batched."""
        size = self.image_size(options.size)
        crops = all_crops(image.size, options, size, flips=allows_mirroring(compiled.chunks))
        if len(crops) == 1:
            (detections,) = self.detect([preprocess(image, *size)], compiled, options, observe)
            return detections, is_capped(detections, compiled, options)
        with_negatives = with_negatives_reported(compiled)
        items = (render_crop(image, crop) for crop in crops)
        answers = list(self._detect_all(items, with_negatives, crop_options(options), observe))
        merged = combine(crops, map(to_raw, answers), compiled.nms_iou, options.agnostic_nms)
        capped = any(is_capped(answer, with_negatives, options) for answer in answers)
        return to_detections(merge([merged], compiled, options), image.size, compiled), capped

    def _detect_all(
        self,
        items: Iterable[PreprocessedImage],
        compiled: CompiledPrompt,
        options: DetectOptions,
        observe: Observer | None = None,
    ) -> Iterator[Detections]:
        for batch in same_shape_batches(items, padded_size, options.batch_size):
            yield from self.detect(batch, compiled, options, observe)
            del batch  # before the next images are read

    def detect(
        self,
        batch: Sequence[PreprocessedImage],
        compiled: CompiledPrompt,
        options: DetectOptions,
        observe: Observer | None = None,
    ) -> list[Detections]:
        """Detect in a batch of preprocessed images. Raises OutOfMemoryError."""
        return self.detect_features(self.encode_images(batch), compiled, options, observe)

    @torch.inference_mode()
    def encode_images(self, batch: Sequence[PreprocessedImage]) -> ImageFeatures:
        """The feature maps of a batch, which do not depend on the text. Raises OutOfMemoryError."""
        with on_one_thread(self.is_small), out_of_memory(self.device):
            pixels = to_device(collate(batch), self.device, self.dtype)
            return ImageFeatures(tuple(batch), self._steps.encode_image(pixels))

    @torch.inference_mode()
    def detect_features(
        self,
        features: ImageFeatures,
        compiled: CompiledPrompt,
        options: DetectOptions,
        observe: Observer | None = None,
    ) -> list[Detections]:
        """Detect in encoded images, which may be used again with other prompts. Raises OutOfMemoryError.

        `observe` is called for each group of chunks; for one group again, where memory ran out and fewer are tried.
        """
        cache_size = max(CACHED_TEXTS, len(compiled.chunks))  # with less, a prompt's texts would push each other out
        with on_one_thread(self.is_small), out_of_memory(self.device):
            step = 1 if self.device.type == "cpu" else max(1, PAIRS_AT_ONCE // len(features.items))
            groups = [compiled.chunks[i : i + step] for i in range(0, len(compiled.chunks), step)]
            per_chunk = [
                detections
                for group in groups
                for detections in self._predict_chunks(
                    features, group, postprocess_options(compiled, options), cache_size, observe
                )
            ]
            merged = [merge(list(parts), compiled, options) for parts in zip(*per_chunk, strict=True)]
            return [
                to_detections(detections, item.size, compiled)
                for detections, item in zip(merged, features.items, strict=True)
            ]

    def _predict_chunks(
        self,
        features: ImageFeatures,
        chunks: Sequence[Chunk],
        postprocess_limits: PostprocessOptions,
        cache_size: int = CACHED_TEXTS,
        observe: Observer | None = None,
    ) -> list[list[RawDetections]]:
        """For each chunk the detections in each image; label ids are those of the whole prompt."""
        images, texts = len(features.items), len(chunks)
        hidden, mask = stack([self._encode_text(chunk.tokens.ids, cache_size) for chunk in chunks])
        maps = features.maps if texts == 1 else [level.repeat(texts, 1, 1, 1) for level in features.maps]
        rows = mask.repeat_interleave(images, 0)
        raw = self._steps.ground(maps, hidden.repeat_interleave(images, 0), rows)
        if observe:
            observe(chunks, raw, rows)
        agg, length = self.model.config.score_agg, mask.shape[1]
        scores = [label_scores(agg, chunk.tokens.label_tokens, length, self.device) for chunk in chunks]
        detections = on_cpu(
            postprocess(raw, [x for x in scores for _ in features.items], features.items * texts, postprocess_limits)
        )
        return [
            [
                replace(
                    image_detections,
                    labels=image_detections.labels.new_tensor(chunk.label_ids)[image_detections.labels],
                )
                for image_detections in detections[i : i + images]
            ]
            for chunk, i in zip(chunks, range(0, len(detections), images), strict=True)
        ]

    def _encode_text(self, ids: tuple[int, ...], cache_size: int = CACHED_TEXTS) -> tuple[Tensor, Tensor]:
        """Token features [1, T, L] and mask bool [1, T], which depend on the text alone; the last ones are cached."""

        def encoded() -> tuple[Tensor, Tensor]:
            padded = list(ids) + [0] * (-len(ids) % TOKEN_MULTIPLE)
            row = torch.tensor([padded], device=self.device)
            mask = torch.arange(len(padded), device=self.device).unsqueeze(0) < len(ids)
            return self.model.encode_text(row, mask), mask

        return self._texts.get(ids, encoded, cache_size)


def stack(texts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Features [1, t, L] and masks [1, t] of several texts -> [n, T, L] and [n, T], padded to the longest."""
    length = max(mask.shape[1] for _, mask in texts)
    hidden = torch.cat([F.pad(rows, (0, 0, 0, length - rows.shape[1])) for rows, _ in texts])
    return hidden, torch.cat([F.pad(mask, (0, length - mask.shape[1])) for _, mask in texts])
