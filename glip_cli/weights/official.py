"""microsoft/GLIP's names, without the `module.` that its data-parallel training put in front of them.

Not dropped, on purpose: `rpn.tunable_linear`, which prompt tuning adds and which changes every answer.
"""

from __future__ import annotations

from glip_cli.model import GlipConfig
from glip_cli.weights import names
from glip_cli.weights.names import as_linear, rows

_BERT = "language_backbone.body.model."
_HEAD = "rpn.head."
_TOWER = "rpn.head.dyhead_tower."

ROWS = (
    *rows(
        names.once,
        {
            "patch_embed.proj.{p}": "patch_embed.proj.{p}",
            "patch_embed.norm.{p}": "patch_embed.norm.{p}",
        },
        ours="backbone.",
        theirs="backbone.body.",
    ),
    *rows(
        names.blocks,
        {
            same: same
            for same in (
                "norm1.{p}",
                "attn.relative_position_bias_table",
                "attn.qkv.{p}",
                "attn.proj.{p}",
                "norm2.{p}",
                "mlp.fc1.{p}",
                "mlp.fc2.{p}",
            )
        },
        ours="backbone.layers.{stage}.blocks.{block}.",
        theirs="backbone.body.layers.{stage}.blocks.{block}.",
    ),
    *rows(
        names.merges,
        {
            "norm.{p}": "norm.{p}",
            "reduction.weight": "reduction.weight",
        },
        ours="backbone.layers.{stage}.downsample.",
        theirs="backbone.body.layers.{before}.downsample.",
    ),
    *rows(
        names.outputs,
        {
            "backbone.norms.{index}.{p}": "backbone.body.norm{stage}.{p}",
            "fpn.laterals.{index}.{p}": "backbone.fpn.fpn_inner{number}.{p}",
            "fpn.outputs.{index}.{p}": "backbone.fpn.fpn_layer{number}.{p}",
        },
    ),
    *rows(
        names.once,
        {
            "fpn.p6.{p}": "backbone.fpn.top_blocks.p6.{p}",
            "fpn.p7.{p}": "backbone.fpn.top_blocks.p7.{p}",
        },
    ),
    *rows(
        names.once,
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
        theirs=_BERT + "embeddings.",
    ),
    *rows(
        names.bert_layers, {"text.bert.encoder.layer.{layer}.{part}.{p}": _BERT + "encoder.layer.{layer}.{part}.{p}"}
    ),
    *rows(
        names.fused_rounds,
        {
            "gamma_v": "gamma_v",
            "gamma_l": "gamma_l",
            "norm_v.{p}": "layer_norm_v.{p}",
            "norm_l.{p}": "layer_norm_l.{p}",
        },
        ours="head.tower.{round}.fusion.",
        theirs=_TOWER + "{fusion}.b_attn.",
    ),
    *rows(
        names.projections,
        {"head.tower.{round}.fusion.{projection}.{p}": _TOWER + "{fusion}.b_attn.attn.{projection}.{p}"},
    ),
    *rows(names.text_rounds, {"head.tower.{round}.text.{part}.{p}": _TOWER + "{text}.{part}.{p}"}),
    *rows(
        names.rounds,
        {
            "offset.{p}": "offset.{p}",
            "relu.squeeze.{p}": "relu.fc.0.{p}",
            "relu.excite.{p}": "relu.fc.2.{p}",
        },
        ours="head.tower.{round}.conv.",
        theirs=_TOWER + "{conv}.",
    ),
    *rows(names.rounds, {"head.tower.{round}.conv.scale_attention.{p}": _TOWER + "{conv}.AttnConv.1.{p}"}, as_linear),
    *rows(
        names.branches,
        {
            "convs.{branch}.{p}": "{branch}.conv.{p}",
            "norms.{branch}.{p}": "{branch}.bn.{p}",
        },
        ours="head.tower.{round}.conv.",
        theirs=_TOWER + "{conv}.DyConv.",
    ),
    *rows(
        names.once,
        {
            "log_scale": "log_scale",
            "bias_lang": "bias_lang",
            "bias0": "bias0",
            "text_projection.{p}": "dot_product_projection_text.{p}",
        },
        ours="head.",
        theirs=_HEAD,
    ),
    *rows(
        names.once,
        {"box.{p}": "bbox_pred.{p}", "centerness.{p}": "centerness.{p}"},
        as_linear,
        ours="head.",
        theirs=_HEAD,
    ),
    *rows(names.levels, {"head.scales.{level}": _HEAD + "scales.{level}.scale"}),
)

_INDEX = "backbone.body.layers.{stage}.blocks.{block}.attn.relative_position_index"
DROPPED = {
    _INDEX: (names.blocks, "follows from the window's size"),
    _BERT + "embeddings.position_ids": (names.once, "0, 1, 2, ..."),
    _BERT + "embeddings.token_type_ids": (names.once, "zeros"),
    _BERT + "pooler.dense.{p}": (names.once, "sentence features are not used"),
    "rpn.anchor_generator.cell_anchors.{level}": (names.levels, "anchors are computed (glip_cli.boxes)"),
    "rpn.resizer.fc.{p}": (names.once, "a text projection that only another loss used"),
    "rpn.resizer.layer_norm.{p}": (names.once, "a text projection that only another loss used"),
    _HEAD + "cls_logits.{p}": (names.once, "a head for fixed classes; GLIP scores tokens"),
    _HEAD + "mlm_head.bias": (names.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.decoder.{p}": (names.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.transform.dense.{p}": (names.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.transform.LayerNorm.{p}": (names.once, "masked language modelling, for training only"),
}


def table(config: GlipConfig) -> names.Table:
    return names.expand(config, ROWS, DROPPED)
