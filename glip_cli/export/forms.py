"""The network's layers, said in another way: the same weights and results in operators that ONNX has.

What differs from `glip_cli.model`: no pieces that fit a cache, windows by reshaping instead of by row numbers, and the
deformable convolution as ONNX's own operator (in onnxruntime 1.31 on a CPU it takes two thirds of the time of the
fastest gathered form, docs/export.md).
"""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.bert import TextEncoder
from glip_cli.model.dyhead import DynamicConv
from glip_cli.model.fusion import CLAMP, Fusion
from glip_cli.model.nano import LabelEncoder
from glip_cli.model.swin import WindowBlock

Form = TypeVar("Form", bound=nn.Module)


def as_form(module: nn.Module, form: type[Form]) -> Form:
    """The same weights under the forward of `form`; the module itself stays as it is."""
    twin = copy.copy(module)
    twin.__class__ = form
    assert isinstance(twin, form)
    return twin


class BlockForm(WindowBlock):
    """A block of Swin; windows are cut by reshaping."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H, W, C]."""
        x = x + self._attn(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attn(self, x: Tensor) -> Tensor:
        """[B, H, W, C] -> [B, H, W, C]; the map is padded to whole windows, then shifted."""
        batch, height, width, channels = x.shape
        (tall, wide), (up, left) = self.window_size, self.shift_size
        # ceiling by a division alone: the exporter reasons about every size, and remainders cost it minutes
        down, right = (height + tall - 1) // tall, (width + wide - 1) // wide
        x = F.pad(x, (0, 0, 0, right * wide - width, 0, down * tall - height))
        if up:
            x = torch.roll(x, (-up, -left), dims=(1, 2))
        windows = x.reshape(batch, down, tall, right, wide, channels).transpose(2, 3).reshape(-1, tall * wide, channels)
        heard = self._windowed(windows, self._shares(windows, batch, down, right))
        x = heard.reshape(batch, down, right, tall, wide, channels).transpose(2, 3)
        x = x.reshape(batch, down * tall, right * wide, channels)
        if up:
            x = torch.roll(x, (up, left), dims=(1, 2))
        return x[:, :height, :width]

    def _shares(self, windows: Tensor, batch: int, down: int, right: int) -> Tensor:
        """What is added to the scores: [1 or all windows, heads, cells, cells]."""
        bias = self._bias(windows)
        if not any(self.shift_size):
            return bias[:1]
        last_row = (torch.arange(down) == down - 1).long() * 2
        last_column = (torch.arange(right) == right - 1).long()
        kinds = last_row.unsqueeze(1) + last_column
        return bias[kinds.expand(batch, down, right).reshape(-1)]

    def _windowed(self, x: Tensor, bias: Tensor) -> Tensor:
        """[windows, cells, C] -> [windows, cells, C]."""
        count, cells, channels = x.shape
        heads = self.attn.num_heads
        qkv = self.attn.qkv(x).reshape(count, cells, 3, heads, channels // heads).permute(2, 0, 3, 1, 4)
        scores = (qkv[0] * (channels // heads) ** -0.5) @ qkv[1].transpose(2, 3) + bias
        heard = scores.softmax(-1) @ qkv[2]
        return self.attn.proj(heard.transpose(1, 2).reshape(count, cells, channels))


class ConvForm(DynamicConv):
    """A round of the dynamic head; ONNX has its deformable convolution since opset 19."""

    def _branch(self, k: int, x: Tensor, offset: Tensor, mask: Tensor, stride: int = 1) -> Tensor:
        conv = self.convs[k]
        assert isinstance(conv, nn.Conv2d)
        y = torch.onnx.ops.symbolic(
            "DeformConv",
            (x, conv.weight, offset, conv.bias, mask),
            {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [stride, stride]},
            dtype=x.dtype,
            shape=(x.shape[0], conv.out_channels, offset.shape[2], offset.shape[3]),
        )
        return self.norms[k](y)


class FusionForm(Fusion):
    """Deep fusion with one score matrix, all positions at once. Shape suffixes as in glip_cli/model/fusion.py."""

    def forward(self, v: Tensor, l: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Image rows [B, N, C], text features [B, T, L], mask bool [B, T] -> both, updated."""
        v_BNC, l_BTL = self.norm_v(v), self.norm_l(l)
        scores_BHTN = self._scores(v_BNC, l_BTL)
        towards_image = self._towards_image(scores_BHTN, l_BTL, mask)
        return v_BNC + self.gamma_v * towards_image, l_BTL + self.gamma_l * self._towards_text(scores_BHTN, v_BNC)

    def _heads(self, x_BTE: Tensor) -> Tensor:
        """[B, T, H*D] -> [B, H, T, D]."""
        return x_BTE.unflatten(-1, (self.heads, self.width)).transpose(1, 2)

    def _scores(self, v_BNC: Tensor, l_BTL: Tensor) -> Tensor:
        k_BHTD = self._heads(self.l_proj(l_BTL)) * self.width**-0.5
        k_BHTC = k_BHTD @ self.v_proj.weight.unflatten(0, (self.heads, self.width))
        bias_BHT1 = k_BHTD @ self.v_proj.bias.view(self.heads, self.width, 1)
        scores_BMN = k_BHTC.flatten(1, 2) @ v_BNC.transpose(1, 2)  # M = H*T
        return (scores_BMN.unflatten(1, (self.heads, -1)) + bias_BHT1).clamp(-CLAMP, CLAMP)

    def _towards_image(self, scores_BHTN: Tensor, l_BTL: Tensor, mask: Tensor) -> Tensor:
        attention_BHTN = scores_BHTN.masked_fill(~mask[:, None, :, None], float("-inf")).softmax(2)
        weight_HDC = self.out_v_proj.weight.t().unflatten(0, (self.heads, self.width))
        values_BHTC = self._heads(self.values_l_proj(l_BTL)) @ weight_HDC
        return attention_BHTN.flatten(1, 2).transpose(1, 2) @ values_BHTC.flatten(1, 2) + self.out_v_proj.bias

    def _towards_text(self, scores_BHTN: Tensor, v_BNC: Tensor) -> Tensor:
        pooled_BHTC = (scores_BHTN.softmax(3).flatten(1, 2) @ v_BNC).unflatten(1, (self.heads, -1))
        weight_HCD = self.values_v_proj.weight.unflatten(0, (self.heads, self.width)).transpose(1, 2)
        taken_BHTD = pooled_BHTC @ weight_HCD + self.values_v_proj.bias.view(self.heads, 1, self.width)
        return self.out_l_proj(taken_BHTD.transpose(1, 2).flatten(2))


class LabelForm(nn.Module):
    """glip-nano's text side, with what prompt tuning adds as a table for every token that a text may have."""

    def __init__(self, text: LabelEncoder, window: int):
        super().__init__()
        self.text = copy.copy(text)
        if text.offset is not None:
            self.text.offset = nn.Parameter(F.pad(text.offset.detach(), (0, 0, 0, window - len(text.offset))))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """As `LabelEncoder`."""
        hidden: Tensor = self.text(ids, mask)
        return hidden


class TextForm(nn.Module):
    """BERT and what prompt tuning adds, as a table for every token that a text may have."""

    def __init__(self, text: TextEncoder, window: int):
        super().__init__()
        self.bert = text.bert
        self.offset: Tensor | None = None
        if text.offset is not None:
            self.offset = F.pad(text.offset.detach(), (0, 0, 0, window - len(text.offset)))

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [B, T], mask bool [B, T] -> features [B, T, L]."""
        hidden: Tensor = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if self.offset is not None:
            hidden = hidden + self.offset[: ids.shape[1]]
        return hidden * mask.unsqueeze(-1)
