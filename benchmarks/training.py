"""What a step of training costs beside the forward pass of inference, and how long it waits for images.

The step is that of `glip finetune --mode full`, on drawn scenes of exactly the given size, part by part. Then a short
training says what share of its time it waits for the processes that load images.
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks import subjects
from benchmarks.load import converted
from benchmarks.machine import describe
from benchmarks.resident import peak
from benchmarks.timing import markdown, now
from glip_cli.cli.finetune import default_workers
from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from glip_cli.inference.preprocess import collate, preprocess
from glip_cli.prompts.chunking import tokenize
from glip_cli.prompts.prompt import label_prompt
from glip_cli.training.assign import match
from glip_cli.training.batches import Batch, level_sizes
from glip_cli.training.config import TrainConfig
from glip_cli.training.job import Callbacks
from glip_cli.training.loss import grounding_loss
from glip_cli.training.metrics_log import Row
from glip_cli.training.optim import Optimizers
from glip_cli.training.run import finetune
from glip_cli.training.tuning import select
from tests.training.networks import LABELS, PAIRS, target

FORWARD, STEP = "forward pass of inference", "step"
Seconds = tuple[float, float]  # of the clock, and of all threads


@dataclass
class Subject:
    """A network, and a batch on its device."""

    detector: Detector
    batch: Batch

    @classmethod
    def of(cls, architecture: str, size: tuple[int, int], batch: int, device: str) -> Subject:
        short, long = size
        detector = subjects.detector(architecture, "float32", device)
        scenes = [draw_scene(np.random.default_rng(number), long, short, PAIRS) for number in range(batch)]
        tokens = tokenize(label_prompt(LABELS), detector.tokenizer)
        pixels = collate([preprocess(scene.image, short, long) for scene in scenes])
        ids = torch.tensor([tokens.ids] * batch)
        targets = [target(scene, tokens) for scene in scenes]
        matches = [match(level_sizes(pixels), one.boxes) for one in targets]
        mask = torch.ones_like(ids, dtype=torch.bool)
        return cls(detector, Batch(pixels, ids, mask, targets, matches).to(torch.device(device)))

    def __post_init__(self) -> None:
        self.model = self.detector.model.to(memory_format=torch.channels_last)
        self.tuning = select(self.model, TrainConfig())
        self.optimizer = Optimizers(self.tuning.groups)
        self.trained = [self.model.get_parameter(name) for name in self.tuning.names]

    @torch.inference_mode()
    def forward(self) -> None:
        self.model.eval()
        self.model(self.batch.pixels, self.batch.ids, self.batch.mask)

    def step(self, spent: dict[str, list[Seconds]]) -> None:
        """One step; `spent` gets the seconds of its parts."""
        batch = self.batch
        self.tuning.train(self.model)
        with clock(spent, "forward pass and loss"):
            self.optimizer.zero_grad()
            raw = self.model(batch.pixels, batch.ids, batch.mask)
            loss = grounding_loss(raw, batch.mask, batch.targets, batch.matches).total
        with clock(spent, "backward pass"):
            loss.backward()
        with clock(spent, "clipping and AdamW"):
            nn.utils.clip_grad_norm_(self.trained, TrainConfig().clip)
            self.optimizer.step()


@contextmanager
def clock(spent: dict[str, list[Seconds]], part: str) -> Iterator[None]:
    wall, cpu = now(), time.process_time()
    yield
    spent[part].append((now() - wall, time.process_time() - cpu))


def measure(
    architecture: str, size: tuple[int, int], batch: int, device: str, repeats: int, steps: int
) -> dict[str, object]:
    subject = Subject.of(architecture, size, batch, device)
    subject.step(defaultdict(list))  # the optimizer's state is there from now on
    memory = {"forward": peak(subject.forward) / batch, "step": peak(lambda: subject.step(defaultdict(list))) / batch}
    spent: dict[str, list[Seconds]] = defaultdict(list)
    for _ in range(repeats):
        with clock(spent, FORWARD):
            subject.forward()
        with clock(spent, STEP):
            subject.step(spent)
    rows = {part: [round(median(column), 4) for column in zip(*turns, strict=True)] for part, turns in spent.items()}
    return {
        "machine": describe(), "architecture": architecture, "size": size, "batch": batch, "rows": rows,
        "mb_per_image": memory, "waiting": waiting(architecture, size, batch, device, steps),
    }  # fmt: skip


def waiting(architecture: str, size: tuple[int, int], batch: int, device: str, steps: int) -> float:
    """The share of a training's time in which it waits for images, without its first half; drawn scenes."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = None if architecture == "glip-mini" else str(converted(architecture, Path(folder)))
        finetune(
            f"scenes:{batch * steps}", out=Path(folder) / "run", device=device, batch_size=batch, epochs=2,
            size=size[:1], max_size=size[1], weights=weights, model=None if weights else architecture,
            workers=default_workers(), callbacks=Callbacks(row=lambda row, *_: rows.append(row)),
        )  # fmt: skip
    second = [row for row in rows if row["epoch"] > 1]
    return sum(row["data_time"] for row in second) / sum(row["seconds"] for row in second)


def table(result: dict[str, Any]) -> str:
    rows, memory = result["rows"], result["mb_per_image"]
    lines = [(part, f"{wall:.3f}", f"{cpu:.3f}", f"{cpu / rows[FORWARD][1]:.2f}") for part, (wall, cpu) in rows.items()]
    return "\n".join((
        markdown(("part", "s", "CPU s", "x forward pass, CPU"), lines), "",
        f"MB per image: forward pass {memory['forward']:.0f}, step {memory['step']:.0f}",
        f"waiting for images: {result['waiting']:.2%} of the time",
    ))  # fmt: skip
