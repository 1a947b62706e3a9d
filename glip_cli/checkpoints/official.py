"""microsoft/GLIP's names, without the `module.` that its data-parallel training put in front of them.

Not dropped, on purpose: `rpn.tunable_linear`, which prompt tuning adds and which changes every answer.
"""

from __future__ import annotations

from glip_cli.checkpoints import key_map
from glip_cli.checkpoints.key_map import rows
from glip_cli.checkpoints.text_and_head import text_and_head, text_and_head_dropped
from glip_cli.model.config import GlipConfig

_BERT = "language_backbone.body.model."

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
    *text_and_head(_BERT, "rpn.", attention="AttnConv", convs="DyConv"),
)

_INDEX = "backbone.body.layers.{stage}.blocks.{block}.attn.relative_position_index"
DROPPED = {
    _INDEX: (key_map.blocks, "follows from the window's size"),
    **text_and_head_dropped(_BERT, "rpn."),
}


def table(config: GlipConfig) -> key_map.KeyTable:
    return key_map.expand(config, ROWS, DROPPED)
