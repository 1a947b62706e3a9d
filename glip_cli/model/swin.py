"""Image -> five feature maps: Swin Transformer (arXiv 2103.14030) as in GLIP, then a feature pyramid.

Different from timm's: each of the three outputs has a LayerNorm of its own, which the next stage does not see; maps are
padded to whole windows before they are shifted, and windows keep their full size on small maps (as mmdet's swin.py).
Parameters have timm's names.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.checkpointing import CheckpointedModule
from glip_cli.model.chunked import ROWS, map_chunks
from glip_cli.model.config import SwinConfig
from glip_cli.model.onednn_linear import run

PATCH = 4  # pixels per cell of the first stage
MASK_VALUE = -100.0  # added to the scores of cells of a shifted window that are not neighbours in the image


class DropPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382): in training, whole images of a batch skip the residual branch."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """[B, ...] -> [B, ...]."""
        if self.rate == 0 or not self.training:
            return x
        keep = x.new_empty(len(x), *[1] * (x.dim() - 1)).bernoulli_(1 - self.rate)
        return x * keep.div_(1 - self.rate)


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each relative position of two cells."""

    def __init__(self, dim: int, heads: int, window: int):
        super().__init__()
        self.heads, self.window = heads, window
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """[windows, cells, C], bias [windows or 1, heads, cells, cells] -> [windows, cells, C]."""
        qkv = run(self.qkv, x).unflatten(2, (3, self.heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return run(self.proj, y.transpose(1, 2).flatten(2))

    def bias(self) -> Tensor:
        """The bias of each pair of cells of a window: [heads, cells, cells]."""
        side = torch.arange(self.window, device=self.relative_position_bias_table.device)
        y, x = side.repeat_interleave(self.window), side.repeat(self.window)
        dy, dx = (c.unsqueeze(1) - c.unsqueeze(0) + self.window - 1 for c in (y, x))
        index = dy * (2 * self.window - 1) + dx
        return self.relative_position_bias_table[index.flatten()].view(*index.shape, -1).permute(2, 0, 1)


class Mlp(nn.Module):
    def __init__(self, dim: int):
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return run(self.fc2, F.gelu(run(self.fc1, x)))


class SwinBlock(CheckpointedModule):
    """Window attention and an MLP, each behind a LayerNorm. Every second block shifts its windows by half a window."""

    def __init__(self, dim: int, heads: int, window: int, shifted: bool, drop_path: float = 0.0):
        super().__init__()
        self.window, self.shift = window, window // 2 if shifted else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H, W, C]."""
        x = x + self.drop_path(self._attend(self.norm1(x)))
        y = map_chunks(lambda rows: self.mlp(self.norm2(rows)), x.flatten(0, 2))
        return x + self.drop_path(y.view_as(x))

    def _attend(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H, W, C]; the map is padded to whole windows, then shifted."""
        batch, height, width, channels = x.shape
        side = self.window
        # ceiling by a division alone: torch's exporter reasons about every size, and remainders cost it minutes
        down, right = (height + side - 1) // side, (width + side - 1) // side
        x = F.pad(x, (0, 0, 0, right * side - width, 0, down * side - height))
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), dims=(1, 2))
        windows = x.reshape(batch, down, side, right, side, channels).transpose(2, 3)
        windows = windows.reshape(-1, side * side, channels)
        attended = self._attend_within(windows, batch, down, right)
        x = attended.view(batch, down, right, side, side, channels).transpose(2, 3)
        x = x.reshape(batch, down * side, right * side, channels)
        if self.shift:
            x = torch.roll(x, (self.shift, self.shift), dims=(1, 2))
        return x[:, :height, :width]

    def _attend_within(self, windows: Tensor, batch: int, down: int, right: int) -> Tensor:
        """[windows, cells, C] -> [windows, cells, C], some windows at a time."""
        rows, bias = ROWS // self.window**2, self.attn.bias()
        if not self.shift:
            return map_chunks(lambda part: self.attn(part, bias.unsqueeze(0)), windows, rows=rows)
        bias = bias + self._masks(windows)
        last_row = (torch.arange(down, device=windows.device) == down - 1).long() * 2
        last_column = (torch.arange(right, device=windows.device) == right - 1).long()
        window_types = (last_row.unsqueeze(1) + last_column).expand(batch, down, right).reshape(-1)
        # index_select, as the gradient of bias[types] is summed in an order that changes from run to run
        return map_chunks(
            lambda part, types: self.attn(part, bias.index_select(0, types)), windows, window_types, rows=rows
        )

    def _masks(self, x: Tensor) -> Tensor:
        """-100 between cells of a shifted window that are not neighbours in the image: [4, 1, cells, cells].

        Of inner windows (0), in the last column (1), in the last row (2) and in both (3).
        """
        beyond = torch.arange(self.window, device=x.device) >= self.window - self.shift
        below, right = beyond.repeat_interleave(self.window), beyond.repeat(self.window)
        rows, columns = (side.unsqueeze(0) != side.unsqueeze(1) for side in (below, right))
        apart = torch.stack((torch.zeros_like(rows), columns, rows, rows | columns))
        return MASK_VALUE * apart.unsqueeze(1).to(x.dtype)


class PatchEmbed(nn.Module):
    """[B, 3, H, W] -> [B, H/4, W/4, C]."""

    def __init__(self, dim: int):
        super().__init__()
        self.proj = nn.Conv2d(3, dim, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.norm(self.proj(pixels).permute(0, 2, 3, 1))


class PatchMerging(nn.Module):
    """[B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 2C]: four cells side by side, normalised and projected."""

    def __init__(self, dim: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        down, right = (height + 1) // 2, (width + 1) // 2
        x = F.pad(x, (0, 0, 0, 2 * right - width, 0, 2 * down - height))
        x = x.reshape(batch, down, 2, right, 2, channels).permute(0, 1, 3, 4, 2, 5).flatten(3)
        return run(self.reduction, self.norm(x))


class Stage(nn.Module):
    """Patch merging (but for the first stage), then blocks that alternately shift their windows."""

    def __init__(self, dim: int, heads: int, window: int, drop_path: list[float], merge: bool):
        super().__init__()
        self.downsample = PatchMerging(dim // 2) if merge else nn.Identity()
        self.blocks = nn.Sequential(
            *(SwinBlock(dim, heads, window, i % 2 == 1, rate) for i, rate in enumerate(drop_path))
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 2C], or the same shape in the first stage."""
        return self.blocks(self.downsample(x))


class Backbone(nn.Module):
    """Swin Transformer; C3, C4 and C5 come out, each through its own LayerNorm."""

    def __init__(self, config: SwinConfig):
        super().__init__()
        dims = [config.embed_dim * 2**i for i in range(4)]
        last_block = sum(config.depths) - 1
        rates = [config.drop_path * i / last_block for i in range(last_block + 1)]
        bounds = pairwise(accumulate(config.depths, initial=0))
        self.patch_embed = PatchEmbed(dims[0])
        self.layers = nn.ModuleList(
            Stage(dim, heads, config.window, rates[first:last], merge=i > 0)
            for i, (dim, heads, (first, last)) in enumerate(zip(dims, config.heads, bounds, strict=True))
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims[1:])
        self.apply(init_weights)
        # a cell of padding must not be exactly zero: each LayerNorm would multiply its gradient by 1 / sqrt(eps)
        nn.init.normal_(self.patch_embed.proj.bias, std=0.02)  # type: ignore[arg-type]  # there is one

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Normalised pixels [B, 3, H, W], H and W divisible by 32 -> C3, C4, C5 as [B, C, h, w], strides 8, 16, 32."""
        x = self.layers[0](self.patch_embed(pixels))
        outputs = []
        for stage, norm in zip(self.layers[1:], self.norms, strict=True):
            x = stage(x)
            outputs.append(norm(x).permute(0, 3, 1, 2))
        return outputs


def init_weights(module: nn.Module) -> None:
    """Weights to train from scratch: variance kept from layer to layer, and no constant (`module.apply(init_weights)`).

    A bias that outweighs the image, or weights so small that the first steps of Adam replace them, leave features
    that are the same everywhere, and what tells red from blue is lost for good (docs/log.md).
    """
    if isinstance(module, nn.Linear | nn.Conv2d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class FeaturePyramid(nn.Module):
    """FPN (arXiv 1612.03144) with two levels on top: P6 from the P5 output, P7 from ReLU(P6)."""

    def __init__(self, in_channels: list[int], channels: int):
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(dim, channels, 1) for dim in in_channels)
        self.outputs = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in in_channels)
        self.p6 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.p7 = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.apply(init_weights)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        """C3, C4, C5 -> P3 .. P7, each [B, channels, h, w], strides 8 .. 128."""
        merged = [lateral(x) for lateral, x in zip(self.laterals, maps, strict=True)]
        for i in (1, 0):
            merged[i] = merged[i] + F.interpolate(merged[i + 1], size=merged[i].shape[2:], mode="nearest")
        pyramid = [output(x) for output, x in zip(self.outputs, merged, strict=True)]
        pyramid.append(self.p6(pyramid[-1]))
        pyramid.append(self.p7(F.relu(pyramid[-1])))
        return pyramid
