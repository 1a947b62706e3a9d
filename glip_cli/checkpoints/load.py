"""A file or a named checkpoint -> the model.

    official .pth ─┐
    mmdet .pth    ─┼─ files.read ─ formats.to_native ─ cached as safetensors ─┐
    ...           ─┘                                     native safetensors  ─┴─ mapped into an empty model

Every start but the first begins with the converted file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypedDict, Unpack

from glip_cli.checkpoints import cache, files, finetuned, safetensors_io
from glip_cli.checkpoints.empty_init import find_offset, init_empty, load_assign, make_room
from glip_cli.checkpoints.fetch import ProgressCallback, fetch
from glip_cli.checkpoints.files import Checkpointed
from glip_cli.checkpoints.formats import BACKBONE, BACKBONES, HEAD, OURS, detect_dialect, infer_architecture, to_native
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.checkpoints.safetensors_io import Contents
from glip_cli.errors import CheckpointError, OutputError, UsageError
from glip_cli.model.config import ARCHITECTURES, GlipConfig
from glip_cli.model.glip import Glip
from glip_cli.model.swin import Backbone

SMALL = 50_000_000  # bytes that are hashed in less than 0.1 s


@dataclass(frozen=True)
class Origin:
    """The file of a model.

    Attributes:
        architecture: a key of `glip_cli.model.config.ARCHITECTURES`.
        name: of the checkpoint, else of its file.
        path: the native file that is mapped, or the original where no cache can be written.
        metadata: of the native file.
    """

    architecture: str
    name: str
    path: Path
    metadata: dict[str, str]

    @cached_property
    def sha256(self) -> str:
        """The hash of the file that was published or given. That of a large native file is cached."""
        if digest := self.metadata.get("source_sha256"):
            return digest
        return (cache.sha256 if self.path.stat().st_size < SMALL else cache.known_sha256)(self.path)

    @property
    def id(self) -> str:
        """The model's name in records: "glip-t@c24ce662"."""
        return f"{self.name}@{self.sha256[:8]}"


class OpenKeywords(TypedDict, total=False):
    """The keyword arguments of `open_checkpoint`, for type checkers."""

    architecture: str | None
    cache_dir: Path | None
    offline: bool
    report: ProgressCallback | None


@dataclass(frozen=True)
class Loaded(Origin):
    """With the model: on the CPU, float32, in evaluation mode, mapped copy-on-write, so it can be trained."""

    model: Glip


@dataclass(frozen=True)
class LoadedBackbone(Origin):
    """With the image backbone; as `Loaded`."""

    backbone: Backbone


@dataclass(frozen=True)
class Info:
    """What `glip weights info` prints."""

    path: Path
    bytes: int
    sha256: str
    dialect: str
    architecture: str
    wrapping: str
    parameters: int
    dtypes: tuple[str, ...]
    metadata: dict[str, str]


@dataclass(frozen=True)
class NativeFile:
    """A checked state dict in native keys, and the file that it is mapped from."""

    contents: Contents
    path: Path

    @property
    def is_backbone(self) -> bool:
        return not any(key.startswith(HEAD) for key in self.contents.state)

    @property
    def origin(self) -> Origin:
        metadata = self.contents.metadata
        return Origin(metadata["architecture"], metadata["name"], self.path, metadata)

    def check_has_head(self) -> NativeFile:
        """The file itself. Raises CheckpointError for an image backbone."""
        if self.is_backbone:
            raise CheckpointError(
                f"{self.path} is an image backbone without a head: it gives features (glip features), no detections"
            )
        return self

    def load_backbone(self) -> LoadedBackbone:
        """The image backbone and its norms, of a backbone's file or a whole model's. Raises CheckpointError."""
        config = ARCHITECTURES[self.origin.architecture]
        if not isinstance(config, GlipConfig):
            raise CheckpointError(f"{self.path} is no Swin: take features of the whole model, with glip features -m")
        state = {key.removeprefix(BACKBONE): x for key, x in self.contents.state.items() if key.startswith(BACKBONE)}
        backbone = load_assign(init_empty(lambda: Backbone(config.swin)), state)
        return LoadedBackbone(**vars(self.origin), backbone=backbone)


def load(source: str | Path | Checkpoint, **options: Unpack[OpenKeywords]) -> Loaded:
    """The model of a source. Arguments and errors as of `open_checkpoint`."""
    file = open_checkpoint(source, **options).check_has_head()
    state, config = file.contents.state, ARCHITECTURES[file.origin.architecture]
    model = load_assign(make_room(init_empty(lambda: Glip(config)), state), state)
    return Loaded(**vars(file.origin), model=model)


def open_checkpoint(
    source: str | Path | Checkpoint,
    *,
    architecture: str | None = None,
    cache_dir: Path | None = None,
    offline: bool = False,
    report: ProgressCallback | None = None,
) -> NativeFile:
    """The native form of a file, of a folder of `glip finetune`, or of a checkpoint, which is fetched if needed.

    It comes from the cache, or is converted now.

    Args:
        architecture: the required one; None: that of the file.
        cache_dir: holds downloads and conversions; `cache.default_dir()` if not given.
        offline: never use the network.
        report: called during downloads.

    Raises CheckpointError, UnsafeFileError, FetchError or UsageError.
    """
    architecture = _check_architecture(architecture)
    if not isinstance(source, Checkpoint):
        path = files.locate(cache.expanded(source))
        return _if_native(path, path.stem, architecture) or _convert(path, path.stem, cache_dir, architecture)
    architecture = architecture or source.architecture
    # where the hash is known, the published file itself is no longer needed
    if source.hash and (cached := _from_cache(cache.converted(cache_dir, source.name, source.hash[:8]), architecture)):
        return cached
    path = fetch(source, cache_dir=cache_dir, offline=offline, report=report)
    native = _if_native(path, source.name, architecture)
    return native or _convert(path, source.name, cache_dir, architecture, source.hash)


def convert(source: Path, out: Path, *, architecture: str | None = None, name: str | None = None) -> Path:
    """Write a checkpoint of any dialect as a native file `out`. Raises as `load`, and OutputError."""
    path = files.locate(source)
    hash = cache.known_sha256(path)
    contents = _translate(path, files.read(path), name or path.stem, _check_architecture(architecture), hash)
    try:
        return safetensors_io.write(out, contents.state, contents.metadata)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error


def info(source: Path) -> Info:
    """Read a file without building a model. Raises CheckpointError, UnsafeFileError."""
    path = files.locate(source)
    checkpoint = files.read(path)
    config = finetuned.read_run_config(path.parent) if path.name == finetuned.TENSORS else None
    dialect = f"adapter, {config.mode}" if config else detect_dialect(checkpoint.state, path)
    architecture = config.architecture if config else checkpoint.metadata.get("architecture")
    return Info(
        path=path,
        bytes=path.stat().st_size,
        sha256=cache.known_sha256(path),
        dialect=dialect,
        architecture=architecture or infer_architecture(checkpoint.state, dialect, path),
        wrapping=checkpoint.wrapping,
        parameters=sum(tensor.numel() for tensor in checkpoint.state.values() if tensor.is_floating_point()),
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in checkpoint.state.values()})),
        metadata=checkpoint.metadata | ({"base": config.base} if config else {}),
    )


def _if_native(path: Path, name: str, architecture: str | None) -> NativeFile | None:
    """A file that is native already; None for any other."""
    if not files.is_safetensors(path) or not _is_native(checkpoint := files.read(path)):
        return None
    return NativeFile(_translate(path, checkpoint, name, architecture), path)


def _convert(
    path: Path, name: str, cache_dir: Path | None, architecture: str | None, published: str | None = None
) -> NativeFile:
    """The conversion of a file in foreign names, cached under the hash of its content."""
    hash = cache.known_sha256(path, cache_dir)
    keep = cache.converted(cache_dir, name if published else path.stem, hash[:8])
    cached = _from_cache(keep, architecture)
    if cached and cached.contents.metadata.get("source_sha256") == hash:
        cached.contents.metadata["name"] = name
        return cached
    cache.remove_orphans(cache_dir)
    contents = _translate(path, files.read(path), name, architecture, hash)
    try:
        keep.parent.mkdir(parents=True, exist_ok=True)
        safetensors_io.write(keep, contents.state, contents.metadata)
        return NativeFile(safetensors_io.read(keep), keep)
    except OSError:  # without a cache the next start converts again, and that is all
        return NativeFile(contents, path)


def _from_cache(path: Path, architecture: str | None) -> NativeFile | None:
    """An earlier conversion; None without one."""
    try:
        contents = safetensors_io.read(path)
    except CheckpointError:
        return None
    metadata = contents.metadata
    if (
        metadata.get("format") != safetensors_io.FORMAT
        or metadata.get("architecture") not in ARCHITECTURES
        or "name" not in metadata
    ):
        return None
    _check_agrees(path, contents.metadata["architecture"], architecture)
    return NativeFile(contents, path)


def _translate(path: Path, checkpoint: Checkpointed, name: str, wanted: str | None, hash: str = "") -> Contents:
    """Any state dict -> native, with metadata; `hash` of the file goes into the metadata of a conversion."""
    dialect = detect_dialect(checkpoint.state, path)
    # other programs write metadata too, such as format "pt"
    own_metadata = checkpoint.metadata if checkpoint.metadata.get("format") == safetensors_io.FORMAT else {}
    architecture = own_metadata.get("architecture") or infer_architecture(checkpoint.state, dialect, path)
    if dialect in BACKBONES:  # GLIP-T's backbone is the same with and without fusion
        architecture = wanted or architecture
    _check_agrees(path, architecture, wanted)
    architecture = _check_architecture(architecture) or architecture
    rows = find_offset(checkpoint.state, ARCHITECTURES[architecture], path)
    weights = {key: tensor for key, tensor in checkpoint.state.items() if key not in rows}
    state = to_native(weights, architecture, dialect, path) | rows
    metadata = {"format": safetensors_io.FORMAT, "architecture": architecture, "name": name, "dialect": dialect}
    if not _is_native(checkpoint):
        metadata |= {"source": path.name, "source_sha256": hash}
    return Contents(state, {**metadata, **own_metadata})


def _is_native(checkpoint: Checkpointed) -> bool:
    """Whether a file can be mapped without a conversion."""
    return checkpoint.container == "safetensors" and detect_dialect(checkpoint.state) in OURS


def _check_architecture(architecture: str | None) -> str | None:
    if architecture is not None and architecture not in ARCHITECTURES:
        raise UsageError(f"no architecture is called {architecture!r}: there are {', '.join(ARCHITECTURES)}")
    return architecture


def _check_agrees(path: Path, architecture: str, expected: str | None) -> None:
    if expected not in (None, architecture):
        raise CheckpointError(
            f"{path} is of architecture {architecture}, not {expected}: give the model that it belongs to"
        )
