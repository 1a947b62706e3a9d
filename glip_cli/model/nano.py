"""glip-nano's text encoder and head: labels as concepts, and NanoDet-g's head with class vectors from the text.

A label's tokens are the concepts that it stands for, then its word pieces (`glip_cli.prompts.lexicon`):

    [CLS] <car> auto ##mobile . <bird> <cat> <dog> ... animal . <unknown> st ##eth ##oscope . [SEP]

A concept token's features are the class vectors of NanoDet-g's head, one per feature level, with their biases. The word
pieces add a learned projection of their mean, zero at first: with it fine-tuning tells labels of the same concepts,
and unknown ones, apart.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.bert import add_offset
from glip_cli.model.config import ANCHOR_SCALE, DELTA_SCALE, NanoConfig
from glip_cli.model.csp import Conv
from glip_cli.model.head import RawOutput, flatten, precise, precise_linear

NEVER = -16.0  # logit of tokens that stand for nothing: their probability is 1e-7
MIN_SIDE = 0.01  # of a box, in cells


class LabelEncoder(nn.Module):
    """Token ids -> class vectors.

    Attributes:
        concepts: features of [UNKNOWN] and of each concept, in the order of their ids.
        pieces: vectors of the word pieces of bert-base-uncased.
        projection: of the mean vector of a label's word pieces, to features.
        offset: [n, hidden], what prompt tuning adds to the first n tokens; None for a model that was not tuned so.
    """

    offset: nn.Parameter | None

    def __init__(self, config: NanoConfig):
        super().__init__()
        text = config.text
        self.first, self.stop, self.frame = text.pieces, text.stop, text.frame
        self.levels = len(config.strides)
        self.concepts = nn.Embedding(text.vocab_size - text.pieces, text.hidden)
        self.pieces = nn.Embedding(text.pieces, text.piece_dim)
        self.projection = nn.Linear(text.piece_dim, text.hidden, bias=False)
        self.register_parameter("offset", None)
        nn.init.normal_(self.concepts.weight, std=0.01)
        nn.init.constant_(self.concepts.weight[:, -self.levels :], -math.log(99))  # RetinaNet's prior
        nn.init.zeros_(self.projection.weight)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [B, n], mask bool [B, n] -> features [B, n, hidden]: of each level the class vector, then the
        biases of all levels. Tokens that are no concepts get zeros and a bias that no location passes.
        """
        is_concept = (ids >= self.first) & mask
        rows = self.concepts((ids - self.first).clamp(min=0)) + self.projection(self._mean_pieces(ids, mask))
        rows = add_offset(rows, self.offset)
        never = F.pad(rows.new_full((self.levels,), NEVER), (rows.shape[-1] - self.levels, 0))
        return torch.where(is_concept.unsqueeze(-1), rows, never)

    def _mean_pieces(self, ids: Tensor, mask: Tensor) -> Tensor:
        """For each token the mean vector of the word pieces of its label: [B, n, piece_dim]."""
        label = (ids == self.stop).cumsum(1)
        is_piece = (ids < self.first) & mask
        for other in (self.stop, *self.frame):
            is_piece = is_piece & (ids != other)
        same = (label.unsqueeze(2) == label.unsqueeze(1)) & is_piece.unsqueeze(1)
        share = same / same.sum(-1, keepdim=True).clamp(min=1)
        vectors = self.pieces(ids.clamp(max=self.first - 1))
        return share.to(vectors.dtype) @ vectors


class NanoHead(nn.Module):
    """A convolution per level, then distances to the sides of a box, and the products with the class vectors."""

    def __init__(self, config: NanoConfig):
        super().__init__()
        self.bins = config.bins
        self.tower = nn.ModuleList(Conv(config.channels, config.channels) for _ in config.strides)
        self.box = nn.ModuleList(nn.Linear(config.channels, 4 * config.bins) for _ in config.strides)
        for layer in self.box:
            nn.init.normal_(layer.weight, std=0.01)  # type: ignore[arg-type]  # of a linear layer

    def encode_without_text(self, maps: list[Tensor]) -> list[Tensor]:
        """P3, P4, P5 [B, C, h, w] -> features of the same shapes; no text has a part in it."""
        return [conv(x) for conv, x in zip(self.tower, maps, strict=True)]

    def encode(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        """As `encode_without_text`; the text features are not changed."""
        return self.encode_without_text(maps), hidden

    def predict(self, maps: list[Tensor], hidden: Tensor) -> RawOutput:
        """Outputs of `encode`, text features [B, T, L] -> RawOutput without centerness, in float32 at least."""
        vectors, biases = precise(hidden).split((hidden.shape[-1] - len(maps), len(maps)), dim=-1)
        levels = [precise(flatten([x])) for x in maps]
        logits = [
            torch.baddbmm(bias.unsqueeze(1), rows, vector.transpose(1, 2))
            for rows, vector, bias in zip(levels, vectors.chunk(len(maps), -1), biases.unbind(-1), strict=True)
        ]
        layers = cast("list[nn.Linear]", list(self.box))
        deltas = [self._deltas(precise_linear(rows, layer)) for rows, layer in zip(levels, layers, strict=True)]
        sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
        return RawOutput(torch.cat(logits, 1), torch.cat(deltas, 1), None, sizes)

    def _deltas(self, x: Tensor) -> Tensor:
        """[B, N, 4 * bins] -> box deltas [B, N, 4] as `boxes.decode` takes them.

        The distance from the centre of the cell to each side (left, top, right, bottom) is the expectation over bins
        of 0, 1, 2 ... cells (Generalized Focal Loss, arXiv 2006.04388).
        """
        cells = torch.arange(self.bins, device=x.device, dtype=x.dtype)
        low, high = (x.unflatten(-1, (4, self.bins)).softmax(-1) @ cells).split(2, dim=-1)
        shift = (high - low) / (2 * ANCHOR_SCALE * DELTA_SCALE[0])
        log_ratio = ((low + high).clamp(min=MIN_SIDE) / ANCHOR_SCALE).log() / DELTA_SCALE[2]
        return torch.cat((shift, log_ratio), dim=-1)
