"""The figures of every architecture, each written once.

The five released models are three architectures (B, C and GLIP-T share one); glip-mini is the same family scaled
down. Sources: microsoft/GLIP configs/pretrain/*.yaml and mmdetection configs/glip.
"""

from __future__ import annotations

from dataclasses import dataclass

STRIDES = (8, 16, 32, 64, 128)
"""Pixels per cell of the five feature levels P3 .. P7."""


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
    head_layers: int  # rounds of the dynamic head
    fusion: FusionConfig | None  # None: vision and text meet only in the final product (GLIP-T (A))
    text: TextConfig = TextConfig()
    channels: int = 256  # of every feature level
    image_size: tuple[int, int] = (800, 1333)  # shorter side, limit of the longer side, in pixels


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

ARCHITECTURES = {"glip-t-a": GLIP_T_A, "glip-t": GLIP_T, "glip-l": GLIP_L, "glip-mini": GLIP_MINI}
"""The names that weights.toml and converted files use for them."""
