"""A network of a few thousand parameters, four drawn scenes, and a training of them: seconds on one core.

`start` trains in a process of its own, for tests that kill it, take its memory, or want two of it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from socket import socket
from typing import Any

import numpy as np
import torch

from glip_cli.checkpoints.finetuned import RunConfig
from glip_cli.checkpoints.registry import PACKAGE
from glip_cli.data.synthetic import Scene, draw_scene
from glip_cli.inference.preprocess import collate, preprocess
from glip_cli.model.config import GLIP_MINI, FusionConfig, GlipConfig
from glip_cli.model.glip import Glip
from glip_cli.prompts.chunking import tokenize
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.training.assign import match
from glip_cli.training.batches import Batch, level_sizes
from glip_cli.training.checkpoint import TrainingFolder
from glip_cli.training.config import TrainConfig
from glip_cli.training.distributed import Distributed
from glip_cli.training.loss import Target
from glip_cli.training.trainer import Trainer
from glip_cli.training.tuning import save_tuned, select
from tests import forked
from tests.forked import Forked

TOKENIZER = PACKAGE / "assets" / "glip-mini"
PAIRS = (("red", "circle"), ("blue", "square"), ("green", "star"))
LABELS = tuple(" ".join(pair) for pair in PAIRS)


def small_config(dropout: float = 0.0) -> GlipConfig:
    """GLIP_MINI with a third of its width."""
    return replace(
        GLIP_MINI,
        swin=replace(GLIP_MINI.swin, embed_dim=16, depths=(1, 1, 1, 1), heads=(1, 2, 4, 8), drop_path=dropout),
        text=replace(GLIP_MINI.text, hidden=32, layers=1, heads=2, intermediate=64, dropout=dropout),
        fusion=FusionConfig(embed=32, heads=2, dropout=dropout),
        channels=32,
        image_size=(128, 128),
    )


def small_model(dropout: float = 0.0) -> Glip:
    torch.manual_seed(0)
    return Glip(small_config(dropout)).to(memory_format=torch.channels_last)


def scenes(number: int, seed: int = 0) -> list[Scene]:
    return [draw_scene(np.random.default_rng((seed, i)), 128, 128, PAIRS, most=3) for i in range(number)]


def batch_of(drawn: Sequence[Scene]) -> Batch:
    """All of them, asked for all labels."""
    tokens = tokenize(label_prompt(LABELS), Tokenizer.from_dir(TOKENIZER))
    ids = torch.tensor([tokens.ids] * len(drawn))
    pixels = collate([preprocess(scene.image, 128, 128) for scene in drawn])
    targets = [target(scene, tokens) for scene in drawn]
    matches = [match(level_sizes(pixels), one.boxes) for one in targets]
    return Batch(pixels, ids, torch.ones_like(ids, dtype=torch.bool), targets, matches)


def target(scene: Scene, tokens: Any) -> Target:
    boxes = torch.tensor([thing.box for thing in scene.things]).reshape(-1, 4) - torch.tensor([0.0, 0.0, 1.0, 1.0])
    rows = torch.zeros(len(scene.things), len(tokens.ids), dtype=torch.bool)
    for row, thing in zip(rows, scene.things, strict=True):
        row[list(tokens.label_tokens[PAIRS.index(thing.pair)])] = True
    return Target(boxes, rows)


@dataclass(frozen=True)
class Drawn:
    """Batch k of `size` scenes per process; four of them, then they come again."""

    size: int = 2
    rank: int = 0
    world: int = 1

    def __call__(self, first: int) -> Iterator[Batch]:
        for number in count(first):
            yield batch_of(scenes(self.size * self.world, seed=number % 4)[self.rank :: self.world])


@dataclass(frozen=True)
class Limited:
    """The same batches, but when the first is there the process may have no more than `limit` bytes more.

    Not earlier: what a training imports and opens at its beginning does not count, nor what a first step loads
    (see `run`).
    """

    source: Callable[[int], Iterator[Batch]]
    limit: int

    def __call__(self, first: int) -> Iterator[Batch]:
        import resource

        for number, batch in enumerate(self.source(first)):
            if not number:
                used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
                resource.setrlimit(resource.RLIMIT_AS, (used + self.limit, used + self.limit))
            yield batch


def trainer(folder: Path, recipe: TrainConfig, dropout: float = 0.0, **more: Any) -> Trainer:
    model = small_model(dropout)
    tuning = select(model, recipe)

    def save(place: Path, facts: Mapping[str, Any]) -> Path:
        return save_tuned(place, model, RunConfig("full", "small", "glip-mini", labels=LABELS, training=facts))

    return Trainer(
        model=model,
        tuning=tuning,
        recipe=recipe,
        folder=TrainingFolder(folder),
        **{"source": Drawn(), "epoch_steps": 2, "save": save, **more},
    )


def train(folder: Path, recipe: TrainConfig, **more: Any) -> Trainer:
    """Train to the end; a folder that holds a training goes on."""
    with TrainingFolder(folder).held(recipe.to_dict(), resume=True):
        one = trainer(folder, recipe, **more)
        one.run()
    return one


def run(folder: Path, given: dict[str, Any]) -> None:
    """Train as `given` says: fields of a recipe, images, dropout, epoch_steps, and a limit of memory in bytes."""
    given = dict(given)
    torch.set_num_threads(1)
    processes = Distributed.join("cpu")
    size, limit, dropout = given.pop("images", 2), given.pop("limit", None), given.pop("dropout", 0.1)
    epoch_steps = given.pop("epoch_steps", 2)
    recipe = TrainConfig(**{"freeze_backbone_at": -1, **given})
    source: Callable[[int], Iterator[Batch]] = Drawn(size, processes.rank, processes.world)
    source = Limited(source, limit) if limit else source
    folder.mkdir(parents=True, exist_ok=True)
    if limit:
        _give_memory_back()
        warm = folder / "warm"  # libraries that a first product or step maps, of a size that differs by processor
        warm.mkdir()
        trainer(warm, recipe, dropout, epoch_steps=1).run()
    one = trainer(folder, recipe, dropout, source=source, processes=processes, notes=print, epoch_steps=epoch_steps)
    print("ended", one.run(), flush=True)


def _give_memory_back() -> None:
    """As soon as it is freed: else glibc keeps it, and its address space counts."""
    import ctypes

    trim_threshold, mmap_threshold, arena_max = -1, -3, -8
    for option, value in ((trim_threshold, 65536), (mmap_threshold, 65536), (arena_max, 1)):
        ctypes.CDLL(None).mallopt(option, value)


def main() -> None:
    run(Path(sys.argv[1]), json.loads(sys.argv[2]))


def start(folder: Path, given: dict[str, Any], processes: int = 1, program: Callable[[], None] = main) -> list[Forked]:
    """`run` in processes of their own, which know each other as torchrun's do; or another program of the same words."""
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1]), "WORLD_SIZE": str(processes)}
    ranks = [meeting | {"RANK": str(k), "LOCAL_RANK": str(k)} if processes > 1 else {} for k in range(processes)]
    return [forked.start([folder, json.dumps(given)], program, env=forked.CLEAN | rank) for rank in ranks]
