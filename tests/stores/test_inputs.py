"""What a URL of a store names: folders, globs, lists, single objects; read over connections that break."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from glip_cli.data import stores
from glip_cli.data.image_files_below import Passed
from glip_cli.data.sources import common_folder, expand
from glip_cli.errors import GlipError, ImageError, UnavailableError, UsageError
from glip_cli.outputs.files import FileNames
from glip_cli.runs.read_image import ImageReader
from tests.stores.s3 import Server, scene

ODD = "x/q?token=1#é [1]%20.jpg"
KEYS = ["x/b.jpg", "x/a.PNG", "x/notes.txt", "x/.hidden.jpg", "x/sub/c.webp", "x/.git/e.jpg", "x/", "top.jpg"]
KEYS += ["z.jxl", ODD]
BELOW_X = ["x/a.PNG", "x/b.jpg", ODD.replace("token=1", "token=***"), "x/sub/c.webp"]


@pytest.fixture
def tree(s3: Server) -> Server:
    s3.put(dict.fromkeys(KEYS, b"image"))
    return s3


def names(*inputs: str) -> list[str]:
    return [source.name.removeprefix("s3://bucket/") for source in expand(inputs)]


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("s3://bucket/x", BELOW_X),
        ("s3://bucket/x/", BELOW_X),
        ("s3://bucket", ["top.jpg", *BELOW_X]),
        ("S3://bucket/x/sub", ["x/sub/c.webp"]),
        ("s3://bucket/x/*.jpg", ["x/b.jpg", BELOW_X[2]]),
        ("s3://bucket/**/*.webp", ["x/sub/c.webp"]),
        ("s3://bucket/x/s*", ["x/sub/c.webp"]),
        ("s3://bucket/x/*.txt", ["x/notes.txt"]),
        ("s3://bucket/x/.*.jpg", ["x/.hidden.jpg"]),
        ("s3://bucket/x/?.[jP]*", ["x/a.PNG", "x/b.jpg"]),
        (f"s3://bucket/{ODD}", [BELOW_X[2]]),
        ("s3://bucket/none.jpg", ["none.jpg"]),
        ("s3://bucket/x/notes.txt", ["x/notes.txt"]),
    ],
)
def test_what_a_url_names(url: str, expected: list[str]) -> None:
    assert names(url) == expected


@pytest.mark.usefixtures("tree")
def test_a_folder_of_a_disk_and_one_of_a_store_give_the_same(tmp_path: Path) -> None:
    for key in KEYS:
        path = tmp_path / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if not key.endswith("/"):
            path.touch()
    for pattern in ("", "**", "*/*", "x/*", "**/*.jpg", "x/**/*.webp", "*.jpg", "**/sub", "?/[ab].*"):
        local = [Path(source.name).relative_to(tmp_path).as_posix() for source in expand([f"{tmp_path}/{pattern}"])]
        stored = [name.replace("***", "1") for name in names(f"s3://bucket/{pattern}")]
        assert sorted(stored) == sorted(local), pattern


@pytest.mark.usefixtures("tree")
def test_other_formats_are_counted() -> None:
    passed = Passed()
    assert list(expand(["s3://bucket"], passed=passed))
    assert passed.notes == ("1 file of formats that are not read: .jxl 1",)


@pytest.mark.usefixtures("tree")
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("s3://bucket/none/", "no image below it; check the URL"),
        ("s3://bucket/x/*.tif", "no file matches"),
        ("s3://nowhere/", "no such bucket"),
        ("s3://*/x", "no bucket is named"),
        ("s3://", "no bucket is named"),
        ("@s3://bucket/none.txt", "no such object"),
        ("@s3://bucket/x/notes.txt/", "no such object"),
    ],
)
def test_what_names_nothing_is_said_before_any_work(url: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        expand(["s3://bucket/x", url])


def test_lists_of_urls_and_lists_in_a_store(tree: Server, tmp_path: Path) -> None:
    lines = f"# mine\ntop.jpg\ns3://bucket/{ODD}\ns3://bucket/x/sub\n\nx/b.jpg\nhttps://host/a.jpg\n"
    tree.client.put_object(Bucket="bucket", Key="list.txt", Body=lines.encode("utf-16"))
    expected = ["top.jpg", BELOW_X[2], "x/sub/c.webp", "x/b.jpg", "https://host/a.jpg"]
    assert names("@s3://bucket/list.txt") == expected
    (tmp_path / "list.txt").write_text(
        lines.replace("\nx/b", "\ns3://bucket/x/b").replace("\ntop", "\ns3://bucket/top")
    )
    assert names(f"@{tmp_path}/list.txt") == expected


@pytest.mark.usefixtures("tree")
def test_folders_are_mirrored() -> None:
    inputs = ["s3://bucket/x/", "s3://bucket/x/sub/*.webp"]
    of = FileNames(common_folder(inputs)).of
    assert [of(source.name) for source in expand(inputs)] == ["a", "b", "q_token=___#é [1]%20", "sub/c", "sub/c-2"]
    assert common_folder(["s3://bucket/x/a.jpg"]) == common_folder(["s3://bucket/x/*.jpg"]) == "s3:/bucket/x"


def test_offline_forbids_all_of_it() -> None:
    for text in ("s3://bucket/x/", "gs://bucket", "hf://datasets/a/b", "@s3://bucket/list.txt"):
        with pytest.raises(UsageError, match="--offline forbids"):
            expand([text], offline=True)
    (source,) = expand(["s3://bucket/a.jpg"], offline=True)
    with pytest.raises(ImageError, match="--offline forbids"):
        source.open()


@pytest.mark.parametrize(("url", "extra"), [("gs://bucket/a.jpg", "gcs"), ("s3://bucket/", "s3")])
def test_a_package_that_is_missing(url: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=rf"pip install 'glip-cli\[{extra}\]'"):
        expand([url])


# --- reading


def open_one(key: str = "a.png") -> bytes:
    (source,) = expand([f"s3://bucket/{key}"])
    return ImageReader().file(source)


def test_an_object_is_read_whole(s3: Server) -> None:
    s3.put({"a.png": scene(1), ODD: b"odd", "empty.jpg": b""})
    assert open_one() == scene(1)
    assert len(s3.proxy.requests) == 1
    assert open_one(ODD) == b"odd"
    with pytest.raises(ImageError, match=r"empty\.jpg: empty, 0 bytes"):
        ImageReader()(next(iter(expand(["s3://bucket/empty.jpg"]))))


@pytest.mark.parametrize("cuts", [[0], [40], [700, 700], [700, 0]])
def test_a_connection_that_is_cut_is_made_again(s3: Server, cuts: list[int]) -> None:
    """Before the answer, in its head, in its body; a third try reads it."""
    s3.put({"a.png": scene(1)})
    s3.proxy.cuts = [*cuts]
    assert open_one() == scene(1)
    assert len(s3.proxy.requests) == 1 + len(cuts)


def test_a_busy_server_is_asked_again(s3: Server) -> None:
    s3.put({"a.png": scene(1)})
    s3.proxy.busy = 2
    assert open_one() == scene(1)


def test_after_three_tries_it_is_an_error_that_may_pass(s3: Server) -> None:
    s3.put({"a.png": scene(1)})
    s3.proxy.cuts = [700] * 3
    with pytest.raises(UnavailableError, match=r"s3://bucket/a\.png: cannot be read \(.+\)$") as caught:
        open_one()
    assert caught.value.brief


def test_what_a_moment_does_not_change_is_asked_once(s3: Server) -> None:
    with pytest.raises(
        UnavailableError, match=r"s3://bucket/a\.png: no such object, or none that may be seen; check the URL"
    ):
        open_one()
    assert len(s3.proxy.requests) == 1


def test_a_listing_goes_on_after_a_cut(s3: Server) -> None:
    s3.put(dict.fromkeys(KEYS, b""))
    s3.proxy.cuts, s3.proxy.busy = [300], 1
    assert names("s3://bucket/x") == BELOW_X


def test_a_listing_that_breaks_off_is_never_taken_for_the_whole(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stores, "PAGE", 4)
    s3.put({f"{number}.jpg": b"" for number in range(9)})
    found = expand(["s3://bucket"])
    assert [next(found).name for _ in range(4)][-1] == "s3://bucket/3.jpg"
    assert len(s3.proxy.requests) == 1, "no page before it is needed"
    s3.proxy.busy = 3
    with pytest.raises(GlipError, match="once the store answers, the same command goes on"):
        next(found)
    assert len(list(expand(["s3://bucket"]))) == 9


@pytest.mark.usefixtures("fresh")
def test_a_store_that_is_not_there(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    with pytest.raises(GlipError, match=r"s3://bucket/x/: cannot be read .*the same command goes on"):
        expand(["s3://bucket/x/"])


@pytest.mark.usefixtures("fresh")
def test_no_credentials(s3: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name, value in {"AWS_EC2_METADATA_DISABLED": "true", "HOME": "/nowhere"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"no credentials .*set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"):
        expand(["s3://bucket/x/"])


def test_what_is_public_needs_no_credentials(s3: Server) -> None:
    """In a process of its own: fsspec reads its settings when it is imported."""
    s3.put({"a.png": b"image", "b.png": b"image"})
    s3.client.put_object_acl(Bucket="bucket", Key="a.png", ACL="public-read")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_ACCESS", "AWS_SECRET"))}
    code = "from glip_cli.data.sources import expand\nfor source in expand(['s3://bucket/']):\n    "
    code += "try: print(source.open())\n    except Exception as error: print(error)"
    env |= {"FSSPEC_S3_ANON": "true", "HOME": "/nowhere"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    refused = "s3://bucket/b.png: no permission to read it (Forbidden); check the credentials"
    assert (done.stdout, done.stderr) == (f"b'image'\n{refused}\n", "")


def test_no_error_shows_a_secret() -> None:
    url = "https://k:s3cret@cdn/x?X-Amz-Signature=s3cret&page=1"
    failure = stores._unavailable(OSError(f"403 for url: {url}\nagain"), "hf://datasets/a/b", "hf://datasets/a/b")
    assert "cret" not in str(failure)
    assert "https://cdn/x?X-Amz-Signature=***&page=1" in str(failure)


# --- many

COUNT = """
import resource
from glip_cli.data.sources import expand
found = expand(["s3://bucket/many/"])
next(found)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = 1 + sum(1 for _ in found)
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of memory in kilobytes")
@pytest.mark.parametrize("objects", [20_000, pytest.param(1_000_000, marks=pytest.mark.long)])
def test_memory_does_not_grow_with_the_objects(s3: Server, objects: int) -> None:
    """The names of a million would take 200 MB."""
    s3.proxy.objects = objects
    try:
        done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, env={**os.environ})
    finally:
        s3.proxy.objects = 0
    assert done.stderr == ""
    count, kilobytes = map(int, done.stdout.split())
    assert count == objects
    assert kilobytes < 4_000
