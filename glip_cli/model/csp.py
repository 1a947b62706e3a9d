"""glip-nano's image side: NanoDet-g's backbone and feature pyramid (RangiLyu/nanodet, custom_csp.py and pan.py).

Cross-stage partial blocks (CSPNet, arXiv 1911.11929) of plain 3x3 convolutions, and a path aggregation network (PAN,
arXiv 1803.01534) of plain sums. Batch norms are folded into the convolutions, as the published file has them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.checkpointing import CheckpointedModule

SLOPE = 0.1  # of every leaky ReLU
STEM = 32  # channels of the first convolution
DEPTHS = (1, 2, 2, 3)  # partial blocks of each stage; each stage doubles the channels
OUTPUTS = (128, 256, 512)  # channels of C3, C4, C5


class Conv(nn.Conv2d):
    """A 3x3 convolution that keeps the size, or halves it, and a leaky ReLU."""

    def __init__(self, channels: int, out: int, stride: int = 1):
        super().__init__(channels, out, 3, stride, padding=1)
        nn.init.kaiming_normal_(self.weight, a=SLOPE, mode="fan_out", nonlinearity="leaky_relu")
        nn.init.zeros_(self.bias)  # type: ignore[arg-type]  # there is one

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(super().forward(x), SLOPE, inplace=not torch.is_grad_enabled())


class PartialBlock(nn.Module):
    """Two convolutions of half the channels; their outputs side by side."""

    def __init__(self, channels: int):
        super().__init__()
        self.first = Conv(channels, channels // 2)
        self.second = Conv(channels // 2, channels // 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return torch.cat((self.second(x), x), dim=1)


class CspStage(CheckpointedModule):
    """[B, C, h, w] -> [B, 2C, h / stride, w / stride]."""

    def __init__(self, channels: int, depth: int, stride: int):
        super().__init__()
        self.reduce = Conv(channels, channels, stride)
        self.blocks = nn.Sequential(*(PartialBlock(channels) for _ in range(depth)))
        self.transition = Conv(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.reduce(x)
        return torch.cat((self.transition(self.blocks(x)), x), dim=1)


class CspBackbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = Conv(3, STEM, stride=2)
        self.layers = nn.ModuleList(
            CspStage(STEM * 2**i, depth, stride=2 if i else 1) for i, depth in enumerate(DEPTHS)
        )

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Normalised pixels [B, 3, H, W], BGR -> C3, C4, C5 of 128, 256 and 512 channels, at strides 8, 16, 32."""
        x = F.max_pool2d(self.stem(pixels), 3, stride=2, padding=1)
        maps = []
        for stage in self.layers:
            x = stage(x)
            maps.append(x)
        return maps[1:]


class PathAggregation(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(width, channels, 1) for width in OUTPUTS)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """C3, C4, C5 -> P3, P4, P5 [B, C, h, w]: each level adds the coarser one, then each the finer one."""
        p3, p4, p5 = (conv(x) for conv, x in zip(self.lateral, maps, strict=True))
        p4 = p4 + _resized(p5, p4)
        p3 = p3 + _resized(p4, p3)
        p4 = p4 + _resized(p3, p4)
        return [p3, p4, p5 + _resized(p4, p5)]


def _resized(x: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(x, like.shape[2:], mode="bilinear", align_corners=False)
