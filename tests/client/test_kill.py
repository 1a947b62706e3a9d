"""SIGKILL of the server in the midst of a batch, and of the client: the same command goes on with the next server."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from glip_cli.data.synthetic import draw_scene
from tests.client.asking import files, glip
from tests.forked import Forked, start, wait_until
from tests.runs.process import lines

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
ASKED = ("-t", "circle . red square . star .", "--threshold", "0.05", "--save-vis", "--format", "coco")
COUNT = 40


@contextmanager
def server() -> Iterator[tuple[Forked, str]]:
    """`glip serve` as a process, and its URL."""
    process = start(["serve", "-m", "glip-mini", "--device", "cpu", "--port", "0"])
    assert wait_until(lambda: "glip serve: " in process.stderr, process), process.stderr
    try:
        yield process, re.findall(r"glip serve: (\S+)", process.stderr)[0]
    finally:
        process.kill()
        process.wait()


def test_kills(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processes, of which two serve the embedded model: 6 CPU seconds."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for number in range(COUNT):
        draw_scene(np.random.default_rng(number % 5), 64, 64).image.save(f"photos/{number:02}.png")
    journal = Path("outputs/results.jsonl")
    words = ["batch", "photos", *ASKED, "--server"]

    with server() as (process, url):
        client = start([*words, url])
        assert wait_until(lambda: lines(journal) >= 5, client), client.stderr
        process.kill()
        assert client.wait() == 1
        assert re.search(rf"glip: error: {re.escape(url)}: the server is gone \(.*\); start it again", client.stderr)
        assert 5 <= lines(journal) < COUNT, "the kill came too late to show anything"
    with server() as (_, url):
        before = lines(journal)
        client = start([*words, url])
        assert wait_until(lambda: lines(journal) >= before + 3, client), client.stderr
        client.kill()
        client.wait()
        there = glip(*words, url)
    assert there.code == 0
    assert "going on after" in there.stderr
    assert lines(journal) == COUNT
    here = glip("batch", "photos", *ASKED, "-m", "glip-mini", "--device", "cpu", "-o", "here")
    assert here.code == 0
    assert files(Path("outputs")) == files(Path("here"))
