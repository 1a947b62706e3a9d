"""The textbook forms of what the package computes in folded form: the oracles of the property tests.

Written straight from the formulas of microsoft/GLIP (rpn/vldyhead.py, utils/fuse_helper.py), with the parameters of the
folded modules: no folding, no trimming of padding, no sampling by row sums.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d

from glip_cli.model.dyhead import DynamicConv, hard_sigmoid
from glip_cli.model.fusion import Fusion


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
