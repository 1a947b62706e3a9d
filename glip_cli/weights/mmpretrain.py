"""mmpretrain's names for the image backbone alone (tools/model_converters/glip_to_mmpretrain.py).

Its converter spells Swin as mmdetection does, patch merging in nn.Unfold's order included, and copies all three output
norms, although mmpretrain itself reads only the last. So one backbone gives C3, C4 and C5 as the whole model does.
"""

from __future__ import annotations

from glip_cli.model import GlipConfig
from glip_cli.weights import names
from glip_cli.weights.mmdet import BACKBONE, BACKBONE_DROPPED


def table(config: GlipConfig) -> names.Table:
    return names.expand(config, BACKBONE, BACKBONE_DROPPED)
