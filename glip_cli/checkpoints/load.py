"""A file or a named checkpoint -> the network.

    official .pth ─┐
    mmdet .pth    ─┼─ files.read ─ dialects.to_native ─ cached as safetensors ─┐
    ...           ─┘                                     native safetensors  ─┴─ mapped into an empty network

The right half alone is what every start but the first does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

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
    """Where a network comes from.

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
        """Of the file that was published or given; a large native file is read once for it."""
        if known := self.metadata.get("source_sha256"):
            return known
        return (cache.sha256 if self.path.stat().st_size < SMALL else cache.known_sha256)(self.path)

    @property
    def id(self) -> str:
        """What records call the model: "glip-t@c24ce662"."""
        return f"{self.name}@{self.sha256[:8]}"


@dataclass(frozen=True)
class Loaded(Origin):
    """A network, on the CPU, float32, in evaluation mode. Its tensors are mapped copy-on-write: they can be trained."""

    model: Glip


@dataclass(frozen=True)
class LoadedBackbone(Origin):
    """The image backbone alone; else as `Loaded`."""

    backbone: Backbone


@dataclass(frozen=True)
class Info:
    """What `glip weights info` tells of a file."""

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
class _Found:
    """A state dict in native keys, checked, and the file that it is mapped from."""

    contents: Contents
    path: Path

    @property
    def is_backbone(self) -> bool:
        return not any(key.startswith(HEAD) for key in self.contents.state)

    @property
    def origin(self) -> Origin:
        metadata = self.contents.metadata
        return Origin(metadata["architecture"], metadata["name"], self.path, metadata)


def load(source: str | Path | Checkpoint, *, architecture: str | None = None, cache_dir: Path | None = None,
         offline: bool = False, report: ProgressCallback | None = None) -> Loaded:  # fmt: skip
    """The network of a file, of a folder that `finetune` left, or of a checkpoint, which is fetched when needed.

    Args:
        source: where from.
        architecture: to insist on one; otherwise the file tells.
        cache_dir: holds downloads and conversions; `cache.default_dir()` if not given.
        offline: never use the network.
        report: called during downloads.

    Raises CheckpointError, UnsafeFileError, FetchError or UsageError.
    """
    found = _whole(_find(source, architecture, cache_dir, offline, report))
    state, metadata = found.contents.state, found.contents.metadata
    config = ARCHITECTURES[metadata["architecture"]]
    model = load_assign(make_room(init_empty(lambda: Glip(config)), state), state)
    return Loaded(**vars(found.origin), model=model)


def identify(source: str | Path | Checkpoint, *, architecture: str | None = None, cache_dir: Path | None = None,
             offline: bool = False, report: ProgressCallback | None = None) -> Origin:  # fmt: skip
    """As `load`, without the network: its file is there, and nothing of its weights is read."""
    return _whole(_find(source, architecture, cache_dir, offline, report)).origin


def _whole(found: _Found) -> _Found:
    if found.is_backbone:
        raise CheckpointError(
            f"{found.path} is an image backbone without a head: it gives features (glip features), no detections"
        )
    return found


def load_backbone(source: str | Path | Checkpoint, *, architecture: str | None = None, cache_dir: Path | None = None,
                  offline: bool = False, report: ProgressCallback | None = None) -> Backbone:  # fmt: skip
    """The image backbone and its norms, of a backbone file or of a whole model. As `load`."""
    return _backbone_of(_find(source, architecture, cache_dir, offline, report)).backbone


def load_if_backbone(source: str | Path | Checkpoint, *, architecture: str | None = None,
                     cache_dir: Path | None = None, offline: bool = False,
                     report: ProgressCallback | None = None) -> LoadedBackbone | None:  # fmt: skip
    """As `load_backbone`, with what is known of it; None where the source is a whole model."""
    found = _find(source, architecture, cache_dir, offline, report)
    return _backbone_of(found) if found.is_backbone else None


def _backbone_of(found: _Found) -> LoadedBackbone:
    whole, metadata = found.contents.state, found.contents.metadata
    config = ARCHITECTURES[metadata["architecture"]]
    if not isinstance(config, GlipConfig):
        raise CheckpointError(f"{found.path} is no Swin: take features of the whole model, with glip features -m")
    state = {key.removeprefix(BACKBONE): tensor for key, tensor in whole.items() if key.startswith(BACKBONE)}
    backbone = load_assign(init_empty(lambda: Backbone(config.swin)), state)
    return LoadedBackbone(**vars(found.origin), backbone=backbone)


def convert(source: Path, out: Path, *, architecture: str | None = None, name: str | None = None) -> Path:
    """Write a checkpoint of any dialect as a native file `out`. Raises as `load`, and OutputError."""
    path = files.locate(source)
    hash = cache.known_sha256(path)
    contents = _translate(path, files.read(path), name or path.stem, _known(architecture), hash)
    try:
        return safetensors_io.write(out, contents.state, contents.metadata)
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error.strerror or error}") from error


def info(source: Path) -> Info:
    """Look into a file without building a network. Raises CheckpointError, UnsafeFileError."""
    path = files.locate(source)
    found = files.read(path)
    card = finetuned.read_run_config(path.parent) if path.name == finetuned.TENSORS else None
    dialect = f"adapter, {card.mode}" if card else detect_dialect(found.state, path)
    known = card.architecture if card else found.metadata.get("architecture")
    return Info(
        path=path,
        bytes=path.stat().st_size,
        sha256=cache.known_sha256(path),
        dialect=dialect,
        architecture=known or infer_architecture(found.state, dialect, path),
        wrapping=found.wrapping,
        parameters=sum(tensor.numel() for tensor in found.state.values() if tensor.is_floating_point()),
        dtypes=tuple(sorted({str(tensor.dtype).removeprefix("torch.") for tensor in found.state.values()})),
        metadata=found.metadata | ({"base": card.base} if card else {}),
    )


def _find(source: str | Path | Checkpoint, wanted: str | None, cache_dir: Path | None, offline: bool,
          report: ProgressCallback | None) -> _Found:  # fmt: skip
    """The native form of a source: kept from an earlier start, or made now."""
    wanted = _known(wanted)
    if not isinstance(source, Checkpoint):
        path = files.locate(cache.expanded(source))
        return _mapped(path, path.stem, wanted) or _converted(path, path.stem, cache_dir, wanted)
    wanted = wanted or source.architecture
    # where the hash is known, the published file itself is no longer needed
    if source.hash and (found := _kept(cache.converted(cache_dir, source.name, source.hash[:8]), wanted)):
        return found
    path = fetch(source, cache_dir=cache_dir, offline=offline, report=report)
    return _mapped(path, source.name, wanted) or _converted(path, source.name, cache_dir, wanted, source.hash)


def _mapped(path: Path, name: str, wanted: str | None) -> _Found | None:
    """A file that this package wrote; None for any other."""
    if not files.is_safetensors(path) or not _usable(given := files.read(path)):
        return None
    return _Found(_translate(path, given, name, wanted), path)


def _converted(path: Path, name: str, cache_dir: Path | None, wanted: str | None, known: str | None = None) -> _Found:
    """A file in foreign names: its conversion, which the hash of its content tells from others."""
    hash = cache.known_sha256(path, cache_dir)
    keep = cache.converted(cache_dir, name if known else path.stem, hash[:8])
    found = _kept(keep, wanted)
    if found and found.contents.metadata.get("source_sha256") == hash:
        found.contents.metadata["name"] = name
        return found
    cache.remove_orphans(cache_dir)
    contents = _translate(path, files.read(path), name, wanted, hash)
    try:
        keep.parent.mkdir(parents=True, exist_ok=True)
        safetensors_io.write(keep, contents.state, contents.metadata)
        return _Found(safetensors_io.read(keep), keep)
    except OSError:  # without a cache the next start converts again, and that is all
        return _Found(contents, path)


def _kept(path: Path, wanted: str | None) -> _Found | None:
    """An earlier conversion; None where there is none that can be used."""
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
    _agree(path, contents.metadata["architecture"], wanted)
    return _Found(contents, path)


def _translate(path: Path, given: Checkpointed, name: str, wanted: str | None, hash: str = "") -> Contents:
    """Any state dict -> native, with metadata. The same for every container and wrapping.

    `hash` of the file goes into the metadata of what is not native yet.
    """
    dialect = detect_dialect(given.state, path)
    # other programs write metadata too, for example a format called "pt"
    known = given.metadata if given.metadata.get("format") == safetensors_io.FORMAT else {}
    architecture = known.get("architecture") or infer_architecture(given.state, dialect, path)
    if dialect in BACKBONES:  # GLIP-T's backbone is the same with and without fusion
        architecture = wanted or architecture
    _agree(path, architecture, wanted)
    architecture = _known(architecture) or architecture
    rows = find_offset(given.state, ARCHITECTURES[architecture], path)
    plain = {key: tensor for key, tensor in given.state.items() if key not in rows}
    state = to_native(plain, architecture, dialect, path) | rows
    metadata = {"format": safetensors_io.FORMAT, "architecture": architecture, "name": name, "dialect": dialect}
    if not _usable(given):
        metadata |= {"source": path.name, "source_sha256": hash}
    return Contents(state, {**metadata, **known})


def _usable(given: Checkpointed) -> bool:
    """Whether a file can be mapped as it is."""
    return given.container == "safetensors" and detect_dialect(given.state) in OURS


def _known(architecture: str | None) -> str | None:
    if architecture is not None and architecture not in ARCHITECTURES:
        raise UsageError(f"no architecture is called {architecture!r}: there are {', '.join(ARCHITECTURES)}")
    return architecture


def _agree(path: Path, architecture: str, wanted: str | None) -> None:
    if wanted not in (None, architecture):
        raise CheckpointError(
            f"{path} is of architecture {architecture}, not {wanted}: give the model that it belongs to"
        )
