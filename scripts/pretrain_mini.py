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
import time
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from mini_data import Scenes
from torch import Tensor, nn
from torch.utils.data import DataLoader
from train_mini import make_optimizers, restore, save, schedule, set_rates, step_all

from glip_cli.boxes import anchors as make_anchors
from glip_cli.finetune.assign import BACKGROUND, assign
from glip_cli.model import Glip
from glip_cli.model.config import GLIP_MINI
from glip_cli.scenes import COLOURS, PATTERNS, SHAPES, SIZES, Thing

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


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = Namer().to(memory_format=torch.channels_last).train()
    optimizers = make_optimizers(model, args.lr, args.muon_lr)
    step = restore(args.out / "pretrain.pt", model, optimizers)
    loader = DataLoader(Scenes(args.seed, args.batch, first=step), batch_size=None, num_workers=1, prefetch_factor=6)
    started, right = time.time(), []
    for batch in loader:
        set_rates(optimizers, schedule(step, args.steps, args.warmup))
        pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            scores, goals = model(pixels, batch.things)
        parts = scores.split([len(values) for values in ATTRIBUTES.values()], 1)
        loss = sum(F.cross_entropy(part, goals[:, i]) for i, part in enumerate(parts))
        step_all(optimizers, loss, model)
        right.append([float((part.argmax(1) == goals[:, i]).float().mean()) for i, part in enumerate(parts)])
        step += 1
        if step % 100 == 0:
            report(args.out / "pretrain.jsonl", step, right, time.time() - started)
            started, right = time.time(), []
        if step % 250 == 0 or step == args.steps:
            save(args.out / "pretrain.pt", model, optimizers, step)
        if step >= args.steps:
            break
    kept = {key: value for key, value in model.state_dict().items() if not key.startswith("names.")}
    torch.save(kept, args.out / "image-side.pt")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/mini"))
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--muon-lr", type=float, default=6e-3)
    parser.add_argument("--warmup", type=int, default=100)
    parser.add_argument("--seed", type=int, default=2)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def report(log: Path, step: int, right: Sequence[Sequence[float]], seconds: float) -> None:
    shares = [sum(column) / len(right) for column in zip(*right, strict=True)]
    line = {"step": step} | {name: round(share, 3) for name, share in zip(ATTRIBUTES, shares, strict=True)}
    line["seconds_per_step"] = round(seconds / len(right), 3)
    with log.open("a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
