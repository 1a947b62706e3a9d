"""Flickr30k Entities: which phrases of an image's sentences are to be found, and how many were (recall@k).

    DATASET/flickr30k/                       what microsoft/GLIP expects; the inner folder alone will do too
      flickr30k/        Sentences/ID.txt, Annotations/ID.xml, val.txt, test.txt
      flickr30k_images/ val/ID.jpg, test/ID.jpg; or all in one folder

The protocol is MDETR's, as microsoft/GLIP has it (data/datasets/evaluation/flickr/flickr_eval.py): every sentence is
one caption, every phrase with a box is one label, and a phrase counts as found where one of its k best boxes overlaps
a box of its chain by IoU >= 0.5, without the +1 that GLIP's own boxes have elsewhere.
"""

from __future__ import annotations

import math
import platform
import threading
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glip_cli.data.image_files import inside
from glip_cli.data.sources import ImageInput
from glip_cli.data.values import read_text, shown
from glip_cli.detector import Detector
from glip_cli.errors import DataError, ImageError
from glip_cli.evaluation.flickr30k_text import Box, MarkedPhrase, read_boxes, read_sentences
from glip_cli.inference.batch_detector import ImageFeatures
from glip_cli.inference.preprocess import preprocess
from glip_cli.options import DetectKeywords, DetectOptions
from glip_cli.outputs.records import AnyRecord, record
from glip_cli.prompts.prompt import caption_prompt
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.items import Item
from glip_cli.runs.read_image import ImageReader, failed_record
from glip_cli.types import Prompt
from glip_cli.utils.boxes import pairwise_iou
from glip_cli.utils.text_format import listed

PROTOCOLS = ("any", "merged")
IOU = 0.5
RANKS = {"Recall@1": 1, "Recall@5": 5, "Recall@10": 10, "Upper_bound": math.inf}
"""Name -> among how many of a phrase's best boxes the first right one must be."""

_ALL = "all"
_ENTITIES = (".", "flickr30k", "flickr30k_entities")
_IMAGES = ("flickr30k_images", "flickr30k-images", "images")


@dataclass(frozen=True)
class ScoredPhrase:
    """A phrase that is scored: where it stands in the sentence, and the boxes of its chain (at least one)."""

    phrase: MarkedPhrase
    boxes: tuple[Box, ...]


@dataclass(frozen=True)
class ScoredSentence:
    """One sentence with at least one phrase to be found.

    Attributes:
        image: the image's file.
        image_id, sentence: its name in the split, and the sentence's number in its file, from 0.
        text: the sentence without markup.
        phrases: the scored phrases in reading order; label i of the prompt is phrase i.
    """

    image: Path
    image_id: str
    sentence: int
    text: str
    phrases: tuple[ScoredPhrase, ...]


@dataclass(frozen=True)
class Recalls:
    """The recall of phrases: Recall@k and its upper bound.

    Attributes:
        protocol: "any" or "merged".
        recall: "Recall@1_all", "Recall@5_people", "Upper_bound_scene" ... -> share in [0, 1]; the keys of
            microsoft/GLIP. The upper bound takes all boxes of a phrase.
        phrases: "all" and each type that occurs -> how many phrases that is a share of.
    """

    protocol: str
    recall: dict[str, float]
    phrases: dict[str, int]


def flickr_items(root: Path, split: str, *, images: Path | None = None) -> Iterator[ScoredSentence]:
    """The sentences of a split with their scored phrases, in the order of `{split}.txt`.

    Phrases whose chain has no box (notvisual, nobndbox, scene) are left out, as in the reference, and so are sentences
    that have no other. Captions that the data set calls unrelated to their image are kept, as there.

    Args:
        root: the folder of the annotations, or the one above it.
        split: "val" or "test", or whatever has a .txt of image names.
        images: the folder of the images; by default looked for beside the annotations.

    Raises:
        DataError: at once where the split or the images are not there; in its turn, for a file that cannot be read.
    """
    entities = _entities(root, split)
    listed = entities / f"{split}.txt"
    names = read_text(listed).split()
    if not names:
        raise DataError(f"{listed}: names no image; fetch it again")
    for name in names:
        if inside(entities, name) is None:
            raise DataError(f"{listed}: {shown(name)} leads out of the folder; fetch it again")
    folder = _images(entities, split, names[0], images)
    return (item for name in names for item in _image_items(entities, name, folder / f"{name}.jpg"))


def item_prompt(item: ScoredSentence) -> Prompt:
    """The sentence as a caption, one label per scored phrase."""
    return caption_prompt(item.text, spans=[[one.phrase.span] for one in item.phrases])


def recall(
    predictions: Iterable[Sequence[npt.ArrayLike]], items: Iterable[ScoredSentence], protocol: str = "any"
) -> Recalls:
    """Recall@1, @5, @10 and with all boxes, over all phrases and over those of each type.

    A phrase of several types counts for each. One without any box found is missed (the reference appends a box of
    zeros to every list, to the same end). "any" takes each box of a chain as an answer; "merged" takes the smallest
    box around them all.

    Args:
        predictions: for each item, for each of its phrases, boxes [n, 4] best first, xyxy in absolute pixels.
        items: of `flickr_items`, in the same order.
        protocol: "any" (what GLIP's numbers are) or "merged".

    Raises:
        DataError: an unknown protocol, or no item at all.
        ValueError: predictions and items, or their phrases, are not equally many.
    """
    if protocol not in PROTOCOLS:
        raise DataError(f"there is no protocol {protocol!r}; there are {' and '.join(PROTOCOLS)}")
    hits: Counter[str] = Counter()
    phrases: Counter[str] = Counter()
    for found, item in zip(predictions, items, strict=True):
        for boxes, wanted in zip(found, item.phrases, strict=True):
            answers = np.array(wanted.boxes, np.float64)
            if protocol == "merged":
                answers = np.concatenate([answers[:, :2].min(0), answers[:, 2:].max(0)])[None]
            types = (_ALL, *wanted.phrase.types)
            rank = _first_hit(boxes, answers)
            phrases.update(types)
            hits.update(f"{name}_{kind}" for name, limit in RANKS.items() if rank < limit for kind in types)
    if not phrases:
        raise DataError("no phrase of the split has a box, so there is nothing to score; check the Annotations")
    kinds = [_ALL, *sorted(phrases.keys() - {_ALL})]
    shares = {f"{name}_{kind}": hits[f"{name}_{kind}"] / phrases[kind] for name in RANKS for kind in kinds}
    return Recalls(protocol, shares, {kind: phrases[kind] for kind in kinds})


def _first_hit(boxes: npt.ArrayLike, answers: npt.NDArray[np.float64]) -> float:
    """The rank, from 0, of the first box that overlaps an answer enough; infinity if none does."""
    overlaps = pairwise_iou(np.asarray(boxes, np.float64).reshape(-1, 4), answers)
    found = np.flatnonzero((overlaps >= IOU).any(axis=1))
    return int(found[0]) if found.size else math.inf


def _image_items(entities: Path, name: str, image: Path) -> Iterator[ScoredSentence]:
    boxes = read_boxes(entities / "Annotations" / f"{name}.xml")
    for number, sentence in enumerate(read_sentences(entities / "Sentences" / f"{name}.txt")):
        phrases = tuple(ScoredPhrase(one, boxes[one.chain]) for one in sentence.phrases if one.chain in boxes)
        if phrases:
            yield ScoredSentence(image, name, number, sentence.text, phrases)


def _entities(root: Path, split: str) -> Path:
    folders = [root / name for name in _ENTITIES]
    found = next((folder for folder in folders if (folder / "Sentences").is_dir()), None)
    if found is None:
        raise DataError(f"{root}: no Flickr30k Entities here; give the folder that holds Sentences/ and Annotations/")
    if not (found / f"{split}.txt").is_file():
        have = listed(sorted(path.stem for path in found.glob("*.txt"))) or "none"
        raise DataError(f"{found}: there is no {split}.txt; splits there: {have}")
    return found


def _images(entities: Path, split: str, first: str, images: Path | None) -> Path:
    """The folder in which the first image of the split lies."""
    homes = [images] if images else [parent / name for parent in (entities, entities.parent) for name in _IMAGES]
    folders = [folder for home in homes for folder in (home / split, home)]
    found = next((folder for folder in folders if (folder / f"{first}.jpg").is_file()), None)
    if found is None:
        asked = images or entities.parent / _IMAGES[0]
        raise DataError(f"{asked}: no image {first}.jpg there; give the folder of the Flickr30k images")
    return found


# --------------------------------------------------------------------------------------------------------------- engine
# The engine of Flickr30k: every item is a sentence of its own about its image.
#
# The sentences of one image follow each other, so the model looks at it once for all of them.


OPTIONS: DetectKeywords = {"threshold": 0.0}
"""Fields of `DetectOptions`: the protocol takes every box that post-processing leaves."""


class CaptionEngine:
    """See `batch.items.Engine`. The name of an item's source says which of the sentences it is."""

    block_size = 1
    host = platform.node()

    def __init__(
        self, detector: Detector, options: DetectOptions, sentences: Mapping[str, ScoredSentence], stop: threading.Event
    ):
        self.detector, self.options, self.sentences, self.stop = detector, options, sentences, stop
        self.flight, self._reading = InFlight(), ImageReader()
        self._last = lru_cache(maxsize=1)(self._look)

    def __call__(self, items: Iterable[Item]) -> Generator[AnyRecord, None, None]:
        for item in items:
            if self.stop.is_set():
                return
            yield self._record(item.source.name, item.source.location)

    def _record(self, name: str, path: str) -> AnyRecord:
        try:
            self.flight.refuse(path)
            with self.flight.at(path):
                seen = self._last(path)
                compiled = self.detector.compile_prompt(item_prompt(self.sentences[name]), self.options)
                (found,) = self.detector.detect_features(seen, compiled, self.options)
        except ImageError as error:
            return failed_record(name, error, self.detector.name)
        return record(name, found, self.detector.name)

    def _look(self, path: str) -> ImageFeatures:
        size = self.detector.image_size(self.options.size)
        return self.detector.encode_images([preprocess(self._reading(ImageInput(path, path)), *size)])


def source_of(item: ScoredSentence) -> ImageInput:
    return ImageInput(f"{item.image_id}#{item.sentence}", str(item.image))


def boxes_of(record: AnyRecord, phrases: int) -> Sequence[npt.NDArray[np.float32]]:
    """For each phrase its boxes, best first: float32 [n, 4] xyxy; none where the image could not be read."""
    boxes: list[list[list[float]]] = [[] for _ in range(phrases)]
    for found in () if "error" in record else record["detections"]:
        boxes[found["label_id"]].append([found["box"][corner] for corner in ("xmin", "ymin", "xmax", "ymax")])
    return [np.array(rows, np.float32).reshape(-1, 4) for rows in boxes]
