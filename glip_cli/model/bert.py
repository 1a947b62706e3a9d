"""Token ids -> token features: transformers' BERT, and single layers of it for the rounds of fusion."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.bert.configuration_bert import BertConfig
from transformers.models.bert.modeling_bert import BertLayer, BertModel

from glip_cli.model.config import TextConfig


def bert_config(config: TextConfig) -> BertConfig:
    return BertConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        intermediate_size=config.intermediate,
        max_position_embeddings=config.positions,
        hidden_dropout_prob=config.dropout,
        attention_probs_dropout_prob=config.dropout,
        attn_implementation="sdpa",
    )


class TextEncoder(nn.Module):
    """BERT without its pooler; only the last layer's output is used.

    Attributes:
        offset: [n, hidden], what prompt tuning adds to the first n tokens, whatever they are (official
            `tunable_linear`, vldyhead.py); None for a model that was not tuned so.
    """

    offset: nn.Parameter | None

    def __init__(self, config: TextConfig):
        super().__init__()
        self.bert = BertModel(bert_config(config), add_pooling_layer=False)
        self.register_parameter("offset", None)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [B, n] and mask bool [B, n], True for real tokens -> features [B, n, hidden].

        Rows of padding are set to zero: nothing reads them, and GLIP-T (A) shows them so (`embedded`).
        """
        hidden: Tensor = self.bert(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        if self.offset is not None:
            rows = self.offset[: ids.shape[1]]
            hidden = hidden + F.pad(rows, (0, 0, 0, ids.shape[1] - len(rows)))
        return hidden * mask.unsqueeze(-1)


class TextLayer(BertLayer):
    """One post-norm BERT layer between two rounds of fusion (official modeling_bert.BertEncoderLayer).

    The official code clamps its activations to +-50000 against overflow in half precision; no value comes near, and
    bfloat16 has the range of float32, so the clamps are left out.
    """

    def __init__(self, config: TextConfig):
        super().__init__(bert_config(config))

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Features [B, n, hidden], mask bool [B, n] -> features [B, n, hidden]."""
        bias = torch.zeros(mask.shape, dtype=hidden.dtype, device=mask.device)
        bias = bias.masked_fill(~mask, torch.finfo(hidden.dtype).min)[:, None, None, :]
        output = super().forward(hidden, bias)
        # transformers 4 gives a tuple, 5 the tensor itself
        hidden = output[0] if isinstance(output, tuple) else output
        return hidden
