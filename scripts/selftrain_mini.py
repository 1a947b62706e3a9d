"""GLIP's self-training in small: a teacher grounds captions, a student learns from that alone.

    python scripts/selftrain_mini.py draw            # scenes and captions: runs/selftrain/scenes
    python scripts/selftrain_mini.py teach           # glip annotate, with glip-mini: runs/selftrain/taught
    OMP_NUM_THREADS=1 python scripts/selftrain_mini.py look     # from random weights: an image side
    OMP_NUM_THREADS=1 python scripts/selftrain_mini.py learn    # glip finetune, from there; goes on if killed
    python scripts/selftrain_mini.py compare         # glip eval scenes, of both

`look` is for the student what ImageNet is for GLIP, and what scripts/pretrain_mini.py was for the teacher: its image
side learns to name the colour and shape of each box of the teacher, by classifiers that are thrown away.

The exact boxes of the scenes are thrown away: the student sees images, captions and the teacher's boxes. As on the
web, a caption may leave out what is there and name what is not. Two kinds: sentences, whose noun phrases are found, and
tags, whose words are bracketed, since "white ring. orange moon" would be one noun to the tagger.

Further flags are handed to the command: `... learn --epochs 2`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from pretrain_mini import ATTRIBUTES, Batch, Namer, export
from torch import nn

from glip_cli.data.synthetic import COLOURS, PAIRS, SHAPES, Rng, Scene, Thing, draw_scene
from glip_cli.inference.preprocess import collate, preprocess
from glip_cli.outputs.files import atomic_write
from glip_cli.training.config import TrainConfig
from glip_cli.training.dataset import GroundingItem, read_train_set
from glip_cli.training.optim import Optimizers, grouped, set_rates
from glip_cli.training.sampler import ALIKE, SIZES

OUT = Path("runs/selftrain")
SEED, SCENES = 5, 6000
LINKS = (" and ", ", ", " next to ", " above ", " on ")
LONG = 0.3  # share of the tags that are long
FEW, MANY = (0, 9), (16, 65)  # pairs named besides those that are there; pairs named in all

TEACH = "--model glip-mini --threshold 0.3".split()
LOOK_STEPS, LOOK_BATCH = 3000, 16
KNOWN = tuple(ATTRIBUTES)[:2]  # shape and colour, which nearly every phrase names
LEARN = """
    --model glip-mini --epochs 4 --batch-size 16 --size 160 --optimizer muon --muon-lr 2e-3 --lr 6e-4 --language-lr 6e-4
    --level-factor 20 --schedule cosine --warmup 200 --ema 0.998 --bf16 --seed 1 --workers 0 --resume --keep-check none
""".split()


def draw() -> None:
    """Scenes as PNG, and captions.jsonl with two captions each."""
    folder = OUT / "scenes"
    with atomic_write(folder / "captions.jsonl") as stream:
        for number in range(SCENES):
            width, height = SIZES[np.random.default_rng((SEED, 0, number // ALIKE)).integers(len(SIZES))]
            rng = np.random.default_rng((SEED, 1, number))
            scene = draw_scene(rng, width, height, PAIRS)
            scene.image.save(folder / f"{number:05d}.png")
            for caption in (sentence(rng, scene), tags(rng, scene)):
                stream.write(json.dumps({"image": f"{number:05d}.png", "caption": caption}).encode() + b"\n")


def sentence(rng: Rng, scene: Scene) -> str:
    """Some of the things, described: "a red circle next to the small blue star"."""
    chosen = rng.permutation(len(scene.things))[: rng.integers(1, len(scene.things) + 1)]
    text = ""
    for place, number in enumerate(chosen):
        text += str(rng.choice(LINKS)) if place else ""
        text += str(rng.choice(["a", "the"])) + " " + described(rng, scene.things[number])
    return text


def described(rng: Rng, thing: Thing) -> str:
    """Colour and shape; now and then size and pattern too."""
    size = f"{thing.size} " if rng.random() < 0.2 else ""
    pattern = f"{thing.pattern} " if rng.random() < 0.15 else ""
    return f"{size}{pattern}{thing.colour} {thing.shape}"


def tags(rng: Rng, scene: Scene) -> str:
    """ "[red circle]. [blue star]": what is there and what is not, in any order."""
    there = [PAIRS.index(thing.pair) for thing in scene.things]
    others = [number for number in rng.permutation(len(PAIRS)) if number not in there]
    is_long = rng.random() < LONG
    more = rng.integers(*MANY) - len(set(there)) if is_long else rng.integers(*FEW)
    named = list(dict.fromkeys([*there, *others[: max(more, 0)]]))
    return ". ".join(f"[{' '.join(PAIRS[named[i]])}]" for i in rng.permutation(len(named)))


def look() -> None:
    """A random image side learns the names of the teacher's boxes; runs/selftrain/image-side.safetensors."""
    torch.manual_seed(SEED)
    model = Namer().to(memory_format=torch.channels_last).train()
    recipe = TrainConfig(lr=1e-3, optimizer="muon", muon_lr=6e-3, schedule="cosine", warmup=100)
    optimizers, right = Optimizers(grouped(model.named_parameters(), recipe, bias_factor=1)), []
    for step, (pixels, things) in zip(range(LOOK_STEPS), named_boxes(), strict=False):
        set_rates(optimizers.param_groups, recipe, step, LOOK_STEPS, 0)
        right.append(look_step(model, optimizers, pixels, things))
        if step % 100 == 99:
            shares = np.mean(right[-100:], axis=0).round(3)
            print(step + 1, dict(zip(KNOWN, shares.tolist(), strict=True)), flush=True)
    export(model, OUT / "image-side.safetensors")


def look_step(
    model: Namer, optimizers: Optimizers, pixels: torch.Tensor, things: list[tuple[Thing, ...]]
) -> list[float]:
    """Share of the anchors at which shape and colour were named right."""
    with torch.autocast("cpu", torch.bfloat16):
        scores, goals = model(pixels.contiguous(memory_format=torch.channels_last), things)
    parts = scores.split([len(values) for values in ATTRIBUTES.values()], 1)[: len(KNOWN)]
    loss = torch.stack([F.cross_entropy(part, goals[:, i]) for i, part in enumerate(parts)]).sum()
    optimizers.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizers.step()
    return [float((part.argmax(1) == goals[:, i]).float().mean()) for i, part in enumerate(parts)]


def named_boxes() -> Iterator[Batch]:
    """Endless batches of images of one size, and the teacher's boxes in them that a colour and a shape name."""
    train_set, _ = read_train_set(OUT / "taught/grounding.json", OUT / "scenes")
    alike: defaultdict[tuple[int, int], list[GroundingItem]] = defaultdict(list)
    for item in train_set.items:
        assert isinstance(item, GroundingItem)
        alike[Image.open(item.image).size].append(item)
    groups, rng = list(alike.values()), np.random.default_rng((SEED, 2))
    shares = np.array([len(group) for group in groups]) / len(train_set)
    while True:
        group = groups[rng.choice(len(groups), p=shares)]
        chosen = [view(rng, group[i]) for i in rng.integers(len(group), size=LOOK_BATCH)]
        yield collate([preprocess(image, 160, 320) for image, _ in chosen]), [things for _, things in chosen]


def view(rng: Rng, item: GroundingItem) -> tuple[Image.Image, tuple[Thing, ...]]:
    """An image, mirrored at random along both sides, and its things."""
    image, things = Image.open(item.image).convert("RGB"), things_of(item)
    width, height = image.size
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        things = [replace(one, box=(width - one.box[2], one.box[1], width - one.box[0], one.box[3])) for one in things]
    if rng.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        things = [
            replace(one, box=(one.box[0], height - one.box[3], one.box[2], height - one.box[1])) for one in things
        ]
    return image, tuple(things)


def things_of(item: GroundingItem) -> list[Thing]:
    """The teacher's boxes whose phrase names a colour and a shape; pattern and size are not learned from."""
    things = []
    for box, spans in zip(item.boxes.tolist(), item.spans, strict=True):
        words = item.caption[spans[0][0] : spans[0][1]].split()
        colours, shapes = [word for word in words if word in COLOURS], [word for word in words if word in SHAPES]
        if colours and shapes:
            things.append(Thing(shapes[-1], colours[-1], "plain", "big", tuple(box)))
    return things


def glip(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "glip_cli", *map(str, words)], check=True)


def main() -> None:
    step, more = sys.argv[1], sys.argv[2:]
    if step == "draw":
        draw()
    elif step == "teach":
        glip("annotate", "--captions", OUT / "scenes/captions.jsonl", "-o", OUT / "taught", *TEACH, *more)
    elif step == "look":
        look()
    elif step == "learn":
        given = ["--init", OUT / "image-side.safetensors"]
        given += ["--train", OUT / "taught/grounding.json", "--images", OUT / "scenes", "-o", OUT / "student"]
        glip("finetune", *given, *LEARN, *more)
    elif step == "compare":
        glip("eval", "scenes", "--model", "glip-mini", "-o", OUT / "eval-teacher", *more)
        glip("eval", "scenes", "--model", OUT / "student", "-o", OUT / "eval-student", *more)
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
