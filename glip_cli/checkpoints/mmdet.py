"""mmdetection's names (3.x; configs/glip, tools/model_converters/glip_to_mmdet.py)."""

from __future__ import annotations

from glip_cli.checkpoints import key_map
from glip_cli.checkpoints.key_map import as_linear, from_unfold, rows
from glip_cli.model.config import GlipConfig

_BERT = "language_model.language_backbone.body.model."
_HEAD = "bbox_head.head."
_TOWER = "bbox_head.head.dyhead_tower."

BACKBONE = (
    *rows(
        key_map.once,
        {
            "patch_embed.proj.{p}": "patch_embed.projection.{p}",
            "patch_embed.norm.{p}": "patch_embed.norm.{p}",
        },
        ours="backbone.",
        theirs="backbone.",
    ),
    *rows(
        key_map.blocks,
        {
            "norm1.{p}": "norm1.{p}",
            "attn.relative_position_bias_table": "attn.w_msa.relative_position_bias_table",
            "attn.qkv.{p}": "attn.w_msa.qkv.{p}",
            "attn.proj.{p}": "attn.w_msa.proj.{p}",
            "norm2.{p}": "norm2.{p}",
            "mlp.fc1.{p}": "ffn.layers.0.0.{p}",
            "mlp.fc2.{p}": "ffn.layers.1.{p}",
        },
        ours="backbone.layers.{stage}.blocks.{block}.",
        theirs="backbone.stages.{stage}.blocks.{block}.",
    ),
    *rows(
        key_map.merges,
        {
            "norm.{p}": "norm.{p}",
            "reduction.weight": "reduction.weight",
        },
        from_unfold,
        ours="backbone.layers.{stage}.downsample.",
        theirs="backbone.stages.{before}.downsample.",
    ),
    *rows(key_map.outputs, {"backbone.norms.{index}.{p}": "backbone.norm{stage}.{p}"}),
)

_INDEX = "backbone.stages.{stage}.blocks.{block}.attn.w_msa.relative_position_index"
BACKBONE_DROPPED = {_INDEX: (key_map.blocks, "follows from the window's size")}

ROWS = (
    *BACKBONE,
    *rows(
        key_map.outputs,
        {
            "fpn.laterals.{index}.{p}": "neck.lateral_convs.{index}.conv.{p}",
            "fpn.outputs.{index}.{p}": "neck.fpn_convs.{index}.conv.{p}",
        },
    ),
    *rows(key_map.once, {"fpn.p6.{p}": "neck.fpn_convs.3.conv.{p}", "fpn.p7.{p}": "neck.fpn_convs.4.conv.{p}"}),
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
    *rows(key_map.rounds, {"head.tower.{round}.conv.scale_attention.{p}": _TOWER + "{conv}.attnconv.1.{p}"}, as_linear),
    *rows(
        key_map.branches,
        {
            "convs.{branch}.{p}": "{branch}.conv.{p}",
            "norms.{branch}.{p}": "{branch}.bn.{p}",
        },
        ours="head.tower.{round}.conv.",
        theirs=_TOWER + "{conv}.dyconvs.",
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

# The converter copies everything below the official `rpn`, used or not.
DROPPED = {
    **BACKBONE_DROPPED,
    _BERT + "embeddings.position_ids": (key_map.once, "0, 1, 2, ..."),
    _BERT + "embeddings.token_type_ids": (key_map.once, "zeros"),
    _BERT + "pooler.dense.{p}": (key_map.once, "sentence features are not used"),
    "bbox_head.anchor_generator.cell_anchors.{level}": (key_map.levels, "anchors are computed (glip_cli.model.boxes)"),
    "bbox_head.resizer.fc.{p}": (key_map.once, "a text projection that only another loss used"),
    "bbox_head.resizer.layer_norm.{p}": (key_map.once, "a text projection that only another loss used"),
    _HEAD + "cls_logits.{p}": (key_map.once, "a head for fixed classes; GLIP scores tokens"),
    _HEAD + "mlm_head.bias": (key_map.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.decoder.{p}": (key_map.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.transform.dense.{p}": (key_map.once, "masked language modelling, for training only"),
    _HEAD + "mlm_head.transform.LayerNorm.{p}": (key_map.once, "masked language modelling, for training only"),
}


def table(config: GlipConfig) -> key_map.KeyTable:
    return key_map.expand(config, ROWS, DROPPED)
