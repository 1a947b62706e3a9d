"""Feature maps + token features -> logits of every location for every token, boxes, centerness."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.bert import TextLayer
from glip_cli.model.checkpointing import CheckpointedModule
from glip_cli.model.config import STRIDES, GlipConfig
from glip_cli.model.dyhead import DynamicConv
from glip_cli.model.fusion import CLAMP, Fusion
from glip_cli.model.onednn_linear import batched_linear, linear


@dataclass(frozen=True)
class RawOutput:
    """The network's output, before any threshold. Locations run level by level (P3 first), row by row.

    Attributes:
        logits: [B, N, T], location x token; columns of text padding mean nothing.
        deltas: [B, N, 4], box regression relative to the location's anchor (`glip_cli.model.boxes.decode`).
        centerness: [B, N] logits; None for a head whose scores hold the quality of the box already.
        sizes: (h, w) of each level; their products sum to N.
    """

    logits: Tensor
    deltas: Tensor
    centerness: Tensor | None
    sizes: tuple[tuple[int, int], ...]

    def __getitem__(self, rows: slice) -> RawOutput:
        """The output for some of the B images."""
        centerness = None if self.centerness is None else self.centerness[rows]
        return RawOutput(self.logits[rows], self.deltas[rows], centerness, self.sizes)

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Logits, deltas, and centerness where there is one."""
        both = (self.logits, self.deltas)
        return both if self.centerness is None else (*both, self.centerness)


def flatten(maps: list[Tensor]) -> Tensor:
    """[B, C, h, w] per level -> rows [B, N, C]."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], dim=1)


def unflatten(rows: Tensor, sizes: tuple[tuple[int, int], ...]) -> list[Tensor]:
    """Rows [B, N, C] -> [B, C, h, w] per level, in channels_last memory."""
    return [level.unflatten(1, size).permute(0, 3, 1, 2) for level, size in zip(split(rows, sizes), sizes, strict=True)]


def split(rows: Tensor, sizes: tuple[tuple[int, int], ...]) -> Sequence[Tensor]:
    """Rows [B, N, C] -> [B, h * w, C] per level."""
    counts = [h * w for h, w in sizes]
    if not torch.compiler.is_exporting():
        return rows.split(counts, dim=1)  # the gradient of a slice is as large as all rows
    levels, first = [], 0
    for count in counts:  # torch's ONNX exporter fails at a split into sizes that may change
        levels.append(rows[:, first : first + count])
        first = first + count
    return levels


def precise(x: Tensor) -> Tensor:
    """In float32, or in its own dtype where that is wider."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def precise_linear(x: Tensor, layer: nn.Linear) -> Tensor:
    """`layer`, in the number format of its input: [..., K] -> [..., N]."""
    return linear(x, layer.weight.to(x.dtype), layer.bias.to(x.dtype))


class FusionLayer(CheckpointedModule):
    """Fusion, a BERT layer, a dynamic convolution; without fusion only the last."""

    def __init__(self, config: GlipConfig):
        super().__init__()
        self.conv = DynamicConv(config.channels)
        self.fusion: Fusion | None = None
        self.text: TextLayer | None = None
        if config.fusion is not None:
            self.fusion = Fusion(config.channels, config.text.hidden, config.fusion, config.head_layers)
            self.text = TextLayer(config.text)

    def forward(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        """Maps [B, C, h, w] per level, text features [B, T, L], mask bool [B, T] -> both, updated."""
        if self.fusion is not None and self.text is not None:
            sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
            rows, hidden = self.fusion(flatten(maps), hidden, mask)
            hidden = self.text(hidden, mask)
            maps = unflatten(rows, sizes)
        return self.conv(maps), hidden


class Head(nn.Module):
    def __init__(self, config: GlipConfig):
        super().__init__()
        channels, hidden = config.channels, config.text.hidden
        self.tower = nn.ModuleList(FusionLayer(config) for _ in range(config.head_layers))
        self.box = nn.Linear(channels, 4)
        self.centerness = nn.Linear(channels, 1)
        self.scales = nn.ParameterList(nn.Parameter(torch.tensor(1.0)) for _ in STRIDES)
        self.text_projection = nn.Linear(hidden, channels)
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.bias_lang = nn.Parameter(torch.zeros(hidden))
        # so that at first every token scores 0.01 everywhere (RetinaNet's prior)
        self.bias0 = nn.Parameter(torch.full((1,), -math.log(99)))
        for layer in (self.box, self.centerness):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> RawOutput:
        """P3 .. P7 [B, C, h, w], text features [B, T, L], mask bool [B, T] -> RawOutput."""
        return self.predict(*self.encode(maps, hidden, mask))

    def encode(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> tuple[list[Tensor], Tensor]:
        """As `forward` -> P3 .. P7 and text features after the last layer."""
        for layer in self.tower:
            maps, hidden = layer(maps, hidden, mask)
        return maps, hidden

    def encode_without_text(self, maps: list[Tensor]) -> list[Tensor]:
        """As `encode`, of a tower that reads no text."""
        for layer in self.tower:
            assert isinstance(layer, FusionLayer)
            maps = layer.conv(maps)
        return maps

    def predict(self, maps: list[Tensor], hidden: Tensor) -> RawOutput:
        """Outputs of `encode` -> RawOutput, in float32 at least.

        These products are small, and bfloat16 would round a logit of 2 by 0.008 and a side of P7's boxes by pixels.
        """
        sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
        rows = precise(flatten(maps))
        scale = torch.cat([s.expand(h * w) for s, (h, w) in zip(self.scales, sizes, strict=True)])
        return RawOutput(
            logits=self._align(rows, precise(hidden)),
            deltas=precise_linear(rows, self.box) * scale.unsqueeze(-1),
            centerness=precise_linear(rows, self.centerness).squeeze(-1),
            sizes=sizes,
        )

    def _align(self, rows: Tensor, hidden: Tensor) -> Tensor:
        """Region-word alignment: [B, N, C] x [B, T, L] -> logits [B, N, T].

        Quirk: the token is halved before the projection but not in its bias; the region is not normalised.
        """
        token = F.normalize(hidden, dim=-1, eps=1e-12)
        key = precise_linear(token / 2, self.text_projection) / precise(self.log_scale).exp()
        bias = token @ precise(self.bias_lang) + self.bias0
        logits = batched_linear(rows, key, bias)
        return logits.clamp(-CLAMP, CLAMP)
