"""Whole networks with the weights of tests/recipe.py: the tests and the benchmarks have no released ones."""

from __future__ import annotations

import numpy as np
import torch

from glip_cli.checkpoints.empty_init import init_empty, load_assign
from glip_cli.checkpoints.formats import to_native
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip
from tests import recipe
from tests.checkpoints.support import manifest

ARCHITECTURE = {"a": "glip-t-a", "b": "glip-t", "l": "glip-l"}


def recipe_state(letter: str) -> dict[str, torch.Tensor]:
    """In mmdetection's names; tensors of integers, which are computed and not learned, are zeros."""
    empty = {key: np.zeros(shape, dtype) for key, shape, dtype in manifest(f"mmdet-{letter}")}
    return {key: torch.from_numpy(np.asarray(value)) for key, value in recipe.fill(empty).items()}


def recipe_model(letter: str) -> Glip:
    model = init_empty(lambda: Glip(ARCHITECTURES[ARCHITECTURE[letter]]))
    return load_assign(model, to_native(recipe_state(letter), ARCHITECTURE[letter], "mmdet", "the recipe")).eval()
