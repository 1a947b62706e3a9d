"""report.html of a training: first batches, classes, curves, before and after, and how the best state does on --val.

It is written before the first step, after epochs with the curves so far, and at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import torch
from PIL import Image

from glip_cli.evaluation.report.charts import figure, to_markup
from glip_cli.evaluation.report.examples import LABELLED, Drawing, Mark, draw
from glip_cli.evaluation.report.page import ReportRow, ReportSection, ReportTable, write_page
from glip_cli.evaluation.report.sections import lead, run_sections
from glip_cli.inference.preprocess import MEAN_BGR, STD_BGR
from glip_cli.training.batches import Batches, BatchRow
from glip_cli.training.before_after import ValidationRow
from glip_cli.training.dataset import DetectionItem, TrainSet
from glip_cli.training.metrics_log import LOSSES, RATES, SCORES, draw_curves
from glip_cli.training.validation import Evaluation, ValidationCheck

SHOWN = 12  # images of the first batches


@dataclass(frozen=True)
class TrainingReport:
    """What is known before the first step.

    Attributes:
        facts: name -> value: the model that training begins with, the recipe ...
        notes: what is odd about the data.
        check: the data of --val.
    """

    path: Path
    title: str
    facts: Mapping[str, str]
    notes: Sequence[str]
    batches: Batches
    check: ValidationCheck | None = None

    def write(
        self,
        rows: Sequence[Mapping[str, object]] = (),
        table: Sequence[ValidationRow] = (),
        final: Evaluation | None = None,
    ) -> None:
        """Write the page.

        Args:
            rows: of metrics.jsonl.
            table: before and after.
            final: of the best state on --val.

        Raises:
            GlipError: an image cannot be read, or the page cannot be written.
        """
        sections = [ReportSection("run", "The training", {"facts": self.facts, "notes": self.notes})]
        if table:
            sections.append(ReportSection("validation", "Before and after", table))
        if rows:
            sections += _curves(rows)
        if classes := self._classes():
            sections.append(ReportSection("table", classes.title, classes, wide=False, anchor="data"))
        sections.append(ReportSection("batches", "First batches", self._drawings))
        if final is None:
            write_page(self.path, self.title, sections)
            return
        truth, predictions = final.check.task.truth, final.predictions
        sections += run_sections(final.scores, truth, final.check.task.images, predictions.transforms)
        about = lead(final.scores, truth, len(predictions.results))
        write_page(self.path, self.title, sections, lead=["best state", *about], summary=final.scores.summary)

    @cached_property
    def _drawings(self) -> list[Drawing]:
        return first_batches(self.batches)

    def _classes(self) -> ReportTable | None:
        """Boxes of each class; none of captions and drawn scenes, which have other classes in every image."""
        sets = [one for one in self.batches.sets if isinstance(one, TrainSet) and one.labels]
        boxes, images = count_classes(chain.from_iterable(map(_labels_of_images, sets)))
        if not boxes:
            return None
        held: Counter[str] = Counter()
        if self.check:
            names = {category.id: category.name for category in self.check.task.truth.categories}
            held.update(names[row["category_id"]] for row in self.check.task.truth.annotations)
        labels = dict.fromkeys(label for one in sets for label in one.labels)
        rows = tuple(ReportRow((label, boxes[label], images[label], held[label])) for label in labels)
        return ReportTable("Classes", ("class", "training boxes", "images", "--val boxes"), rows)


def _labels_of_images(one: TrainSet) -> Iterable[list[str]]:
    return ([one.labels[i] for i in item.labels] for item in one.items if isinstance(item, DetectionItem))


def count_classes(images: Iterable[Sequence[str]]) -> tuple[Counter[str], Counter[str]]:
    """Of the labels of the boxes of each image: how many boxes, and how many images have such a box."""
    boxes, having = Counter[str](), Counter[str]()
    for labels in images:
        boxes.update(labels)
        having.update(set(labels))
    return boxes, having


def _curves(rows: Sequence[Mapping[str, object]]) -> Iterator[ReportSection]:
    """Of AP, precision and recall only where they were measured."""
    parts = [("losses", "Losses and learning rate", (*LOSSES, *RATES)), ("scores", "AP, precision and recall", SCORES)]
    for anchor, title, panels in parts if any("AP" in row for row in rows) else parts[:1]:
        with figure(5.2, 6.4) as drawn:
            draw_curves(drawn, rows, panels)
            chart = to_markup(drawn, f"{title} over the epochs, as in metrics.jsonl")
        yield ReportSection("training", title, chart, wide=False, anchor=anchor)


def first_batches(batches: Batches) -> list[Drawing]:
    """Up to 12 images, with the boxes that the network learns. Raises ImageError."""
    count = min(-(-SHOWN // batches.batch_size), batches.per_round)
    rows = chain.from_iterable(map(batches.rows, range(count)))
    return [_drawing(row) for row in list(rows)[:SHOWN]]


def _drawing(row: BatchRow) -> Drawing:
    view, prompt = row.view, row.prompt
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN_BGR, STD_BGR))
    pixels = (view.prepared.pixels * std + mean).round().clamp(0, 255).byte().flip(0).permute(1, 2, 0)
    marks = []
    for (x1, y1, x2, y2), i in zip(view.boxes.tolist(), view.kept.tolist(), strict=True):
        label = ", ".join(prompt.prompt.labels[label] for label in prompt.positive[i])
        if label:
            marks.append(Mark((x1, y1, x2 - x1 + 1, y2 - y1 + 1), label, LABELLED))
    size = " x ".join(map(str, pixels.shape[1::-1]))
    return draw(Image.fromarray(pixels.numpy()), marks, Path(row.name).name, size + ", mirrored" * view.flipped)
