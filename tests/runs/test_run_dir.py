"""A run in a folder: it goes on where it was, and only where it is the same run."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.errors import OutputError, UsageError
from glip_cli.options import DetectOptions
from glip_cli.outputs.files import json_bytes
from glip_cli.prompts.prompt import label_prompt
from glip_cli.runs.journal import Counts
from glip_cli.runs.run_dir import RunFolder
from glip_cli.runs.settings import settings_of
from glip_cli.runs.shards import Shard
from tests.runs.examples import SETTINGS, MadeEngine, do, items, made_record

NAMES = [f"{'bad' if i % 5 == 3 else ''}{'x' * (i % 4)}{i}.jpg" for i in range(23)]


@given(stops=st.lists(st.integers(0, 9), max_size=12), block=st.integers(1, 8), tear=st.integers(0, 60))
@settings(max_examples=60, deadline=None)
def test_stopped_anywhere_it_ends_as_if_undisturbed(
    tmp_path_factory: pytest.TempPathFactory, stops: list[int], block: int, tear: int
) -> None:
    straight, halting = tmp_path_factory.mktemp("straight"), tmp_path_factory.mktemp("halting")
    do(straight, NAMES, MadeEngine(block))
    results = halting / "results.jsonl"
    for most in stops:
        progress = do(halting, NAMES, MadeEngine(block, most))
        assert progress.complete == progress.share_done == (progress.counts.images == len(NAMES))
        if not progress.complete:
            results.write_bytes(results.read_bytes()[: -tear or None])
    last = do(halting, NAMES, MadeEngine(block))
    assert last.complete
    assert results.read_bytes() == (straight / "results.jsonl").read_bytes()
    assert last.counts == Counts(images=23, failed=4, detections=19)


def test_what_is_done_is_not_done_again_beyond_its_block(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(4, most=10))
    engine = MadeEngine(4)
    assert do(tmp_path, NAMES, engine).before == 10
    assert engine.asked == NAMES[8:]
    engine = MadeEngine(4)
    do(tmp_path, NAMES, engine)
    assert engine.asked == NAMES[20:]  # the last block is not full: more images would have joined it
    engine = MadeEngine()
    do(tmp_path, NAMES, engine)
    assert engine.asked == []


def test_the_watcher_is_told_of_new_records_only(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(4, most=10))
    told, began = [], []
    with RunFolder(tmp_path, SETTINGS) as folder:
        folder.run(items(NAMES), MadeEngine(4), began.append, lambda record: told.append(record["image"]))
    assert began == [10]
    assert told == NAMES[10:]


def test_images_added_at_the_end_are_done_too(tmp_path: Path) -> None:
    do(tmp_path, NAMES[:10])
    progress = do(tmp_path, NAMES)
    assert (progress.before, progress.counts.images, progress.complete) == (10, 23, True)


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (NAMES[:2] + NAMES[3:], "number 3 was xx2.jpg and is badxxx3.jpg now"),
        ([*NAMES[:2], "new.jpg", *NAMES[2:]], "number 3 was xx2.jpg and is new.jpg now"),
        (NAMES[:9], "number 10 was x9.jpg and is nothing now"),
        ([], "number 1 was 0.jpg and is nothing now"),
    ],
)
def test_images_that_have_changed_are_refused(tmp_path: Path, now: list[str], told: str) -> None:
    do(tmp_path, NAMES, MadeEngine(most=10))
    before = (tmp_path / "results.jsonl").read_bytes()
    with pytest.raises(UsageError, match="the images have changed") as caught:
        do(tmp_path, now)
    assert told in str(caught.value)
    assert (tmp_path / "results.jsonl").read_bytes() == before


def test_other_settings_are_refused_and_named(tmp_path: Path) -> None:
    do(tmp_path, NAMES, MadeEngine(most=10))
    with pytest.raises(UsageError, match=r"holds a run with threshold 0\.3, not 0\.4; .*--overwrite"):
        do(tmp_path, NAMES, threshold=0.4)
    with pytest.raises(UsageError, match="top-k null, not 5"):
        do(tmp_path, NAMES, top_k=5)
    with pytest.raises(UsageError, match="processes 1, not 2"):
        do(tmp_path, NAMES, shard=Shard(1, 2))
    assert do(tmp_path, NAMES).before == 10
    fresh = do(tmp_path, NAMES, overwrite=True, threshold=0.4)
    assert (fresh.before, fresh.counts.images) == (0, 23)


@pytest.mark.parametrize(("name", "content"), [("results.jsonl", "mine\n"), ("run.json", '{"name": "mine"}')])
@pytest.mark.parametrize("overwrite", [False, True])
def test_files_of_others_are_not_replaced(tmp_path: Path, name: str, content: str, overwrite: bool) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=rf"{name} was not written by .*glip; choose another --out-dir"):
        do(tmp_path, NAMES, overwrite=overwrite)
    left = {path.name: path.read_text() for path in tmp_path.iterdir() if not path.name.endswith(".lock")}
    assert left == {name: content}


def test_results_of_glip_detect_are_replaced_when_asked(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_bytes(json_bytes(made_record("a.jpg", ["a.jpg"])) + b"\n")
    with pytest.raises(UsageError, match="was not made by glip batch"):
        do(tmp_path, NAMES)
    assert do(tmp_path, NAMES, overwrite=True).complete


def test_a_flag_that_was_not_given_before_is_named(tmp_path: Path) -> None:
    """Nobody should think that the images of a finished run were saved now."""
    do(tmp_path, NAMES, **{"save-vis": False, "save-crop": True})
    way_out = "; choose another --out-dir, or --overwrite to start over"
    with pytest.raises(UsageError, match=f"holds a run without --save-vis{way_out}"):
        do(tmp_path, NAMES, **{"save-vis": True, "save-crop": True})
    with pytest.raises(UsageError, match=f"a run without --save-vis, and with --save-crop, not given now{way_out}"):
        do(tmp_path, NAMES, **{"save-vis": True, "save-crop": False})


def test_all_flags_that_resume_a_run_are_named(tmp_path: Path) -> None:
    """And not --overwrite, which would lose it."""
    do(tmp_path, NAMES, **{"save-vis": True, "save-crop": True, "every": 5})
    flags = "--save-vis --save-crop --every 5"
    with pytest.raises(UsageError, match=f"with {flags}, not given now: give {flags} to resume it, or .*--out-dir$"):
        do(tmp_path, NAMES, **{"save-vis": False, "save-crop": False})


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b'{"model": "made@0", "processes": "x"}'])
def test_damaged_settings_are_refused(tmp_path: Path, content: bytes) -> None:
    do(tmp_path, NAMES)
    (tmp_path / "run.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"run\.json is damaged; --overwrite starts over"):
        do(tmp_path, NAMES)
    assert do(tmp_path, NAMES, overwrite=True).complete


@pytest.mark.parametrize("place", ["file", "file/under", "results"])
def test_a_place_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "results/results.jsonl").mkdir(parents=True)
    with pytest.raises((OutputError, UsageError), match="choose another --out-dir"):
        do(tmp_path / place, NAMES)


def test_another_process_at_work(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.runs.examples import SETTINGS; "
        "from glip_cli.runs.run_dir import RunFolder; "
        "folder = RunFolder(Path(sys.argv[1]), SETTINGS); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        for overwrite in (False, True):
            with pytest.raises(UsageError, match=r"another glip is at work in .*; wait for it"):
                do(tmp_path, NAMES, overwrite=overwrite)
        other.kill()
    assert do(tmp_path, NAMES).complete, "the lock of a killed process is free"


def test_a_million_images_are_not_listed(tmp_path: Path) -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for number in itertools.count():
            taken += 1
            yield f"{number}.jpg"

    assert do(tmp_path, endless(), MadeEngine(8, most=20)).counts.images == 20
    assert do(tmp_path, endless(), MadeEngine(8, most=20)).counts.images == 36
    assert taken <= 2 * 48


def test_settings_are_what_the_answers_depend_on() -> None:
    prompt = label_prompt(["cat", "remote"])
    one = settings_of("glip-t@0", prompt, DetectOptions())
    assert one == settings_of("glip-t@0", prompt, DetectOptions(batch_size=8))
    for other in (DetectOptions(threshold=0.1), DetectOptions(negatives=("dog",)), DetectOptions(size=(320, 640))):
        assert settings_of("glip-t@0", prompt, other) != one
    assert settings_of("glip-l@0", prompt, DetectOptions()) != one
    assert settings_of("glip-t@0", label_prompt(["cat"]), DetectOptions()) != one
    json.dumps(one)


@pytest.mark.parametrize("world", [1, 2])
def test_what_a_kill_left_half_written_is_swept_up(tmp_path: Path, world: int) -> None:
    do(tmp_path, NAMES, MadeEngine(most=5), Shard(0, world))
    (tmp_path / "vis").mkdir()
    left = [tmp_path / name for name in ("vis/.4.jpg.7713.tmp", ".coco.json.0a1b2c3d.tmp")]
    others = [tmp_path / name for name in (".mine.tmp", "vis/.notes", "vis/4.7713.tmp")]
    for path in [*left, *others]:
        path.touch()
    for rank in range(world):
        do(tmp_path, NAMES, shard=Shard(rank, world))
    assert [path.exists() for path in [*left, *others]] == [False] * 2 + [True] * 3


def test_formats_of_a_complete_run(tmp_path: Path) -> None:
    do(tmp_path, NAMES)
    with RunFolder(tmp_path, SETTINGS) as folder:
        folder.write_formats(["jsonl", "coco", "coco-results", "csv"])
    assert len(json.loads((tmp_path / "coco_results.json").read_text())) == 19
    assert len(json.loads((tmp_path / "coco.json").read_text())["annotations"]) == 19
    assert len((tmp_path / "results.csv").read_text().splitlines()) == 1 + 19


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # its temporary file is left open
def test_a_format_that_cannot_be_written_leaves_no_half_of_one(tmp_path: Path) -> None:
    do(tmp_path, NAMES)
    (tmp_path / "preds").touch()  # where mmdet's folder would be
    with RunFolder(tmp_path, SETTINGS) as folder, pytest.raises(OutputError, match="cannot write to"):
        folder.write_formats(["coco", "mmdet"])
    assert not (tmp_path / "coco.json").exists()
