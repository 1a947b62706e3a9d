"""Deep fusion: image and text attend to each other through one score matrix (GLIP paper, section 3.2).

The textbook form projects every image position to a 2048-wide query, key and value. Here the few text tokens are
projected into the image's space instead, which is the same by associativity and costs a fraction (per head h):

    (v Wq_h)(l Wk_h)^T            = v ((l Wk_h) Wq_h^T)^T
    softmax(S)(l Wvl_h) Wo_h      = softmax(S) ((l Wvl_h) Wo_h)
    softmax(S^T)(v Wvv_h + b_h)   = (softmax(S^T) v) Wvv_h + b_h        rows of a softmax sum to one

tests/model/textbook.py keeps the textbook form as the oracle.

Shape suffixes: B batch, N image positions, T text tokens, H heads, D width of a head, C image and L text channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.config import FusionConfig

CLAMP = 50000.0  # the official bound on scores


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
        v_BNC, l_BTL = self.norm_v(v), self.norm_l(l)
        scores_BHTN = self._scores(v_BNC, l_BTL)
        delta_v = self._to_image(scores_BHTN, l_BTL, mask)
        delta_l = self._to_text(scores_BHTN, v_BNC)
        return v_BNC + self.gamma_v * delta_v, l_BTL + self.gamma_l * delta_l

    def _split(self, x_BTE: Tensor) -> Tensor:
        """[B, T, H*D] -> [B, H, T, D]."""
        return x_BTE.unflatten(-1, (self.heads, self.width)).transpose(1, 2)

    def _scores(self, v_BNC: Tensor, l_BTL: Tensor) -> Tensor:
        """[B, H, T, N], text-major so that the softmax over positions runs along memory."""
        scale = self.width**-0.5
        k_BHTD = self._split(self.l_proj(l_BTL)) * scale
        weight_HDC = self.v_proj.weight.unflatten(0, (self.heads, self.width))
        bias_HD1 = self.v_proj.bias.view(self.heads, self.width, 1)
        k_BHTC = k_BHTD @ weight_HDC
        scores_BMN = k_BHTC.flatten(1, 2) @ v_BNC.transpose(1, 2)  # M = H*T
        scores_BHTN = scores_BMN.unflatten(1, (self.heads, -1)) + k_BHTD @ bias_HD1
        return scores_BHTN.clamp(-CLAMP, CLAMP)

    def _to_image(self, scores_BHTN: Tensor, l_BTL: Tensor, mask: Tensor) -> Tensor:
        """What each position takes from the tokens: [B, N, C]."""
        masked = scores_BHTN.masked_fill(~mask[:, None, :, None], float("-inf"))
        attention_BHTN = F.dropout(masked.softmax(dim=2), self.dropout, self.training)
        weight_HDC = self.out_v_proj.weight.t().unflatten(0, (self.heads, self.width))
        values_BHTC = self._split(self.values_l_proj(l_BTL)) @ weight_HDC
        taken = attention_BHTN.flatten(1, 2).transpose(1, 2) @ values_BHTC.flatten(1, 2)
        return taken + self.out_v_proj.bias

    def _to_text(self, scores_BHTN: Tensor, v_BNC: Tensor) -> Tensor:
        """What each token takes from the positions: [B, T, L]."""
        attention_BHTN = F.dropout(scores_BHTN.softmax(dim=3), self.dropout, self.training)
        pooled_BHTC = (attention_BHTN.flatten(1, 2) @ v_BNC).unflatten(1, (self.heads, -1))
        weight_HDC = self.values_v_proj.weight.unflatten(0, (self.heads, self.width))
        bias_H1D = self.values_v_proj.bias.view(self.heads, 1, self.width)
        if self.training and self.dropout:  # dropped-out rows no longer sum to one
            bias_H1D = bias_H1D * attention_BHTN.sum(-1, keepdim=True)
        taken_BHTD = pooled_BHTC @ weight_HDC.transpose(1, 2) + bias_H1D
        return self.out_l_proj(taken_BHTD.transpose(1, 2).flatten(2))
