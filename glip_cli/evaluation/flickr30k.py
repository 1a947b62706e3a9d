"""Flickr30k Entities: which phrases of an image's sentences are to be found, and how many were (recall@k).

    DATASET/flickr30k/                       what microsoft/GLIP expects; the inner folder alone will do too
      flickr30k/        Sentences/ID.txt, Annotations/ID.xml, val.txt, test.txt
      flickr30k_images/ val/ID.jpg, test/ID.jpg; or all in one folder

The protocol is MDETR's, as microsoft/GLIP has it (data/datasets/evaluation/flickr/flickr_eval.py): every sentence is
one caption, every phrase with a box is one label, and a phrase counts as found where one of its k best boxes overlaps
a box of its chain by IoU >= 0.5, without the +1 that GLIP's own boxes have elsewhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from glip_cli.data.image_files import inside
from glip_cli.data.values import shown
from glip_cli.errors import DataError
from glip_cli.evaluation.flickr30k_text import Box, MarkedPhrase, Sentence, read_annotations, read_sentences, read_text
from glip_cli.prompts.prompt import caption_prompt
from glip_cli.types import Detections, Prompt
from glip_cli.utils.boxes import pairwise_iou
from glip_cli.utils.text_format import listed

PROTOCOLS = ("any", "merged")
IOU = 0.5
TOP_K = (1, 5, 10)

_ALL = "all"
_BOUND = "Upper_bound"
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
    """How many phrases were found.

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


def phrase_boxes(detections: Detections) -> tuple[npt.NDArray[np.float32], ...]:
    """For each label the boxes that were found for it, best first: float32 [n, 4] xyxy, n may be 0."""
    return tuple(detections.boxes[detections.label_ids == label] for label in range(len(detections.labels)))


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
            kinds = (_ALL, *wanted.phrase.types)
            rank = _first_hit(boxes, wanted.boxes if protocol == "any" else (_hull(wanted.boxes),))
            phrases.update(kinds)
            hits.update(f"{limit}_{kind}" for limit in _limits(rank) for kind in kinds)
    if not phrases:
        raise DataError("no phrase of the split has a box, so there is nothing to score; check the Annotations")
    return Recalls(protocol, _shares(hits, phrases), {kind: phrases[kind] for kind in _kinds(phrases)})


def _first_hit(boxes: npt.ArrayLike, answers: Sequence[Box]) -> int | None:
    """How many boxes stand before the first that overlaps an answer enough; None where none does."""
    overlaps = pairwise_iou(np.asarray(boxes, np.float64).reshape(-1, 4), np.asarray(answers, np.float64))
    found = np.flatnonzero((overlaps >= IOU).any(axis=1))
    return int(found[0]) if found.size else None


def _hull(boxes: Sequence[Box]) -> Box:
    x1, y1, x2, y2 = zip(*boxes, strict=True)
    return min(x1), min(y1), max(x2), max(y2)


def _limits(rank: int | None) -> list[str]:
    """The limits within which a hit of that rank lies."""
    if rank is None:
        return []
    return [*(f"Recall@{k}" for k in TOP_K if rank < k), _BOUND]


def _shares(hits: Counter[str], phrases: Counter[str]) -> dict[str, float]:
    limits = [*(f"Recall@{k}" for k in TOP_K), _BOUND]
    return {f"{limit}_{kind}": hits[f"{limit}_{kind}"] / phrases[kind] for limit in limits for kind in _kinds(phrases)}


def _kinds(phrases: Counter[str]) -> list[str]:
    """ "all", then the types by name."""
    return [_ALL, *sorted(kind for kind in phrases if kind != _ALL)]


def _image_items(entities: Path, name: str, image: Path) -> Iterator[ScoredSentence]:
    boxes = read_annotations(entities / "Annotations" / f"{name}.xml").boxes
    for number, sentence in enumerate(read_sentences(entities / "Sentences" / f"{name}.txt")):
        phrases = _scored(sentence, boxes)
        if phrases:
            yield ScoredSentence(image, name, number, sentence.text, phrases)


def _scored(sentence: Sentence, boxes: dict[str, tuple[Box, ...]]) -> tuple[ScoredPhrase, ...]:
    return tuple(ScoredPhrase(phrase, boxes[phrase.chain]) for phrase in sentence.phrases if phrase.chain in boxes)


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
    homes = [images] if images else [place / name for place in (entities, entities.parent) for name in _IMAGES]
    folders = [folder for home in homes for folder in (home / split, home)]
    found = next((folder for folder in folders if (folder / f"{first}.jpg").is_file()), None)
    if found is None:
        asked = images or entities.parent / _IMAGES[0]
        raise DataError(f"{asked}: no image {first}.jpg there; give the folder of the Flickr30k images")
    return found
