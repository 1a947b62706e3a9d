"""The textbook forms of what the package computes in folded form: the oracles of the property tests.

Written straight from the formulas of microsoft/GLIP (rpn/vldyhead.py, utils/fuse_helper.py), with the parameters of the
folded modules: no folding, no trimming of padding, no sampling by row sums.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerBlock, window_partition, window_reverse
from torch import Tensor
from torch.func import functional_call
from torchvision.ops import deform_conv2d

from glip_cli.model.dyhead import DynamicConv, hard_sigmoid
from glip_cli.model.fusion import Fusion
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput, flatten, unflatten
from glip_cli.model.swin import Backbone, SwinBlock


def network(model: Glip, pixels: Tensor, ids: Tensor, mask: Tensor) -> RawOutput:
    """The whole network; `ids` and `mask` [B, 256], as the reference pads them."""
    maps = model.fpn(backbone(model.backbone, pixels))
    hidden = model.encode_text(ids, mask)
    for layer in model.head.tower:
        if layer.fusion is not None:
            sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
            rows, hidden = fusion(layer.fusion, flatten(maps), hidden, mask)
            hidden, maps = layer.text(hidden, mask), unflatten(rows, sizes)
        maps = dynamic_conv(layer.conv, maps)
    return model.head.predict(maps, hidden)


def backbone(module: Backbone, pixels: Tensor) -> list[Tensor]:
    x, outputs = module.patch_embed(pixels), []
    for i, stage in enumerate(module.layers):
        x = stage.downsample(x)
        for block in stage.blocks:
            x = window_block(block, x)
        if i > 0:
            outputs.append(module.norms[i - 1](x).permute(0, 3, 1, 2))
    return outputs


def timm_block(block: SwinBlock) -> SwinTransformerBlock:
    """Timm's block of the same sizes, float64, with weights of its own."""
    side = block.window
    return SwinTransformerBlock(
        block.norm1.normalized_shape[0], (side, side), block.attn.heads, window_size=side, shift_size=block.shift,
        always_partition=True, dynamic_mask=True,
    ).double().eval()  # fmt: skip


def window_block(block: SwinBlock, x: Tensor) -> Tensor:
    """Mmdetection's order of work: pad, roll, cut into windows, attend (by timm), put together, roll back, cut off."""
    timms = timm_block(block).to(x.dtype)
    window, shift = timms.window_size, timms.shift_size
    height, width = x.shape[1:3]
    y = F.pad(block.norm1(x), (0, 0, 0, -width % window[1], 0, -height % window[0]))
    padded = y.shape[1:3]
    if any(shift):
        y = torch.roll(y, (-shift[0], -shift[1]), dims=(1, 2))
    windows = window_partition(y, window).flatten(1, 2)
    weights = dict(block.attn.named_parameters())
    y = functional_call(timms.attn, weights, (windows,), {"mask": timms.get_attn_mask(y)}).unflatten(1, window)
    y = window_reverse(y, window, *padded)
    if any(shift):
        y = torch.roll(y, shift, dims=(1, 2))
    x = x + y[:, :height, :width]
    return x + block.mlp(block.norm2(x))


def fusion(module: Fusion, v: Tensor, l: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Project every position and token to the full width, multiply, mask, softmax, project back."""
    heads, width = module.heads, module.width

    def split(x: Tensor) -> Tensor:
        return x.unflatten(-1, (heads, width)).transpose(1, 2)

    v, l = module.norm_v(v), module.norm_l(l)
    query, key = split(module.v_proj(v) * width**-0.5), split(module.l_proj(l))
    values_v, values_l = split(module.values_v_proj(v)), split(module.values_l_proj(l))
    scores = (query @ key.transpose(2, 3)).clamp(-50000, 50000)
    towards_image = (scores + torch.where(mask, 1.0, -9e15)[:, None, None, :]).softmax(-1)
    transposed = scores.transpose(2, 3)
    towards_text = (transposed - transposed.amax(-1, keepdim=True)).clamp(-50000, 50000).softmax(-1)
    delta_v = module.out_v_proj((towards_image @ values_l).transpose(1, 2).flatten(2))
    delta_l = module.out_l_proj((towards_text @ values_v).transpose(1, 2).flatten(2))
    return v + module.gamma_v * delta_v, l + module.gamma_l * delta_l


def deform_conv(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    return deform_conv2d(x, offset, weight, bias, stride=stride, padding=1, mask=mask)


def dynamic_conv(module: DynamicConv, maps: list[Tensor]) -> list[Tensor]:
    """Level by level as the paper tells it, with torchvision's deformable convolution."""
    outputs = []
    for i, x in enumerate(maps):
        geometry = module.offset(x)
        offset, mask = geometry[:, :18].contiguous(), geometry[:, 18:].sigmoid().contiguous()

        def convolve(k: int, y: Tensor, offset: Tensor, mask: Tensor, stride: int = 1) -> Tensor:
            conv = module.convs[k]
            return module.norms[k](deform_conv(y, offset, mask, conv.weight, conv.bias, stride))

        heard = [convolve(1, x, offset, mask)]
        if i > 0:
            heard.append(convolve(2, maps[i - 1], offset, mask, stride=2))
        if i + 1 < len(maps):
            batch, _, h, w = maps[i + 1].shape
            flat_offset = offset.reshape(batch, -1)[:, : 18 * h * w].reshape(batch, 18, h, w)
            flat_mask = mask.reshape(batch, -1)[:, : 9 * h * w].reshape(batch, 9, h, w)
            coarse = convolve(0, maps[i + 1], flat_offset, flat_mask)
            heard.append(F.interpolate(coarse, size=x.shape[2:], mode="bilinear", align_corners=True))
        weights = [hard_sigmoid(F.relu(module.scale_attention(y.mean((2, 3))))) for y in heard]
        mean = sum(y * w[:, :, None, None] for y, w in zip(heard, weights, strict=True)) / len(heard)
        outputs.append(module.relu(mean))
    return outputs
