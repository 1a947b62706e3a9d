"""Validation: the scores of a model on the validation data, and on a check set that shows what is forgotten.

It is measured as `glip eval` does, on the road that every command takes: `Detector`, then COCO's AP. Precision and
recall are those of the report: boxes of all classes together, matched at IoU 0.5.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from glip_cli.data.box_transforms import checked_box_transforms
from glip_cli.data.dataset import read_as
from glip_cli.data.issues import Issues
from glip_cli.data.sources import ImageInput
from glip_cli.detector import Detector
from glip_cli.evaluation.boxes import COCO_RULES, BoxTask, box_task
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.evaluation.report.examples import Matches
from glip_cli.evaluation.results import Predictions
from glip_cli.evaluation.scenes import SCENES, composition, draw_scenes
from glip_cli.evaluation.scores import BoxScores, coco_scores
from glip_cli.inference.preprocess import PreprocessedImage
from glip_cli.model.head import RawOutput
from glip_cli.options import DetectOptions
from glip_cli.outputs.images import AnnotatedImages
from glip_cli.prompts.chunking import Chunk
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.prompts.words import Words
from glip_cli.runs.items import Item
from glip_cli.runs.local import ImageResult, LocalEngine
from glip_cli.runs.runner import Runner
from glip_cli.training.assign import match
from glip_cli.training.batches import make_target
from glip_cli.training.dataset import DetectionItem, TrainSet, train_set_of
from glip_cli.training.distributed import Distributed
from glip_cli.training.loss import EPS, Target, add_to, grounding_loss, normalisers
from glip_cli.training.sampler import PromptSampler
from glip_cli.training.transforms import with_boxes
from glip_cli.utils.text_format import counted, listed

Scores = Mapping[str, float | None]
"""Name -> a number; None where it is undefined, since the data set has no box of that kind."""
KEYS = ("AP", "AP50", "AP75", "APs", "APm", "APl")


@dataclass(frozen=True)
class ValidationCheck:
    """A data set to measure on.

    Attributes:
        task: what is asked of which images.
        drawn: its images are drawn scenes; pairs that training never saw are then distinguished.
        train_set: the same as one would train on it, where the loss is measured too.
    """

    task: BoxTask
    drawn: bool = False
    train_set: TrainSet | None = None

    @property
    def name(self) -> str:
        return f"{self.task.name}, {counted(len(self.task.truth.images), 'image')}"

    def notes(self, sets: Iterable[TrainSet]) -> Iterator[str]:
        """Notes on its annotations and images, and on images that are in the training sets too.

        Raises:
            UnavailableError: the disk of an image does not answer.
        """
        truth, images = self.task.truth, self.task.images
        trained = {os.path.abspath(item.image) for one in sets for item in one.items}
        both = sum(os.path.abspath(image) in trained for image in images.values())
        yield from truth.notes
        yield from checked_box_transforms(truth.images, truth.annotations, images).issues.notes
        if both:
            some = f"{both} of its {counted(len(images), 'image is', 'images are')} trained on too"
            yield f"{some}; AP on them says little of others"

    def untrained(self, sets: Sequence[TrainSet]) -> Iterator[str]:
        """A note on its classes with boxes that none of the training sets has; `sets` are all, and hold no captions."""
        trained = {read_as(label) for one in sets for label in one.labels}
        used = {row["category_id"] for row in self.task.truth.annotations}
        lacking = [
            one.name for one in self.task.truth.promptable if one.id in used and read_as(one.name) not in trained
        ]
        if lacking:
            yield f"classes that no training set has, which AP counts: {listed(lacking)}; check how they are called"


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a check.

    Attributes:
        losses: "val_loss" and its parts; empty where they are not measured.
    """

    check: ValidationCheck
    scores: BoxScores
    predictions: Predictions
    losses: Mapping[str, float] = field(default_factory=dict)

    @property
    def numbers(self) -> Scores:
        """COCO's numbers; and precision, recall and F1 at the threshold that `glip detect` has by default."""
        shown = {key: self.scores.summary[key] for key in KEYS}
        shown |= composition(self.scores) if self.check.drawn else {}
        usual = self._matches.judged.at(DetectOptions().threshold)
        shown |= {"precision": usual.precision, "recall": usual.recall, "F1": usual.f1}
        return {name: value if value >= 0 else None for name, value in shown.items()}

    @property
    def row(self) -> Scores:
        """The numbers; the same at the threshold of the largest F1; and the losses."""
        best = self._matches.best()
        return {
            **self.numbers,
            "max_F1": best.f1,
            "max_F1_precision": best.precision,
            "max_F1_recall": best.recall,
            "max_F1_threshold": best.threshold,
            **self.losses,
        }

    @cached_property
    def _matches(self) -> Matches:
        return Matches(self.scores.evaluation, self.check.task.truth)


def measure(
    check: ValidationCheck,
    detector: Detector,
    processes: Distributed,
    batch_size: int = 1,
    note: Callable[[str], None] = lambda note: None,
) -> Evaluation:
    """The same in all processes; each detects in its share of the images. `note` is called for unreadable ones."""
    options = replace(DetectOptions(**COCO_RULES.options), batch_size=batch_size)
    task, loss = check.task, None
    asked = task.sources
    runner = Runner(detector, detector.compile_prompt(task.category_prompt.prompt, options), options)
    if check.train_set:
        sources = dict(zip((image.id for image in task.truth.images), asked, strict=True))
        loss = ValidationLoss(check.train_set, sources, detector.tokenizer, detector.model.config.text.window)
        runner.observe = loss.add
    engine = LocalEngine(runner, AnnotatedImages(Path()))
    records = list(engine(map(Item, asked[processes.rank :: processes.world])))
    for record in records:
        if "error" in record:
            note(f"{task.name}: {record['error']}")
    shares = processes.gather(records)
    predictions = task.predictions(shares[i % processes.world][i // processes.world] for i in range(len(asked)))
    losses = divided(processes.gather(loss.sums)) if loss else {}
    return Evaluation(check, coco_scores(task.truth, predictions.results), predictions, losses)


def new_check(
    annotations: Path,
    images: Path | None,
    limit: int | None = None,
    skip_missing: bool = False,
    words: Words | None = None,
) -> ValidationCheck:
    """A data set of any kind, read as `glip eval` reads it; `words` of classes that it lacks do not matter.

    Raises UsageError.
    """
    truth = read_ground_truth(annotations, images=images)
    folder = images or truth.folder
    task = box_task(truth.name, truth, folder, COCO_RULES, limit=limit, skip_missing=skip_missing, words=words or {})
    return ValidationCheck(task)


def with_loss(check: ValidationCheck) -> ValidationCheck:
    """The same, on which the loss is measured too. Raises UnavailableError."""
    files = replace(check.task.truth, paths=check.task.images, issues=Issues())
    prompt = check.task.category_prompt.prompt
    words = dict(zip(prompt.labels, prompt.words, strict=True))
    return replace(check, train_set=replace(train_set_of(files), words=words))


def drawn_check(folder: Path, count: int = SCENES) -> ValidationCheck:
    """The check of `glip eval scenes`; the scenes are written to `folder`."""
    truth = read_ground_truth(draw_scenes(folder, count))
    return ValidationCheck(box_task("drawn scenes", truth, folder, COCO_RULES), drawn=True)


# ------------------------------------------------------------------------------------------------------ validation loss
# The training loss on the images of a validation. It is taken from the outputs that the detections come from, so the
# network does not run twice: images at the model's own size, not mirrored, without dropout. Each image is asked for all
# labels in their order, in as many texts as evaluation needs, as training asks where they fit one text. All pairs of an
# image and a text count as one batch, so the numbers depend on the weights and the data alone. Where the labels need
# several texts, training draws one with the labels of the image, and here are also texts that name nothing in it: the
# losses of training and validation then differ in level.


Sums = dict[tuple[int, int], dict[str, float]]
"""(image id, first label of a text) -> the parts of the loss, undivided, and the two numbers that divide them."""
POSITIVES, CENTRED = "positives", "centred"


class ValidationLoss:
    """The validation loss over the images of this process.

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
        """The callback for `Runner.observe`."""
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
