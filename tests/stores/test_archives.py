"""Images inside tars and Parquet tables, of a disk and of a store: each under its name, each failing alone."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from glip_cli.data import archives, stores
from glip_cli.data.sources import common_folder, expand, image_in_list, is_cheap_to_count
from glip_cli.errors import GlipError, ImageError, UnavailableError, UsageError
from glip_cli.outputs.files import FileNames
from glip_cli.runs.read_image import ImageReader
from tests.runs.process import batch, finish
from tests.stores.s3 import Server, scene

MEMBERS = {
    "./a/0.jpg": b"first", "a/notes.txt": b"no image", "a/0.json": b"{}", "._0.jpg": b"hidden",
    "b/1.PNG": b"second" * 999, f"{'deep/' * 60}2.seg.png": b"", "é ü.webp": b"third", "c/x.jpg/y": b"no image",
}  # fmt: skip
INSIDE = {"a/0.jpg": b"first", "b/1.PNG": b"second" * 999, f"{'deep/' * 60}2.seg.png": b"", "é ü.webp": b"third"}


def tar_of(members: Mapping[str, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=kind) as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    return stream.getvalue()


def parquet_of(values: list[object], kind: pyarrow.DataType, rows: int = 2, **others: pyarrow.Array) -> bytes:
    stream = io.BytesIO()
    table = pyarrow.table({**others, "image": pyarrow.array(values, kind)})
    parquet.write_table(table, stream, row_group_size=rows)
    return stream.getvalue()


STRUCT = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
ROWS = [{"bytes": scene(number), "path": f"{number}.png"} for number in range(5)]
Put = Callable[[str, bytes], str]


@pytest.fixture(params=["disk", "s3"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Put:
    """Keeps a file, and gives what names it."""
    if request.param == "disk":
        return lambda name, content: str(tmp_path / name) if (tmp_path / name).write_bytes(content) >= 0 else ""
    s3: Server = request.getfixturevalue("s3")

    def put(name: str, content: bytes) -> str:
        s3.client.put_object(Bucket="bucket", Key=name, Body=content)
        return f"s3://bucket/{name}"

    return put


def contents(*inputs: str) -> dict[str, bytes]:
    """Of each image, by its name in the file; an error as its text."""
    found: dict[str, bytes] = {}
    for source in expand(inputs):
        try:
            found[source.name] = ImageReader().file(source)
        except ImageError as error:
            found[source.name] = str(error).encode()
    return found


# --- tars


@pytest.mark.parametrize("kind", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_the_members_of_a_tar(put: Put, kind: int) -> None:
    members = {name: content for name, content in MEMBERS.items() if kind != tarfile.USTAR_FORMAT or len(name) < 99}
    tar = put("0.tar", tar_of(members, kind))
    expected = {
        f"{tar}/{name}": content for name, content in INSIDE.items() if len(name) < 99 or len(members) == len(MEMBERS)
    }
    assert contents(tar) == expected


@pytest.mark.usefixtures("s3")
def test_a_tar_over_a_connection_that_breaks(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large members only the heads are read for the index."""
    monkeypatch.setattr(stores, "BLOCK_BYTES", 2000)
    members = {f"{number}.png": bytes([number]) * 50_000 for number in range(4)}
    s3.put({"0.tar": tar_of(members)})
    s3.proxy.cuts, s3.proxy.busy = [600], 1
    found = list(expand(["s3://bucket/0.tar"]))
    assert len(s3.proxy.requests) < 12
    s3.proxy.cuts = [20_000]
    assert {source.name: ImageReader().file(source) for source in found} == {
        f"s3://bucket/0.tar/{name}": content for name, content in members.items()
    }


def test_shards_by_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in (8, 9, 11):
        Path(f"s-{number:03}.tar").write_bytes(tar_of({f"{number}.jpg": b"image"}))
    found = contents("s-{008..011}.tar", "s-*.tar")
    assert list(found) == ["s-008.tar/8.jpg", "s-009.tar/9.jpg", "s-010.tar", "s-011.tar/11.jpg"]
    assert b"s-010.tar: No such file or directory; check the path" in found["s-010.tar"]
    assert len(list(expand(["s-{008..011}.tar", "s-*.tar"]))) == 7


@pytest.mark.usefixtures("s3")
def test_shards_by_number_in_a_store(s3: Server) -> None:
    s3.put({f"x/{letter}-{number}.tar": tar_of({"0.jpg": b"image"}) for letter in "12" for number in (9, 10)})
    names = [source.name.removeprefix("s3://bucket/x/") for source in expand(["s3://bucket/x/{1..2}-{9..10}.tar"])]
    assert names == ["1-9.tar/0.jpg", "1-10.tar/0.jpg", "2-9.tar/0.jpg", "2-10.tar/0.jpg"]
    assert len(list(expand(["s3://bucket/x/1-*.tar"]))) == 2
    with pytest.raises(UsageError, match="no image below it"):
        expand(["s3://bucket/x/"])


@pytest.mark.parametrize("cut", [700, 1500, 2200])
def test_a_tar_that_is_cut_short_gives_what_it_has_and_an_error(put: Put, cut: int) -> None:
    """In the bytes of the first member, in the head of the second, in its bytes."""
    whole = tar_of({"0.jpg": b"0" * 600, "1.jpg": b"1" * 600})
    tar = put("0.tar", whole[:cut])
    found = contents(tar)
    assert list(found)[-1] == tar
    assert list(found)[:-1] in ([], [f"{tar}/0.jpg"], [f"{tar}/0.jpg", f"{tar}/1.jpg"])
    assert b"a damaged tar" in found[tar]


def test_damage_in_the_middle_is_no_end(put: Put) -> None:
    whole = bytearray(tar_of({"0.jpg": b"0", "1.jpg": b"1", "2.jpg": b"2"}))
    whole[1024 + 100] ^= 255
    tar = put("0.tar", bytes(whole))
    found = contents(tar)
    assert list(found) == [f"{tar}/0.jpg", tar]
    assert found[tar].startswith(f"{tar}: a damaged tar (no member begins at byte 1024); make or fetch it".encode())


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("0.tar", b"", "a damaged tar (empty file)"),
        ("0.tar", b"no tar", "a damaged tar ("),
        ("0.tar", tar_of({"a.txt": b""}), "holds no image"),
        ("0.tar.gz", b"", "a compressed tar cannot be read one by one; decompress it first"),
        ("0.parquet", b"no table", "damaged, or no Parquet ("),
        ("0.parquet", parquet_of([], STRUCT), "holds no image"),
        ("0.parquet", parquet_of([1], pyarrow.int64()), "no column of bytes among 'image'"),
    ],
)
def test_a_file_without_images_fails_alone(put: Put, name: str, content: bytes, reason: str) -> None:
    place = put(name, content)
    after = put("after.tar", tar_of({"0.jpg": b"image"}))
    found = contents(place, after)
    assert list(found) == [place, f"{after}/0.jpg"]
    assert found[place].decode().startswith(f"{place}: ")
    assert reason in found[place].decode()


def test_a_store_that_goes_in_the_middle_of_a_tar_ends_the_run(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not count as the end of the tar."""
    monkeypatch.setattr(stores, "BLOCK_BYTES", 1000)
    s3.put({"0.tar": tar_of({"0.jpg": b"0" * 5000, "1.jpg": b"1"})})
    found = expand(["s3://bucket/0.tar"])
    next(found)
    s3.proxy.busy = 3
    with pytest.raises(GlipError, match="the same command goes on") as caught:
        next(found)
    assert not isinstance(caught.value, ImageError)


def test_a_tar_that_has_shrunk_is_said(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(whole := tar_of({"0.jpg": b"0" * 600}))
    (source,) = expand([f"{tmp_path}/0.tar"])
    (tmp_path / "0.tar").write_bytes(whole[:700])
    with pytest.raises(UnavailableError, match="cut short after 188 of 600 bytes"):
        source.open()


# --- Parquet


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (STRUCT, ROWS),
        (pyarrow.binary(), [row["bytes"] for row in ROWS]),
        (pyarrow.large_binary(), [row["bytes"] for row in ROWS]),
    ],
)
def test_the_rows_of_a_table(put: Put, kind: pyarrow.DataType, values: list[object]) -> None:
    """Its other columns of bytes are no images."""
    table = put("0.parquet", parquet_of(values, kind, mask=pyarrow.array([b"x"] * 5), label=pyarrow.array(range(5))))
    assert contents(table) == {f"{table}/{number}": scene(number) for number in range(5)}


def test_a_table_over_a_connection_that_breaks(s3: Server) -> None:
    s3.put({"0.parquet": parquet_of(ROWS, STRUCT)})
    found = list(expand(["s3://bucket/0.parquet"]))
    archives._images.cache_clear()
    s3.proxy.cuts, s3.proxy.busy = [500], 1
    assert [ImageReader().file(source) for source in found] == [row["bytes"] for row in ROWS]


def test_a_row_without_an_image_fails_alone(tmp_path: Path) -> None:
    values = [ROWS[0], None, {"bytes": None, "path": "elsewhere.jpg"}, {"bytes": b"no image", "path": None}]
    (tmp_path / "0.parquet").write_bytes(parquet_of(values, STRUCT))
    said = []
    for source in expand([f"{tmp_path}/0.parquet"]):
        try:
            said.append(ImageReader()(source).size)
        except ImageError as error:
            said.append(str(error).removeprefix(f"{tmp_path}/"))
    assert said == [
        (160, 160),
        "0.parquet/1: empty, 0 bytes; copy or download it again",
        "0.parquet/2: the row has the path 'elsewhere.jpg', and not the image's bytes",
        "0.parquet/3: not an image in a known format; convert it to JPEG or PNG",
    ]


def test_two_columns_of_bytes_and_none_called_image(tmp_path: Path) -> None:
    table = pyarrow.table({"left": [b"1"], "right": [b"2"]})
    parquet.write_table(table, tmp_path / "0.parquet")
    (said,) = contents(f"{tmp_path}/0.parquet").values()
    assert b"columns of bytes ('left', 'right'); the images' is called 'image'" in said


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "0.parquet").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"0\.parquet: Parquet needs pyarrow: pip install 'glip-cli\[parquet\]'"):
        expand([f"{tmp_path}/0.parquet"])


# --- runs


def test_names_of_what_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x").mkdir()
    Path("x/0.tar").write_bytes(tar_of({"a/s.jpg": b"1", "../b/s.jpg": b"2", "a/s.png": b"3"}))
    Path("x/1.parquet").write_bytes(parquet_of(ROWS[:2], STRUCT))
    inputs = ["x/{0..0}.tar", "x/1.parquet"]
    of = FileNames(common_folder(inputs)).of
    expected = ["0.tar/a/s", "0.tar/b/s", "0.tar/a/s.png", "1.parquet/0", "1.parquet/1"]
    assert [of(source.name) for source in expand(inputs)] == expected


def test_what_is_counted_twice() -> None:
    assert is_cheap_to_count(["a.tar", "s3://bucket/x/", "s3://bucket/a.parquet.jpg"])
    assert not is_cheap_to_count(["photos", "s3://bucket/x-{0..9}.tar"])
    assert not is_cheap_to_count(["-"])


def test_a_run_over_tars_and_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As over the same images as files; resumed, nothing is done again."""
    monkeypatch.chdir(tmp_path)
    for number in range(6):
        Path("files").mkdir(exist_ok=True)
        Path(f"files/{number}.png").write_bytes(scene(number))
    Path("files/9.png").write_bytes(b"no image")
    members = {"0.png": scene(0), "1.png": scene(1), "9.png": b"no image"}
    Path("0.tar").write_bytes(tar_of(members))
    rows = [{"bytes": scene(number), "path": None} for number in range(2, 6)]
    Path("1.parquet").write_bytes(parquet_of(rows, STRUCT, rows=3))
    inputs = ["0.tar", "1.parquet"]
    code, output = finish(batch(*inputs, "-o", "run", "--save-vis"))
    assert code == 3, output
    assert finish(batch("files", "-o", "straight"))[0] == 3
    names = ["0.tar/0.png", "0.tar/1.png", "0.tar/9.png", *(f"1.parquet/{number}" for number in range(4))]
    records = [json.loads(line) for line in Path("run/results.jsonl").read_text().splitlines()]
    assert [record["image"] for record in records] == names
    straight = {}
    for line in Path("straight/results.jsonl").read_text().splitlines():
        straight[json.loads(line)["image"]] = json.loads(line).get("detections")
    as_files = [f"files/{number}.png" for number in (0, 1, 9, 2, 3, 4, 5)]
    assert [record.get("detections") for record in records] == [straight[name] for name in as_files]
    assert {path.relative_to("run/vis").as_posix() for path in Path("run/vis").rglob("*.jpg")} == {
        f"{name.removesuffix('.png')}.jpg" for name in names if "9" not in name
    }
    assert "7 images (0 now)" in finish(batch(*inputs, "-o", "run", "--save-vis"))[1]


def test_a_tar_where_one_image_is_read_says_how_many_it_has(tmp_path: Path) -> None:
    (tmp_path / "0.tar").write_bytes(tar_of({"0.jpg": b"0", "1.jpg": b"1"}))
    with pytest.raises(ImageError, match="a file of 2 images, where one image is read"):
        image_in_list("0.tar", tmp_path).open()
