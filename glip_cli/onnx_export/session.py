"""An exported file as a model for `Detector`: `encode_image`, `encode_text` and `ground`, run by onnxruntime.

    detector = load_onnx(Path("glip-t.onnx"))
    found = detector("photo.jpg", "cat . remote .")

A file with a free prompt is split into these three when it is opened: so a prompt is encoded once for all images, and
an image once for all texts of a long prompt. A file with a fixed prompt is run whole.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glip_cli.checkpoints import cache
from glip_cli.detector import Detector
from glip_cli.errors import CheckpointError, GlipError, UsageError
from glip_cli.model.config import Config
from glip_cli.model.head import RawOutput
from glip_cli.onnx_export.metadata import Fixed, OnnxMetadata, from_metadata
from glip_cli.onnx_export.pieces import map_names, output_names
from glip_cli.utils.text_format import first_line, listed

if TYPE_CHECKING:
    import onnx_ir
    from onnxruntime import InferenceSession

PROVIDERS = ("CPUExecutionProvider",)


class FreePrompt(nn.Module):
    """The model of a file whose inputs are pixels and text; no parameters in torch."""

    def __init__(self, model: onnx_ir.Model, config: Config):
        super().__init__()
        self.config = config
        self._maps = map_names(config)
        read = ("mask",) if config.fusion else ()
        self._image = _part(model, ("pixels",), self._maps)
        self._text = _part(model, ("ids", "mask"), ("hidden.0",))
        self._ground = _part(model, (*self._maps, "hidden.0", *read), output_names(config))

    def encode_image(self, pixels: Tensor) -> list[Tensor]:
        """As `Glip.encode_image`."""
        return run(self._image, {"pixels": pixels})

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """As `Glip.encode_text`."""
        return run(self._text, {"ids": ids, "mask": mask})[0]

    def ground(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> RawOutput:
        """As `Glip.ground`."""
        text_inputs = {"hidden.0": hidden} | ({"mask": mask} if self.config.fusion else {})
        sizes = tuple((x.shape[2], x.shape[3]) for x in maps)
        return raw_output(run(self._ground, dict(zip(self._maps, maps, strict=True)) | text_inputs), sizes)


class FixedPrompt(nn.Module):
    """The model of a file whose input is pixels. `hidden` stands for its one text."""

    def __init__(self, session: InferenceSession, config: Config, fixed: Fixed):
        super().__init__()
        self.config = config
        self.fixed = fixed
        self._session = session

    def encode_image(self, pixels: Tensor) -> list[Tensor]:
        """Nothing is done yet: [pixels]."""
        return [pixels]

    def encode_text(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids [1, T] of the text that is in the file -> [1, T, 0]. Raises UsageError for any other."""
        if tuple(ids[mask].tolist()) != self.fixed.ids:
            raise UsageError(
                f"the prompt is part of this ONNX file, and it is {listed(self.fixed.labels)}: leave --texts out, "
                "or export without --texts for any prompt"
            )
        return torch.zeros(*ids.shape, 0)

    def ground(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> RawOutput:
        """[pixels], of which everything follows -> as `Glip.ground`."""
        logits, *others = run(self._session, {"pixels": maps[0]})
        height, width = maps[0].shape[2:]
        sizes = tuple((-(-height // stride), -(-width // stride)) for stride in self.config.strides)
        return raw_output([F.pad(logits, (0, mask.shape[1] - logits.shape[2])), *others], sizes)


def raw_output(tensors: Sequence[Tensor], sizes: tuple[tuple[int, int], ...]) -> RawOutput:
    """The inverse of `RawOutput.tensors`."""
    logits, deltas, *centerness = tensors
    return RawOutput(logits, deltas, centerness[0] if centerness else None, sizes)


class OnnxDetector(Detector):
    """A Detector without features: the file gives boxes only."""

    def features(self, *args: object, **options: object) -> NoReturn:
        """Raises UsageError."""
        raise UsageError(f"{self.name} gives boxes, and no features: for those load the model itself")

    extractor = features

    @property
    def fixed_labels(self) -> tuple[str, ...]:
        """See `Detector`."""
        return self.labels if isinstance(self.model, FixedPrompt) else ()


def load_onnx(path: Path, device: str = "auto", dtype: str = "auto") -> OnnxDetector:
    """A Detector that runs a file of `glip export`, by onnxruntime on the CPU.

    Raises CheckpointError for a file that is damaged or of another origin, UsageError for another device or dtype.
    """
    if device not in ("auto", "cpu"):
        raise UsageError(f"--onnx runs on the CPU: leave --device {device} out")
    if dtype not in ("auto", "float32"):
        raise UsageError(f"--onnx runs in float32: leave --dtype {dtype} out")
    path = cache.expanded(path)
    metadata, network = open_file(path)
    name = f"{metadata.name}+onnx@{cache.sha256(path)[:8]}"
    return OnnxDetector(
        network.eval(),  # type: ignore[arg-type]
        metadata.load_tokenizer(),
        name,
        "cpu",
        "float32",
        prompt_tuned_labels=metadata.prompt_tuned_labels,
        labels=metadata.labels,
        words=metadata.words,
        use_cls=metadata.use_cls,
    )


def open_file(path: Path) -> tuple[OnnxMetadata, FreePrompt | FixedPrompt]:
    """Raises CheckpointError."""
    ir = needed("onnx_ir")
    needed("onnxruntime")
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}: glip export writes one")
    try:
        model = ir.load(path)
    except Exception as error:  # of protobuf, and whatever follows from bytes that mean nothing
        raise CheckpointError(f"{path} is no ONNX file, or is damaged: export it again") from error
    metadata = from_metadata(model.metadata_props, path)
    try:
        if metadata.fixed:
            return metadata, FixedPrompt(session_of(path), metadata.config, metadata.fixed)
        return metadata, FreePrompt(model, metadata.config)
    except GlipError:
        raise
    except Exception as error:  # onnxruntime raises classes of its own, straight from Exception
        raise CheckpointError(f"onnxruntime cannot run {path} ({first_line(error)}): export it again") from error


def run(session: InferenceSession, inputs: Mapping[str, Tensor]) -> list[Tensor]:
    """Raises GlipError for what onnxruntime cannot do, such as not enough memory."""
    try:
        outputs = session.run(None, {name: tensor.contiguous().numpy() for name, tensor in inputs.items()})
    except Exception as error:
        raise GlipError(f"onnxruntime: {first_line(error)}") from error
    return [torch.from_numpy(output) for output in outputs]


def session_of(model: bytes | Path) -> InferenceSession:
    """With as many threads as torch has."""
    runtime = needed("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; not the remarks about the graph
    source = model if isinstance(model, bytes) else str(model)
    return runtime.InferenceSession(source, options, providers=list(PROVIDERS))


def _part(model: onnx_ir.Model, takes: Sequence[str], gives: Sequence[str]) -> InferenceSession:
    """The part of a graph between some of its values."""
    ir = needed("onnx_ir")
    graph = ir.convenience.extract(model.graph, list(takes), list(gives))
    part = ir.Model(graph, ir_version=model.ir_version)
    return session_of(ir.to_proto(part).SerializeToString())


# ------------------------------------------------------------------------------------------------------------- packages
# Packages that only `glip export` and `--onnx` need.


def needed(package: str) -> ModuleType:
    """Import it. Raises UsageError that says how to get it."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise UsageError(f"ONNX needs {package}, which is not installed: pip install 'glip-cli[export]'") from error
