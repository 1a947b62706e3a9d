"""mmpretrain's names for the image backbone alone (tools/model_converters/glip_to_mmpretrain.py).

Its converter spells Swin as mmdetection does, patch merging in nn.Unfold's order included, and copies all three output
norms, although mmpretrain itself reads only the last. So one backbone gives C3, C4 and C5 as the whole model does.
"""

from __future__ import annotations

from glip_cli.checkpoints import key_map
from glip_cli.checkpoints.mmdet import BACKBONE, BACKBONE_DROPPED
from glip_cli.model.config import GlipConfig


def table(config: GlipConfig) -> key_map.KeyTable:
    return key_map.expand(config, BACKBONE, BACKBONE_DROPPED)
