"""Files that are whole or not there, text that XML can hold, and names that collide."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from glip_cli.outputs import files
from glip_cli.outputs.files import AtomicFile, FileNames, atomic_write, file_stem, path_parts, safe_name, xml_text
from tests.outputs.examples import HOSTILE


def test_a_file_that_fails_half_way_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.json"
    with atomic_write(path) as stream:
        stream.write(b"old")
    with pytest.raises(TypeError), atomic_write(path) as stream:
        stream.writelines([b"new, but", None])  # type: ignore[list-item]
    assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] == [("a.json", b"old")]


def test_two_that_write_one_file_at_once_do_not_meet(tmp_path: Path) -> None:
    """As two containers do, which have the same numbers of processes."""
    path = tmp_path / "run.json"
    with atomic_write(path) as first, atomic_write(path) as second:
        first.write(b"1")
        second.write(b"22")
    assert path.read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_is_dropped_leaves_nothing(tmp_path: Path) -> None:
    file = AtomicFile(tmp_path / "a.json")
    file.write(b"half of it")
    assert len(list(tmp_path.iterdir())) == 1
    del file
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_told_of_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: whole(Path("/dev/full"), mode))
    told: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", told.append)
    file = AtomicFile(tmp_path / "a.json")
    with pytest.raises(OSError, match="No space"):
        file.write(b"x" * 2_000_000)
    del file
    assert told == []


def _in_a_block(path: Path) -> None:
    with atomic_write(path) as stream:
        stream.write(b"new")


def _over_a_long_time(path: Path) -> None:
    file = AtomicFile(path)
    file.write(b"new")
    file.close()


@pytest.mark.filterwarnings("ignore:.*unclosed file:ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("make", [_in_a_block, _over_a_long_time])
def test_ctrl_c_at_any_step_leaves_the_old_file_or_the_new(make: Callable[[Path], None], tmp_path: Path) -> None:
    for step in count(1):
        path = tmp_path / str(step) / "a.json"
        path.parent.mkdir()
        path.write_bytes(b"old")
        interrupted = _interrupted(make, path, step)
        assert [(file.name, file.read_bytes()) for file in path.parent.iterdir()] in ([("a.json", b"old")],
                                                                                      [("a.json", b"new")])  # fmt: skip
        if not interrupted:
            break
    assert step > 50
    assert path.read_bytes() == b"new"


def _interrupted(make: Callable[[Path], None], path: Path, step: int) -> bool:
    """Run `make` with Ctrl-C before its instruction number `step`; False where it had fewer."""
    left = step

    def trace(frame: FrameType, event: str, arg: object) -> object:
        nonlocal left
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    try:
        sys.settrace(trace)
        make(path)
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@given(st.text(st.characters()))
@example("".join(HOSTILE))
def test_xml_text_comes_back_from_a_parser(text: str) -> None:
    tag = ElementTree.Element("a", value=xml_text(text))
    tag.text = xml_text(text)
    back = ElementTree.fromstring(ElementTree.tostring(tag))
    assert (back.text or "") == back.attrib["value"] == xml_text(text)


@given(st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Z"])))
def test_xml_text_leaves_what_can_be_printed(text: str) -> None:
    assert xml_text(text) == text


def test_xml_text_of_control_characters() -> None:
    assert xml_text("a\x00b\x1bc\rd\ne\tf\uffff") == "a\\x00b\\x1bc\\rd\ne\tf\\uffff"


# --- names


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a/b/cat.jpg", "cat"),
        ("a\\b\\cat.tar.jpg", "cat.tar"),
        ("https://host/p/cat.jpg?size=1/2#x", "cat"),
        ("https://host/", "host"),
        ("https://host/image?id=3", "image"),
        ("C:\\x\\a:b.png", "a_b"),
        ("con.jpg", "_con"),
        (".jpg", "jpg"),
        ("..", "_"),
        ("", "_"),
        ("a#b?.jpg", "a#b_"),
        ("名前.jpg", "名前"),
    ],
)
def test_stems(name: str, stem: str) -> None:
    assert file_stem(name) == stem


@given(st.text(st.characters()))
def test_safe_names_are_safe(text: str) -> None:
    name = safe_name(text)
    assert name == Path(name).name
    assert 0 < len(name.encode("utf-8")) <= 181


@pytest.mark.parametrize(
    ("root", "image", "name"),
    [
        ("", "x.jpg", "x"),
        ("", "images/x/s.tar.jpg", "images/x/s.tar"),
        ("images", "images/x/s.jpg", "x/s"),
        ("./images/", "images/./x//s.jpg", "x/s"),
        ("/data/set", "/data/set/x/s.jpg", "x/s"),
        ("../set", "../set/x/s.jpg", "x/s"),
        ("images", "images2/s.jpg", "images2/s"),
        ("images", "other/s.jpg", "other/s"),
        ("", "/data/set/s.jpg", "data/set/s"),
        ("", "../../etc/passwd.jpg", "etc/passwd"),
        ("x", "x/../../s.jpg", "s"),
        ("", "C:\\photos\\s.jpg", "C_/photos/s"),
        ("", "a\\..\\..\\s.jpg", "a/s"),
        ("", "https://host/a/b/s.jpg?x=../y#z", "s"),
        ("", "https://host/..", "_"),
        ("", "con/nul.jpg", "_con/_nul"),
        ("", "s.txt/x.jpg/t.png", "s.txt_/x.jpg_/t"),  # s.jpg has a file s.txt
        ("", "a:b/ c /d.jpg", "a_b/c/d"),
        ("", "..", "_"),
        ("", "", "_"),
    ],
)
def test_names_mirror_the_folders_below_the_root(root: str, image: str, name: str) -> None:
    assert FileNames(root).of(image) == name


@given(st.text(st.characters()), st.text(st.characters()))
@example("", "/../..\\../a")
def test_no_name_leads_out_of_its_folder(root: str, image: str) -> None:
    name = FileNames(root).of(image)
    assert not os.path.isabs(name)
    assert os.path.normpath(name) == name.replace("/", os.sep)
    assert ".." not in name.split("/")


def test_images_of_one_stem_keep_their_suffix() -> None:
    names = FileNames()
    assert names.notes == ()
    images = ["a/s.jpg", "a/s.png", "b/s.png", "a/S.JPG", "a/s.webp", "a/s.jpg"]
    assert [names.of(image) for image in images] == ["a/s", "a/s.png", "b/s", "a/S-2", "a/s.webp", "a/s-3"]
    assert names.notes == (
        "2 images share their stems with others of their folders; their files keep the suffix, as a/s.png",
        "2 images have names that others have, but for case or folder; the files have a number, as a/S-2: "
        "what they say inside pairs them with their images, and for YOLO's yolo_images.csv",
    )


def test_a_name_with_suffix_and_number_is_said_to_have_the_number() -> None:
    names = FileNames()
    assert [names.of(image) for image in ("a.png.jpg", "a.jpg", "a.png")] == ["a.png", "a", "a.png-2"]
    (note,) = names.notes
    assert note.startswith(
        "1 image has a name that another has, but for case or folder; the files have a number, as a.png-2:"
    )


@given(
    st.lists(st.sampled_from(["x.jpg", "a/x.png", "X.jpg", "x.png", "x-2.jpg", "x.png.jpg", "x-3.jpg"]), max_size=15)
)
def test_no_two_images_share_a_name(images: list[str]) -> None:
    names, again = FileNames(), FileNames()
    given_names = [names.of(image) for image in images]
    assert len({name.casefold() for name in given_names}) == len(images)
    assert given_names == [again.of(image) for image in images]


class NamesByText:
    """How names of one suffix are given, with every name remembered as it is."""

    def __init__(self) -> None:
        self.given: dict[str, int] = {}

    def of(self, image_name: str) -> str:
        stem = file_stem(image_name)
        name, number = stem, self.given.get(stem.casefold(), 0)
        while name.casefold() in self.given:
            number += 1
            name = f"{stem}-{number + 1}"
        self.given[name.casefold()] = 0
        self.given[stem.casefold()] = number
        return name


@given(st.lists(st.sampled_from(["x", "X", "x-2", "x-2-2", "X-3", "straße", "STRASSE", "y"]), max_size=25))
def test_remembering_digests_gives_the_names_that_remembering_names_gives(images: list[str]) -> None:
    digests, texts = FileNames(), NamesByText()
    assert [digests.of(image) for image in images] == [texts.of(image) for image in images]


def test_many_images_of_one_name_do_not_count_from_one_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    digest = files.digest
    monkeypatch.setattr(files, "digest", lambda name: asked.append(name) or digest(name))
    names = FileNames()
    assert [names.of(f"https://host/{i}/x.jpg") for i in range(100)][-1] == "x-100"
    assert len(asked) < 600


def test_names_are_the_same_in_every_process() -> None:
    names = FileNames()
    images = ("x.jpg", "X.jpg", "x-2.gif", "https://host/b/x.jpg")
    assert [names.of(image) for image in images] == ["x", "X-2", "x-2.gif", "x-3"]


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("a/b.jpg", ["a", "b.jpg"]),
        ("/b.jpg", ["", "b.jpg"]),
        ("c:\\a\\b.jpg", ["c:", "a", "b.jpg"]),
        ("https://host/a/b.jpg?x=/y#z", ["https:", "", "host", "a", "b.jpg"]),
        ("", [""]),
    ],
)
def test_path_parts(name: str, parts: list[str]) -> None:
    assert path_parts(name) == parts
