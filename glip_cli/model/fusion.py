"""Deep fusion: image and text attend to each other through one score matrix (GLIP paper, section 3.2).

The textbook form projects every image position to a 2048-wide query, key and value. Here the few text tokens are
projected into the image's space instead, which is the same by associativity and costs a fraction (per head h):

    (v Wq_h)(l Wk_h)^T            = v ((l Wk_h) Wq_h^T)^T
    g softmax(S)(l Wvl_h) Wo_h    = softmax(S) (g (l Wvl_h) Wo_h)        g, the layer's scale, is a factor per channel
    softmax(S^T)(v Wvv_h + b_h)   = (softmax(S^T) v) Wvv_h + b_h        rows of a softmax sum to one

Positions are taken some at a time, so that the scores, of which there are N x H x T, never leave a processor's cache;
what the tokens gather is kept up as the positions go by. tests/model/textbook.py keeps the textbook form as the oracle.

Shape suffixes: B batch, N image positions, P some of them, T text tokens, H heads, M = H*T, D width of a head, C image
and L text channels.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.chunked import ROWS
from glip_cli.model.config import FusionConfig
from glip_cli.model.onednn_linear import batched_linear

CLAMP = 50000.0  # the official bound on scores
SHORT = 8  # tokens: a prompt of one or two short names
CPU_CELLS, GPU_CELLS = 800_000, 1 << 26  # scores at once


class Fusion(nn.Module):
    """Bi-directional cross attention (official VLFuse, MHA-B).

    Quirk: the residual starts from the *normalised* features; the input itself is lost. The weights need it.
    Image padding takes part in the attention; text padding does not.
    """

    def __init__(self, channels: int, hidden: int, config: FusionConfig, layers: int):
        super().__init__()
        self.heads = config.heads
        self.width = config.embed // config.heads
        self.dropout = config.dropout
        self.norm_v = nn.LayerNorm(channels)
        self.norm_l = nn.LayerNorm(hidden)
        self.v_proj = nn.Linear(channels, config.embed)
        self.l_proj = nn.Linear(hidden, config.embed)
        self.values_v_proj = nn.Linear(channels, config.embed)
        self.values_l_proj = nn.Linear(hidden, config.embed)
        self.out_v_proj = nn.Linear(config.embed, channels)
        self.out_l_proj = nn.Linear(config.embed, hidden)
        for linear in (self.v_proj, self.l_proj, self.values_v_proj, self.values_l_proj, self.out_v_proj,
                       self.out_l_proj):  # fmt: skip
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.gamma_v = nn.Parameter(torch.full((channels,), 1 / layers))
        self.gamma_l = nn.Parameter(torch.full((hidden,), 1 / layers))

    def forward(self, v: Tensor, l: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Image rows [B, N, C], text features [B, T, L], mask bool [B, T] -> both, updated."""
        l_BTL = self.norm_l(l)
        key_BMC, bias_BM = self._keys(l_BTL)  # M = H*T
        values_BCM, bias_BC = self._values(l_BTL)
        precise = torch.promote_types(v.dtype, torch.float32)  # of what is summed over all positions
        pads_B11T = torch.zeros_like(mask, dtype=precise).masked_fill(~mask, float("-inf"))[:, None, None]
        updated, towards_text = [], OnlineSoftmax.empty(key_BMC.to(precise))
        for part in self._parts(v, mask):
            v_BPC = self.norm_v(part)
            scores_BPM = batched_linear(v_BPC, key_BMC, bias_BM).to(precise).clamp(-CLAMP, CLAMP)
            attention_BPHT = _softmax(scores_BPM.unflatten(2, (self.heads, -1)) + pads_B11T)
            attention_BPM = self._drop(attention_BPHT).flatten(2).to(v_BPC.dtype)
            updated.append(v_BPC + batched_linear(attention_BPM, values_BCM, bias_BC))
            towards_text = towards_text.update(scores_BPM, v_BPC, self._drop)
        return torch.cat(updated, dim=1), l_BTL + self.gamma_l * self._to_text(towards_text, l_BTL.dtype)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training)

    def _parts(self, v_BNC: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """Positions [B, P, C] that stay in a processor's cache with their scores, and do not fill a GPU."""
        if v_BNC.is_cpu and torch.compiler.is_compiling():
            return (v_BNC,)  # a compiler joins the steps by itself
        rows, cells = (ROWS, CPU_CELLS) if v_BNC.is_cpu else (v_BNC.shape[1], GPU_CELLS)
        return v_BNC.split(max(1, min(rows, cells // (mask.numel() * self.heads))), dim=1)

    def _split(self, x_BTE: Tensor) -> Tensor:
        """[B, T, H*D] -> [B, H, T, D]."""
        return x_BTE.unflatten(-1, (self.heads, self.width)).transpose(1, 2)

    def _keys(self, l_BTL: Tensor) -> tuple[Tensor, Tensor]:
        """Each token as each head looks for it in the image: [B, H*T, C], and a constant, [B, H*T]."""
        k_BHTD = self._split(self.l_proj(l_BTL)) * self.width**-0.5
        weight_HDC = self.v_proj.weight.unflatten(0, (self.heads, self.width))
        bias_HD1 = self.v_proj.bias.view(self.heads, self.width, 1)
        return (k_BHTD @ weight_HDC).flatten(1, 2), (k_BHTD @ bias_HD1).flatten(1)

    def _values(self, l_BTL: Tensor) -> tuple[Tensor, Tensor]:
        """The update of a position by each head and token, [B, C, H*T], and a constant, [B, C]."""
        weight_HDC = self.out_v_proj.weight.t().unflatten(0, (self.heads, self.width))
        values_BMC = (self._split(self.values_l_proj(l_BTL)) @ weight_HDC).flatten(1, 2)
        bias_C = self.gamma_v * self.out_v_proj.bias
        # shape, as torch's exporter takes len() for a constant
        return (self.gamma_v * values_BMC).transpose(1, 2), bias_C.expand(l_BTL.shape[0], -1)

    def _to_text(self, taken: OnlineSoftmax, dtype: torch.dtype) -> Tensor:
        """The update of each token by the positions: [B, T, L]."""
        pooled_BHTC = (taken.rows / taken.total).to(dtype).unflatten(1, (self.heads, -1))
        share_BHT1 = (taken.kept_total / taken.total).to(dtype).unflatten(1, (self.heads, -1))  # 1 but for dropout
        weight_HDC = self.values_v_proj.weight.unflatten(0, (self.heads, self.width))
        bias_H1D = self.values_v_proj.bias.view(self.heads, 1, self.width)
        taken_BHTD = pooled_BHTC @ weight_HDC.transpose(1, 2) + share_BHT1 * bias_H1D
        return self.out_l_proj(taken_BHTD.transpose(1, 2).flatten(2))


@dataclass(frozen=True)
class OnlineSoftmax:
    """A softmax over positions of which only some have been seen (the online softmax, arXiv 1805.02867).

    Attributes:
        running_max: [B, 1, M] the largest score so far; the exponentials are of scores less this.
        total: [B, M, 1] the sum of the exponentials.
        kept_total: [B, M, 1] the same of those that dropout kept.
        rows: [B, M, C] the positions' rows, weighted by their exponentials.
    """

    running_max: Tensor
    total: Tensor
    kept_total: Tensor
    rows: Tensor

    @classmethod
    def empty(cls, key_BMC: Tensor) -> OnlineSoftmax:
        none = torch.zeros_like(key_BMC[..., :1])
        return cls(torch.full_like(none.transpose(1, 2), float("-inf")), none, none, torch.zeros_like(key_BMC))

    def update(self, scores_BPM: Tensor, rows_BPC: Tensor, drop: Callable[[Tensor], Tensor]) -> OnlineSoftmax:
        """With some more positions."""
        running_max = torch.maximum(self.running_max, scores_BPM.amax(1, keepdim=True)).detach()  # it cancels out
        before = (self.running_max - running_max).exp().transpose(1, 2)
        weights = (scores_BPM - running_max).exp()
        kept = drop(weights)
        return OnlineSoftmax(
            running_max,
            self.total * before + weights.sum(1).unsqueeze(-1),
            self.kept_total * before + kept.sum(1).unsqueeze(-1),
            self.rows * before + _gather(kept.to(rows_BPC.dtype), rows_BPC),
        )


def _softmax(x: Tensor) -> Tensor:
    """Over the last dimension. Of rows shorter than a processor's register torch's own takes five times as long."""
    if not x.is_cpu or torch.compiler.is_compiling() or x.shape[-1] > SHORT:
        return x.softmax(-1)
    weights = (x - x.amax(-1, keepdim=True).detach()).exp()
    return weights / weights.sum(-1, keepdim=True)


def _gather(weights_BPM: Tensor, rows_BPC: Tensor) -> Tensor:
    """Weighted sums of rows: [B, M, C]."""
    return batched_linear(weights_BPM.transpose(1, 2), rows_BPC.transpose(1, 2))
