"""From INPUT arguments to a stream of images: order, laziness, lists, links, and a real server for URLs."""

from __future__ import annotations

import base64
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glip_cli.data import download, image_files_below
from glip_cli.data.captions import read_captions
from glip_cli.data.download import fetch
from glip_cli.data.frame_inputs import FrameChoice
from glip_cli.data.image_files_below import Passed
from glip_cli.data.image_io import read_image
from glip_cli.data.sources import ImageInput, expand
from glip_cli.errors import ImageError, UnavailableError, UsageError
from glip_cli.utils.marks import MARK
from glip_cli.utils.text_format import one_line, path_of_shown, shown_path, shown_url


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `photos/` in it. expand() never opens an image, so they are empty."""
    for name in ("b.jpg", "a.PNG", "notes.txt", ".hidden.jpg", "sub/c.webp", "sub/deep/d.tif", ".git/e.jpg", "z.jpg"):
        path = tmp_path / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*inputs: str, **options: io.BytesIO) -> list[str]:
    return [source.name.replace(os.sep, "/") for source in expand(inputs, **options)]


EVERYTHING = ["photos/a.PNG", "photos/b.jpg", "photos/sub/c.webp", "photos/sub/deep/d.tif", "photos/z.jpg"]


# --- files, folders, globs


@pytest.mark.usefixtures("here")
def test_a_file_keeps_the_name_that_was_typed() -> None:
    assert names("./photos/b.jpg", "photos/a.PNG", "photos/b.jpg") == ["./photos/b.jpg", "photos/a.PNG", "photos/b.jpg"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("folder", ["photos", "photos/", "./photos"])
def test_a_folder_gives_its_images_sorted_and_nothing_hidden(folder: str) -> None:
    assert names(folder) == EVERYTHING


def test_the_current_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here / "photos" / "sub")
    assert names(".") == ["c.webp", "deep/d.tif"]


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("photos/*.jpg", ["photos/b.jpg", "photos/z.jpg"]),
        ("photos/?.jpg", ["photos/b.jpg", "photos/z.jpg"]),
        ("photos/[az].*", ["photos/a.PNG", "photos/z.jpg"]),
        ("photos/*.txt", ["photos/notes.txt"]),
        ("photos/*", EVERYTHING),
        ("photos/.*.jpg", ["photos/.hidden.jpg"]),
        ("**/*.jpg", ["photos/b.jpg", "photos/z.jpg"]),
        ("**/*.tif", ["photos/sub/deep/d.tif"]),
        ("photos/**", EVERYTHING),
        ("photos/**/**/*", EVERYTHING),
        ("**/sub/**/*.tif", ["photos/sub/deep/d.tif"]),
        ("*/s*/c.webp", ["photos/sub/c.webp"]),
        ("photos/s*", ["photos/sub/c.webp", "photos/sub/deep/d.tif"]),
    ],
)
def test_globs(pattern: str, expected: list[str]) -> None:
    assert names(pattern) == expected


def test_an_absolute_glob(here: Path) -> None:
    assert names(f"{here}/photos/*.jpg") == [f"{here.as_posix()}/photos/b.jpg", f"{here.as_posix()}/photos/z.jpg"]


def test_a_path_that_exists_is_no_pattern_and_no_list(here: Path) -> None:
    for name in ("x[1].jpg", "@me.jpg"):
        (here / name).touch()
    assert names("x[1].jpg", "@me.jpg") == ["x[1].jpg", "@me.jpg"]


def test_what_glip_wrote_is_passed_over_where_no_pattern_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders of users that are called so are read."""
    monkeypatch.chdir(tmp_path)
    plain = Image.new("RGB", (8, 8))
    for name, comment in {
        "photos/vis/a.jpg": b"", "run/vis/sub/a.jpg": MARK + b"drawn", "run/crops/cat/a-0.jpg": MARK + b"crop",
        "run/grid.jpg": MARK + b"grid", "run/own.jpg": MARK, "old/grid.jpg": b"", "clips/vis/a.png": b"",
    }.items():  # fmt: skip
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        plain.save(name, "JPEG", comment=comment)
    Path("films/vis").mkdir(parents=True)
    Path("films/vis/a.mp4").touch()
    Path("films/results.jsonl").write_text('{"schema": "glip/1", "image": "a.mp4#frame=0"}\n')
    passed = Passed()
    kept = ["clips/vis/a.png", "old/grid.jpg", "photos/vis/a.jpg", "run/own.jpg"]
    assert [source.name for source in expand(["."], passed=passed, frames=FrameChoice(all=True))] == kept
    assert passed.outputs == ["films/vis", "run/crops", "run/grid.jpg", "run/vis"]
    assert names("**/*.jpg") == kept[1:]
    assert names("run/vis") == names("*/vis/sub/*") == ["run/vis/sub/a.jpg"]
    assert names("run/grid.jpg", "r*/grid.jpg") == ["run/grid.jpg"] * 2


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("suffix", ["jpg", "heic", "mp4", "tar", "tar.gz", "parquet", "dcm"])
def test_what_is_not_there_says_so_whatever_would_read_it(suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not what is to be installed for it."""
    for package in ("av", "pyarrow"):
        monkeypatch.setitem(sys.modules, package, None)
    (source,) = expand([f"gone.{suffix}"], frames=FrameChoice())
    with pytest.raises(UnavailableError, match=rf"^gone\.{suffix}: [Nn]o such file.*; check the path"):
        read_image(source.open(), source.name)


@pytest.mark.skipif(os.name == "nt", reason="links, and other errors")
def test_a_path_that_leads_nowhere_is_not_tried_again(here: Path) -> None:
    (here / "loop.jpg").symlink_to(here / "loop.jpg")
    for path, reason in (
        (here / "loop.jpg", "Too many levels of symbolic links"),
        (here / "photos/b.jpg/x.jpg", "Not a directory"),
        (here / f"{'x' * 300}.jpg", "File name too long"),
    ):
        with pytest.raises(UnavailableError, match=rf"^{path}: .*{reason}.*; check the path") as failed:
            read_image(path)
        assert not failed.value.brief


def test_the_home_folder_in_quotes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    monkeypatch.setenv("USERPROFILE", str(here))
    assert [Path(name).name for name in names("~/photos/*.jpg")] == ["b.jpg", "z.jpg"]
    (here / "list.txt").write_text("photos/z.jpg\n")
    assert [Path(name).name for name in names("@~/list.txt")] == ["z.jpg"]


def test_links_that_lead_back_do_no_harm(here: Path) -> None:
    (here / "photos/sub/up").symlink_to(here / "photos", target_is_directory=True)
    (here / "photos/self.jpg").symlink_to(here / "photos/self.jpg")
    (here / "photos/y.jpg").symlink_to(here / "photos/b.jpg")
    expected = sorted([*EVERYTHING, "photos/self.jpg", "photos/y.jpg"])
    assert names("photos") == names("photos/**/*") == expected


def test_a_folder_called_as_a_image_is_one_that_fails_unless_it_holds_some(here: Path) -> None:
    for folder in ("w.jpg", "x.jpg/sub", "y.jpg", "plain"):
        (here / "photos" / folder).mkdir(parents=True)
    (here / "photos/x.jpg/notes.txt").touch()
    (here / "photos/y.jpg/inside.jpg").touch()
    expected = sorted([*EVERYTHING, "photos/w.jpg", "photos/x.jpg", "photos/y.jpg/inside.jpg"])
    assert sorted(names("photos")) == sorted(names("photos/**")) == expected
    assert names("photos/[wx].jpg", "photos/w.jpg", "photos/x.jpg/", "photos/y.jpg") == [
        "photos/w.jpg", "photos/x.jpg", "photos/w.jpg", "photos/x.jpg/", "photos/y.jpg/inside.jpg",
    ]  # fmt: skip
    for source in expand(["photos/w.jpg", "photos/x.jpg/"]):
        with pytest.raises(ImageError, match="a folder, not a file; give an image's path"):
            read_image(source.open(), source.name)


def test_broken_links_are_found_and_fail_alone(here: Path) -> None:
    (here / "photos/dangling.jpg").symlink_to("nowhere")
    (here / "photos/loop.jpg").symlink_to("loop.jpg")
    (here / "photos/back.jpg").symlink_to(here / "photos", target_is_directory=True)
    found = {source.name: source for source in expand(["photos"])}
    broken = ["photos/back.jpg", "photos/dangling.jpg", "photos/loop.jpg"]
    assert sorted(found) == sorted([*EVERYTHING, *broken])
    for name in broken:
        with pytest.raises(ImageError, match=re.escape(name)):
            read_image(found[name].open(), name)


@pytest.mark.skipif(os.name == "nt", reason="reads file descriptor 0 of another process")
def test_python_can_end_while_a_thread_waits_for_stdin() -> None:
    code = (
        "import threading, time; from glip_cli.data.sources import expand\n"
        "threading.Thread(target=lambda: [print(s.name, flush=True) for s in expand(['-'])], daemon=True).start()\n"
        "time.sleep(1)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write(b"a.jpg\nb.jpg\n")
        process.stdin.flush()
        assert process.wait(60) == 0
        assert process.stdout.read().split() == [b"a.jpg", b"b.jpg"]
        assert process.stderr.read() == b""


@pytest.mark.parametrize("text", ["empty", "*.nothing", "empty/**", "@empty.txt", "@comments.txt"])
def test_an_input_without_a_image_is_said_before_any_work(here: Path, text: str) -> None:
    (here / "empty").mkdir()
    (here / "empty.txt").touch()
    (here / "comments.txt").write_text("# nothing\n\n")
    with pytest.raises(UsageError, match=re.escape(text)) as caught:
        expand(["photos", text])
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("here")
def test_a_missing_file_fails_alone() -> None:
    found = list(expand(["photos/b.jpg", "photos/catt.jpg", "photos/z.jpg", "ftp://host/a.jpg"]))
    assert [source.location for source in found if Path(source.location).exists()] == ["photos/b.jpg", "photos/z.jpg"]
    with pytest.raises(ImageError, match=r"photos/catt\.jpg: no such file; check the path"):
        read_image(found[1].open(), found[1].name)
    with pytest.raises(ImageError, match="only http, https, s3, gs and hf"):
        found[3].open()
    assert found[0].open() == Path("photos/b.jpg")


@pytest.mark.parametrize("inputs", [["photos"], ["photos/*"], ["photos/**"], ["@list.txt"]])
def test_what_a_folder_holds_besides_is_counted_by_suffix(here: Path, inputs: list[str]) -> None:
    for name in (
        "IMG_1.JXL",
        "img_2.jxl",
        "sub/clip.MP4",
        "a.txt",
        "a.json",
        "Thumbs.db",
        ".hidden.jxl",
        "._x.JXL",
    ):
        (here / "photos" / name).parent.mkdir(exist_ok=True)
        (here / "photos" / name).touch()
    (here / "photos/sub/z.jpg").touch()
    (here / "list.txt").write_text("photos\n")
    passed = Passed()
    assert list(expand(inputs, passed=passed))
    assert passed.notes == ("3 files of formats that are not read: .jxl 2, .mp4 1",)


def test_a_folder_of_other_formats_says_so(here: Path) -> None:
    (here / "phone").mkdir()
    (here / "phone/IMG_1.JXL").touch()
    with pytest.raises(UsageError, match=r"holds no image; .* \(1 file of formats that are not read: \.jxl 1\)"):
        expand(["phone"])


def test_folders_that_cannot_be_opened_are_counted(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "photos/secret").mkdir()
    entries = image_files_below._entries

    def refuse(folder: Path) -> list[os.DirEntry[str]]:
        if folder.name == "secret":
            raise PermissionError(13, "Permission denied")
        return entries(folder)

    monkeypatch.setattr(image_files_below, "_entries", refuse)
    passed = Passed()
    list(expand(["photos"], passed=passed))
    assert passed.notes == ("1 folder cannot be opened: photos/secret",)


@pytest.mark.parametrize("text", ["photos", "photos/*.jpg", "photos/b.jpg"])
def test_a_disk_that_does_not_answer_ends_the_look(here: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = threading.Event()
    monkeypatch.setattr("glip_cli.data.sources.READ_SECONDS", 0.05)
    monkeypatch.setattr("glip_cli.data.sources.os.path.lexists", lambda path: gone.wait())
    with pytest.raises(UsageError, match=r"not opened within 0\.05 s; check the disk or network"):
        expand([text])
    gone.set()


def test_expansion_is_lazy(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Path] = []
    entries = image_files_below._entries
    monkeypatch.setattr(image_files_below, "_entries", lambda folder: seen.append(folder) or entries(folder))
    for index in range(50):
        (here / f"many/{index:02}").mkdir(parents=True)
        (here / f"many/{index:02}/x.jpg").touch()
    stream = expand(["many"])
    next(stream)
    assert len(seen) < 5


@pytest.mark.usefixtures("here")
@given(st.text(min_size=1).filter(lambda text: text != "-"))
def test_any_text_is_sources_or_a_usage_error(text: str) -> None:
    try:
        found = list(expand([text]))
    except UsageError:
        return
    assert found
    for source in found:
        source.name.encode("utf-8")


@pytest.mark.parametrize("text", ["\0", "@\0", "?\0", "a\0.jpg", "https://a/\0"])
def test_a_nul_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="NUL"):
        expand([text])


def test_a_name_that_is_not_unicode_is_shown_as_escapes(here: Path) -> None:
    raw = os.path.join(os.fsencode(here), b"caf\xe9.jpg")
    try:
        open(raw, "wb").close()
    except OSError:
        pytest.skip("this file system takes only Unicode names")
    (source,) = expand([os.fsdecode(raw)])
    assert source.name.endswith("caf\\udce9.jpg")
    assert os.path.exists(source.open())


@pytest.mark.skipif(os.name == "nt", reason="no such names")
def test_no_two_files_have_one_name(here: Path) -> None:
    """A line end, a byte that is no Unicode, and what their escapes look like."""
    (here / "odd/sub").mkdir(parents=True)
    files = [b"n\nx.jpg", b"n\\nx.jpg", b"n\\\\nx.jpg", b"n\\\nx.jpg", b"\xff.jpg", b"\\udcff.jpg", b"sub/\\x.jpg"]
    for file in files:
        open(os.path.join(os.fsencode(here), b"odd", file), "wb").close()
    Image.new("RGB", (8, 8)).save(here / "odd/a.png")
    with tarfile.open(here / "odd.tar", "w") as tar:
        for file in (here / "odd").rglob("*.*"):
            tar.add(file, file.relative_to(here / "odd"))
    Path("odd.txt").write_bytes(b"\n".join(b"odd/" + file for file in files if b"\n" not in file))
    Path("odd.jsonl").write_text(
        "".join(json.dumps({"image": os.fsdecode(file), "caption": "x"}) + "\n" for file in files)
    )
    for found in (
        list(expand(["odd"])),
        list(expand([os.fsdecode(b"odd/" + file) for file in files])),
        list(expand(["@odd.txt"])),
        list(expand(["odd.tar"])),
        list(read_captions(Path("odd.jsonl"), Path("odd"))),
    ):
        assert len(found) >= 5
        assert len({source.name for source in found}) == len(found)
        paths = [source for source in found if source.member is None]
        assert all(path_of_shown(source.name).removeprefix("odd/") == source.location[4:] for source in paths)


@given(st.text(st.characters() | st.sampled_from("\\ntrxu0af\n\x80\u2028\udcff")))
def test_the_name_of_a_file_says_its_path(path: str) -> None:
    shown = shown_path(path)
    assert shown == one_line(shown)
    assert path_of_shown(shown) == path
    if "\\" not in path:
        assert shown == one_line(path)


# --- lists and stdin


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_list(here: Path, encoding: str, newline: str) -> None:
    (here / "photos/é.jpg").touch()
    lines = ["photos/b.jpg", "", "# a remark", "  photos/é.jpg ", "https://host/a.jpg", "photos/sub", "missing.jpg"]
    (here / "list.txt").write_bytes(newline.join(lines).encode(encoding))
    assert names("@list.txt") == [
        "photos/b.jpg",
        "photos/é.jpg",
        "https://host/a.jpg",
        "photos/sub/c.webp",
        "photos/sub/deep/d.tif",
        "missing.jpg",
    ]


def test_a_list_with_backslashes_and_paths_from_its_own_folder(here: Path) -> None:
    (here / "photos/list.txt").write_text("photos\\b.jpg\nsub\\c.webp\nz.jpg\n")
    found = list(expand(["@photos/list.txt"]))
    assert [source.name for source in found] == ["photos\\b.jpg", "sub\\c.webp", "z.jpg"]
    assert all(os.path.exists(source.open()) for source in found)


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("text", ["@nowhere.txt", "@photos", "@"])
def test_a_list_that_cannot_be_read(text: str) -> None:
    with pytest.raises(UsageError, match="the list cannot be read"):
        expand([text])


def test_a_image_given_as_a_list(here: Path) -> None:
    (here / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(UsageError, match=r"@a\.png holds binary data"):
        list(expand(["@a.png"]))


@pytest.mark.usefixtures("here")
def test_paths_on_stdin() -> None:
    stdin = io.BytesIO(b"\xef\xbb\xbfphotos/b.jpg\r\n\n#no\nphotos/sub\n")
    assert names("photos/z.jpg", "-", stdin=stdin) == [
        "photos/z.jpg",
        "photos/b.jpg",
        "photos/sub/c.webp",
        "photos/sub/deep/d.tif",
    ]


def test_stdin_without_a_line() -> None:
    with pytest.raises(UsageError, match="stdin named no image"):
        names("-", stdin=io.BytesIO(b"\n"))


def test_stdin_is_not_read_ahead() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as stdin, os.fdopen(write, "wb", buffering=0) as writer:
        stream = expand(["-"], stdin=io.BufferedReader(stdin))
        writer.write(b"first.jpg\n")
        assert next(stream).name == "first.jpg"


# --- URLs, from a server in this process


ASKED: list[str] = []


class Handler(BaseHTTPRequestHandler):
    """/path -> what a server may do."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        if self.path.startswith("/to/"):
            return self.answer(302, b"", Location=self.path.removeprefix("/to/"))
        if self.path == "/slow":
            return self.server.stop.wait(5) and None  # type: ignore[attr-defined]
        if self.path == "/short":
            return self.answer(200, b"half", **{"Content-Length": "8"})
        if self.path == "/garbage":
            self.wfile.write(b"no http at all\r\n\r\n")
            return None
        bodies = {
            "/a.jpg": b"image",
            "/one.gif": gif(1),
            "/two.gif": gif(2),
            "/caf%C3%A9%20(1).jpg": b"coffee",
            "/page": b" <html>",
            "/large": b"x" * 2000,
        }
        body = bodies.get(self.path)
        if self.path.startswith("/login"):
            body = self.headers.get("Authorization", "nothing").encode()
        if self.path == "/agent":
            body = self.headers["User-Agent"].encode()
        return self.answer(404, b"<html>") if body is None else self.answer(200, body)

    def answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for key, value in ({"Content-Length": str(len(body)), "Content-Type": "text/html"} | headers).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


def gif(count: int) -> bytes:
    first, *more = (Image.new("L", (8, 8), 99 * number) for number in range(count))
    first.save(stream := io.BytesIO(), "GIF", save_all=True, append_images=more)
    return stream.getvalue()


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.stop, server.asked = threading.Event(), ASKED  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.stop.set()  # type: ignore[attr-defined]
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")


def test_a_url_is_fetched_when_it_is_opened(server: str) -> None:
    (source,) = expand([f"{server}/a.jpg"])
    assert source == ImageInput(f"{server}/a.jpg", f"{server}/a.jpg")
    assert source.open() == b"image"


def test_a_url_is_fetched_once_for_all_its_frames(server: str) -> None:
    ASKED.clear()
    found = list(expand([f"{server}/one.gif", f"{server}/two.gif"], frames=FrameChoice(all=True)))
    assert [source.name.removeprefix(server) for source in found] == [
        "/one.gif",
        "/two.gif#frame=0",
        "/two.gif#frame=1",
    ]
    assert [read_image(source.open()).getpixel((0, 0))[0] for source in found] == [0, 0, 99]
    assert ASKED == ["/one.gif", "/two.gif"]


def test_a_url_with_letters_and_spaces(server: str) -> None:
    assert fetch(f"{server}/café (1).jpg") == b"coffee"
    assert fetch(f"{server}/caf%C3%A9%20(1).jpg") == b"coffee"


def test_we_say_who_asks(server: str) -> None:
    assert fetch(f"{server}/agent").startswith(b"glip-cli/")


@pytest.mark.parametrize("login", ["me:s3cret", "me%40work:s3%3Acret", "me:s3:cret"])
def test_user_and_password_are_sent_and_never_shown(server: str, login: str) -> None:
    url = server.replace("://", f"://{login}@")
    (source,) = expand([f"{url}/login?X-Amz-Signature=abc&page=2"])
    assert source.name == f"{server}/login?X-Amz-Signature=***&page=2"
    sent = fetch(source.location)
    assert base64.b64decode(sent.removeprefix(b"Basic ")).decode() == unquote(login)
    assert fetch(f"{url}/to/{server.replace('127.0.0.1', 'localhost')}/login") == b"nothing"  # another host gets none
    for path in ("/nowhere.jpg", "/page", "/short"):
        with pytest.raises(ImageError) as caught:
            fetch(url + path)
        assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host/a@2x.jpg?size=1", "https://host/a@2x.jpg?size=1"),
        ("https://host:8080/a:b@c.jpg", "https://host:8080/a:b@c.jpg"),
        ("https://[::1]:80/a@b.jpg", "https://[::1]:80/a@b.jpg"),
        ("https://user@host/a.jpg", "https://host/a.jpg"),
        ("HTTPS://u:p@host/a.jpg", "HTTPS://host/a.jpg"),
        ("https://u:p/w?x@host/a.jpg", "https://host/a.jpg"),  # no URL any more, and the password is not shown
        ("https://u:p@w@host/a.jpg", "https://host/a.jpg"),
        ("https://h/a?sv=1&sig=a%2Bb&se=2", "https://h/a?sv=1&sig=***&se=2"),
        (
            "https://h/a?AWSAccessKeyId=A&Signature=b&Expires=1",
            "https://h/a?AWSAccessKeyId=***&Signature=***&Expires=1",
        ),
        (
            "https://h/a?access_token=t&tokens=3&key=photos/1.jpg",
            "https://h/a?access_token=***&tokens=3&key=photos/1.jpg",
        ),
        ("https://h/a\nb", "https://h/a\\nb"),
    ],
)
def test_what_gives_access_is_not_shown(url: str, shown: str) -> None:
    assert shown_url(url) == shown
    with pytest.raises(ImageError) as caught:
        fetch(url.replace("//host", "//127.0.0.1:9").replace("@host", "@127.0.0.1:9").replace("//h/", "//127.0.0.1:9/"))
    assert not any(secret in str(caught.value) for secret in ("u:p", "p/w", "p@w", "a%2Bb"))


def test_a_redirect_to_http_is_followed(server: str) -> None:
    assert fetch(f"{server}/to/{server}/a.jpg") == b"image"


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/a.jpg", "data:,x"])
def test_a_redirect_elsewhere_is_refused(server: str, target: str) -> None:
    check(f"{server}/to/{target}", "302|unknown url type")


def test_a_redirect_without_end(server: str) -> None:
    check(f"{server}/to/loop", "answers 302 Found")


def check(url: str, reason: str, **options: float) -> None:
    with pytest.raises(ImageError, match=reason) as caught:
        fetch(url, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(url)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/nowhere.jpg", "answers 404 Not Found; check the URL"),
        ("/page", r"sent text \(text/html\), not an image"),
        ("/short", "cut short after 4 of 8 bytes"),
        ("/garbage", "cannot be fetched"),
    ],
)
def test_answers_that_are_no_image(server: str, path: str, reason: str) -> None:
    check(server + path, reason)


def test_a_body_above_the_limit(server: str) -> None:
    check(f"{server}/large", r"more than 0\.001 MB", max_bytes=1000)


def test_a_server_that_does_not_answer(server: str) -> None:
    check(f"{server}/slow", "no answer within", stall=0.05)


def test_a_body_that_never_ends(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "TOTAL_SECONDS", -1.0)
    check(f"{server}/large", "not finished after")


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/a.jpg", "http://host:port/a.jpg", "http://", "http://[::1/a.jpg"])
def test_a_url_that_leads_nowhere(url: str) -> None:
    check(url, "cannot be fetched")


def test_offline_says_why() -> None:
    (source,) = expand(["https://host/a.jpg"], offline=True)
    with pytest.raises(ImageError, match="--offline forbids"):
        source.open()
