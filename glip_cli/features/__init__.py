"""What the network makes of an image on its way to detections: feature maps, and how regions fit words.

    options.py   which of it, and how
    result.py    `Features` of one image, and where each cell lies in it
    extract.py   a network on its device -> `Features`
    files.py     `Features` <-> safetensors

`Detector.features` is the door for a whole model; `backbone_extractor` that for a Swin without a head.
"""

from glip_cli.features.extract import Extractor, Text, backbone_extractor
from glip_cli.features.files import read, save
from glip_cli.features.options import KINDS, FeatureOptions
from glip_cli.features.result import Features, Placement

__all__ = [
    "KINDS",
    "Extractor",
    "FeatureOptions",
    "Features",
    "Placement",
    "Text",
    "backbone_extractor",
    "read",
    "save",
]
