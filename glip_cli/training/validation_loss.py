"""The training loss on the images of a validation.

It is taken from the outputs that the detections come from, so the network does not run twice: images at the model's own
size, not mirrored, without dropout. Each image is asked for all labels in their order, in as many texts as evaluation
needs, as training asks where they fit one text. All pairs of an image and a text count as one batch, so the numbers
depend on the weights and the data alone. Where the labels need several texts, training draws one with the labels of the
image, and here are also texts that name nothing in it: losses of training and validation then differ in level.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from glip_cli.data.sources import ImageInput
from glip_cli.inference.preprocess import PreprocessedImage
from glip_cli.model.head import RawOutput
from glip_cli.prompts.chunking import Chunk
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.runs.local import ImageResult
from glip_cli.training.assign import match
from glip_cli.training.batches import make_target
from glip_cli.training.dataset import DetectionItem, TrainSet
from glip_cli.training.loss import EPS, Target, grounding_loss, normalisers
from glip_cli.training.parts import add_to
from glip_cli.training.sampler import PromptSampler
from glip_cli.training.transforms import with_boxes

Sums = dict[tuple[int, int], dict[str, float]]
"""(image id, first label of a text) -> the parts of the loss, undivided, and the two numbers that divide them."""
POSITIVES, CENTRED = "positives", "centred"


class ValidationLoss:
    """What the images of this process add to the loss.

    Attributes:
        sums: so far; a pair that comes again takes the place of the earlier one.
    """

    def __init__(
        self, train_set: TrainSet, sources: Mapping[int, ImageInput], tokenizer: Tokenizer, window: int
    ) -> None:
        """`sources` are by image id; the labels of `train_set` are those of the prompt, in its order."""
        items = (item for item in train_set.items if isinstance(item, DetectionItem) and item.image_id in sources)
        self._items = {id(sources[item.image_id]): item for item in items}  # two images of a set may be one file
        self._prompts = PromptSampler(train_set, tokenizer, window)
        self.sums: Sums = {}

    def add(self, images: Sequence[ImageResult], texts: Sequence[Chunk], raw: RawOutput, mask: Tensor) -> None:
        """What `Runner.observe` is given."""
        pairs = ((part, image) for part in texts for image in images)
        for row, (part, image) in enumerate(pairs):
            item = self._items.get(id(image.source))
            if item is not None and image.prepared is not None:
                self._add(item, image.prepared, part, raw[row : row + 1], mask[row : row + 1])

    def _add(self, item: DetectionItem, prepared: PreprocessedImage, part: Chunk, raw: RawOutput, mask: Tensor) -> None:
        target = make_target(with_boxes(prepared, item.boxes), self._prompts.about(item, part), mask.shape[1])
        targets = [Target(target.boxes.to(mask.device), target.tokens.to(mask.device))]
        matches = [match(raw.sizes, targets[0].boxes)]
        undivided = torch.ones(2, device=mask.device)
        parts = grounding_loss(raw, mask, targets, matches, undivided).parts
        values = torch.stack([*parts.values(), *normalisers(targets, matches)]).tolist()
        sums = dict(zip((*parts, POSITIVES, CENTRED), values, strict=True))
        self.sums[item.image_id, part.label_ids[0]] = sums


def divided(shares: Iterable[Sums]) -> dict[str, float]:
    """ "val_loss" and its parts, "val_token" ..., over the images of all processes; nothing without images.

    The same whatever the batches and the processes, but for what they change in the network's rounding.
    """
    pairs = {pair: sums for share in shares for pair, sums in share.items()}
    total: dict[str, float] = {}
    for pair in sorted(pairs):
        add_to(total, pairs[pair])
    if not total:
        return {}
    positives, centred = total.pop(POSITIVES) + EPS, max(total.pop(CENTRED), 1.0)
    parts = {f"val_{name}": value / (centred if name == "box" else positives) for name, value in total.items()}
    return {"val_loss": sum(parts.values()), **parts}
