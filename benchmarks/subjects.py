"""What is measured: this package's network, the textbook form of the same, and transformers' GroundingDINO-tiny.

The weights are those of tests/recipe.py, or random ones: time does not depend on them, but for what post-processing
gets to do. Every subject takes an image as Pillow has it and gives detections, except GroundingDINO, whose pre- and
post-processing is left out, in its favour.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from unittest import mock

import numpy as np
import torch
from PIL import Image

from glip_cli.checkpoints.resolve import load_tokenizer_folder
from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from glip_cli.inference.postprocess import label_scores, postprocess, postprocess_options, to_detections
from glip_cli.inference.preprocess import collate, preprocess
from glip_cli.model import onednn_linear
from glip_cli.options import DetectOptions
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.prompts.tokenizer import Tokenizer
from tests.model import textbook
from tests.model.networks import ARCHITECTURE, recipe_model

LETTER = {name: letter for letter, name in ARCHITECTURE.items()}
WINDOW = 256  # tokens, to which the reference pads every text
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class Question:
    """One image and the names that are asked for."""

    image: Image.Image
    names: tuple[str, ...]
    size: tuple[int, int]  # shorter and longer side of what the network sees

    @classmethod
    def of(cls, names: Sequence[str], size: tuple[int, int]) -> Question:
        """A drawn image of 640 x 480, which is enlarged as a photograph of COCO is."""
        return cls(draw_scene(np.random.default_rng(0), 640, 480).image, tuple(names), size)


def detector(architecture: str, dtype: str, device: str, compile: bool = False) -> Detector:
    """Ours, with the recipe's weights; glip-mini and glip-nano with their own."""
    if architecture in ("glip-mini", "glip-nano"):
        return Detector.load(architecture, device=device, dtype=dtype, compile=compile)
    tokenizer = Tokenizer.from_dir(load_tokenizer_folder(architecture))
    return Detector(recipe_model(LETTER[architecture]), tokenizer, architecture, device, dtype, compile=compile)


def ours(subject: Detector, question: Question, chunked_size: int | None = None) -> Callable[[], int]:
    """A run of the package, `Detector` from end to end; it gives the number of detections."""
    chosen = DetectOptions(size=question.size, chunked_size=chunked_size)
    compiled = subject.compile_prompt(question.names, chosen)
    return lambda: sum(len(found.scores) for found in subject.stream([question.image], compiled, chosen))


def reference(subject: Detector, question: Question) -> Callable[[], int]:
    """The same weights in textbook form: text padded to 256, unfolded fusion, torchvision's deform_conv2d.

    With torch's own matrix products, as everybody would run it.
    """
    chosen = DetectOptions(size=question.size)
    compiled = subject.compile_prompt(question.names, chosen)

    def run() -> int:
        with mock.patch.object(onednn_linear, "onednn_is_better", return_value=False):
            return sum(_textbook(subject, question, compiled, chosen, i) for i in range(len(compiled.chunks)))

    return run


@torch.inference_mode()
def _textbook(
    subject: Detector, question: Question, compiled: CompiledPrompt, options: DetectOptions, number: int
) -> int:
    tokens = compiled.chunks[number].tokens
    item = preprocess(question.image, *question.size)
    pixels = collate([item]).to(subject.device, subject.dtype)
    ids = torch.zeros(1, WINDOW, dtype=torch.long, device=subject.device)
    ids[0, : len(tokens.ids)] = torch.tensor(tokens.ids)
    mask = torch.arange(WINDOW, device=subject.device).unsqueeze(0) < len(tokens.ids)
    raw = textbook.network(subject.model, pixels, ids, mask)
    matrix = label_scores("mean", tokens.label_tokens, WINDOW, subject.device)
    found = postprocess(raw, [matrix], [item], postprocess_options(compiled, options))[0]
    return len(to_detections(found, item.size, compiled).scores)


def grounding_dino(question: Question, tokens: int, dtype: str, device: str) -> Callable[[], int]:
    """Transformers' GroundingDINO with the shape of the released "tiny" one and random weights; network only."""
    from transformers import GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    swin = SwinConfig(embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7, image_size=224,
                      out_indices=[2, 3, 4])  # fmt: skip
    torch.manual_seed(0)
    model = GroundingDinoForObjectDetection(GroundingDinoConfig(backbone_config=swin))
    model = model.to(device, DTYPES[dtype]).eval()
    pixels = collate([preprocess(question.image, *question.size)]).to(device, DTYPES[dtype])
    ids = torch.full((1, tokens), 1012, device=device)  # full stops part phrases
    ids[:, 1::2] = 4937
    ids[0, 0], ids[0, -1] = 101, 102

    @torch.inference_mode()
    def run() -> int:
        return model(pixel_values=pixels, input_ids=ids, attention_mask=torch.ones_like(ids)).logits.shape[1]

    return run
