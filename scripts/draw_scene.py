"""Draw the scene of docs/glip-mini.md: `python scripts/draw_scene.py docs/images/scene.jpg --seed 86`."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from glip_cli.data.synthetic import draw_scene


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=86)
    parser.add_argument("--size", type=int, nargs=2, default=(640, 480), metavar=("WIDTH", "HEIGHT"))
    args = parser.parse_args()
    scene = draw_scene(np.random.default_rng(args.seed), *args.size, most=9)
    scene.image.save(args.out, quality=92)
    for thing in scene.things:
        print(thing.size, thing.pattern, thing.colour, thing.shape, thing.box)


if __name__ == "__main__":
    main()
