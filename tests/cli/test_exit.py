"""How a run in shards ends: what it says, and the code it leaves with."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from glip_cli.cli.console import Console
from glip_cli.cli.exit import end_run
from glip_cli.runs.journal import Counts
from glip_cli.runs.run_dir import Progress
from glip_cli.runs.shards import Shard


def code_of(progress: Progress, shard: Shard) -> int:
    try:
        end_run(progress, Path("run"), Console(False), shard)
    except typer.Exit as end:
        return end.exit_code
    return 0


@pytest.mark.parametrize(
    ("failed", "complete", "torchrun", "code"),
    [
        (0, False, False, 0),
        (1, False, False, 3),
        (9, False, False, 1),
        (1, False, True, 0),  # with another code, torchrun would end the processes that are still at work
        (1, True, True, 3),
    ],
)
def test_a_shard_with_a_failed_image(failed: int, complete: bool, torchrun: bool, code: int) -> None:
    waits_for = () if complete else (0,)
    progress = Progress(Counts(9, failed), 0, True, complete, True, waits_for)
    assert code_of(progress, Shard(1, 2, torchrun)) == code


def test_one_that_is_done_says_which_are_not(capsys: pytest.CaptureFixture[str]) -> None:
    code_of(Progress(Counts(9), 0, True, False, True, (0,)), Shard(1, 2))
    code_of(Progress(Counts(9), 0, True, False, True, tuple(range(1, 31))), Shard(0, 31))
    assert capsys.readouterr().err.splitlines() == [
        "this process is done; shard 0 of 2 (counted from 0) not yet: the last one merges the results",
        "this process is done; shards 1, 2, 3, 4, 5, 6, 7, 8 and 22 more of 31 (counted from 0) not yet: the last one "
        "merges the results",
    ]
