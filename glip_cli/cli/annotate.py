"""`glip annotate`: pictures with captions in, boxes for the captions' phrases out; a batch run, which goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.cli import annotate_flags as own
from glip_cli.cli import flags
from glip_cli.cli.console import BatchBar, DownloadBar, Notes, command
from glip_cli.cli.ending import end_run, stopping
from glip_cli.errors import OutputError, UsageError
from glip_cli.options import DetectOptions, parse_size
from glip_cli.readable import counted

if TYPE_CHECKING:
    from glip_cli.annotate.captions import Survey
    from glip_cli.annotate.grounding import Tally
    from glip_cli.batch.folder import Progress

EPILOG = "Example: glip annotate --captions captions.jsonl --images photos -m glip-t -o run"
FORMATS = ("grounding", "labelstudio", "coco", "yolo", "voc", "csv")


@command
def annotate(
    captions: own.Captions = None,
    images: own.CaptionedImages = None,
    threshold: own.TeacherThreshold = 0.5,
    nms_iou: flags.NmsIou = 0.6,
    model: flags.Model = None,
    weights: flags.Weights = None,
    adapter: flags.Adapter = None,
    bert: flags.Bert = None,
    device: flags.Device = "auto",
    dtype: flags.Dtype = "auto",
    size: flags.Size = None,
    out_dir: flags.OutDir = Path("annotated"),
    format: own.AnnotationFormat = None,
    overwrite: flags.Overwrite = False,
    resume: flags.Resume = False,
    workers: flags.Workers = None,
    quiet: flags.Quiet = False,
    offline: flags.Offline = False,
    config: flags.Config = None,
    debug: flags.Debug = False,
) -> None:
    """Ground the phrases of captions: data to train on, or pre-labels for people."""
    if captions is None:
        raise UsageError(
            "--captions PATH is missing; for the same labels in every picture: "
            "glip batch photos/ --texts 'cat . dog .' --format labelstudio"
        )
    from glip_cli.annotate.captions import read_captions, survey
    from glip_cli.batch.folder import RunFolder, Shard

    shard = Shard.of_environment()
    notes = Notes(quiet or shard.rank > 0)
    formats = annotation_formats(format)
    options = DetectOptions(threshold=threshold, nms_iou=nms_iou, size=parse_size(size) if size else None)
    found = survey(captions, images)  # refuses what cannot be read before the model is loaded
    say_survey(found, notes)

    from glip_cli.annotate.engine import GroundingEngine
    from glip_cli.batch.items import Item
    from glip_cli.detector import Detector

    bar = DownloadBar(notes)
    tagger = None
    if found.unmarked:
        from glip_cli.weights.tagger import load_tagger

        tagger = load_tagger(offline=offline, report=bar)
    detector = Detector.load(
        model, weights=weights, adapter=adapter, bert=bert, device=device, dtype=dtype, offline=offline, report=bar
    )
    chosen = asdict(options)
    del chosen["batch_size"]
    settings = {"command": "annotate", "model": detector.name, "captions": found.digest, **chosen, "dtype": dtype}
    engine = GroundingEngine(detector, options, tagger, workers, threading.Event())
    with RunFolder(out_dir, settings, shard, overwrite) as folder:
        follower = BatchBar(notes, lambda: shard.part_of(found.captions))
        with follower, stopping(engine.stop):
            items = map(Item, read_captions(captions, images, offline=offline))
            progress = folder.run(items, engine, follower.started, follower.add)
        if progress.complete and progress.speaks:
            write(out_dir, folder.results, formats, notes)
    finish(progress, follower, out_dir, Notes(quiet or not progress.speaks))


def annotation_formats(given: Sequence[str] | None) -> list[str]:
    """Raises UsageError for one that is not there."""
    names = [name.strip() for text in given or FORMATS[:1] for name in text.split(",")]
    for name in names:
        if name not in FORMATS:
            raise UsageError(f"--format {name}: there are {', '.join(FORMATS)}")
    return list(dict.fromkeys(names))


def say_survey(found: Survey, notes: Notes) -> None:
    bare = f"; {found.bare} without a caption are passed over" if found.bare else ""
    notes.say(f"captions: {found.captions}, of {counted(found.pictures, 'picture')}{bare}")


def write(out_dir: Path, journal: Path, formats: Sequence[str], notes: Notes) -> None:
    """Make the files, and say what is in them."""
    from glip_cli.annotate.grounding import tally, write_formats

    try:
        write_formats(out_dir, journal, formats)
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"cannot write to {out_dir}: {why}; make room, and run it again") from None
    say_tally(tally(journal), notes)


def say_tally(total: Tally, notes: Notes) -> None:
    bare = f"; {total.without_phrase} have no noun phrase" if total.without_phrase else ""
    notes.say(f"{total.grounded} of {counted(total.captions, 'caption')} have boxes, "
              f"{total.found} of {counted(total.phrases, 'phrase')}{bare}")  # fmt: skip


def finish(progress: Progress, follower: BatchBar, out_dir: Path, notes: Notes) -> None:
    """Say how it went and where things are; leave with 130 when stopped, 1 when all failed, 3 when some did."""
    counts, new = progress.counts, follower.done
    failed = f", {counts.failed} failed" if counts.failed else ""
    notes.say(f"{counted(counts.detections, 'box', 'es')}{failed}")
    if new:
        notes.say(f"{follower.seconds:.1f} s, {new / follower.seconds:.1f} captions/s")
    end_run(progress, out_dir, notes)
