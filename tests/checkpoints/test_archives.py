"""Archives that no torch.save has written are refused before a byte of them is unpacked."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from glip_cli.checkpoints import files, load, safe_pickle
from glip_cli.errors import CheckpointError

STATE = {"large": torch.arange(1000.0), "small": torch.arange(4.0), "none": torch.zeros(0), "last": torch.zeros(2000)}
Change = Callable[[zipfile.ZipFile, zipfile.ZipInfo, bytes], None]


def forged(path: Path, change: Change, content: object = None) -> Path:
    """What torch writes, each record put in by `change`."""
    torch.save({"state_dict": STATE} if content is None else content, path)
    with zipfile.ZipFile(path) as whole:
        records = [(member, whole.read(member)) for member in whole.infolist()]
    with zipfile.ZipFile(path, "w") as archive:
        for member, data in records:
            change(archive, member, data)
    return path


def as_it_is(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    archive.writestr(member.filename, data)


def cut(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    archive.writestr(member.filename, data[:16] if member.filename.endswith("/data/0") else data)


def cut_and_made_up_for(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    """The sizes are those of the tensors, but the wrong way round."""
    sizes = {"/data/0": 16, "/data/1": 4000}
    size = next((size for end, size in sizes.items() if member.filename.endswith(end)), len(data))
    archive.writestr(member.filename, data[:size].ljust(size, b"\0"))


def lengthened(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    archive.writestr(member.filename, data * 2 if member.filename.endswith("/data/0") else data)


def left_out(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    if not member.filename.endswith("/data/0"):
        archive.writestr(member.filename, data)


def pickle_compressed(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    kind = zipfile.ZIP_DEFLATED if member.filename.endswith(".pkl") else zipfile.ZIP_STORED
    archive.writestr(member.filename, data, kind)


def tensor_compressed(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    kind = zipfile.ZIP_DEFLATED if member.filename.endswith("/data/0") else zipfile.ZIP_STORED
    archive.writestr(member.filename, data, kind)


def bomb(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    more = b"}" * 20_000_000 if member.filename.endswith(".pkl") else data
    archive.writestr(member.filename, more, zipfile.ZIP_DEFLATED)


def twice(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    archive.writestr(member.filename, data)
    if member.filename.endswith("/data/0"):
        archive.filelist.append(archive.filelist[-1])


def overlapping(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
    archive.writestr(member.filename, data)
    if member.filename.endswith("/data/0"):
        again = copy.copy(archive.filelist[-1])
        again.filename = f"{again.filename}0"
        archive.filelist.append(again)


def claiming(size: int) -> Change:
    """In the directory alone; from 4 GB on in fields of ZIP64."""

    def change(archive: zipfile.ZipFile, member: zipfile.ZipInfo, data: bytes) -> None:
        archive.writestr(member.filename, data)
        if member.filename.endswith("/data/0"):
            archive.filelist[-1].file_size = archive.filelist[-1].compress_size = size

    return change


def test_an_archive_of_another_writer_is_read(tmp_path: Path) -> None:
    found = files.read(forged(tmp_path / "x.pth", as_it_is))
    assert found.state.keys() == STATE.keys()
    assert all(torch.equal(found.state[key], STATE[key]) for key in STATE)


def test_views_and_shared_storages_are_read(tmp_path: Path) -> None:
    whole = torch.arange(1000.0)
    state = {"a": whole, "b": whole[10:20], "c": whole.reshape(10, 100).T, "d": torch.ones(3, dtype=torch.bfloat16)}
    torch.save({"model": state, "optimizer": [torch.zeros(5)]}, tmp_path / "x.pth")
    found = files.read(tmp_path / "x.pth").state
    assert all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "has tensors that are longer than their records"),
        (cut_and_made_up_for, "has tensors that are longer than their records"),
        (lengthened, "has tensors that are longer than their records"),
        (left_out, "is truncated, damaged or no checkpoint"),
        (pickle_compressed, "is compressed, which torch.save never does"),
        (tensor_compressed, "is compressed, which torch.save never does"),
        (bomb, "is compressed, which torch.save never does"),
        (twice, "holds two records of one name"),
        (overlapping, "claims more bytes than it has"),
        (claiming(50_000), "claims more bytes than it has"),
        (claiming(1 << 40), "claims more bytes than it has"),
        (claiming(16), "has tensors that are longer than their records"),
    ],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_torch_never_writes_is_refused_in_one_line(tmp_path: Path, change: Change, message: str) -> None:
    path = forged(tmp_path / "x.pth", change)
    for read in (files.read, load.info, lambda path: load.convert(path, tmp_path / "out.safetensors")):
        with pytest.raises(CheckpointError, match=message) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert len(str(caught.value)) < 300
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_a_pickle_that_is_larger_than_any_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_pickle, "MAX_PICKLE_BYTES", 100)
    torch.save({"state_dict": STATE}, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="besides its tensors"):
        files.read(tmp_path / "x.pth")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_tensor_of_more_numbers_than_data(tmp_path: Path, zipped: bool) -> None:
    """Strides of zero: 4 bytes that a copy would make 4 GB of."""
    state = {"weight": torch.zeros(1).expand(1 << 30)}
    torch.save({"state_dict": state}, tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="less data than its tensor 'weight' has numbers"):
        files.read(tmp_path / "x.pth")
