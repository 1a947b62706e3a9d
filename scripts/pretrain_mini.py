"""Teach glip-mini's image side what there is to see, before any text: `python scripts/pretrain_mini.py`.

GLIP's Swin starts from ImageNet; this one starts from naming the shape, colour, pattern and size of drawn objects,
by linear classifiers on the pyramid's features at the anchors that ATSS gives each object. The classifiers are thrown
away. Held-out pairs are not drawn here either. Killed at any moment, the same command goes on.

Swin's matrices learn by Muon, everything else by AdamW: after 500 steps shapes are named right 34 times in 100 with it
and 25 times without (by chance 12.5; docs/log.md).
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from glip_cli.checkpoints import safetensors_io
from glip_cli.data.synthetic import COLOURS, PATTERNS, SEEN, SHAPES, SIZES, Thing, draw_scene
from glip_cli.inference.preprocess import collate, preprocess
from glip_cli.model.boxes import anchors as make_anchors
from glip_cli.model.config import GLIP_MINI
from glip_cli.model.glip import Glip
from glip_cli.training.assign import BACKGROUND, assign
from glip_cli.training.config import TrainConfig
from glip_cli.training.optim import Optimizers, grouped, set_rates
from glip_cli.training.sampler import SIZES as SCENE_SIZES

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "shape": tuple(SHAPES),
    "colour": tuple(COLOURS),
    "pattern": PATTERNS,
    "size": tuple(SIZES),
}


class Namer(nn.Module):
    """Backbone, pyramid and one linear classifier per attribute."""

    def __init__(self) -> None:
        super().__init__()
        glip = Glip(GLIP_MINI)
        self.backbone, self.fpn = glip.backbone, glip.fpn
        self.names = nn.Linear(GLIP_MINI.channels, sum(map(len, ATTRIBUTES.values())))

    def forward(self, pixels: Tensor, things: Sequence[Sequence[Thing]]) -> tuple[Tensor, Tensor]:
        """Scores of every name [P, names] and the right name of each attribute [P, 4], at the P positive anchors."""
        maps = self.fpn(self.backbone(pixels))
        features = torch.cat([level.flatten(2) for level in maps], 2).transpose(1, 2)
        sizes = [(level.shape[2], level.shape[3]) for level in maps]
        anchors = make_anchors(sizes, pixels.device) - torch.tensor([0.0, 0.0, 1.0, 1.0])
        rows, goals = [], []
        for feature, present in zip(features, things, strict=True):
            boxes = torch.tensor([thing.box for thing in present]).view(-1, 4) - torch.tensor([0.0, 0.0, 1.0, 1.0])
            index = assign(anchors, [h * w for h, w in sizes], boxes)
            hit = index != BACKGROUND
            rows.append(feature[hit])
            goals.append(answers(present)[index[hit]])
        return self.names(torch.cat(rows).float()), torch.cat(goals)


def answers(things: Sequence[Thing]) -> Tensor:
    """int64 [M, 4]: the place of each thing's shape, colour, pattern and size among the names of that attribute."""
    places = [[values.index(getattr(thing, name)) for name, values in ATTRIBUTES.items()] for thing in things]
    return torch.tensor(places, dtype=torch.long).view(-1, len(ATTRIBUTES))


Batch = tuple[Tensor, list[tuple[Thing, ...]]]


class Scenes(IterableDataset[Batch]):
    """Endless batches of pixels float32 [B, 3, H, W] and what is in each; batch k of a seed is always the same."""

    def __init__(self, seed: int, batch_size: int, first: int = 0):
        self.seed, self.batch_size, self.first = seed, batch_size, first

    def __iter__(self) -> Iterator[Batch]:
        worker = get_worker_info()
        for number in count(self.first + (worker.id if worker else 0), worker.num_workers if worker else 1):
            rng = np.random.default_rng((self.seed, number))
            size = SCENE_SIZES[rng.integers(len(SCENE_SIZES))]
            scenes = [draw_scene(rng, *size, SEEN) for _ in range(self.batch_size)]
            pixels = collate([preprocess(scene.image, *GLIP_MINI.image_size) for scene in scenes])
            yield pixels, [scene.things for scene in scenes]


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = Namer().to(memory_format=torch.channels_last).train()
    recipe = TrainConfig(lr=args.lr, optimizer="muon", muon_lr=args.muon_lr, schedule="cosine", warmup=100)
    optimizers = Optimizers(grouped(model.named_parameters(), recipe, bias_factor=1))
    step = restore(args.out / "pretrain.pt", model, optimizers)
    loader = DataLoader(Scenes(args.seed, args.batch, first=step), batch_size=None, num_workers=1, prefetch_factor=6)
    started, right = time.time(), []
    for pixels, things in loader:
        set_rates(optimizers.param_groups, recipe, step, args.steps, 0)
        right.append(train_step(model, optimizers, pixels, things))
        step += 1
        if step % 100 == 0:
            report(args.out / "pretrain.jsonl", step, right, time.time() - started)
            started, right = time.time(), []
        if step % 250 == 0 or step == args.steps:
            save(args.out / "pretrain.pt", model, optimizers, step)
        if step >= args.steps:
            break
    export(model, args.out / "image-side.safetensors")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/mini"))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--muon-lr", type=float, default=6e-3)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def train_step(model: Namer, optimizers: Optimizers, pixels: Tensor, things: Sequence[Sequence[Thing]]) -> list[float]:
    """Share of the anchors at which shape, colour, pattern and size were named right."""
    with torch.autocast("cpu", torch.bfloat16):
        scores, goals = model(pixels.contiguous(memory_format=torch.channels_last), things)
    parts = scores.split([len(values) for values in ATTRIBUTES.values()], 1)
    loss = torch.stack([F.cross_entropy(part, goals[:, i]) for i, part in enumerate(parts)]).sum()
    optimizers.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizers.step()
    return [float((part.argmax(1) == goals[:, i]).float().mean()) for i, part in enumerate(parts)]


def report(log: Path, step: int, right: Sequence[Sequence[float]], seconds: float) -> None:
    shares = [sum(column) / len(right) for column in zip(*right, strict=True)]
    line = {"step": step} | {name: round(share, 3) for name, share in zip(ATTRIBUTES, shares, strict=True)}
    line["seconds_per_step"] = round(seconds / len(right), 3)
    with log.open("a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)
    print(json.dumps(line), flush=True)


def save(path: Path, model: nn.Module, optimizers: Optimizers, step: int) -> None:
    torch.save({"model": model.state_dict(), "optimizers": optimizers.state_dict(), "step": step}, path.with_suffix(""))
    os.replace(path.with_suffix(""), path)


def restore(path: Path, model: nn.Module, optimizers: Optimizers) -> int:
    """Load the last checkpoint, if there is one; return the number of steps done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    optimizers.load_state_dict(state["optimizers"])
    return int(state["step"])


def export(model: Namer, path: Path) -> None:
    """A whole network, as `glip finetune --init` reads it; nothing but its backbone and pyramid has learned."""
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith("names.")}
    whole = Glip(GLIP_MINI).state_dict() | kept
    safetensors_io.write(path, whole, {"architecture": "glip-mini", "name": "glip-mini-image-side"})


if __name__ == "__main__":
    main()
