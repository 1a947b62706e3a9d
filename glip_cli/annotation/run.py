"""Boxes for the phrases of captions, kept in a run folder: what `glip annotate` does, as a function."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Unpack

from glip_cli.annotation.engine import GroundingEngine
from glip_cli.annotation.grounding import CaptionCounts, count_captions, write_formats
from glip_cli.data.captions import CaptionsSummary, read_captions, summarise
from glip_cli.detector import Detector
from glip_cli.errors import OptionError
from glip_cli.evaluation.session import RunProgress, SilentProgress
from glip_cli.options import DetectKeywords, DetectOptions, as_tuple
from glip_cli.outputs.earlier import check_earlier
from glip_cli.outputs.files import writing
from glip_cli.prompts.noun_phrases import Tagger
from glip_cli.runs.items import Item
from glip_cli.runs.run_dir import Progress, RunFolder
from glip_cli.runs.shards import Shard

FORMATS = ("grounding", "labelstudio", "coco", "yolo", "voc", "csv")
THRESHOLD = 0.5


@dataclass(frozen=True)
class AnnotationResult:
    """The result of a run.

    Attributes:
        counts: None where other processes have not done their share yet.
        notes: remarks on phrases that the model cannot read.
    """

    out: Path
    progress: Progress
    counts: CaptionCounts | None
    notes: tuple[str, ...]


def annotate(
    detector: Detector,
    captions: str | Path,
    images: str | Path | None = None,
    *,
    out: str | Path = "annotated",
    formats: str | Sequence[str] = ("grounding",),
    offline: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    workers: int | None = None,
    tagger: Tagger | None = None,
    found: CaptionsSummary | None = None,
    dtype: str | None = None,
    shard: Shard | None = None,
    follow: Callable[[], RunProgress] = SilentProgress,
    stop: threading.Event | None = None,
    **options: Unpack[DetectKeywords],
) -> AnnotationResult:
    """Find the boxes of the phrases of captions; resumed where `out` holds an unfinished run of the same.

    Args:
        captions: jsonl or csv of image and caption, a folder of .txt beside images, or a webdataset tar.
        images: the folder of the images; by default that of the captions.
        formats: of FORMATS; what is written besides results.jsonl.
        tagger: finds the noun phrases of captions without [brackets]; loaded where it is needed and not given.
        found: what `summarise` says of the captions, where that is known.
        dtype: as chosen for the detector; a run of another is not resumed.
        follow: what shows the progress; stop: once set, the run ends after the images in flight.
        options: fields of `DetectOptions`; the threshold is 0.5 by default.

    Raises DataError, OptionError, UsageError, FetchError, OutputError.
    """
    formats = as_tuple(formats, "formats")
    for form in formats:
        if form not in FORMATS:
            raise OptionError("format", form, f"there are {', '.join(FORMATS)}")
    folder, image_folder = Path(out), Path(images) if images else None
    options.setdefault("threshold", THRESHOLD)
    chosen = DetectOptions(**options)
    check_earlier(folder, list(formats), (), overwrite)
    found = found or summarise(Path(captions), image_folder)
    if found.unmarked and tagger is None:
        from glip_cli.checkpoints.tagger import load_tagger  # imports nltk

        tagger = load_tagger(offline=offline)
    own_dtype = str(detector.dtype).removeprefix("torch.")
    settings = {"command": "annotate", "model": detector.name, "captions": found.digest, **asdict(chosen)}
    del settings["batch_size"]
    settings["dtype"] = dtype or ("auto" if own_dtype == "float32" else own_dtype)
    engine = GroundingEngine(detector, chosen, tagger, workers, stop or threading.Event())
    with RunFolder(folder, settings, shard or Shard(), overwrite, retry_failed) as run:
        with follow() as follower:
            items = map(Item, read_captions(Path(captions), image_folder, offline=offline))
            progress = run.run(items, engine, follower.started, follower.add)
        counts = None
        if progress.complete and progress.speaks:
            with writing(f"to {folder}", "make room, and run it again"):
                write_formats(folder, run.results, formats, image_folder or Path(captions).parent)
            counts = count_captions(run.results)
    return AnnotationResult(folder, progress, counts, engine.notes)
