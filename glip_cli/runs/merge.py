"""`glip batch --merge`: the shards of a run brought together by whoever asks, and other formats of what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from glip_cli.data.image_io import read_image
from glip_cli.data.sources import common_folder
from glip_cli.errors import UsageError
from glip_cli.outputs.earlier import check_earlier
from glip_cli.outputs.files import FileNames, writing
from glip_cli.outputs.formats import WriterOptions, write_formats
from glip_cli.outputs.video import VideoTracker
from glip_cli.runs.journal import note_total, read_records
from glip_cli.runs.settings import digest_of, read_settings
from glip_cli.runs.shards import Shard, Shards
from glip_cli.runs.videos import track_videos


@dataclass(frozen=True)
class Merged:
    """
    Attributes:
        left: ranks of the shards that are not done.
        partial: where they are not, a file of all records so far.
        records: in that file.
    """

    left: tuple[int, ...]
    world: int
    partial: Path | None = None
    records: int = 0


def merge(run: Path, formats: Sequence[str] = (), **options: Unpack[WriterOptions]) -> Merged:
    """Make results.jsonl, and `formats` of it, where all shards are done; else partial.jsonl, of which no run goes on.

    Raises UsageError where there is no run of several shards, OutputError.
    """
    if not (run / "run.json").exists():
        raise UsageError(f"{run} holds no run: name the folder of one with --out-dir")
    settings = read_settings(run / "run.json")
    world = settings.get("processes", 1)
    if world == 1 or "inputs" not in settings:
        raise UsageError(f"{run} holds no shards of glip batch; its own command with --format makes other formats")
    shards = Shards(run, Shard(0, world))
    with writing(f"to {run}", "make room, and do it again"):
        if left := shards.merge(digest_of(settings)):
            return Merged(left, world, shards.partial, shards.write_partial())
        if settings.get("track"):
            track_videos(run / "results.jsonl", VideoTracker(settings["threshold"], settings["class_thresholds"]))
        note_total(run, sum(1 for _ in read_records(run / "results.jsonl")))
        if labels := settings.get("labels", ()):
            names = FileNames(common_folder(settings["inputs"]))
        else:  # each image had its own
            good = (record for record in read_records(run / "results.jsonl") if "labels" in record)
            names = FileNames()
            options["labels"] = labels = list(dict.fromkeys(label for record in good for label in record["labels"]))
        check_earlier(run, formats, labels)
        options["read_image"] = read_image
        write_formats(read_records(run / "results.jsonl"), formats, run, names, **options)
    return Merged((), world)
