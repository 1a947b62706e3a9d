"""A journal that was torn at any byte, and one that was altered."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from glip_cli.errors import OutputError
from glip_cli.runs.journal import Counts, Journal, fsynced, read_records
from tests.runs.examples import do, made_record

NAMES = ["a.jpg", "bad.jpg", "é\U0001f431.jpg", "c c.jpg", "bad2.jpg", "e.jpg"]


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    do(tmp_path / "whole", NAMES)
    return (tmp_path / "whole/results.jsonl").read_bytes()


def test_torn_at_every_byte_of_its_last_two_lines_it_is_mended(tmp_path: Path, whole: bytes) -> None:
    begin = whole.rindex(b"\n", 0, whole.rindex(b"\n", 0, -1)) + 1
    do(tmp_path, NAMES)
    path = tmp_path / "results.jsonl"
    for end in range(begin, len(whole) + 1):
        path.write_bytes(whole[:end])
        progress = do(tmp_path, NAMES)
        assert path.read_bytes() == whole
        assert progress.before == whole[:end].count(b"\n")
        assert progress.counts == Counts(images=6, failed=2, detections=4)


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xff\xfe{", b"[]\n", b"{}\n", b'{"image": "x"}\n', b"\n", b'"'])
def test_a_tail_that_is_no_record_is_cut_off(tmp_path: Path, whole: bytes, tail: bytes) -> None:
    """Zeros are what some file systems leave when the power fails."""
    do(tmp_path, NAMES)
    (tmp_path / "results.jsonl").write_bytes(whole[: whole.index(b"\n") + 1] + tail)
    assert do(tmp_path, NAMES).before == 1
    assert (tmp_path / "results.jsonl").read_bytes() == whole


@pytest.mark.parametrize("damage", [b"", b"{", b"[1, 2]", b'{"image": "b.jpg"}', b"\xff\xfe", b"\0\0\0\0", b"null"])
def test_a_damaged_line_in_the_middle_is_named_and_nothing_is_lost(tmp_path: Path, whole: bytes, damage: bytes) -> None:
    do(tmp_path, NAMES)
    lines = whole.splitlines()
    altered = b"\n".join([*lines[:2], damage, *lines[3:]]) + b"\n"
    path = tmp_path / "results.jsonl"
    path.write_bytes(altered)
    with pytest.raises(OutputError, match=r"results\.jsonl, line 3,"):
        do(tmp_path, NAMES)
    assert path.read_bytes() == altered
    with pytest.raises(OutputError, match="line 3,"):
        list(read_records(path))
    do(tmp_path, NAMES, overwrite=True)
    assert path.read_bytes() == whole


def test_an_empty_journal_is_a_run_that_has_just_begun(tmp_path: Path, whole: bytes) -> None:
    do(tmp_path, NAMES)
    (tmp_path / "results.jsonl").write_bytes(b"")
    assert do(tmp_path, NAMES).before == 0
    assert (tmp_path / "results.jsonl").read_bytes() == whole


class Full:
    """A file on a disk with room for so many bytes more."""

    def __init__(self, room: int, descriptor: int) -> None:
        self.room, self.descriptor = room, descriptor

    def write(self, data: memoryview) -> int:
        count = min(self.room, len(data), 7)  # short writes, as the system may
        if not count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.room -= count
        return os.write(self.descriptor, data[:count])

    def fileno(self) -> int:
        return self.descriptor


def test_short_writes_and_a_full_disk(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    journal = Journal(path)
    file = journal._file
    journal._file = Full(1000, file.fileno())  # type: ignore[assignment]
    journal.add(made_record("a.jpg", []))
    journal._file.room = 20  # type: ignore[attr-defined]
    with pytest.raises(OutputError, match="No space left on device; make room"):
        journal.add(made_record("b.jpg", []))
    assert journal.counts.images == 1
    file.close()
    assert path.stat().st_size > len(next(iter(path.read_bytes().splitlines(keepends=True))))
    again = Journal(path)
    assert again.counts.images == 1
    again.add(made_record("b.jpg", []))
    again.close()
    assert [record["image"] for record in read_records(path)] == ["a.jpg", "b.jpg"]


def test_a_lasting_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, seen = tmp_path / "run.json", []
    monkeypatch.setattr(os, "fsync", lambda descriptor: seen.append((os.fstat(descriptor).st_size, path.exists())))
    with fsynced(path) as stream:
        stream.write(b"settings")
    assert seen == [(8, False)]
    assert path.read_bytes() == b"settings"
