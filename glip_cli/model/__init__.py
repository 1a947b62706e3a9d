"""The network: tensors in, `RawOutput` out. Never a file, a path, a tokenizer or the network."""

from glip_cli.model.config import ARCHITECTURES, Config, GlipConfig
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput

__all__ = ["ARCHITECTURES", "Config", "Glip", "GlipConfig", "RawOutput"]
