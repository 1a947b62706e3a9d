"""microsoft/GLIP's names, without the `module.` that its data-parallel training put in front of them.

Not dropped, on purpose: `rpn.tunable_linear`, which prompt tuning adds and which changes every answer.
"""

from __future__ import annotations

from glip_cli.checkpoints import key_map
from glip_cli.checkpoints.key_map import as_linear, rows
from glip_cli.model.config import GlipConfig

_BERT = "language_backbone.body.model."
_HEAD = "rpn.head."
_TOWER = "rpn.head.dyhead_tower."

ROWS = (
    *rows(
        key_map.once,
        {
            "patch_embed.proj.{p}": "patch_embed.proj.{p}",
            "patch_embed.norm.{p}": "patch_embed.norm.{p}",
        },
        ours="backbone.",
        theirs="backbone.body.",
    ),
    *rows(
        key_map.blocks,
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
        key_map.merges,
        {
            "norm.{p}": "norm.{p}",
            "reduction.weight": "reduction.weight",
        },
        ours="backbone.layers.{stage}.downsample.",
        theirs="backbone.body.layers.{before}.downsample.",
    ),
    *rows(
        key_map.outputs,
        {
            "backbone.norms.{index}.{p}": "backbone.body.norm{stage}.{p}",
            "fpn.laterals.{index}.{p}": "backbone.fpn.fpn_inner{number}.{p}",
            "fpn.outputs.{index}.{p}": "backbone.fpn.fpn_layer{number}.{p}",
        },
    ),
    *rows(
        key_map.once,
        {
            "fpn.p6.{p}": "backbone.fpn.top_blocks.p6.{p}",
            "fpn.p7.{p}": "backbone.fpn.top_blocks.p7.{p}",
        },
    ),
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
        theirs=_BERT + "embeddings.",
    ),
    *rows(
        key_map.bert_layers, {"text.bert.encoder.layer.{layer}.{part}.{p}": _BERT + "encoder.layer.{layer}.{part}.{p}"}
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
        theirs=_TOWER + "{fusion}.b_attn.",
    ),
    *rows(
        key_map.projections,
        {"head.tower.{round}.fusion.{projection}.{p}": _TOWER + "{fusion}.b_attn.attn.{projection}.{p}"},
    ),
    *rows(key_map.text_rounds, {"head.tower.{round}.text.{part}.{p}": _TOWER + "{text}.{part}.{p}"}),
    *rows(
        key_map.rounds,
        {
            "offset.{p}": "offset.{p}",
            "relu.squeeze.{p}": "relu.fc.0.{p}",
            "relu.excite.{p}": "relu.fc.2.{p}",
        },
        ours="head.tower.{round}.conv.",
        theirs=_TOWER + "{conv}.",
    ),
    *rows(key_map.rounds, {"head.tower.{round}.conv.scale_attention.{p}": _TOWER + "{conv}.AttnConv.1.{p}"}, as_linear),
    *rows(
        key_map.branches,
        {
            "convs.{branch}.{p}": "{branch}.conv.{p}",
            "norms.{branch}.{p}": "{branch}.bn.{p}",
        },
        ours="head.tower.{round}.conv.",
        theirs=_TOWER + "{conv}.DyConv.",
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
        theirs=_HEAD,
    ),
    *rows(
        key_map.once,
        {"box.{p}": "bbox_pred.{p}", "centerness.{p}": "centerness.{p}"},
        as_linear,
        ours="head.",
        theirs=_HEAD,
    ),
    *rows(key_map.levels, {"head.scales.{level}": _HEAD + "scales.{level}.scale"}),
)

_INDEX = "backbone.body.layers.{stage}.blocks.{block}.attn.relative_position_index"
DROPPED = {
    _INDEX: (key_map.blocks, "follows from the window's size"),
    _BERT + "embeddings.position_ids": (key_map.once, "0, 1, 2, ..."),
    _BERT + "embeddings.token_type_ids": (key_map.once, "zeros"),
    _BERT + "pooler.dense.{p}": (key_map.once, "sentence features are not used"),
    "rpn.anchor_generator.cell_anchors.{level}": (key_map.levels, "anchors are computed (glip_cli.model.boxes)"),
    "rpn.resizer.fc.{p}": (key_map.once, "a text projection that only another loss used"),
    "rpn.resizer.layer_norm.{p}": (key_map.once, "a text projection that only another loss used"),
    _HEAD + "cls_logits.{p}": (key_map.once, "a head for fixed classes; GLIP scores tokens"),
    _HEAD + "mlm_head.bias": (key_map.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.decoder.{p}": (key_map.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.transform.dense.{p}": (key_map.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.transform.LayerNorm.{p}": (key_map.once, "masked language modelling, for training only"),
}


def table(config: GlipConfig) -> key_map.KeyTable:
    return key_map.expand(config, ROWS, DROPPED)
