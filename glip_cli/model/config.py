"""The hyperparameters of every architecture.

The five released models are three architectures (B, C and GLIP-T share one); glip-mini is the same family scaled
down. Sources: microsoft/GLIP configs/pretrain/*.yaml and mmdetection configs/glip.
"""

from __future__ import annotations

from dataclasses import dataclass

STRIDES = (8, 16, 32, 64, 128)
"""Pixels per cell of the five feature levels P3 .. P7."""
ANCHOR_SCALE = 8  # side of an anchor in cells
DELTA_SCALE = (0.1, 0.1, 0.2, 0.2)  # the box coder's weights 10, 10, 5, 5, inverted


@dataclass(frozen=True)
class SwinConfig:
    embed_dim: int  # channels of the first stage; each later stage doubles them
    depths: tuple[int, int, int, int]  # blocks per stage
    heads: tuple[int, int, int, int]  # attention heads per stage
    window: int  # side of an attention window, in cells
    drop_path: float  # stochastic depth of the last block, training only


@dataclass(frozen=True)
class TextConfig:
    vocab_size: int = 30522
    hidden: int = 768
    layers: int = 12
    heads: int = 12
    intermediate: int = 3072
    positions: int = 512  # rows of BERT's position table
    window: int = 256  # tokens a prompt may have, [CLS] and [SEP] included
    dropout: float = 0.1  # training only


@dataclass(frozen=True)
class FusionConfig:
    embed: int = 2048  # width of the cross attention, all heads together
    heads: int = 8
    dropout: float = 0.1  # of attention, training only


@dataclass(frozen=True)
class GlipConfig:
    swin: SwinConfig
    head_layers: int  # of fusion and dynamic head
    fusion: FusionConfig | None  # None: vision and text meet only in the final product (GLIP-T (A))
    text: TextConfig = TextConfig()
    channels: int = 256  # of every feature level
    image_size: tuple[int, int] = (800, 1333)  # shorter side, limit of the longer side, in pixels
    size_multiple: int = 0  # 0: no more than these; else an image gets their area, its sides multiples of this
    nms_iou: float = 0.6  # of two boxes that overlap more, the better stays
    score_agg: str = "mean"  # of the probabilities of a label's tokens: "mean" or "max"

    @property
    def strides(self) -> tuple[int, ...]:
        return STRIDES


_SWIN_TINY = SwinConfig(embed_dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), window=7, drop_path=0.2)
_SWIN_LARGE = SwinConfig(embed_dim=192, depths=(2, 2, 18, 2), heads=(6, 12, 24, 48), window=12, drop_path=0.4)

GLIP_T_A = GlipConfig(swin=_SWIN_TINY, head_layers=6, fusion=None)
GLIP_T = GlipConfig(swin=_SWIN_TINY, head_layers=6, fusion=FusionConfig())
GLIP_L = GlipConfig(swin=_SWIN_LARGE, head_layers=8, fusion=FusionConfig())
GLIP_MINI = GlipConfig(
    swin=SwinConfig(embed_dim=32, depths=(1, 2, 2, 1), heads=(2, 4, 8, 8), window=5, drop_path=0.0),
    head_layers=1,
    fusion=FusionConfig(embed=256, heads=4, dropout=0.0),
    text=TextConfig(vocab_size=256, hidden=128, layers=2, heads=4, intermediate=256, positions=256, dropout=0.0),
    channels=96,
    image_size=(160, 320),
)


@dataclass(frozen=True)
class LabelConfig:
    """The text encoder of glip-nano: concepts and word pieces (`model.nano`)."""

    hidden: int  # features of a concept: its class vectors of all levels, then their biases
    pieces: int = 30522  # word pieces, those of bert-base-uncased; the ids of concepts come after them
    concepts: int = 81  # [UNKNOWN] and COCO's 80 names
    piece_dim: int = 32  # width of a word piece's vector
    stop: int = 1012  # the id of ".", between two labels
    frame: tuple[int, int] = (101, 102)  # the ids of [CLS] and [SEP], which belong to no label
    window: int = 1024  # tokens a prompt may have, [CLS] and [SEP] included

    @property
    def vocab_size(self) -> int:
        return self.pieces + self.concepts


@dataclass(frozen=True)
class NanoConfig:
    """NanoDet-g (RangiLyu/nanodet config/legacy_v0.x_configs/nanodet-g.yml), its classes named by text."""

    text: LabelConfig = LabelConfig(hidden=3 * 128 + 3)
    channels: int = 128  # of every feature level
    strides: tuple[int, ...] = STRIDES[:3]
    bins: int = 11  # of the distance to a side of a box, in cells
    image_size: tuple[int, int] = (384, 384)
    size_multiple: int = 32
    nms_iou: float = 0.45
    score_agg: str = "max"
    fusion: None = None  # text and image meet only in the final product
    head_layers: int = 1


GLIP_NANO = NanoConfig()
Config = GlipConfig | NanoConfig

ARCHITECTURES: dict[str, Config] = {
    "glip-t-a": GLIP_T_A,
    "glip-t": GLIP_T,
    "glip-l": GLIP_L,
    "glip-mini": GLIP_MINI,
    "glip-nano": GLIP_NANO,
}
"""The names that weights.toml and converted files use for them."""
