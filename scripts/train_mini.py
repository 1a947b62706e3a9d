"""Train glip-mini on drawn scenes: `python scripts/train_mini.py`, after scripts/pretrain_mini.py.

One call of `glip finetune`, which goes on where it was killed; further flags are handed to it and win. What is left
here is what ships: half precision, which halves the file, and the level of the logits.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

OUT = Path("runs/mini")
FLAGS = """
    --train scenes:16000 --epochs 6 --batch-size 16 --size 160 --model glip-mini --optimizer muon --muon-lr 2e-3
    --lr 6e-4 --language-lr 6e-4 --level-factor 20 --schedule cosine --warmup 300 --ema 0.999 --bf16 --seed 1 --resume
"""
LEVEL = -1.5
"""Added to the logits, so that the threshold of 0.3 balances precision and recall: the focal loss leaves scores too
high for it. Chosen on 60 scenes of seed 7, neither trained nor measured on (precision 0.59 without, 0.96 with it; AP
does not fall). No option of the recipe, because it is no training: a step after it, for these weights alone."""


def main() -> None:
    given = ["--init", str(OUT / "image-side.safetensors"), "--out-dir", str(OUT / "run"), *FLAGS.split()]
    subprocess.run([sys.executable, "-m", "glip_cli", "finetune", *given, *sys.argv[1:]], check=True)
    export(OUT / "run" / "best" / "model.safetensors", OUT / "glip-mini.safetensors")


def export(trained: Path, path: Path) -> None:
    """Write what the package embeds."""
    from glip_cli.checkpoints import safetensors_io

    state = {key: tensor.half() for key, tensor in safetensors_io.read(trained).state.items()}
    state["head.bias0"] += LEVEL
    safetensors_io.write(path, state, {"architecture": "glip-mini", "name": "glip-mini"})


if __name__ == "__main__":
    main()
