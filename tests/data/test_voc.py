"""VOC folders as tools write them: names of images, encodings, odd files and odd objects."""

from __future__ import annotations

from pathlib import Path

import pytest

from glip_cli.data.dataset import Category, Dataset, ImageRow
from glip_cli.data.issues import DataIssue, Issue, Issues
from glip_cli.data.voc import read_voc, xml_files
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import read_ground_truth
from tests.data.test_yolo import corners, image

BOX = "<bndbox><xmin>41</xmin><ymin>41</ymin><xmax>120</xmax><ymax>120</ymax></bndbox>"
BOX_160 = [40, 40, 120, 120]


def thing(name: str = "star", box: str = BOX, more: str = "") -> str:
    return f"<object><name>{name}</name>{more}{box}</object>"


def xml(filename: str, *things: str, size: str = "") -> str:
    return f"<annotation><filename>{filename}</filename>{size}{''.join(things)}</annotation>"


def written(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Files below a folder; an image of 160 x 160 where the name is of one."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.lower().endswith(".xml"):
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        else:
            image(path)
    return folder


def read(folder: Path, images: Path | None = None, split: str = "train") -> tuple[Dataset, list[Issue]]:
    issues = Issues()
    return read_voc(folder, xml_files(folder), images, split, issues), issues.rows()


@pytest.mark.parametrize(
    ("file", "stated", "where"),
    [
        ("Annotations/a.xml", "a.png", "JPEGImages/a.png"),
        ("Annotations/a.XML", "a", "JPEGImages/a.JPG"),  # without a suffix, as VOC 2005
        ("Annotations/x.xml", "a.png", "JPEGImages/a.png"),
        ("Annotations/a.xml", "", "JPEGImages/a.png"),
        ("Annotations/a.xml", "a.png", "JPEGImages/a.jpg"),  # converted since
        ("Annotations/new name.xml", "IMG_1.JPG", "JPEGImages/new name.png"),  # renamed since
        ("Annotations/x.y.xml", "x.y", "JPEGImages/x.y.png"),
        ("Annotations/a.xml", r"C:\me\images\a.png", "JPEGImages/a.png"),
        ("Annotations/a.xml", "/home/me/ü b.png", "images/ü b.png"),
        ("Annotations/deep/a.xml", "a.png", "JPEGImages/deep/a.png"),
        ("a.xml", "a.png", "a.png"),
    ],
)
def test_the_image_of_an_xml(tmp_path: Path, file: str, stated: str, where: str) -> None:
    dataset, found = read(written(tmp_path, {file: xml(stated, thing()), where: b""}))
    assert found == []
    assert dataset.paths == {1: tmp_path / where}
    assert corners(dataset) == [BOX_160]


def test_names_that_several_give(tmp_path: Path) -> None:
    """Copies of one xml: the images are those of their own names."""
    files: dict[str, str | bytes] = {f"Annotations/{name}.xml": xml("a.png", thing()) for name in "ab"}
    dataset, found = read(written(tmp_path, files | {"JPEGImages/a.png": b"", "JPEGImages/b.png": b""}))
    assert found == []
    assert [path.name for path in dataset.paths.values()] == ["a.png", "b.png"]


def test_one_name_in_two_folders(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {f"Annotations/{at}/a.xml": xml("a.png", thing()) for at in "xy"}
    dataset, _ = read(written(tmp_path, files | {"JPEGImages/x/a.png": b"", "JPEGImages/y/a.png": b""}))
    assert [row.file_name for row in dataset.images] == ["x/a.png", "y/a.png"]


@pytest.mark.parametrize(
    ("lists", "split", "names"),
    [
        ({"train": "a\n", "val": "b\r\nc"}, "train", "a"),
        ({"train": "a\n", "val": "b\r\nc"}, "val", "bc"),
        ({"trainval": "a -1\nb  1\n", "test": "c"}, "train", "ab"),
        ({"train": "a", "val": "b"}, "test", "abc"),  # of which it says nothing
    ],
)
def test_splits_of_the_devkit(tmp_path: Path, lists: dict[str, str], split: str, names: str) -> None:
    """What is validated on must not be what was trained on."""
    for name in "abc":
        written(tmp_path, {f"Annotations/{name}.xml": xml(f"{name}.png", thing()), f"JPEGImages/{name}.png": b""})
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for name, text in lists.items():
        (tmp_path / "ImageSets" / "Main" / f"{name}.txt").write_text(text)
    dataset, found = read(tmp_path, split=split)
    assert [row.file_name for row in dataset.images] == [f"{name}.png" for name in names]
    others = [(DataIssue.IMAGE_OTHER.what, 3 - len(names))] if len(names) < 3 else []
    assert [(row.what, row.count) for row in found] == others


LABEL_STUDIO = "<owner><flickrid>NULL</flickrid><name>Label Studio</name></owner>"
DATUMARO = "<source><database>Unknown</database><annotation>Unknown</annotation><image>Unknown</image></source>"


@pytest.mark.parametrize(
    ("source", "low", "origin"),
    [
        (LABEL_STUDIO, "41", 0),
        (DATUMARO, "41.0", 0),
        (DATUMARO, "41", 1),  # coordinate_mode of Datumaro 1.13
        ("<source><database>Unknown</database></source>", "41", 1),  # LabelImg
        ("<source><database>Unknown</database></source>", "41.0", 1),
        (LABEL_STUDIO.replace("Label Studio", "I"), "41", 1),
    ],
)
def test_where_the_pixels_of_tools_begin(tmp_path: Path, source: str, low: str, origin: int) -> None:
    content = xml("a.png", thing(box=BOX.replace("41", low)), size=source)
    dataset, found = read(written(tmp_path, {"Annotations/a.xml": content, "JPEGImages/a.png": b""}))
    assert found == []
    assert corners(dataset) == [[41 - origin, 41 - origin, 120, 120]]


def test_classes_without_an_object(tmp_path: Path) -> None:
    """Which are asked for too: of CVAT, and of labelme with --labels."""
    written(tmp_path, {"Annotations/a.xml": xml("a.png", thing("star"), thing("ring")), "JPEGImages/a.png": b""})
    (tmp_path / "labelmap.txt").write_text(
        "# label:color_rgb:parts:actions\nbackground:0,0,0::\nstar:1,2,3::\ndisk:::\n"
    )
    assert [row.name for row in read(tmp_path)[0].categories] == ["star", "disk", "ring"]
    (tmp_path / "labels.txt").write_text("__ignore__\n_background_\ndisk\n\n")
    assert [row.name for row in read(tmp_path)[0].categories] == ["disk", "ring", "star"]


def test_a_split_that_lists_nothing(tmp_path: Path) -> None:
    written(tmp_path, {"Annotations/a.xml": xml("a.png", thing()), "JPEGImages/a.png": b""})
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    (tmp_path / "ImageSets" / "Main" / "train.txt").write_text("")
    with pytest.raises(DataError, match="lists none of the xml files"):
        read(tmp_path)


def test_images_that_are_missing_and_images_without_xml(tmp_path: Path) -> None:
    folder = written(tmp_path, {"Annotations/a.xml": xml("a.png", thing()), "JPEGImages/b.png": b""})
    dataset, (row,) = read(folder)
    assert (row.what, row.count) == (DataIssue.IMAGE_UNLISTED.what, 1)
    assert row.example.endswith("b.png")
    assert (dataset.paths, dataset.images) == ({}, (ImageRow(1, "a.png"),))


@pytest.mark.parametrize(
    "name", ["utf-8", "utf-16", "windows-1251", "koi8-r", "gb18030", "big5", "shift_jis", "euc-kr"]
)
def test_encodings(tmp_path: Path, name: str) -> None:
    label = {"windows-1251": "звезда", "koi8-r": "звезда", "euc-kr": "별"}.get(name, "星")
    text = f"<?xml version='1.0' encoding='{name}' standalone=\"yes\"?>\n" + xml("a.png", thing(label))
    dataset, found = read(written(tmp_path, {"a.xml": text.encode(name), "a.png": b""}))
    assert found == []
    assert dataset.categories == (Category(1, label),)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x89PNG",
        b"<annotation>",
        b"<?xml version='1.0' encoding='klingon'?><annotation/>",
        b"<?xml version='1.0' encoding='hex'?><annotation/>",
        "<annotation><filename>ü.png</filename></annotation>".encode("latin-1"),
        b"<!DOCTYPE a [<!ENTITY e 'star'>]>" + xml("a.png", thing("&e;")).encode(),
        b"<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>" + xml("a.png", thing("&e;")).encode(),
        b"<!DOCTYPE a [<!ENTITY % e SYSTEM 'http://localhost/x.dtd'> %e;]>" + xml("a.png").encode(),
        "<?xml version='1.0' encoding='utf-16'?><!DOCTYPE a [<!ENTITY e 'x'>]><annotation/>".encode("utf-16"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, content: bytes) -> None:
    """One among others is left out, with its image; none at all is an error."""
    written(tmp_path, {"b.xml": content, "b.png": b""})
    with pytest.raises(DataError, match=r"b\.xml: (not a whole xml file|declares entities)") as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)
    written(tmp_path, {"a.xml": xml("a.png", thing()), "a.png": b""})
    dataset, found = read(tmp_path)
    assert [(row.what, row.count) for row in found] == [
        (DataIssue.FILE_UNREADABLE.what, 1),
        (DataIssue.IMAGE_UNLISTED.what, 1),
    ]
    assert corners(dataset) == [BOX_160]
    assert len(dataset.images) == 1


def test_a_doctype_without_entities_is_no_harm(tmp_path: Path) -> None:
    text = "<!DOCTYPE annotation SYSTEM 'http://localhost/voc.dtd'>" + xml("a.png", thing("a &amp; b"))
    dataset, found = read(written(tmp_path, {"a.xml": text, "a.png": b""}))
    assert found == []
    assert dataset.categories == (Category(1, "a & b"),)


@pytest.mark.parametrize(
    "box",
    [
        "",
        "<bndbox/>",
        BOX.replace("41", ""),
        BOX.replace("120", "wide"),
        BOX.replace("120", "nan"),
        BOX.replace("41", "-inf"),
        BOX.replace("bndbox", "polygon"),
    ],
)
def test_objects_without_a_box(tmp_path: Path, box: str) -> None:
    things = thing(), thing("ring", box)
    dataset, (row,) = read(written(tmp_path, {"a.xml": xml("a.png", *things), "a.png": b""}))
    assert (row.what, row.count, row.action) == (DataIssue.BOX_FORM.what, 1, "dropped")
    assert "a.xml: object 2: " in row.example
    assert corners(dataset) == [BOX_160]


@pytest.mark.parametrize(
    ("flags", "crowd"),
    [
        ("<difficult>1</difficult>", 1),
        ("<difficult> True </difficult>", 1),
        ("<difficult>0</difficult>", 0),
        ("<difficult/>", 0),
        ("<difficult>Unspecified</difficult>", 0),
        ("<truncated>1</truncated><occluded>1</occluded><pose>Left</pose>", 0),
    ],
)
def test_flags(tmp_path: Path, flags: str, crowd: int) -> None:
    dataset, _ = read(written(tmp_path, {"a.xml": xml("a.png", thing(more=flags)), "a.png": b""}))
    assert [row["iscrowd"] for row in dataset.annotations] == [crowd]


@pytest.mark.parametrize(
    ("size", "stated"),
    [
        ("", {}),
        ("<size><width>0</width><height>0</height></size>", {}),
        ("<size><width>160</width></size>", {}),
        ("<size><width>wide</width><height>160</height></size>", {}),
        ("<size><width> 160 </width><height>80</height><depth>3</depth></size>", {"width": 160, "height": 80}),
    ],
)
def test_sizes(tmp_path: Path, size: str, stated: dict[str, int]) -> None:
    dataset, found = read(written(tmp_path, {"a.xml": xml("a.png", thing(), size=size), "a.png": b""}))
    assert found == []
    assert dataset.images == (ImageRow(1, "a.png", **stated),)


def test_fractions_of_pixels_and_parts_of_objects(tmp_path: Path) -> None:
    """A part's box is not the object's; decimals are kept."""
    part = f"<part><name>tip</name>{BOX.replace('120', '50')}</part>"
    things = thing(box=part + BOX.replace("120", "120.5"))
    dataset, found = read(written(tmp_path, {"a.xml": xml("a.png", things), "a.png": b""}))
    assert found == []
    assert corners(dataset) == [[40, 40, 120.5, 120.5]]


def test_evaluation_reads_the_same(tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {
        "Annotations/a.xml": xml("a.png", thing(), thing(more="<difficult>1</difficult>"), thing("ring", "")),
        "JPEGImages/a.png": b"",
    }
    truth = read_ground_truth(written(tmp_path, files))
    assert truth.labels == ("star",)
    assert [(row["bbox"], row["iscrowd"], row["area"]) for row in truth.annotations] == [
        ([40, 40, 80, 80], 0, 6400),
        ([40, 40, 80, 80], 1, 6400),
    ]
    assert truth.paths == {1: tmp_path / "JPEGImages" / "a.png"}
    (note,) = truth.notes
    assert note.startswith("boxes that are not four finite numbers")


def test_an_xml_of_something_else_does_not_make_a_set_of_the_subfolders(tmp_path: Path) -> None:
    """They may be sets with splits of their own."""
    files: dict[str, str | bytes] = {"project.xml": "<project/>", "VOC2007/Annotations/a.xml": xml("a.png", thing())}
    with pytest.raises(DataError, match=r"project\.xml: its <project> is no <annotation>"):
        read(written(tmp_path, files))
