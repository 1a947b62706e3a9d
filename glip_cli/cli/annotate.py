"""`glip annotate`: images with captions in, boxes for the captions' phrases out; a batch run, which resumes."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.cli import flags
from glip_cli.cli.command import command
from glip_cli.cli.console import BatchBar, Console, DownloadBar
from glip_cli.cli.exit import end_run, stopping
from glip_cli.cli.outputs import read_formats
from glip_cli.cli.parse import note_dtype
from glip_cli.errors import UsageError
from glip_cli.options import DetectOptions
from glip_cli.utils.option import KEEP, OUTPUT, option
from glip_cli.utils.text_format import counted

if TYPE_CHECKING:
    from glip_cli.annotation.grounding import CaptionCounts
    from glip_cli.runs.run_dir import Progress
    from glip_cli.runs.shards import Shard

EPILOG = "Example: glip annotate --captions captions.jsonl --images photos -m glip-t -o run"
PANEL = "Captions"


@command
def annotate(
    *,
    captions: Path | None = option(
        None,
        "Captions: jsonl, csv, COCO's json; a folder with metadata.jsonl, or .txt beside the images; a webdataset tar.",
        PANEL,
        "PATH",
    ),
    images: Path | None = option(None, "Folder of the images (default: that of the captions).", PANEL, "DIR"),
    threshold: float = option(0.5, "Keep boxes that score higher.", KEEP, "SCORE", show_default=True),
    suppression: flags.NmsIou,
    model_flags: flags.ModelFlags,
    size_options: flags.Size,
    out_dir: flags.OutDir = Path("annotated"),
    format: list[str] | None = option(
        None, "grounding (default), labelstudio, coco, yolo, voc, csv; repeatable, or with commas.", OUTPUT, "FORMAT"
    ),
    run_flags: flags.RunFlags,
    common: flags.CommonFlags,
) -> None:
    """Ground the phrases of captions: data to train on, or pre-labels to correct."""
    if captions is None:
        raise UsageError(
            "--captions PATH is missing; for the same labels in every image: "
            "glip batch photos/ --texts 'cat . dog .' --format labelstudio"
        )
    from glip_cli.annotation.run import FORMATS, annotate
    from glip_cli.checkpoints.tagger import load_tagger
    from glip_cli.data.captions import summarise
    from glip_cli.detector import Detector
    from glip_cli.outputs.earlier import check_earlier
    from glip_cli.runs.shards import Shard

    shard = Shard.chosen(run_flags.shard)
    console, offline = Console(common.quiet or not shard.speaks), common.offline
    formats = read_formats(format, FORMATS[0], FORMATS)
    options = {"threshold": threshold, **suppression, **size_options}
    DetectOptions(**options)  # what cannot be meant is refused before the model is loaded
    check_earlier(out_dir, formats, (), run_flags.overwrite)
    found = summarise(captions, images)
    without = counted(found.bare, "without a caption is", "without a caption are")
    bare = f"; {without} passed over" if found.bare else ""
    console.info(f"captions: {found.captions}, of {counted(found.images, 'image')}{bare}")
    bar = DownloadBar(console)
    tagger = load_tagger(offline=offline, report=bar) if found.unmarked else None
    note_dtype(model_flags, console)
    detector = Detector.load(**vars(model_flags), offline=offline, report=bar)
    follower, stop = BatchBar(console, lambda: shard.part_of(found.captions), "caption"), threading.Event()
    with stopping(stop):
        result = annotate(
            detector, captions, images, out=out_dir, formats=formats, offline=offline, overwrite=run_flags.overwrite,
            retry_failed=run_flags.retry_failed, workers=run_flags.workers, tagger=tagger, found=found,
            dtype=model_flags.dtype, shard=shard, follow=lambda: follower, stop=stop, **options,
        )  # fmt: skip
    console.warn(*result.notes)
    if result.counts:
        say_counts(result.counts, console)
    finish(result.progress, follower, out_dir, Console(common.quiet or not result.progress.speaks), shard)


def say_counts(total: CaptionCounts, console: Console) -> None:
    without = counted(total.without_phrase, "has no noun phrase", "have no noun phrase")
    bare = f"; {without}" if total.without_phrase else ""
    console.info(f"{total.grounded} of {counted(total.captions, 'caption has', 'captions have')} boxes, "
                 f"{total.found} of {counted(total.phrases, 'phrase')}{bare}")  # fmt: skip


def finish(progress: Progress, follower: BatchBar, out_dir: Path, console: Console, shard: Shard) -> None:
    """Say how it went and where things are; leave with 130 when stopped, 1 when all failed, 3 when some did."""
    counts, new = progress.counts, follower.done
    failed = f", {counts.failed} failed" if counts.failed else ""
    console.info(f"{counted(counts.detections, 'box', 'boxes')}{failed}")
    if new:
        console.info(f"{follower.seconds:.1f} s, {new / follower.seconds:.1f} captions/s")
    end_run(progress, out_dir, console, shard)
