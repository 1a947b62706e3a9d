"""An endless stream of training batches that is the same every time.

What the stream holds at an index depends on the seed, the index and the files alone: not on the number of workers, of
processes, or of images per batch, nor on where it began. So a killed run can be resumed, and a batch that was too large
for the device is computed again in halves. Where an image cannot be read, another takes its place.

    index -> round and number in it -> image (every round is a new order) -> its view and its prompt -> batch
    index -> the scene that is drawn for it, where drawn scenes are trained on
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from glip_cli.errors import DataError, GlipError, ImageError
from glip_cli.inference.preprocess import collate
from glip_cli.model.config import STRIDES, Config
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.assign import Match, match
from glip_cli.training.loss import Target
from glip_cli.training.sampler import AnySet, SampledPrompt, sample_source
from glip_cli.training.transforms import Augmentation, Resized
from glip_cli.utils.text_format import first_line

_ORDER, _ITEM, _OTHER = 0, 1, 2  # kinds of draws that must not repeat each other
_TRIES = 16  # images for an index, where they cannot be read
_MULTIPLE = 8  # of the text's length: fewer shapes


@dataclass(frozen=True)
class Batch:
    """The images, texts and targets of one training step.

    Attributes:
        pixels: float32 [B, 3, H, W], as `preprocess.collate` pads them.
        ids, mask: int64 and bool [B, T]; T is a multiple of 8.
        targets: what is in each image.
        matches: which locations of the network are to find it, at the size of `pixels`.
        images: the files, for messages.
        unread: what was wrong with images in whose places these stand, one line each.
    """

    pixels: Tensor
    ids: Tensor
    mask: Tensor
    targets: list[Target]
    matches: list[Match]
    images: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.targets)

    def cut(self, parts: int) -> list[Batch]:
        """At most `parts` batches of nearly equal size."""
        size = -(-len(self) // parts)
        pieces = (slice(first, first + size) for first in range(0, len(self), size))
        return [
            Batch(self.pixels[p], self.ids[p], self.mask[p], self.targets[p], self.matches[p], self.images[p])
            for p in pieces
        ]

    def to(self, device: torch.device) -> Batch:
        """The same on a device, its pixels as the network's weights lie in memory."""
        targets = [Target(one.boxes.to(device), one.tokens.to(device)) for one in self.targets]
        pixels = self.pixels.to(device, memory_format=torch.channels_last)
        matches = [one.to(device) for one in self.matches]
        return Batch(pixels, self.ids.to(device), self.mask.to(device), targets, matches, self.images)

    def to_dict(self) -> dict[str, object]:
        """For a file that `torch.load(weights_only=True)` reads."""
        targets = [vars(one) for one in self.targets]
        tensors = {"pixels": self.pixels, "ids": self.ids, "mask": self.mask}
        return {**tensors, "targets": targets, "images": list(self.images)}


class BatchRow(NamedTuple):
    """One row of a batch."""

    view: Resized
    prompt: SampledPrompt
    name: str


class Batches(IterableDataset[Batch]):
    """The stream. Iterating yields batch `first`, `first` + 1, ... without end; `feed` does so with workers.

    A round goes through every set as often as its weight says: 2 shows each image twice, 0.5 another half of them
    every time. Where `world` processes share the stream, batch k of rank r is number k * world + r of one process.
    """

    def __init__(
        self,
        sets: Sequence[AnySet],
        weights: Sequence[float],
        tokenizer: Tokenizer,
        config: Config,
        batch_size: int,
        seed: int,
        *,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
        augmentation: Augmentation | None = None,
    ) -> None:
        """Raises DataError without any image, PromptError for a class name."""
        self.sets, self.weights, self.batch_size, self.seed = tuple(sets), tuple(weights), batch_size, seed
        self.first, self.rank, self.world = first, rank, world
        self.augmentation = augmentation or Augmentation.of_size(config.image_size, multiple=config.size_multiple)
        self._strides = config.strides
        self._sources = [sample_source(one, tokenizer, config.text.window, seed) for one in sets]
        self._round, self._order = -1, np.zeros((0, 2), np.int64)
        self.round_length = sum(_times(len(one), weight) for one, weight in zip(sets, weights, strict=True))
        if not self.round_length:
            raise DataError(f"{sets[0].name}: no image is left to train on; see the table of what was dropped")

    @property
    def per_round(self) -> int:
        """Batches of one process in which every image had its turn, the last of them perhaps into the next round."""
        return -(-self.round_length // (self.batch_size * self.world))

    def starting(self, first: int) -> Batches:
        """The same stream, iterated from batch `first` of each process on."""
        other = copy(self)
        other.first = first
        return other

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        number, step = (self.first + worker.id, worker.num_workers) if worker else (self.first, 1)
        while True:
            yield self.batch(number)
            number += step

    def batch(self, number: int) -> Batch:
        """Batch `number` of this process, from 0. Raises ImageError where too many images cannot be read any more."""
        unread: list[str] = []
        rows = self.rows(number, unread)
        ids, mask = pad_ids([row.prompt.tokens.ids for row in rows])
        pixels = collate([row.view.prepared for row in rows])
        targets = [make_target(row.view, row.prompt, ids.shape[1]) for row in rows]
        matches = [match(level_sizes(pixels, self._strides), target.boxes) for target in targets]
        return Batch(pixels, ids, mask, targets, matches, tuple(row.name for row in rows), tuple(unread))

    def rows(self, number: int, unread: list[str]) -> list[BatchRow]:
        """The rows of batch `number`; faults of images are added to `unread`. Raises ImageError as `batch`."""
        begin = (number * self.world + self.rank) * self.batch_size
        return [self._row(index, *self._item(index), unread) for index in range(begin, begin + self.batch_size)]

    def _item(self, index: int) -> tuple[int, int]:
        """The set, and the number in it."""
        number, offset = divmod(index, self.round_length)
        if number != self._round:
            self._round, self._order = number, self._shuffled(number)
        which, item = self._order[offset].tolist()
        return which, item

    def _shuffled(self, number: int) -> npt.NDArray[np.int64]:
        """The order of a round: [round_length, 2] of (set, item)."""
        rng = np.random.default_rng((self.seed, _ORDER, number))
        parts = []
        for which, (one, weight) in enumerate(zip(self.sets, self.weights, strict=True)):
            drawn = [rng.permutation(len(one)) for _ in range(int(weight) + 1)]
            chosen = np.concatenate(drawn)[: _times(len(one), weight)]
            parts.append(np.stack([np.full(len(chosen), which), chosen], axis=1))
        return rng.permutation(np.concatenate(parts))

    def _row(self, index: int, which: int, item: int, unread: list[str]) -> BatchRow:
        """The image of an index; where it cannot be read, another of its set that depends on the index alone."""
        for tried in self._tries(index, which, item):
            try:
                return self._view(index, which, tried)
            except ImageError as error:
                unread.append(str(error))
        raise ImageError(f"{unread[-1]}; so many in a row ({len(unread)}) cannot be read: check the disk they are on")

    def _tries(self, index: int, which: int, item: int) -> Iterator[int]:
        yield item
        others = np.random.default_rng((self.seed, _OTHER, index)).permutation(len(self.sets[which]))
        yield from islice((other for other in others.tolist() if other != item), _TRIES - 1)

    def _view(self, index: int, which: int, item: int) -> BatchRow:
        rng = np.random.default_rng((self.seed, _ITEM, index))
        sample = self._sources[which](item, index, rng)
        view = self.augmentation.view(sample.image, sample.boxes, sample.prompt.prompt.text, rng)
        return BatchRow(view, sample.prompt, sample.name)


def feed(batches: Batches, workers: int = 0) -> Iterator[Batch]:
    """The stream, prepared ahead by `workers` other processes; the global random state is left alone.

    Raises what `Batches.batch` raises, also from a worker as one line, and GlipError where a worker was killed.
    """
    generator = torch.Generator().manual_seed(batches.seed)  # else it would draw a seed for them from the global one
    try:
        for made in DataLoader(_Guarded(batches), batch_size=None, num_workers=workers, generator=generator):
            if isinstance(made, GlipError):
                raise made
            yield made
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise GlipError(
            f"a process that loads batches has died ({first_line(error)}); --workers 0 does without, fewer take less "
            "memory, also of /dev/shm"
        ) from error


class _Guarded(IterableDataset[Batch | GlipError]):
    """Hands errors on as values: across processes, torch would make a traceback of them."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __iter__(self) -> Iterator[Batch | GlipError]:
        try:
            yield from self.batches
        except GlipError as error:
            yield error


def pad_ids(rows: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """Token ids int64 and their mask bool [B, T], T the longest, rounded up to a multiple of 8."""
    length = -(-max(map(len, rows)) // _MULTIPLE) * _MULTIPLE
    ids = torch.zeros(len(rows), length, dtype=torch.long)
    mask = torch.zeros(len(rows), length, dtype=torch.bool)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = True
    return ids, mask


def level_sizes(pixels: Tensor, strides: Sequence[int] = STRIDES) -> tuple[tuple[int, int], ...]:
    """(h, w) of each level for pixels [B, 3, H, W], as the network makes them: each is half of the one before."""
    height, width = pixels.shape[2:]
    return tuple((-(-height // stride), -(-width // stride)) for stride in strides)


def make_target(view: Resized, prompt: SampledPrompt, length: int) -> Target:
    """The boxes of a view that are named in its prompt; one whose name did not fit is background, as in GLIP."""
    tokens = torch.from_numpy(prompt.token_map(length))[view.kept]
    named = tokens.any(dim=1)
    return Target(view.boxes[named], tokens[named])


def _times(count: int, weight: float) -> int:
    """Images of a set in a round."""
    return round(count * weight)
