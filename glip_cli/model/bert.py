"""Token ids -> token features: BERT (arXiv 1810.04805), and single layers of it between the fusion layers.

Parameters have transformers' names.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.model.checkpointing import CheckpointedModule
from glip_cli.model.config import TextConfig

EPS = 1e-12  # of every LayerNorm


class Embeddings(nn.Module):
    """Sums of the embeddings of words, of positions and of the first segment."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.word_embeddings = nn.Embedding(config.vocab_size, config.hidden, padding_idx=0)
        self.position_embeddings = nn.Embedding(config.positions, config.hidden)
        self.token_type_embeddings = nn.Embedding(2, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, ids: Tensor) -> Tensor:
        """Int64 [B, T] -> [B, T, L]."""
        x = self.word_embeddings(ids) + self.token_type_embeddings.weight[0]
        x = x + self.position_embeddings(torch.arange(ids.shape[1], device=ids.device))
        return self.dropout(self.LayerNorm(x))


class SelfAttention(nn.Module):
    def __init__(self, config: TextConfig):
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query = nn.Linear(config.hidden, config.hidden)
        self.key = nn.Linear(config.hidden, config.hidden)
        self.value = nn.Linear(config.hidden, config.hidden)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, T, L], mask bool [B, T] of the tokens that are read -> [B, T, L]."""
        q, k, v = (
            layer(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for layer in (self.query, self.key, self.value)
        )
        dropout = self.dropout if self.training else 0.0
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :], dropout_p=dropout)
        return y.transpose(1, 2).flatten(2)


class ResidualLinear(nn.Module):
    """A linear layer, whose output is added to what came in before, and normalised."""

    def __init__(self, width: int, config: TextConfig):
        super().__init__()
        self.dense = nn.Linear(width, config.hidden)
        self.LayerNorm = nn.LayerNorm(config.hidden, eps=EPS)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dropout(self.dense(x)) + residual)


class Attention(nn.Module):
    def __init__(self, config: TextConfig):
        super().__init__()
        self.self = SelfAttention(config)
        self.output = ResidualLinear(config.hidden, config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.output(self.self(x, mask), x)


class Intermediate(nn.Module):
    def __init__(self, config: TextConfig):
        super().__init__()
        self.dense = nn.Linear(config.hidden, config.intermediate)

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(self.dense(x))


class TextLayer(CheckpointedModule):
    """One post-norm layer of BERT.

    Between the fusion layers the official code (modeling_bert.BertEncoderLayer) clamps its activations to +-50000
    against overflow in half precision; no value comes near, and bfloat16 has the range of float32, so the clamps are
    left out.
    """

    def __init__(self, config: TextConfig):
        super().__init__()
        self.attention = Attention(config)
        self.intermediate = Intermediate(config)
        self.output = ResidualLinear(config.intermediate, config)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Features [B, T, L], mask bool [B, T], True for real tokens -> features [B, T, L]."""
        x = self.attention(x, mask)
        return self.output(self.intermediate(x), x)


class Encoder(nn.Module):
    def __init__(self, config: TextConfig):
        super().__init__()
        self.layer = nn.ModuleList(TextLayer(config) for _ in range(config.layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for layer in self.layer:
            x = layer(x, mask)
        return x


class Bert(nn.Module):
    """BERT without its pooler."""

    def __init__(self, config: TextConfig):
        super().__init__()
        self.embeddings = Embeddings(config)
        self.encoder = Encoder(config)
        self.apply(init_bert)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [B, T], mask bool [B, T] -> features of the last layer, [B, T, L]."""
        return self.encoder(self.embeddings(ids), mask)


@torch.no_grad()
def init_bert(module: nn.Module) -> None:
    """Weights to train from scratch, as BERT's authors draw them (`module.apply(init_bert)`)."""
    if isinstance(module, nn.Linear | nn.Embedding):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear):
        nn.init.zeros_(module.bias)
    if isinstance(module, nn.Embedding) and module.padding_idx is not None:
        module.weight[module.padding_idx].zero_()


class TextEncoder(nn.Module):
    """BERT, and what prompt tuning adds to its output.

    Attributes:
        offset: [n, hidden], added to the first n tokens, whatever they are (official `tunable_linear`, vldyhead.py);
            None for a model that was not tuned so.
    """

    offset: nn.Parameter | None

    def __init__(self, config: TextConfig):
        super().__init__()
        self.bert = Bert(config)
        self.register_parameter("offset", None)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [B, T] and mask bool [B, T], True for real tokens -> features [B, T, hidden].

        Rows of padding are set to zero: nothing reads them, and GLIP-T (A) shows them so (`embedded`).
        """
        return add_offset(self.bert(ids, mask), self.offset) * mask.unsqueeze(-1)


def add_offset(hidden: Tensor, offset: Tensor | None) -> Tensor:
    """Features [B, T, L] + rows [n, L], of which some may be too many or missing -> [B, T, L]."""
    if offset is None:
        return hidden
    if torch.compiler.is_exporting():  # there are enough rows; a slice would limit the length of the text
        return hidden + offset[torch.arange(hidden.shape[1])]
    return hidden + pad_offset(offset, hidden.shape[1])


def pad_offset(offset: Tensor, count: int) -> Tensor:
    """Rows [n, L] -> [count, L]: the first ones, and zeros."""
    rows = offset[:count]
    return F.pad(rows, (0, 0, 0, count - len(rows)))
