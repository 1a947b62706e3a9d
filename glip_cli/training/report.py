"""report.html of a training: first batches, classes, curves, before and after, and how the best state does on --val.

It is written before the first step, after epochs with the curves so far, and at the end.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from PIL import Image

from glip_cli.detector import Detector
from glip_cli.evaluation.report.charts import figure, to_markup
from glip_cli.evaluation.report.examples import LABELLED, Drawing, Mark, draw
from glip_cli.evaluation.report.page import ReportRow, ReportSection, ReportTable, write_page
from glip_cli.evaluation.report.sections import lead, run_sections
from glip_cli.inference.preprocess import MEAN_BGR, STD_BGR
from glip_cli.outputs.files import atomic_write, save_json
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.batches import Batches, BatchRow
from glip_cli.training.checkpoint import TrainingFolder
from glip_cli.training.dataset import DetectionItem, TrainSet
from glip_cli.training.distributed import Distributed
from glip_cli.training.init_model import Start
from glip_cli.training.metrics_log import LOSSES, RATES, SCORES, Row, draw_curves
from glip_cli.training.validation import Evaluation, Scores, ValidationCheck, measure
from glip_cli.utils.json import parsed_object
from glip_cli.utils.text_format import percent

SHOWN = 12  # images of the first batches


@dataclass(frozen=True)
class TrainingReport:
    """The facts of a training that are known before its first step.

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
        rows: Sequence[Row] = (),
        table: Sequence[ValidationRow] = (),
        final: Evaluation | None = None,
    ) -> None:
        """Write the page: rows of metrics.jsonl, before and after, the best state on --val. Raises GlipError."""
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
        boxes, images = Counter[str](), Counter[str]()
        for one in sets:
            for item in one.items:
                labels = [one.labels[i] for i in item.labels] if isinstance(item, DetectionItem) else []
                boxes.update(labels)
                images.update(set(labels))
        if not boxes:
            return None
        held: Counter[str] = Counter()
        if self.check:
            names = {category.id: category.name for category in self.check.task.truth.categories}
            held.update(names[row["category_id"]] for row in self.check.task.truth.annotations)
        classes = dict.fromkeys(label for one in sets for label in one.labels)
        rows = tuple(ReportRow((label, boxes[label], images[label], held[label])) for label in classes)
        return ReportTable("Classes", ("class", "training boxes", "images", "--val boxes"), rows)


def _curves(rows: Sequence[Row]) -> Iterator[ReportSection]:
    """The curves; those of AP, precision and recall only where they were measured."""
    parts = [("losses", "Losses and learning rate", (*LOSSES, *RATES)), ("scores", "AP, precision and recall", SCORES)]
    for anchor, title, panels in parts if any("AP" in row for row in rows) else parts[:1]:
        with figure(5.2, 6.4) as drawn:
            draw_curves(drawn, rows, panels)
            chart = to_markup(drawn, f"{title} over the epochs, as in metrics.jsonl")
        yield ReportSection("training", title, chart, wide=False, anchor=anchor)


def first_batches(batches: Batches) -> list[Drawing]:
    """Up to 12 images, with the boxes that the network learns. Raises ImageError."""
    count = min(-(-SHOWN // batches.batch_size), batches.per_round)
    rows = [row for number in range(count) for row in batches.rows(number, [])]
    return [_drawing(row) for row in rows[:SHOWN]]


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


# ----------------------------------------------------------------------------------------------------- before and after
# What was gained and what was forgotten: AP on the new data and on a check set, before and after a training.


NEW, KEPT = "new data", "keep-check"


@dataclass
class BeforeAndAfter:
    """Measures one training: before its first step, after epochs, and at its end.

    Attributes:
        checks: what there is of `NEW` and `KEPT`.
        start: its model is the one that trains.
        note: is given remarks.
        latest: of each check, the last time.
        seconds: that each check took.
    """

    checks: Mapping[str, ValidationCheck]
    start: Start
    folder: TrainingFolder
    processes: Distributed
    note: Callable[[str], None]
    latest: dict[str, Evaluation] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def names(self) -> dict[str, str]:
        return {name: check.name for name, check in self.checks.items()}

    def validate(self) -> Scores:
        """Scores of the current model on the validation data."""
        return self._measure(NEW, self._live()).row

    def before(self) -> dict[str, Scores]:
        """Measured once, before the first step, and kept in before.json."""
        file = self.folder.path / "before.json"
        found = parsed_object(file.read_bytes()) if file.exists() and self.folder.state.exists() else None
        if found is not None and all(
            map(_are_scores, found.values())
        ):  # else damaged: the model is still that of before
            return found
        scores = self._measure_all("before the training", self._live())
        self.processes.wait()  # all have looked for the file
        if self.processes.first:
            with self.folder.writing():
                save_json(file, scores, indent=2)
        return scores

    def after(self) -> dict[str, Scores]:
        """Scores of the best checkpoint, loaded as a user would load it."""
        self.processes.wait()
        detector = Detector.load(
            str(self.folder.best), bert=self.start.tokenizer, device=str(self.processes.device), offline=True
        )
        return self._measure_all("of the best state", detector)

    def _live(self) -> Detector:
        """The current model; it shares the weights with the training."""
        tokenizer = Tokenizer.from_dir(self.start.tokenizer)
        return Detector(self.start.model, tokenizer, self.start.name, str(self.processes.device))

    def _measure_all(self, when: str, detector: Detector) -> dict[str, Scores]:
        """Scores of every check, with a message, because it can take long."""
        scores = {}
        for name, check in self.checks.items():
            self.note(f"measuring AP {when} on {check.name}")
            began = time.monotonic()
            scores[name] = self._measure(name, detector).numbers
            self.seconds[name] = time.monotonic() - began
        return scores

    def _measure(self, name: str, detector: Detector) -> Evaluation:
        size = 1 if self.processes.device.type == "cpu" else 8
        self.latest[name] = measure(self.checks[name], detector, self.processes, size, self.note)
        return self.latest[name]


def _are_scores(value: object) -> bool:
    return isinstance(value, dict) and all(one is None or isinstance(one, int | float) for one in value.values())


@dataclass(frozen=True)
class ValidationRow:
    """One number on one data set.

    Attributes:
        check: `NEW` or `KEPT`.
        before, after: in [0, 1]; None where the metric is undefined.
    """

    check: str
    name: str
    metric: str
    before: float | None
    after: float | None


def compare(names: Mapping[str, str], before: Mapping[str, Scores], after: Mapping[str, Scores]) -> list[ValidationRow]:
    """Rows of all metrics measured before and after; `names` are the names of the checks."""
    return [
        ValidationRow(check, name, metric, before[check][metric], value)
        for check, name in names.items()
        for metric, value in after.get(check, {}).items()
        if check in before and metric in before[check]
    ]


def write_table(folder: Path, rows: Sequence[ValidationRow]) -> None:
    """before_after.json for programs, before_after.md for people. Raises OSError."""
    save_json(folder / "before_after.json", [vars(row) for row in rows], indent=2)
    lines = ["| data | metric | before | after | change |", "|--|--|--:|--:|--:|"]
    lines += ["| {} | {} | {} | {} | {} |".format(*cells(row)) for row in rows]
    with atomic_write(folder / "before_after.md") as stream:
        stream.write("\n".join([*lines, ""]).encode())


def cells(row: ValidationRow) -> tuple[str, str, str, str, str]:
    """Data, metric, and in percent before, after and the change; a dash for what is undefined."""
    change = "-" if row.before is None or row.after is None else f"{(row.after - row.before) * 100:+.1f}"
    return f"{row.check} ({row.name})", row.metric, percent(row.before), percent(row.after), change
