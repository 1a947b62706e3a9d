"""Image -> five feature maps: timm's Swin blocks in GLIP's order of work, then a feature pyramid.

Unusual here: each of the three outputs has a LayerNorm of its own, which the next stage does not see; windows are
padded before they are shifted and keep their full size on small maps (as mmdet's swin.py); P6 grows from the P5 output.
"""

from __future__ import annotations

from itertools import accumulate, pairwise

import torch
import torch.nn.functional as F
from timm.layers import PatchEmbed
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torch import Tensor, nn

from glip_cli.model.chunked import ROWS, map_chunks
from glip_cli.model.config import SwinConfig
from glip_cli.model.onednn_linear import run

PATCH = 4  # pixels per cell of the first stage
MASK_VALUE = -100.0  # added to the scores of cells that a shifted window holds and the image does not join


class WindowBlock(SwinTransformerBlock):
    """timm's block, padding first and rolling afterwards; timm does it the other way round.

    The two agree only where a map is divisible by the window, and the released weights were trained this way. A
    window is never shrunk and odd blocks always shift, also on a map smaller than the window.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H, W, C]."""
        x = x + self.drop_path1(self._attn(self.norm1(x)))
        widened = map_chunks(lambda rows: self._widen(self.norm2(rows)), x.flatten(0, 2))
        return x + self.drop_path2(widened.view_as(x))

    def _widen(self, x: Tensor) -> Tensor:
        """The MLP of rows [n, C]; timm's has no dropout unless it is asked for."""
        return run(self.mlp.fc2, self.mlp.act(run(self.mlp.fc1, x)))

    def _attn(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H, W, C]."""
        batch, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, -width % self.window_size[1], 0, -height % self.window_size[0]))
        places, kinds = self._windows(batch, x.shape[1], x.shape[2], x.device)
        bias = self._bias(x)
        rows = x.flatten(0, 2)
        # index_select, as the gradient of bias[kind] is summed in an order that changes from run to run
        attended = map_chunks(
            lambda place, kind: self._attend(
                rows[place.flatten()].view(*place.shape, channels), bias.index_select(0, kind)
            ),
            places,
            kinds,
            rows=ROWS // self.window_area,
        )
        back = torch.empty_like(places.flatten()).scatter_(
            0, places.flatten(), torch.arange(len(rows), device=x.device)
        )
        back = back.view(batch, *x.shape[1:3])[:, :height, :width]
        return attended.flatten(0, 1)[back.flatten()].view(batch, height, width, channels)

    def _windows(self, batch: int, height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """The windows of padded maps [B, height, width], shifted where this block shifts.

        Returns:
            places: int64 [windows, cells of a window], rows of the flattened maps.
            kinds: int64 [windows], which of the four masks of `_bias` a window has.
        """
        places = torch.arange(batch * height * width, device=device).view(batch, height, width)
        down, right = height // self.window_size[0], width // self.window_size[1]
        kinds = torch.zeros(batch, down, right, dtype=torch.long, device=device)
        if any(self.shift_size):
            places = torch.roll(places, (-self.shift_size[0], -self.shift_size[1]), dims=(1, 2))
            kinds[:, -1] += 2
            kinds[:, :, -1] += 1
        windows = places.unflatten(2, (right, -1)).unflatten(1, (down, -1)).transpose(2, 3)
        return windows.flatten(0, 2).flatten(1), kinds.flatten()

    def _bias(self, x: Tensor) -> Tensor:
        """What is added to a window's scores, [4, heads, cells, cells].

        Positions relative to each other; and in shifted windows of the last column (1), the last row (2) or both (3)
        -100 between cells that are not neighbours in the image.
        """
        index = self.attn.relative_position_index.flatten()
        relative = self.attn.relative_position_bias_table[index].view(self.window_area, self.window_area, -1)
        down, right = (torch.arange(side, device=x.device) for side in self.window_size)
        below = (down >= self.window_size[0] - self.shift_size[0]).repeat_interleave(self.window_size[1])
        beyond = (right >= self.window_size[1] - self.shift_size[1]).repeat(self.window_size[0])
        rows, columns = (side.unsqueeze(0) != side.unsqueeze(1) for side in (below, beyond))
        apart = torch.stack((torch.zeros_like(rows), columns, rows, rows | columns))
        return relative.permute(2, 0, 1) + MASK_VALUE * apart.unsqueeze(1).to(x.dtype)

    def _attend(self, x: Tensor, bias: Tensor) -> Tensor:
        """Within each window: [windows, cells, C], bias [windows, heads, cells, cells] -> [windows, cells, C]."""
        qkv = run(self.attn.qkv, x).unflatten(2, (3, self.attn.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        heard = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        return run(self.attn.proj, heard.transpose(1, 2).flatten(2))


class Stage(nn.Module):
    """Patch merging (but for the first stage), then blocks that alternately shift their windows."""

    def __init__(self, dim: int, depth: int, heads: int, window: int, drop_path: list[float], merge: bool):
        super().__init__()
        self.downsample = PatchMerging(dim // 2, dim) if merge else nn.Identity()
        self.blocks = nn.Sequential(
            *(
                WindowBlock(
                    dim,
                    input_resolution=(window, window),  # read by timm only for masks, which are made per call here
                    num_heads=heads,
                    window_size=window,
                    shift_size=window // 2 if i % 2 else 0,
                    always_partition=True,
                    dynamic_mask=True,
                    drop_path=drop_path[i],
                )
                for i in range(depth)
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, ceil(H/2), ceil(W/2), 2C], or the same shape in the first stage."""
        return self.blocks(self.downsample(x))


class Backbone(nn.Module):
    """Swin Transformer (arXiv 2103.14030); C3, C4 and C5 come out, each through its own LayerNorm."""

    def __init__(self, config: SwinConfig):
        super().__init__()
        dims = [config.embed_dim * 2**i for i in range(4)]
        last_block = sum(config.depths) - 1
        rates = [config.drop_path * i / last_block for i in range(last_block + 1)]
        bounds = pairwise(accumulate(config.depths, initial=0))
        self.patch_embed = PatchEmbed(
            None, PATCH, embed_dim=dims[0], norm_layer=nn.LayerNorm, flatten=False, output_fmt="NHWC"
        )
        self.layers = nn.ModuleList(
            Stage(dim, depth, heads, config.window, rates[first:last], merge=i > 0)
            for i, (dim, depth, heads, (first, last)) in enumerate(
                zip(dims, config.depths, config.heads, bounds, strict=True)
            )
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for dim in dims[1:])
        self.apply(init_weights)
        # a cell of padding must not be exactly zero: each LayerNorm would multiply its gradient by 1 / sqrt(eps)
        nn.init.normal_(self.patch_embed.proj.bias, std=0.02)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Normalised pixels [B, 3, H, W], H and W divisible by 32 -> C3, C4, C5 as [B, C, h, w], strides 8, 16, 32."""
        x = self.layers[0](self.patch_embed(pixels))
        outputs = []
        for stage, norm in zip(self.layers[1:], self.norms, strict=True):
            x = stage(x)
            outputs.append(norm(x).permute(0, 3, 1, 2))
        return outputs


def init_weights(module: nn.Module) -> None:
    """Weights to train from scratch: variance kept from layer to layer, and no constant (`module.apply(start)`).

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
