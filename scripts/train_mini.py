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
from collections.abc import Sequence
from pathlib import Path

import torch
from mini_data import VOCABULARY, Batch, Scenes, vocabulary
from torch import Tensor, nn
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
    if args.image_side:
        load_image_side(model, args.image_side)
    ema = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(args.ema))
    optimizers = make_optimizers(model, args.lr, args.muon_lr)
    step = restore(args.out / "last.pt", model, optimizers, ema)
    if args.export:
        export(ema.module, args.export)
        return
    loader = DataLoader(Scenes(args.seed, args.batch, first=step), batch_size=None, num_workers=1, prefetch_factor=6)
    started, window = time.time(), []
    for batch in loader:
        set_rates(optimizers, schedule(step, args.steps, args.warmup))
        window.append(train_step(model, optimizers, batch, args.bf16))
        ema.update_parameters(model)
        step += 1
        if step % args.log_every == 0:
            report(args.out / "log.jsonl", step, optimizers[0], window, time.time() - started)
            started, window = time.time(), []
        if step % args.save_every == 0 or step == args.steps:
            save(args.out / "last.pt", model, optimizers, step, ema)
        if step >= args.steps:
            break
    export(ema.module, args.out / "glip-mini.safetensors")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/mini"))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--lr", type=float, default=4e-4)
    parser.add_argument("--muon-lr", type=float, default=2e-3)
    parser.add_argument("--warmup", type=int, default=300)
    parser.add_argument("--ema", type=float, default=0.999)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast")
    parser.add_argument("--image-side", type=Path, metavar="FILE", help="what pretrain_mini.py left, to start from")
    parser.add_argument("--export", type=Path, metavar="FILE", help="only write the averaged weights so far, for use")
    parser.add_argument("--log-every", type=int, default=50)
    parser.add_argument("--save-every", type=int, default=250)
    return parser.parse_args()


def make_optimizers(model: nn.Module, lr: float, muon_lr: float) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside Swin, BERT and the fusion; AdamW for everything else.

    The levels of the logits learn fast, so that no feature has to carry them. A group's "peak" is its highest rate.
    """
    matrices = [p for name, p in model.named_parameters() if is_hidden_matrix(name, p)]
    levels = [p for name, p in model.named_parameters() if name in ("head.bias0", "head.bias_lang")]
    taken = set(map(id, [*matrices, *levels]))
    rest = [p for p in model.parameters() if id(p) not in taken]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": 0.05, "peak": lr},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0, "peak": lr},
        {"params": levels, "weight_decay": 0.0, "peak": 20 * lr},
    ]
    muon = {"params": matrices, "weight_decay": 0.05, "peak": muon_lr}
    return [
        torch.optim.AdamW([group for group in groups if group["params"]], lr=lr, betas=(0.9, 0.99), fused=True),
        torch.optim.Muon([muon], lr=muon_lr, momentum=0.95, adjust_lr_fn="match_rms_adamw"),
    ]


def is_hidden_matrix(name: str, parameter: Tensor) -> bool:
    """Between two features: no embedding, no table of biases, no convolution, nothing that gives an output."""
    hidden = ("backbone.", "text.bert.encoder.", "head.tower.0.fusion.", "head.tower.0.text.")
    return name.startswith(hidden) and parameter.ndim == 2 and "bias_table" not in name


def set_rates(optimizers: Sequence[torch.optim.Optimizer], factor: float) -> None:
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * factor


def schedule(step: int, steps: int, warmup: int) -> float:
    """Linear warm-up, then half a cosine down to 1 %."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(steps - warmup, 1)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * min(done, 1))) / 2


def train_step(model: Glip, optimizers: Sequence[torch.optim.Optimizer], batch: Batch, bf16: bool) -> Losses:
    pixels = batch.pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        raw = model(pixels, batch.ids, batch.mask)
    losses = grounding_loss(raw, batch.mask, batch.targets)
    if not losses.total.isfinite():
        raise SystemExit("the loss is not finite; lower --lr")
    step_all(optimizers, losses.total, model)
    return losses


def step_all(optimizers: Sequence[torch.optim.Optimizer], loss: Tensor, model: nn.Module) -> None:
    for optimizer in optimizers:
        optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()


def report(log: Path, step: int, optimizer: torch.optim.Optimizer, window: list[Losses], seconds: float) -> None:
    def mean(name: str) -> float:
        return round(sum(float(getattr(losses, name).detach()) for losses in window) / len(window), 4)

    line = {"step": step, "lr": round(optimizer.param_groups[0]["lr"], 7)}
    line |= {name: mean(name) for name in ("token", "box", "centerness")}
    line["seconds_per_step"] = round(seconds / len(window), 3)
    with log.open("a", encoding="utf-8") as file:
        print(json.dumps(line), file=file)
    print(json.dumps(line), flush=True)


def save(
    path: Path,
    model: nn.Module,
    optimizers: Sequence[torch.optim.Optimizer],
    step: int,
    average: nn.Module | None = None,
) -> None:
    state = {"model": model.state_dict(), "optimizers": [one.state_dict() for one in optimizers], "step": step}
    if average is not None:
        state["ema"] = average.state_dict()
    torch.save(state, path.with_suffix(".tmp"))
    os.replace(path.with_suffix(".tmp"), path)


def restore(
    path: Path, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer], average: nn.Module | None = None
) -> int:
    """Load the last checkpoint, if there is one; return the number of steps done."""
    if not path.exists():
        return 0
    state = torch.load(path, weights_only=True)
    model.load_state_dict(state["model"])
    for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
        optimizer.load_state_dict(saved)
    if average is not None:
        average.load_state_dict(state["ema"])
    return int(state["step"])


def load_image_side(model: Glip, path: Path) -> None:
    """Start from the backbone and the pyramid that pretrain_mini.py left."""
    given = torch.load(path, weights_only=True)
    state = model.state_dict()
    assert {key for key in state if key.startswith(("backbone.", "fpn."))} == set(given)
    model.load_state_dict(state | given)


def export(model: nn.Module, path: Path) -> None:
    """In half precision, which halves the file, and with the level of the logits set.

    The focal loss leaves scores too high for the usual threshold; LEVEL was chosen on 60 scenes of seed 7, which are
    neither trained nor measured on (precision 0.59 without it, 0.96 with it; AP does not fall).
    """
    state = {key: tensor.half().contiguous() for key, tensor in model.state_dict().items()}
    state["head.bias0"] += LEVEL
    write(path, state, {"architecture": "glip-mini", "name": "glip-mini"})


if __name__ == "__main__":
    main()
