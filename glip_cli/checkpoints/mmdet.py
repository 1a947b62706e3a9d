"""mmdetection's names (3.x; configs/glip, tools/model_converters/glip_to_mmdet.py)."""

from __future__ import annotations

from glip_cli.checkpoints import key_map
from glip_cli.checkpoints.key_map import from_unfold, rows
from glip_cli.checkpoints.text_and_head import text_and_head, text_and_head_dropped
from glip_cli.model.config import GlipConfig

_BERT = "language_model.language_backbone.body.model."

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
    *text_and_head(_BERT, "bbox_head.", attention="attnconv", convs="dyconvs"),
)

DROPPED = {
    **BACKBONE_DROPPED,
    **text_and_head_dropped(_BERT, "bbox_head."),
}


def table(config: GlipConfig) -> key_map.KeyTable:
    return key_map.expand(config, ROWS, DROPPED)
