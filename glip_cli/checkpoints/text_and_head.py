"""Names of the text's and the head's tensors, which mmdetection's converter copies from microsoft/GLIP as they are.

BERT lies below `bert`. What is below `rpn` is copied, used or not.
"""

from __future__ import annotations

from glip_cli.checkpoints import key_map
from glip_cli.checkpoints.key_map import Axis, KeyRow, as_linear, rows


def text_and_head(bert: str, rpn: str, *, attention: str, convs: str) -> tuple[KeyRow, ...]:
    """The rows of a dialect; `attention` and `convs` are what it calls those of a dynamic convolution."""
    head = rpn + "head."
    tower = head + "dyhead_tower."
    return (
        *rows(
            key_map.once,
            {
                same: same
                for same in (
                    "word_embeddings.weight",
                    "position_embeddings.weight",
                    "token_type_embeddings.weight",
                    "LayerNorm.{p}",
                )
            },
            ours="text.bert.embeddings.",
            theirs=bert + "embeddings.",
        ),
        *rows(
            key_map.bert_layers,
            {"text.bert.encoder.layer.{layer}.{part}.{p}": bert + "encoder.layer.{layer}.{part}.{p}"},
        ),
        *rows(
            key_map.fused_rounds,
            {
                "gamma_v": "gamma_v",
                "gamma_l": "gamma_l",
                "norm_v.{p}": "layer_norm_v.{p}",
                "norm_l.{p}": "layer_norm_l.{p}",
            },
            ours="head.tower.{round}.fusion.",
            theirs=tower + "{fusion}.b_attn.",
        ),
        *rows(
            key_map.projections,
            {"head.tower.{round}.fusion.{projection}.{p}": tower + "{fusion}.b_attn.attn.{projection}.{p}"},
        ),
        *rows(key_map.text_rounds, {"head.tower.{round}.text.{part}.{p}": tower + "{text}.{part}.{p}"}),
        *rows(
            key_map.rounds,
            {
                "offset.{p}": "offset.{p}",
                "relu.squeeze.{p}": "relu.fc.0.{p}",
                "relu.excite.{p}": "relu.fc.2.{p}",
            },
            ours="head.tower.{round}.conv.",
            theirs=tower + "{conv}.",
        ),
        *rows(
            key_map.rounds,
            {"head.tower.{round}.conv.scale_attention.{p}": tower + f"{{conv}}.{attention}.1.{{p}}"},
            as_linear,
        ),
        *rows(
            key_map.branches,
            {
                "convs.{branch}.{p}": "{branch}.conv.{p}",
                "norms.{branch}.{p}": "{branch}.bn.{p}",
            },
            ours="head.tower.{round}.conv.",
            theirs=tower + f"{{conv}}.{convs}.",
        ),
        *rows(
            key_map.once,
            {
                "log_scale": "log_scale",
                "bias_lang": "bias_lang",
                "bias0": "bias0",
                "text_projection.{p}": "dot_product_projection_text.{p}",
            },
            ours="head.",
            theirs=head,
        ),
        *rows(
            key_map.once,
            {"box.{p}": "bbox_pred.{p}", "centerness.{p}": "centerness.{p}"},
            as_linear,
            ours="head.",
            theirs=head,
        ),
        *rows(key_map.levels, {"head.scales.{level}": head + "scales.{level}.scale"}),
    )


def text_and_head_dropped(bert: str, rpn: str) -> dict[str, tuple[Axis, str]]:
    """Names that are not read -> where they are, and why."""
    head = rpn + "head."
    return {
        bert + "embeddings.position_ids": (key_map.once, "0, 1, 2, ..."),
        bert + "embeddings.token_type_ids": (key_map.once, "zeros"),
        bert + "pooler.dense.{p}": (key_map.once, "sentence features are not used"),
        rpn + "anchor_generator.cell_anchors.{level}": (key_map.levels, "anchors are computed (glip_cli.model.boxes)"),
        rpn + "resizer.fc.{p}": (key_map.once, "a text projection that only another loss used"),
        rpn + "resizer.layer_norm.{p}": (key_map.once, "a text projection that only another loss used"),
        head + "cls_logits.{p}": (key_map.once, "a head for fixed classes; GLIP scores tokens"),
        head + "mlm_head.bias": (key_map.once, "masked language modelling, for training only"),
        head + "mlm_head.decoder.{p}": (key_map.once, "masked language modelling, for training only"),
        head + "mlm_head.transform.dense.{p}": (key_map.once, "masked language modelling, for training only"),
        head + "mlm_head.transform.LayerNorm.{p}": (key_map.once, "masked language modelling, for training only"),
    }
