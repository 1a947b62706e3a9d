"""One layer of the dynamic head (arXiv 2106.08322): across levels, across space, across channels."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.deform import TAPS, deform_conv, reinterpret_offsets
from glip_cli.model.swin import init_weights

GROUPS = 16


def hard_sigmoid(x: Tensor) -> Tensor:
    return F.relu6(x + 3) / 6


class DynamicRelu(nn.Module):
    """max(a1 x + b1, a2 x + b2) with coefficients per image and channel (DyReLU-B, arXiv 2003.10027)."""

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        self.squeeze = nn.Linear(channels, channels // reduction)
        self.excite = nn.Linear(channels // reduction, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C, H, W]."""
        y = hard_sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3)))))) - 0.5
        a1, b1, a2, b2 = y[:, :, None, None].chunk(4, dim=1)
        return torch.maximum(torch.addcmul(b1, x, a1 * 2 + 1), torch.addcmul(b2, x, a2 * 2))


class DynamicConv(nn.Module):
    """Each level reads itself and its neighbours through deformable convolutions, weighed per image.

    One offset map per level serves all three. All levels read the layer's *input*.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.offset = nn.Conv2d(channels, 3 * TAPS, 3, padding=1)
        # 0: from the level above (coarser), 1: from the level itself, 2: from the level below, stride 2
        self.convs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(3))
        self.norms = nn.ModuleList(nn.GroupNorm(GROUPS, channels) for _ in range(3))
        self.scale_attention = nn.Linear(channels, 1)
        self.relu = DynamicRelu(channels)
        self.convs.apply(init_weights)
        nn.init.normal_(self.offset.weight, std=0.01)  # near the regular grid
        assert self.offset.bias is not None
        nn.init.zeros_(self.offset.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """P3 .. P7, [B, C, h, w] each -> the same shapes."""
        return [self._level(maps, i) for i in range(len(maps))]

    def _level(self, maps: list[Tensor], i: int) -> Tensor:
        x = maps[i]
        # reinterpret_offsets reads memory: make it plain NCHW
        geometry = self.offset(x).contiguous()
        offset, mask = geometry[:, : 2 * TAPS], geometry[:, 2 * TAPS :].sigmoid()
        branches = [self._branch(1, x, offset, mask)]
        if i > 0:
            branches.append(self._branch(2, maps[i - 1], offset, mask, stride=2))
        if i + 1 < len(maps):
            above = maps[i + 1]
            coarse = self._branch(0, above, *reinterpret_offsets(offset, mask, (above.shape[2], above.shape[3])))
            branches.append(F.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=True))
        total = branches[0] * (self._weight(branches[0]) / len(branches))
        for y in branches[1:]:
            total = torch.addcmul(total, y, self._weight(y) / len(branches))
        return self.relu(total)

    def _branch(self, k: int, x: Tensor, offset: Tensor, mask: Tensor, stride: int = 1) -> Tensor:
        conv = self.convs[k]
        assert isinstance(conv, nn.Conv2d)
        assert conv.bias is not None
        return self.norms[k](deform_conv(x, offset, mask, conv.weight, conv.bias, stride))

    def _weight(self, y: Tensor) -> Tensor:
        """Scale attention: one factor per image, [B, 1, 1, 1]."""
        return hard_sigmoid(F.relu(self.scale_attention(y.mean((2, 3)))))[:, :, None, None]
