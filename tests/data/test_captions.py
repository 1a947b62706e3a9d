"""Captions in, one sentence at a time: the same ones from every form, and the place of what cannot be read."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_cli.data.captions import Captioned, read_captions, summarise
from glip_cli.errors import DataError, ImageError
from tests.annotation.examples import (
    Rows,
    add,
    captioned,
    draw,
    write_coco,
    write_csv,
    write_folder,
    write_jsonl,
    write_list,
    write_metadata,
    write_tar,
)

# what only Python takes for the end of a line is part of a caption
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n") | st.sampled_from(
    "\v\f\x1c\x85\u2028"
)
TEXTS = st.text(CHARACTERS, min_size=1).filter(str.strip)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    draw(folder, 3, 48)
    return folder


def pairs(found: list[Captioned]) -> list[tuple[str, str]]:
    return [(one.name, one.caption) for one in found]


def every_form(folder: Path, rows: Rows, photos: Path) -> list[list[Captioned]]:
    return [
        list(read_captions(write_jsonl(folder / "c.jsonl", rows), photos)),
        list(read_captions(write_csv(folder / "c.csv", rows), photos)),
        list(read_captions(write_coco(folder / "c.json", rows), photos)),
        list(read_captions(write_list(folder / "list.json", rows), photos)),
        list(read_captions(write_metadata(folder / "set", rows), photos)),
        list(read_captions(write_folder(folder / "beside", rows, photos))),
        list(read_captions(write_tar(folder / "c.tar", rows, photos))),
        list(read_captions(write_tar(folder / "c.tar.gz", rows, photos, "w:gz"))),
    ]


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(TEXTS, min_size=3, max_size=6))
def test_every_form_says_the_same(texts: list[str], photos: Path, tmp_path: Path) -> None:
    rows = [(f"{min(number, 2)}.png", text.strip()) for number, text in enumerate(texts)]
    for found in every_form(tmp_path, rows, photos):
        assert pairs(found) == rows
        for one in found:
            given = one.open()
            content = given if isinstance(given, bytes) else given.read_bytes()
            assert content == (photos / one.name).read_bytes()


def test_captions_of_one_image_share_its_place(photos: Path, tmp_path: Path) -> None:
    """By which it is looked at once."""
    rows = captioned(["0.png", "1.png"])
    for found in every_form(tmp_path, rows, photos):
        places = [one.location for one in found]
        assert places[0] == places[1] != places[2] == places[3]


def test_a_list_of_captions_and_lines_of_csv_within_a_cell(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        '\ufeff{"image": "x/a.jpg", "caption": ["one", " ", "two"], "id": 7}\n\n', "utf-8"
    )
    found = list(read_captions(tmp_path / "a.jsonl"))
    assert pairs(found) == [("x/a.jpg", "one"), ("x/a.jpg", "two")]
    assert found[0].location == str(tmp_path / "x/a.jpg")
    (tmp_path / "a.csv").write_text('image,caption\na.jpg,"two\nlines, and a ""quote"""\n', "utf-8")
    assert pairs(list(read_captions(tmp_path / "a.csv"))) == [("a.jpg", 'two\nlines, and a "quote"')]


def test_captions_of_coco(tmp_path: Path) -> None:
    """As published: the captions of an image lie apart; ids may be text; an image may have none."""
    images = [{"id": "b", "file_name": "b.jpg"}, {"id": 7, "file_name": "a.jpg"}, {"id": 8, "file_name": "c.jpg"}]
    rows = [(7, "one"), ("b", "two"), ("7", "three\n"), ("b", " ")]
    annotations = [{"id": i, "image_id": image, "caption": text} for i, (image, text) in enumerate(rows)]
    for indent in (None, 2):
        (tmp_path / "c.json").write_text(json.dumps({"images": images, "annotations": annotations}, indent=indent))
        passed: list[str] = []
        found = list(read_captions(tmp_path / "c.json", passed=passed.append))
        assert pairs(found) == [("b.jpg", "two"), ("a.jpg", "one"), ("a.jpg", "three")]
        assert passed == ["c.jpg"]


def test_metadata_of_imagefolder(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text("file_name,text\na.jpg,a cat\n")
    (tmp_path / "a.txt").write_text("not this one")
    assert pairs(list(read_captions(tmp_path))) == [("a.jpg", "a cat")]
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "train/b.jpg", "text": ["a dog", "two"], "id": 3}\n')
    (found, _) = read_captions(tmp_path)
    assert (found.caption, found.location) == ("a dog", str(tmp_path / "train/b.jpg"))


def test_an_image_may_be_a_url_and_offline_forbids_it(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "c.jsonl", [("http://127.0.0.1:9/a.jpg", "a cat")])
    (one,) = read_captions(path, offline=True)
    assert one.location == "http://127.0.0.1:9/a.jpg"
    with pytest.raises(ImageError, match="--offline forbids"):
        one.open()


def test_paths_of_windows_are_found(tmp_path: Path) -> None:
    """Where no file is called so itself."""
    (tmp_path / "photos").mkdir()
    for name in ("photos/a.jpg", "photos\\b.jpg"):
        (tmp_path / name).touch()
    path = write_jsonl(tmp_path / "c.jsonl", [("photos\\a.jpg", "a cat"), ("photos\\b.jpg", "a dog")])
    found = [Path(one.location).relative_to(tmp_path) for one in read_captions(path)]
    assert found == [Path("photos/a.jpg"), Path("photos\\b.jpg")]


def test_texts_may_lie_in_another_folder_than_the_images(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "0.txt").write_text("a cat\n\n a dog \n")
    assert pairs(list(read_captions(tmp_path, photos))) == [("0.png", "a cat"), ("0.png", "a dog")]
    assert summarise(tmp_path, photos).bare == 2


def test_the_summary_counts_and_its_digest_knows_every_letter(tmp_path: Path) -> None:
    rows = [("a", "one [two]"), ("a", "three"), ("b", "four"), ("c", " ")]
    found = summarise(write_jsonl(tmp_path / "c.jsonl", rows))
    assert (found.captions, found.images, found.unmarked, found.bare) == (3, 2, 2, 1)
    for other in ([("a", "one [two]"), ("a", "Three"), ("b", "four")], rows[:2], [rows[1], rows[0], rows[2]],
                  [("a", "one [two]"), ("b", "three"), ("b", "four")]):  # fmt: skip
        assert summarise(write_jsonl(tmp_path / "d.jsonl", other)).digest != found.digest
    assert summarise(write_csv(tmp_path / "c.csv", rows)).digest == found.digest


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "c.jsonl",
            '{"image": "a", "caption": "b"}\nnonsense\n',
            r"c\.jsonl, line 2 is \"nonsense\", no JSON object; write",
        ),
        ("c.jsonl", '["a", "b"]', "line 1 is .*, no JSON object"),
        ("c.jsonl", '{"caption": "b"}', "line 1: 'image' is None, not the name of an image"),
        ("c.jsonl", '{"image": "a", "caption": 3}', "line 1: 'caption' is 3, neither a text nor a list of texts"),
        ("c.jsonl", '{"image": "a", "caption": ["b", null]}', "neither a text nor a list of texts"),
        ("c.jsonl", '{"image": "a", "caption": " "}', "no image has a caption"),
        ("c.jsonl", "", "no image has a caption"),
        ("c.csv", "image,words\na,b\n", "has no column 'caption'; its first line must name image and caption"),
        ("c.csv", "name,text\na,b\n", "has no column 'image'; its first line must name image and caption"),
        ("c.json", '{"info": {}}x', "not a whole JSON file"),
        ("c.json", '{"images": {}}', "no captions of COCO, which have 'images' and 'annotations'; write"),
        ("c.json", '{"images": [{"id": []}], "annotations": []}', r"images\[0\]\.id is no id"),
        (
            "c.json",
            '{"images": [{"id": 1}], "annotations": [{"image_id": 2}]}',
            r"\[0\]\.image_id is 2, which no image",
        ),
        (
            "c.json",
            '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "bbox": []}]}',
            "has no caption; give capt",
        ),
        (
            "c.json",
            '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "a"}]}',
            "'image' is None, not the",
        ),
        ("c.json", "[7]", "row 1, is no JSON object"),
        ("c.csv", "", "has no column 'caption'"),
        ("c.csv", "image,caption\n,b\n", "line 2: 'image' is"),
        ("c.jsonl", b"\xff\xfe\x00", "its bytes are not UTF-8 text"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as raised:
        summarise(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_labels_of_yolo_are_no_captions(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "0.txt").write_text("3 boats\n")
    (tmp_path / "1.txt").write_text("3 0.5 0.25 1e-1 0.125\n")
    with pytest.raises(DataError, match=r"1\.txt: numbers, as labels of YOLO are, and no caption; give a folder of"):
        summarise(tmp_path, photos)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        summarise(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="no image has a caption"):
        summarise(tmp_path)
    (tmp_path / "c.jsonl").write_text('{"image": "a.jpg", "caption": "a cat"}')
    for captions in (tmp_path, tmp_path / "c.jsonl"):
        with pytest.raises(DataError, match=r"none: no such folder; give the one that holds the images"):
            summarise(captions, tmp_path / "none")


# ------------------------------------------------------------------------------------------------------------- tars


def made_tar(path: Path, *members: tuple[str, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            add(tar, name, content)
    return path


def test_a_sample_is_members_with_one_stem(tmp_path: Path) -> None:
    path = made_tar(
        tmp_path / "x.tar",
        ("x/1.mask.png", b"mask"), ("x/1.jpg", b"one"), ("x/1.txt", b"a cat\na dog"),
        ("x/1.json", b'{"caption": "no"}'),
        ("y/1.cls", b"7"), ("y/1.PNG", b"two"), ("y/1.json", b'{"caption": "a cow"}'),
        ("2.jpg", b"bare"),
        ("3.txt", b"no image"),
        (".4.jpg", b"hidden"), (".4.txt", b"hidden"),
    )  # fmt: skip
    passed: list[str] = []
    found = list(read_captions(path, passed=passed.append))
    assert [(one.name, one.caption, one.content) for one in found] == [
        ("x/1.jpg", "a cat", b"one"),
        ("x/1.jpg", "a dog", b"one"),
        ("y/1.PNG", "a cow", b"two"),
    ]
    assert passed == ["2.jpg"]
    assert {one.content for one in read_captions(path, contents=False)} == {b""}


def test_no_member_becomes_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither written nor read: what leads out of the tar, by its name or as a link, leads nowhere."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        add(tar, "../evil.jpg", b"evil")
        add(tar, "../evil.txt", b"a cat")
        add(tar, "a.jpg", b"a")
        link = tarfile.TarInfo("a.txt")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path / "secret.txt")
        tar.addfile(link)
    found = list(read_captions(tmp_path / "x.tar"))
    assert [(one.name, one.caption, one.open()) for one in found] == [("../evil.jpg", "a cat", b"evil")]
    assert os.listdir() == []
    assert sorted(os.listdir(tmp_path)) == ["secret.txt", "work", "x.tar"]


@pytest.mark.parametrize("length", [700, 1300, 2100])
def test_a_truncated_tar_is_said_before_the_work(tmp_path: Path, length: int) -> None:
    whole = made_tar(tmp_path / "whole.tar", ("1.txt", b"a" * 600), ("1.jpg", b"b" * 900)).read_bytes()
    (tmp_path / "x.tar").write_bytes(whole[:length])
    with pytest.raises(DataError, match=r"x\.tar: the tar cannot be read"):
        summarise(tmp_path / "x.tar")


def test_a_damaged_archive_and_damaged_captions(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        add(tar, "1.jpg", os.urandom(4000))
        add(tar, "1.txt", b"a cat")
    (tmp_path / "x.tgz").write_bytes(buffer.getvalue()[:2500])
    with pytest.raises(DataError, match=r"x\.tgz: the tar cannot be read"):
        summarise(tmp_path / "x.tgz")
    for member, content in (("1.json", b"{"), ("1.txt", b"\xff")):
        path = made_tar(tmp_path / "y.tar", ("1.jpg", b""), (member, content))
        with pytest.raises(DataError, match=rf"y\.tar: its member {member} is no"):
            summarise(path)


def test_a_text_of_megabytes_is_no_caption(tmp_path: Path) -> None:
    path = made_tar(tmp_path / "x.tar", ("1.jpg", b""), ("1.json", json.dumps({"caption": "a" * 1_000_000}).encode()))
    with pytest.raises(DataError, match=r"member 1\.json has 1 MB; leave it out"):
        summarise(path)


@pytest.mark.parametrize("image", ["../secret.jpg", "..\\secret.jpg", "/etc/hostname", "a/../../secret.jpg"])
def test_images_outside_of_their_folder_are_refused(tmp_path: Path, image: str) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"")
    (tmp_path / "set").mkdir()
    path = write_jsonl(tmp_path / "set" / "c.jsonl", [("a.jpg", "a cat"), (image, "a dog")])
    with pytest.raises(DataError, match=r"leads out of .*set; give the folder of the images") as caught:
        summarise(path)
    assert str(path) in str(caught.value)
    inner = write_jsonl(tmp_path / "set" / "d.jsonl", [(str(tmp_path / "set" / "a.jpg"), "a cat"), ("x/../a.jpg", "b")])
    assert [Path(one.location) for one in read_captions(inner)] == [tmp_path / "set" / "a.jpg"] * 2
