"""The whole network."""

from __future__ import annotations

from torch import Tensor, nn

from glip_cli.model.bert import TextEncoder
from glip_cli.model.config import GlipConfig, NanoConfig
from glip_cli.model.csp import CspBackbone, PathAggregation
from glip_cli.model.head import Head, RawOutput
from glip_cli.model.nano import LabelEncoder, NanoHead
from glip_cli.model.swin import Backbone, FeaturePyramid


class Glip(nn.Module):
    """GLIP (arXiv 2112.03857). Tensors in, `RawOutput` out.

    The three steps are public because a caller may keep their results: the text's while the prompt stays the same,
    the image's while the chunks of a long prompt change.
    """

    def __init__(self, config: GlipConfig | NanoConfig):
        super().__init__()
        self.config = config
        self.backbone: Backbone | CspBackbone
        self.fpn: FeaturePyramid | PathAggregation
        self.text: TextEncoder | LabelEncoder
        self.head: Head | NanoHead
        if isinstance(config, NanoConfig):
            self.backbone, self.fpn = CspBackbone(), PathAggregation(config.channels)
            self.text, self.head = LabelEncoder(config), NanoHead(config)
        else:
            self.backbone = Backbone(config.swin)
            self.fpn = FeaturePyramid([config.swin.embed_dim * 2**i for i in (1, 2, 3)], config.channels)
            self.text, self.head = TextEncoder(config.text), Head(config)

    def encode_image(self, pixels: Tensor) -> list[Tensor]:
        """Normalised pixels [B, 3, H, W] (BGR, sides divisible by 32) -> P3 .. P7, [B, C, h, w] each.

        Without fusion the layers of the head do not depend on the text, so they belong to this step.
        """
        maps = self.fpn(self.backbone(pixels))
        return maps if self.config.fusion else self.head.encode_without_text(maps)

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [B, T], mask bool [B, T] -> token features [B, T, L]."""
        return self.text(ids, mask)

    def ground(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> RawOutput:
        """The maps of `encode_image`, token features [B, T, L], mask bool [B, T] -> RawOutput."""
        return self.head(maps, hidden, mask) if self.config.fusion else self.head.predict(maps, hidden)

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> RawOutput:
        """Pixels [B, 3, H, W], ids int64 [B, T], mask bool [B, T] -> RawOutput."""
        return self.ground(self.encode_image(pixels), self.encode_text(ids, mask), mask)
