"""The folder of one training, and the state from which a killed training resumes.

DIR/run.json          what was asked, and a digest of the data; another training is refused
DIR/state.pt          the last checkpoint: weights that train, optimizer, step, what validation said
DIR/metrics.jsonl     losses and AP as they came (`metrics_log`)
DIR/best/, DIR/last/  what `glip detect --model` or `--adapter` takes (`tuning.save_tuned`)
DIR/.lock             held by the training at work

State has no random generators in it: a step's chances follow from the seed, the step and the process (`trainer`).
"""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

import torch
from torch import Tensor

from glip_cli.errors import UnavailableError, UsageError
from glip_cli.evaluation.boxes import BoxTask
from glip_cli.outputs.files import json_bytes, writing
from glip_cli.runs.journal import fsynced, held
from glip_cli.training.dataset import DetectionItem, Item, TrainSet
from glip_cli.utils.json import JsonObject, parsed_object
from glip_cli.utils.text_format import why_unreadable

FORMAT = "glip-training/2"
FILES = ("run.json", "state.pt", "metrics.jsonl", "curves.svg", "report.html", "bad-batch.pt", "before.json",
         "before_after.json", "before_after.md", "shots.json")  # fmt: skip
FOLDERS = ("best", "last", "tensorboard")


class TrainingFolder:
    """Names of the files in it, and the state.

    Attributes:
        path: of the folder.
    """

    def __init__(self, path: Path):
        self.path = path
        self.run, self.state = path / "run.json", path / "state.pt"
        self.best, self.last = path / "best", path / "last"
        self.metrics, self.curves = path / "metrics.jsonl", path / "curves.svg"
        self.report = path / "report.html"
        self.bad_batch = path / "bad-batch.pt"

    @contextmanager
    def held(self, settings: Mapping[str, object], *, resume: bool = False, overwrite: bool = False) -> Iterator[None]:
        """Keep the folder for this training.

        Args:
            settings: what the outcome depends on, as JSON has it.
            resume: go on with the training that it holds, which must have the same settings but for its epochs.
            overwrite: start over where it holds one.

        Raises:
            UsageError: it holds another training, or one that is not to go on, or files of others that would be
                replaced; or another process is at work in it.
            OutputError: it cannot be written.
        """
        with ExitStack() as stack:
            with self.writing():
                self.path.mkdir(parents=True, exist_ok=True)
                stack.enter_context(held(self.path / ".lock"))
                self._claim(json.loads(json_bytes(settings)), resume, overwrite)
            yield

    def _claim(self, settings: JsonObject, resume: bool, overwrite: bool) -> None:
        if not self._is_training():
            for path in (self.path / name for name in (*FILES, *FOLDERS)):
                if path.exists():
                    raise UsageError(f"{path} was not written by glip finetune; choose another --out-dir")
        elif overwrite:
            self._clear()
        elif self.begun and not resume:
            raise UsageError(f"{self.path} holds a training; --resume continues it, --overwrite starts over")
        elif self.begun:
            return self.compare({name: value for name, value in settings.items() if name != "epochs"})
        self.keep(settings)

    def _is_training(self) -> bool:
        """Whether a training left what is here: it writes run.json first, which may be damaged since."""
        if not self.run.is_file():
            return False
        settings = parsed_object(self.run.read_bytes())
        return self.state.exists() if settings is None else {"mode", "epochs", "language_lr"} <= settings.keys()

    def keep(self, settings: Mapping[str, object]) -> None:
        """Write run.json. Raises OutputError."""
        with self.writing(), fsynced(self.run) as stream:
            stream.write(json_bytes(settings, indent=2) + b"\n")

    @property
    def begun(self) -> bool:
        """Whether there is anything to lose: data that could not be read leaves none."""
        return any(part.exists() for part in (self.state, self.metrics, self.best))

    def _clear(self) -> None:
        for name in FILES:
            (self.path / name).unlink(missing_ok=True)
        for name in FOLDERS:
            shutil.rmtree(self.path / name, ignore_errors=True)

    def settings(self) -> JsonObject:
        """The content of run.json; {} without one. Raises UsageError for a damaged one."""
        settings = parsed_object(self.run.read_bytes()) if self.run.exists() else {}
        if settings is None or not _are_digests(settings.get("digests", {})):
            raise self.damaged
        return settings

    @property
    def damaged(self) -> UsageError:
        return UsageError(f"{self.run} is damaged; --overwrite starts over")

    def compare(self, now: Mapping[str, object]) -> None:
        """Raises UsageError where one of these settings was another."""
        before = self.settings()
        for key, value in now.items():
            if before.get(key) != value:
                was, is_ = (json.dumps(one, ensure_ascii=False)[:90] for one in (before.get(key), value))
                raise UsageError(
                    f"{self.path} holds a training with {key.replace('_', '-')} {was}, not {is_}; choose another "
                    "--out-dir, or --overwrite to start over"
                )

    def writing(self) -> AbstractContextManager[None]:
        """Turns what a full or forbidden disk raises into OutputError."""
        return writing(f"to {self.path}", "make room, then --resume continues")

    def save(self, state: Mapping[str, object]) -> None:
        """Write the state; a kill or a lost power line leaves the one before or this one. Raises OutputError."""
        with self.writing(), fsynced(self.state) as stream:
            torch.save({"format": FORMAT, **state}, stream)

    def load(self) -> JsonObject | None:
        """The state on the CPU, or None where there is none yet. Raises UsageError for one that is damaged."""
        if not self.state.exists():
            return None
        with self.intact():
            state = torch.load(self.state, map_location="cpu", weights_only=True)
            if state["format"] != FORMAT:
                raise ValueError("of another format")
        return dict(state)

    @contextmanager
    def intact(self) -> Iterator[None]:
        """Turns what a damaged state raises, where it is read or taken up, into UsageError."""
        try:
            yield
        except (AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError, ValueError,
                pickle.UnpicklingError):  # fmt: skip
            raise UsageError(f"{self.state} is damaged or of another version; --overwrite starts over") from None


@torch.no_grad()
def copy_into(tensors: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> None:
    """Name by name, in place."""
    for name, tensor in tensors.items():
        tensor.copy_(given[name])


# -------------------------------------------------------------------------------------------------------------- digests
# What a training's data was: short hashes, by which a resumed training knows the data that it began with.


Digest = dict[str, str]
"""Of the classes, the images (names and sizes of the files) and the boxes of a data set."""


def digest_of_data(sets: Iterable[TrainSet], tasks: Iterable[BoxTask]) -> dict[str, Digest]:
    """By the names of the data sets, and their numbers where a name occurs twice. Raises UnavailableError."""
    digests: dict[str, Digest] = {}
    named: list[TrainSet | BoxTask] = [*sets, *tasks]
    for one in named:
        key = f"{one.name} ({len(digests) + 1})" if one.name in digests else one.name
        digests[key] = _digest_of_set(one) if isinstance(one, TrainSet) else _digest_of_task(one)
    return digests


def _are_digests(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(one, dict) for one in value.values())


def _digest_of_set(one: TrainSet) -> Digest:
    return {
        "classes": _hash(one.labels),
        "images": _hash(_file(item.image.name, item.image) for item in one.items),
        "boxes": _hash(_boxes(item) for item in one.items),
    }


def _digest_of_task(task: BoxTask) -> Digest:
    return {
        "classes": _hash((row.id, row.name) for row in task.truth.categories),
        "images": _hash(_file(row.file_name or str(row.id), task.images[row.id]) for row in task.truth.images),
        "boxes": _hash(sorted(row.items()) for row in task.truth.annotations),
    }


def changes(before: Mapping[str, Digest], now: Mapping[str, Digest]) -> Iterator[str]:
    """ "the classes of train.json", ..."""
    for name in {**before, **now}:
        was, is_ = before.get(name, {}), now.get(name, {})
        yield from (f"the {part} of {name}" for part in {**was, **is_} if was.get(part) != is_.get(part))


def _boxes(item: Item) -> tuple[object, ...]:
    what = item.labels.tolist() if isinstance(item, DetectionItem) else (item.caption, item.spans)
    return item.boxes.tolist(), what


def _file(name: str, path: Path) -> tuple[str, int]:
    """Raises UnavailableError."""
    try:
        return name, path.stat().st_size
    except OSError as error:
        raise UnavailableError(f"{path}: it was there, and now: {why_unreadable(error)}; put it back") from None


def _hash(values: Iterable[object]) -> str:
    total = hashlib.sha256()
    for value in values:
        total.update(repr(value).encode("utf-8", "surrogateescape") + b"\n")
    return total.hexdigest()[:16]
