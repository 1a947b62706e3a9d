"""What was gained and what was forgotten: AP on the new data and on a check set, before and after a training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from glip_cli.detector import Detector
from glip_cli.outputs.files import atomic_write, save_json
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.checkpoint import TrainingFolder
from glip_cli.training.distributed import Distributed
from glip_cli.training.init_model import Start
from glip_cli.training.validation import Evaluation, Evaluator, Scores, ValidationCheck
from glip_cli.utils.text_format import percent

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
        """Of the current model, on the new data."""
        return self._measure(NEW, self._live()).row

    def before(self) -> dict[str, Scores]:
        """Measured once, before the first step, and kept in before.json."""
        file = self.folder.path / "before.json"
        if file.exists() and self.folder.state.exists():
            found: dict[str, Scores] = json.loads(file.read_bytes())
            return found
        scores = self._measure_all("before the training", self._live())
        self.processes.wait()  # all have looked for the file
        if self.processes.first:
            with self.folder.writing():
                save_json(file, scores, indent=2)
        return scores

    def after(self) -> dict[str, Scores]:
        """Of the best state, loaded as anyone would load it."""
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
        """Of every check; it can take long, so it is said."""
        scores = {}
        for name, check in self.checks.items():
            self.note(f"measuring AP {when} on {check.name}")
            began = time.monotonic()
            scores[name] = self._measure(name, detector).numbers
            self.seconds[name] = time.monotonic() - began
        return scores

    def _measure(self, name: str, detector: Detector) -> Evaluation:
        size = 1 if self.processes.device.type == "cpu" else 8
        found = Evaluator(size, notes=self.note)(self.checks[name], detector, self.processes)
        self.latest[name] = found
        return found


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
    """Rows of all numbers that were measured before and after; `names` tells what each check is."""
    return [
        ValidationRow(check, name, metric, before[check][metric], value)
        for check, name in names.items()
        for metric, value in after.get(check, {}).items()
        if check in before and metric in before[check]
    ]


def write_table(folder: Path, rows: Sequence[ValidationRow]) -> tuple[Path, Path]:
    """before_after.json for programs, before_after.md for people. Raises OSError."""
    save_json(folder / "before_after.json", [vars(row) for row in rows], indent=2)
    lines = ["| data | metric | before | after | change |", "|--|--|--:|--:|--:|"]
    lines += ["| {} | {} | {} | {} | {} |".format(*cells(row)) for row in rows]
    with atomic_write(folder / "before_after.md") as stream:
        stream.write("\n".join([*lines, ""]).encode())
    return folder / "before_after.json", folder / "before_after.md"


def cells(row: ValidationRow) -> tuple[str, str, str, str, str]:
    """Data, metric, and in percent before, after and the change; a dash for what is undefined."""
    change = "-" if row.before is None or row.after is None else f"{(row.after - row.before) * 100:+.1f}"
    return f"{row.check} ({row.name})", row.metric, percent(row.before), percent(row.after), change
