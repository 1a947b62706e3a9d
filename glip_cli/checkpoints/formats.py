"""The dialect and the architecture of a state dict, and its conversion to native keys."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import torch
from torch import Tensor

from glip_cli.checkpoints import key_map
from glip_cli.checkpoints.empty_init import init_empty
from glip_cli.checkpoints.key_map import (
    Axis,
    KeyRow,
    KeyTable,
    TensorSource,
    Transform,
    as_linear,
    from_unfold,
    rows,
    translate,
)
from glip_cli.errors import CheckpointError
from glip_cli.model.config import ARCHITECTURES, GLIP_T, Config, GlipConfig
from glip_cli.model.glip import Glip
from glip_cli.utils.text_format import listed

OURS = ("native", "backbone")  # keys as in `Glip.state_dict()`, all of them or the backbone's alone
BACKBONES = ("mmpretrain", "backbone")
BACKBONE, HEAD = "backbone.", "head."
PATCH = "backbone.patch_embed.proj.weight"
FUSION = "head.tower.0.fusion.gamma_v"

# A beginning of a key that no other dialect has; the backbone's come last, for mmdetection shares them.
_MARKS = {
    "bbox_head.head.": "mmdet",
    "rpn.head.": "official",
    "head.tower.": "native",
    "backbone.stages.": "mmpretrain",
    "backbone.layers.": "backbone",
}


def detect_dialect(state: Mapping[str, Tensor], what: object = "this file") -> str:
    """Tell the spellings apart: native, mmdet, official; mmpretrain and backbone (native), which have no head.

    Raises CheckpointError for any other.
    """
    for mark, dialect in _MARKS.items():
        if any(key.startswith(mark) for key in state):
            return dialect
    raise CheckpointError(f"{what} is no GLIP checkpoint in any known spelling: its keys are like {listed(state)}")


def infer_architecture(state: Mapping[str, Tensor], dialect: str, what: object = "this file") -> str:
    """The architecture, from the width of the patches and the presence of fusion.

    A backbone alone is shared by GLIP-T with and without fusion; it is called after the one with. Raises
    CheckpointError when none fits.
    """
    fused = dialect in BACKBONES or table(GLIP_T, dialect).sources[FUSION].key in state
    patches = state.get(table(GLIP_T, dialect).sources[PATCH].key)
    width = patches.shape[0] if patches is not None and patches.ndim else None
    for name, config in ARCHITECTURES.items():
        if isinstance(config, GlipConfig) and (width, fused) == (config.swin.embed_dim, config.fusion is not None):
            return name
    raise CheckpointError(f"{what} ({dialect} names) has the sizes of none of {', '.join(ARCHITECTURES)}")


def table(config: Config, dialect: str) -> KeyTable:
    """The names of a dialect for one architecture; our own keys stand for themselves."""
    if dialect in OURS:
        begin = BACKBONE if dialect == "backbone" else ""
        return KeyTable({key: TensorSource(key) for key in shapes(config) if key.startswith(begin)}, {})
    if not isinstance(config, GlipConfig):
        raise CheckpointError(f"glip-nano has files of its own only, none in {dialect} names")
    return key_map.expand(config, *_DIALECTS[dialect])


@cache
def shapes(config: Config) -> dict[str, torch.Size]:
    """Key -> shape of every tensor in a checkpoint of this package."""
    return {key: tensor.shape for key, tensor in init_empty(lambda: Glip(config)).state_dict().items()}


def to_native(state: Mapping[str, Tensor], architecture: str, dialect: str, what: object) -> dict[str, Tensor]:
    """Translate and check; of a backbone the keys begin with "backbone.". Raises CheckpointError."""
    config = ARCHITECTURES[architecture]
    return translate(state, table(config, dialect), shapes(config), f"{what} is not {architecture} in {dialect} names")


# ------------------------------------------------------------------------------------------------------------- dialects
# How other programs name the tensors, as tables of `key_map`.
#
# mmdet        mmdetection 3.x (configs/glip, tools/model_converters/glip_to_mmdet.py)
# official     microsoft/GLIP, without the `module.` that its data-parallel training put in front of them
# mmpretrain   mmpretrain, the image backbone alone (tools/model_converters/glip_to_mmpretrain.py)
#
# mmpretrain's converter spells Swin as mmdetection does, patch merging in nn.Unfold's order included, and copies all
# three output norms, although mmpretrain itself reads only the last. So one backbone gives C3, C4 and C5 as the whole
# model does. Of the official names `rpn.tunable_linear` is not dropped, on purpose: prompt tuning adds it, and it
# changes every answer.


def _swin(
    theirs: str, *, patches: str, stages: str, attention: str, mlp: tuple[str, str], merging: Transform | None = None
) -> tuple[KeyRow, ...]:
    """The image backbone, which lies below `theirs`, by what a dialect calls its parts."""
    blocks = ".{stage}.blocks.{block}."
    attended = ("relative_position_bias_table", "qkv.{p}", "proj.{p}")
    block = {
        "norm1.{p}": "norm1.{p}",
        **{f"attn.{name}": f"{attention}.{name}" for name in attended},
        "norm2.{p}": "norm2.{p}",
        "mlp.fc1.{p}": f"{mlp[0]}.{{p}}",
        "mlp.fc2.{p}": f"{mlp[1]}.{{p}}",
    }
    patch = {"patch_embed.proj.{p}": f"patch_embed.{patches}.{{p}}", "patch_embed.norm.{p}": "patch_embed.norm.{p}"}
    merge = {"norm.{p}": "norm.{p}", "reduction.weight": "reduction.weight"}
    merge_names = {"ours": "backbone.layers.{stage}.downsample.", "theirs": f"{theirs}{stages}.{{before}}.downsample."}
    return (
        *rows(key_map.once, patch, ours="backbone.", theirs=theirs),
        *rows(key_map.blocks, block, ours=f"backbone.layers{blocks}", theirs=f"{theirs}{stages}{blocks}"),
        *rows(key_map.merges, merge, merging, **merge_names),
        *rows(key_map.outputs, {"backbone.norms.{index}.{p}": f"{theirs}norm{{stage}}.{{p}}"}),
    )


def _pyramid(lateral: str, output: str, p6: str, p7: str) -> tuple[KeyRow, ...]:
    """The feature pyramid, by what a dialect calls its convolutions."""
    return (
        *rows(key_map.outputs, {"fpn.laterals.{index}.{p}": f"{lateral}.{{p}}"}),
        *rows(key_map.outputs, {"fpn.outputs.{index}.{p}": f"{output}.{{p}}"}),
        *rows(key_map.once, {"fpn.p6.{p}": f"{p6}.{{p}}", "fpn.p7.{p}": f"{p7}.{{p}}"}),
    )


def _text_and_head(bert: str, rpn: str, *, attention: str, convs: str) -> tuple[KeyRow, ...]:
    """The text and the head, which mmdetection's converter copies from microsoft/GLIP as they are.

    BERT lies below `bert`; `attention` and `convs` are what a dialect calls those of a dynamic convolution.
    """
    head = f"{rpn}head."
    tower, native_tower = f"{head}dyhead_tower.", "head.tower.{layer}."
    embeddings = (
        "word_embeddings.weight",
        "position_embeddings.weight",
        "token_type_embeddings.weight",
        "LayerNorm.{p}",
    )
    fusion = {
        "gamma_v": "gamma_v",
        "gamma_l": "gamma_l",
        "norm_v.{p}": "layer_norm_v.{p}",
        "norm_l.{p}": "layer_norm_l.{p}",
    }
    conv = {"offset.{p}": "offset.{p}", "relu.squeeze.{p}": "relu.fc.0.{p}", "relu.excite.{p}": "relu.fc.2.{p}"}
    branch = {"convs.{branch}.{p}": "{branch}.conv.{p}", "norms.{branch}.{p}": "{branch}.bn.{p}"}
    scores = {
        **{name: name for name in ("log_scale", "bias_lang", "bias0")},
        "text_projection.{p}": "dot_product_projection_text.{p}",
    }
    scale = {f"{native_tower}conv.scale_attention.{{p}}": f"{tower}{{conv}}.{attention}.1.{{p}}"}
    layer = {"text.bert.encoder.layer.{layer}.{part}.{p}": f"{bert}encoder.layer.{{layer}}.{{part}}.{{p}}"}
    projection = {f"{native_tower}fusion.{{projection}}.{{p}}": f"{tower}{{fusion}}.b_attn.attn.{{projection}}.{{p}}"}
    return (
        *rows(key_map.once, {n: n for n in embeddings}, ours="text.bert.embeddings.", theirs=f"{bert}embeddings."),
        *rows(key_map.bert_layers, layer),
        *rows(key_map.fusion_layers, fusion, ours=f"{native_tower}fusion.", theirs=f"{tower}{{fusion}}.b_attn."),
        *rows(key_map.projections, projection),
        *rows(key_map.text_layers, {f"{native_tower}text.{{part}}.{{p}}": f"{tower}{{text}}.{{part}}.{{p}}"}),
        *rows(key_map.head_layers, conv, ours=f"{native_tower}conv.", theirs=f"{tower}{{conv}}."),
        *rows(key_map.head_layers, scale, as_linear),
        *rows(key_map.branches, branch, ours=f"{native_tower}conv.", theirs=f"{tower}{{conv}}.{convs}."),
        *rows(key_map.once, scores, ours="head.", theirs=head),
        *rows(key_map.once, {"box.{p}": "bbox_pred.{p}", "centerness.{p}": "centerness.{p}"}, as_linear, ours="head.",
              theirs=head),
        *rows(key_map.levels, {"head.scales.{level}": f"{head}scales.{{level}}.scale"}),
    )  # fmt: skip


def _unread(bert: str, rpn: str) -> dict[str, tuple[Axis, str]]:
    """Names that are not read -> where they are, and why. What is below `rpn` is copied, used or not."""
    head = f"{rpn}head."
    resizer, mlm = "a text projection that only another loss used", "masked language modelling, for training only"
    return {
        f"{bert}embeddings.position_ids": (key_map.once, "0, 1, 2, ..."),
        f"{bert}embeddings.token_type_ids": (key_map.once, "zeros"),
        f"{bert}pooler.dense.{{p}}": (key_map.once, "sentence features are not used"),
        f"{rpn}anchor_generator.cell_anchors.{{level}}": (
            key_map.levels,
            "anchors are computed (glip_cli.model.boxes)",
        ),
        **{f"{rpn}resizer.{name}.{{p}}": (key_map.once, resizer) for name in ("fc", "layer_norm")},
        f"{head}cls_logits.{{p}}": (key_map.once, "a head for fixed classes; GLIP scores tokens"),
        f"{head}mlm_head.bias": (key_map.once, mlm),
        **{
            f"{head}mlm_head.{name}.{{p}}": (key_map.once, mlm)
            for name in ("decoder", "transform.dense", "transform.LayerNorm")
        },
    }


_MMDET_SWIN = _swin(
    "backbone.", patches="projection", stages="stages", attention="attn.w_msa",
    mlp=("ffn.layers.0.0", "ffn.layers.1"), merging=from_unfold,
)  # fmt: skip
_OFFICIAL_SWIN = _swin("backbone.body.", patches="proj", stages="layers", attention="attn", mlp=("mlp.fc1", "mlp.fc2"))
_MMDET_BERT, _OFFICIAL_BERT = "language_model.language_backbone.body.model.", "language_backbone.body.model."
_INDEX: tuple[Axis, str] = (key_map.blocks, "follows from the window's size")
_MMDET_INDEX = {"backbone.stages.{stage}.blocks.{block}.attn.w_msa.relative_position_index": _INDEX}
_OFFICIAL_INDEX = {"backbone.body.layers.{stage}.blocks.{block}.attn.relative_position_index": _INDEX}

_DIALECTS: dict[str, tuple[tuple[KeyRow, ...], dict[str, tuple[Axis, str]]]] = {
    "mmdet": (
        (
            *_MMDET_SWIN,
            *_pyramid("neck.lateral_convs.{index}.conv", "neck.fpn_convs.{index}.conv", "neck.fpn_convs.3.conv",
                      "neck.fpn_convs.4.conv"),
            *_text_and_head(_MMDET_BERT, "bbox_head.", attention="attnconv", convs="dyconvs"),
        ),
        _MMDET_INDEX | _unread(_MMDET_BERT, "bbox_head."),
    ),
    "official": (
        (
            *_OFFICIAL_SWIN,
            *_pyramid("backbone.fpn.fpn_inner{number}", "backbone.fpn.fpn_layer{number}", "backbone.fpn.top_blocks.p6",
                      "backbone.fpn.top_blocks.p7"),
            *_text_and_head(_OFFICIAL_BERT, "rpn.", attention="AttnConv", convs="DyConv"),
        ),
        _OFFICIAL_INDEX | _unread(_OFFICIAL_BERT, "rpn."),
    ),
    "mmpretrain": (_MMDET_SWIN, _MMDET_INDEX),
}  # fmt: skip
"""The rows of each, and what is dropped."""
