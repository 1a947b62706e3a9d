"""mmdetection in an environment of its own: it needs an older torch, and operators compiled for that."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from benchmarks import subjects
from benchmarks.subjects import LETTER, Question
from glip_cli.checkpoints.resolve import load_tokenizer_folder
from tests.model.networks import recipe_state

SCORE = 0.05  # of mmdetection's configurations


class Foreign:
    """As `Resident`, but by the interpreter `python`.

    Attributes:
        peak_mb: what the first run needed on top of the model.
        versions: of mmdetection and of what it stands on.
    """

    def __init__(self, python: str, architecture: str, question: Question):
        self._folder = TemporaryDirectory()
        folder = Path(self._folder.name)
        letter = LETTER[architecture]
        question.image.save(folder / "image.png")
        state = recipe_state(letter)
        torch.save({key: x for key, x in state.items() if x.is_floating_point()}, folder / "checkpoint.pth")
        (folder / "bert").mkdir()
        shutil.copy(load_tokenizer_folder(architecture) / "vocab.txt", folder / "bert")
        words = [str(folder), letter, *map(str, question.size), " . ".join(question.names)]
        self._process = subprocess.Popen([python, "-W", "ignore", "-m", "benchmarks.mmdetection", *words],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
        first = json.loads(self._answer())
        self.peak_mb: int = first["peak_mb"]
        self.versions: dict[str, str] = first["versions"]
        self._found = first

    def __call__(self) -> float:
        """Run once; the seconds it took there."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"mmdetection ended with {self._process.wait()}; what it said is above")
        return line

    def close(self) -> None:
        self._process.communicate()
        self._folder.cleanup()

    def agreement(self, architecture: str, question: Question) -> dict[str, float]:
        """How far our answers are from its own."""
        detector = subjects.detector(architecture, "float32", "cpu")
        ours = detector([question.image], list(question.names), size=question.size, threshold=SCORE)[0]
        theirs = Found(*(np.asarray(self._found[part]) for part in ("labels", "scores", "boxes")))
        return compare(theirs, Found(ours.label_ids, ours.scores, ours.boxes))


class Found(NamedTuple):
    """Detections of an image: the numbers of their labels [N], scores [N], corners [N, 4] in pixels."""

    labels: npt.NDArray[Any]
    scores: npt.NDArray[Any]
    boxes: npt.NDArray[Any]


def compare(theirs: Found, ours: Found) -> dict[str, float]:
    """The largest differences of each of their detections from our nearest one of the same label."""
    apart = np.abs(ours.boxes[None] - theirs.boxes[:, None]).max(-1)  # [theirs, ours], pixels
    apart[theirs.labels[:, None] != ours.labels[None]] = np.inf
    near = apart.argmin(1)
    return {
        "theirs": len(theirs.labels),
        "ours": len(ours.labels),
        "pixels": float(apart.min(1).max()),
        "score": float(np.abs(ours.scores[near] - theirs.scores).max()),
    }
