"""Train glip-mini on drawn scenes: `python scripts/train_mini.py --bf16 --out runs/mini`.

Everything that counts is glip_cli's own: model, prompts, assignment, losses. Killed at any moment, the same command
goes on from the last checkpoint. The exponential moving average of the weights is what ships.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import time
from pathlib import Path

import torch
from mini_data import VOCABULARY, Batch, Scenes, vocabulary
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from glip_cli.finetune.loss import Losses, grounding_loss
from glip_cli.model import Glip
from glip_cli.model.config import GLIP_MINI
from glip_cli.weights.native import write

LOG_SCALE = -1.5  # at first; logits then differ between words from the first step on
LEVEL = -1.5  # added to the logits at the end, so that the threshold of 0.3 balances precision and recall


def main() -> None:
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    (VOCABULARY / "vocab.txt").write_text("\n".join(vocabulary()) + "\n", encoding="utf-8")
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    model = Glip(GLIP_MINI).to(memory_format=torch.channels_last).train()
    with torch.no_grad():
        model.head.log_scale.fill_(LOG_SCALE)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(args.ema))
    optimizer = torch.optim.AdamW(groups(model), lr=args.lr, betas=(0.9, 0.99), fused=True)
    step = restore(args.out / "last.pt", model, ema, optimizer)
    if args.export:
        export(ema.module, args.export)
        return
    loader = DataLoader(Scenes(args.seed, args.batch, first=step), batch_size=None, num_workers=1, prefetch_factor=6)
    started, window = time.time(), []
    for batch in loader:
        for group in optimizer.param_groups:
            group["lr"] = group["factor"] * args.lr * schedule(step, args.steps, args.warmup)
        window.append(train_step(model, optimizer, batch, args.bf16))
        ema.update_parameters(model)
        step += 1
        if step % args.log_every == 0:
            report(args.out / "log.jsonl", step, optimizer, window, time.time() - started)
            started, window = time.time(), []
        if step % args.save_every == 0 or step == args.steps:
            save(args.out / "last.pt", model, ema, optimizer, step)
        if step >= args.steps:
            break
    export(ema.module, args.out / "glip-mini.safetensors")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/mini"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--export", type=Path, metavar="FILE", help="only write the averaged weights so far, for use")
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--save-every", type=int, default=250)
    return parser.parse_args()


def groups(model: Glip) -> list[dict[str, object]]:
    """Weight decay for matrices only; the levels of the logits learn fast, so that no feature has to carry them."""
    levels = {id(p) for p in (model.head.bias0, model.head.bias_lang)}
    rest = [p for p in model.parameters() if id(p) not in levels]
    return [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.05, "factor": 1.0},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "factor": 1.0},
        {"params": [model.head.bias0, model.head.bias_lang], "weight_decay": 0.0, "factor": 20.0},
    ]


def schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1))) / 2


def train_step(model: Glip, optimizer: torch.optim.Optimizer, batch: Batch, bf16: bool) -> Losses:
    pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        raw = model(pixels, batch.ids, batch.mask)
    losses = grounding_loss(raw, batch.mask, batch.targets)
    if not losses.total.isfinite():
        raise SystemExit("the loss is not finite; lower --lr")
    optimizer.zero_grad(set_to_none=True)
    losses.total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return losses


def report(log: Path, step: int, optimizer: torch.optim.Optimizer, window: list[Losses], seconds: float) -> None:
    def mean(name: str) -> float:
        return round(sum(float(getattr(losses, name).detach()) for losses in window) / len(window), 4)

    line = {"step": step, "lr": round(optimizer.param_groups[0]["lr"], 7)}
    line |= {name: mean(name) for name in ("token", "box", "centerness")}
    line["seconds_per_step"] = round(seconds / len(window), 3)
    with log.open("a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)
    print(json.dumps(line), flush=True)


def save(path: Path, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {"model": model.state_dict(), "ema": ema.state_dict(), "optimizer": optimizer.state_dict(), "step": step}
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def restore(path: Path, model: nn.Module, ema: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Load the last checkpoint, if there is one; return the number of steps done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    ema.load_state_dict(state["ema"])
    optimizer.load_state_dict(state["optimizer"])
    return int(state["step"])


def export(model: nn.Module, path: Path) -> None:
    """In half precision, which halves the file, and with the level of the logits set.

    The focal loss leaves scores too high for the usual threshold; LEVEL was chosen on 60 scenes of seed 7, which are
    neither trained nor measured on. AP hardly moves (0.773 to 0.779 on seen pairs) while the scores stay above the
    floor of post-processing; at -2.5 it falls to 0.70 on those 60 scenes.
    """
    state = {key: tensor.half().contiguous() for key, tensor in model.state_dict().items()}
    state["head.bias0"] += LEVEL
    write(path, state, {"architecture": "glip-mini", "name": "glip-mini"})


if __name__ == "__main__":
    main()
