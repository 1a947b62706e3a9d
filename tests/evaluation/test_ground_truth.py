from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glip_cli.data.dataset import Category, ImageRow
from glip_cli.data.image_files import find_images
from glip_cli.data.values import Ids
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.evaluation.scores import coco_scores
from tests.evaluation.datasets import box, damaged, random_set, read, saved, two_images
from tests.shared import shared


def with_annotation(**change: Any) -> dict[str, Any]:
    content = two_images()
    content["annotations"][0].update(change)
    return content


def test_what_is_read(tmp_path: Path) -> None:
    content = two_images()
    content["images"][0].update(neg_category_ids=[5], not_exhaustive_category_ids=[], coco_url="http://x/val2017/1.jpg")
    content["categories"][1]["frequency"] = "r"
    truth = read(tmp_path, content)
    assert truth.name == "truth.json"
    assert truth.images[0] == ImageRow(1, "1.jpg", 200, 100, (5,), (), "http://x/val2017/1.jpg")
    assert truth.images[1] == ImageRow(2, "2.jpg", 200, 100)
    assert truth.categories == (Category(3, "cat"), Category(5, "dog", "r"))
    assert truth.labels == ("cat", "dog")
    assert truth.annotations[2] == box(3, 1, 5, [100, 0, 40, 40])
    assert truth.notes == ()
    assert not truth.is_federated


@given(seed=st.integers(0, 2**32), federated=st.booleans())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nothing_is_lost_or_changed(tmp_path: Path, seed: int, federated: bool) -> None:
    content, _ = random_set(seed, federated=federated)
    truth = read(tmp_path, content)
    assert list(truth.annotations) == content["annotations"]
    assert [image.id for image in truth.images] == [image["id"] for image in content["images"]]
    assert [c.id for c in truth.categories] == sorted(c["id"] for c in content["categories"])
    assert truth.is_federated == federated
    again = truth.to_coco().dataset
    assert [row["bbox"] for row in again["annotations"]] == [row["bbox"] for row in content["annotations"]]


def test_ids_in_words_become_numbers(tmp_path: Path) -> None:
    content = two_images()
    expected = read(tmp_path, content)
    for row in content["annotations"]:
        row.update(id=str(row["id"]), image_id=str(row["image_id"]), category_id=float(row["category_id"]))
    for row in content["images"] + content["categories"]:
        row["id"] = f" {row['id']}"
    assert read(tmp_path, content) == expected


def test_text_and_number_mixed_in_a_published_file() -> None:
    truth = read_ground_truth(shared("data/eval/faster_coco_eval/gt_ignore_test.json"))
    assert (
        truth.annotations
        == read_ground_truth(shared("data/eval/faster_coco_eval/gt_ignore_test_int_ids.json")).annotations
    )
    assert {row["image_id"] for row in truth.annotations} == {image.id for image in truth.images} == {2299}
    assert len(truth.annotations) == 14


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": -1}, r"annotations\[0\]\.id is -1"),
        ({"id": True}, r"annotations\[0\]\.id is true"),
        ({"id": 1.5}, r"annotations\[0\]\.id is 1\.5"),
        ({"id": 10**30}, r"annotations\[0\]\.id is 10"),
        ({"id": "٣"}, r"annotations\[0\]\.id is"),
        ({"image_id": None}, r"annotations\[0\]\.image_id is null"),
        ({"category_id": [3]}, r"annotations\[0\]\.category_id is \[3\]"),
        ({"bbox": [0, 0, float("nan"), 5]}, r"annotations\[0\]\.bbox is NaN; it must be a finite number"),
        ({"bbox": [0, 0, float("inf"), 5]}, r"annotations\[0\]\.bbox is Infinity"),
        ({"bbox": [0, 0, 5]}, r"annotations\[0\]\.bbox is \[0, 0, 5\]; a box is \[x, y, width, height\]"),
        ({"bbox": None}, r"annotations\[0\]\.bbox is null"),
        ({"bbox": [0, 0, "wide", 5]}, r'annotations\[0\]\.bbox is "wide"'),
        ({"bbox": ["0", "0", "5", "5"]}, r'annotations\[0\]\.bbox is "0"; it must be a finite number, without'),
        ({"bbox": [0, 0, True, 5]}, r"annotations\[0\]\.bbox is true"),
        ({"bbox": [[0, 0, 5, 5]]}, r"annotations\[0\]\.bbox is \[\[0, 0, 5, 5\]\]; a box is"),
    ],
)
def test_annotations_that_cannot_be_are_left_out_and_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    truth = read(tmp_path, with_annotation(**change))
    (note,) = truth.notes
    assert note.startswith("boxes that are not four finite numbers, or of odd ids: 1, first truth.json: annotations[0]")
    assert re.search(message, note)
    assert truth.annotations == read(tmp_path, two_images()).annotations[1:]


def test_a_box_that_is_given_twice_is_counted_and_named(tmp_path: Path) -> None:
    content = two_images()
    content["annotations"] += [box(4, 1, 3, [0, 0, 50, 50]), box(5, 1, 5, [0, 0, 50, 50]), box(6, 2, 5, [0, 0, 50, 50])]
    truth = read(tmp_path, content)
    assert len(truth.annotations) == 6
    note = "boxes given twice with one class: 1, first annotation 4, [0.0, 0.0, 50.0, 50.0] (each is counted)"
    assert truth.notes == (note,)


def test_no_annotation_can_be_read(tmp_path: Path) -> None:
    content = two_images()
    for row in content["annotations"]:
        row["bbox"] = None
    with pytest.raises(DataError, match=r"no annotation of it can be read, first truth\.json: annotations\[0\]\.bbox"):
        read(tmp_path, content)


def test_an_area_that_is_none_is_the_box_s(tmp_path: Path) -> None:
    truth = read(tmp_path, with_annotation(area="big"))
    assert truth.annotations == read(tmp_path, two_images()).annotations
    assert truth.notes == (
        "areas that are no number; the box's is taken: 1, first "
        'truth.json: annotations[0].area is "big"; it must be a finite number, without quotes (kept)',
    )


def test_ids_that_are_text(tmp_path: Path) -> None:
    """Names of images and of classes, or hashes: numbered in the file's order, and given back in results."""
    expected = read(tmp_path, two_images())
    content = two_images()
    for row in content["annotations"]:
        row.update(id=f"box {row['id']}", image_id=f"img_{row['image_id']}", category_id=f"c{row['category_id']}")
    for kind, letter in (("images", "img_"), ("categories", "c")):
        for row in content[kind]:
            row["id"] = f"{letter}{row['id']}"
    content["annotations"].append({"id": "x", "image_id": "img_9", "category_id": "c3", "bbox": [0, 0, 5, 5]})
    truth = read(tmp_path, content)
    assert [image.file_name for image in truth.images] == [image.file_name for image in expected.images]
    assert truth.labels == expected.labels
    assert [row["bbox"] for row in truth.annotations] == [row["bbox"] for row in expected.annotations]
    assert [truth.image_ids.original(row["image_id"]) for row in truth.annotations] == ["img_1", "img_2", "img_1"]
    (note,) = truth.notes
    assert note.endswith('not listed: 1, first truth.json: annotations[3]: image "img_9" (dropped)')
    (given,) = truth.as_given([{"image_id": 2, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 1.0}])
    assert (given["image_id"], given["category_id"]) == ("img_2", content["categories"][0]["id"])


@pytest.mark.parametrize(
    ("ids", "numbers"),
    [
        (["9" * 5000, "1"], [1, 2]),  # more digits than Python makes a number of
        ([3, 1], [3, 1]),
        (["3", 1.0], [3, 1]),
        (["007", "12"], [7, 12]),
        (["007", 7], [1, 2]),
        (["a", 5], [1, 2]),
        (["a", "a"], [1, 1]),
    ],
)
def test_numbers_of_ids(ids: list[object], numbers: list[int]) -> None:
    table = Ids.of(ids)
    assert [table.number(one, "x") for one in ids] == numbers


@pytest.mark.parametrize("odd", [None, True, -1, 1.5, [1], "", {}])
def test_what_is_no_id(odd: object) -> None:
    for table in (Ids.of([1, 2]), Ids.of(["a"])):
        with pytest.raises(DataError, match=r"x is .*; ids must be whole numbers from 0"):
            table.number(odd, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a whole JSON file"),
        ('{"images": [{"id": 1}, ', "not a whole JSON file .line 1, column"),
        ("PK\x03\x04", "not a whole JSON file"),
        ('[{"image_id": 1}]', "a list, as results are"),
        ("null", "null is no annotation file"),
        ("{}", "has no list 'images'"),
        ('{"images": [{"id": 1}], "categories": []}', "has no 'annotations' .a test set"),
        ('{"images": [], "categories": [], "annotations": []}', "names no image or no category"),
        ('{"images": [3], "categories": [3], "annotations": []}', r"images\[0\] is 3, not an object"),
        ('{"images": [{"file_name": "a"}], "categories": [{"id": 3}], "annotations": []}', r"images\[0\]\.id is null"),
        ('{"images": [{"id": 1, "file_name": 3}], "categories": [{"id": 3}], "annotations": []}', "file_name is 3"),
        (
            '{"images": [{"id": 1, "neg_category_ids": 3}], "categories": [{"id": 3}], "annotations": []}',
            "neg_category_ids is 3",
        ),
        ('{"images": {"1": {}}, "categories": [3], "annotations": []}', "has no list 'images'"),
        ("[" * 100_000, "no dataset and no results"),
        ('{"images": ' + "9" * 5000 + "}", "no dataset and no results"),
    ],
)
def test_files_that_are_no_ground_truth(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "truth.json"
    path.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        read_ground_truth(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


@given(place=st.integers(0, 10_000), value=JSON)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_is_read_or_refused_in_one_line(tmp_path: Path, place: int, value: object) -> None:
    content, _ = random_set(3, federated=True)
    try:
        coco_scores(read_ground_truth(saved(tmp_path, damaged(content, place, value))), [])
    except DataError as error:
        assert "\n" not in str(error)  # noqa: PT017


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file or directory"):
        read_ground_truth(tmp_path / "missing.json")
    with pytest.raises(DataError, match=r"neither data\.yaml"):
        read_ground_truth(tmp_path)
    (tmp_path / "a.json").write_bytes(b"PK\xff\xfe\x00\x01")
    with pytest.raises(DataError, match="not UTF-8"):
        read_ground_truth(tmp_path / "a.json")
    (tmp_path / "a.json").rename(tmp_path / "a.zip")
    with pytest.raises(DataError, match="an archive; unpack it"):
        read_ground_truth(tmp_path / "a.zip")


def test_a_byte_order_mark_is_no_harm(tmp_path: Path) -> None:
    path = saved(tmp_path, two_images())
    text = path.read_text()
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert read_ground_truth(path).labels == ("cat", "dog")
    path.write_bytes(text.encode("utf-16"))
    assert read_ground_truth(path).labels == ("cat", "dog")


@pytest.mark.parametrize(
    "row",
    [
        {"id": 0, "name": "__background__"},
        {"id": 9, "name": "Background"},
        {"id": 0, "name": "pets", "supercategory": "none"},
    ],
)
def test_the_background_is_left_out(tmp_path: Path, row: dict[str, Any]) -> None:
    content = two_images()
    content["categories"] = [row, *({**category, "supercategory": "pets"} for category in content["categories"])]
    truth = read(tmp_path, content)
    assert truth.labels == ("cat", "dog")
    assert [note for note in truth.notes if "background" in note and row["name"] in note]


@pytest.mark.parametrize("name", ["zebra", "pets", "background"])
def test_a_class_with_the_id_0_stays_where_it_has_boxes(tmp_path: Path, name: str) -> None:
    content = with_annotation(category_id=0)
    content["categories"][0]["supercategory"] = "pets"
    content["categories"].append({"id": 0, "name": name})
    assert read(tmp_path, content).labels == (name, "cat", "dog")


def test_a_class_with_the_id_0_stays_without_boxes_where_its_name_is_its_own(tmp_path: Path) -> None:
    content = two_images()
    content["categories"].append({"id": 0, "name": "zebra", "supercategory": "animal"})
    assert read(tmp_path, content).labels == ("zebra", "cat", "dog")


@pytest.mark.parametrize("name", ["  ", "", None])
def test_a_class_without_a_name_is_scored_but_not_asked_for(tmp_path: Path, name: str | None) -> None:
    content = two_images()
    content["categories"][0]["name"] = name
    truth = read(tmp_path, content)
    assert [category.id for category in truth.categories] == [3, 5]
    assert truth.promptable == (Category(5, "dog"),)
    assert truth.labels == ("dog",)
    assert truth.notes == ("classes without a name: 1, first id 3 (scored, but nothing can be found for them)",)


def test_other_names_for_categories(tmp_path: Path) -> None:
    path = saved(tmp_path, two_images())
    assert read_ground_truth(path, names={5: "puppy"}).labels == ("cat", "puppy")
    with pytest.raises(DataError, match='has no category 4, for which the name "puppy" was given'):
        read_ground_truth(path, names={4: "puppy"})


@pytest.mark.parametrize(("flag", "crowd"), [(True, 1), ("1", 1), (2, 1), (False, 0), ("0", 0), (None, 0), (0.0, 0)])
def test_crowds_as_exporters_write_them(tmp_path: Path, flag: object, crowd: int) -> None:
    assert read(tmp_path, with_annotation(iscrowd=flag)).annotations[0]["iscrowd"] == crowd


def test_numbers_as_names(tmp_path: Path) -> None:
    content = two_images()
    content["categories"][0]["name"] = 7
    assert read(tmp_path, content).labels == ("7", "dog")


@pytest.mark.parametrize(
    ("change", "note"),
    [
        (
            {"image_id": 99},
            "boxes of an image that is not listed: 1, first truth.json: annotations[0]: image 99",
        ),
        (
            {"category_id": 9},
            "boxes of a class that is not listed: 1, first truth.json: annotations[0]: class 9",
        ),
        ({"bbox": [0, 0, -5, 5]}, "boxes without width or height: 1, first annotation 1, "),
        (
            {"id": 2},
            "box ids used more than once: 1, first truth.json: annotations[1].id is 2 (the last of ",
        ),
        ({"id": 0}, "boxes with the id 0, whose match pycocotools counts as false: 1, first "),
    ],
)
def test_odd_things_are_noted(tmp_path: Path, change: dict[str, Any], note: str) -> None:
    (found,) = read(tmp_path, with_annotation(**change)).notes
    assert found.startswith(note)


def test_what_may_be_left_out(tmp_path: Path) -> None:
    content = two_images()
    for row in content["annotations"]:
        del row["area"], row["iscrowd"], row["id"]
    for image in content["images"]:
        del image["width"], image["height"]
    truth = read(tmp_path, content)
    assert truth.annotations == read(tmp_path, two_images()).annotations
    assert truth.images[0].width is None


def test_two_categories_of_one_name_are_noted(tmp_path: Path) -> None:
    content = two_images()
    content["categories"][1]["name"] = "cat"
    assert read(tmp_path, content).notes == (
        'classes named as another is; the model cannot tell them apart: 1, first "cat", id 5 (kept)',
    )


@pytest.mark.parametrize("value", ["640", "wide", True, 640.5, -640, float("nan")])
def test_sizes_that_are_none(tmp_path: Path, value: object) -> None:
    content = two_images()
    content["images"][1]["width"] = value
    with pytest.raises(DataError, match=r"truth\.json: images\[1\]\.width is ") as caught:
        read(tmp_path, content)
    assert "\n" not in str(caught.value)


def test_a_box_turned_inside_out_is_named(tmp_path: Path) -> None:
    (note,) = read(tmp_path, with_annotation(bbox=[50, 50, -50, -50])).notes
    assert note == (
        "boxes without width or height: 1, first annotation 1, [50.0, 50.0, -50.0, -50.0] "
        "(counted, but nothing can match them)"
    )


# --- images


def images(tmp_path: Path, rows: list[dict[str, Any]], files: list[str]) -> tuple[dict[int, str], dict[int, str]]:
    """Image id -> the file found for it, relative to the folder; and what is missing."""
    folder = tmp_path / "images"
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    content = copy.deepcopy(two_images())
    content["images"] = [{"id": i + 1, **row} for i, row in enumerate(rows)]
    found = find_images(read(tmp_path, content), folder)
    return {number: path.relative_to(folder).as_posix() for number, path in found.paths.items()}, found.missing


@pytest.mark.parametrize(
    ("row", "files", "expected"),
    [
        ({"file_name": "1.jpg"}, ["1.jpg", "a/1.jpg"], "1.jpg"),
        ({"file_name": "a/1.jpg"}, ["1.jpg", "a/1.jpg"], "a/1.jpg"),
        ({"file_name": "a\\1.jpg"}, ["1.jpg", "a/1.jpg"], "a/1.jpg"),
        ({"file_name": "1.jpg"}, ["deep/er/1.jpg"], "deep/er/1.jpg"),
        ({"file_name": "a/1.jpg"}, ["1.jpg"], "1.jpg"),
        ({"file_name": "a/1.jpg"}, ["x/a/1.jpg", "x/b/1.jpg"], "x/a/1.jpg"),
        ({"coco_url": "http://images/val2017/1.jpg"}, ["val2017/1.jpg", "train2017/1.jpg"], "val2017/1.jpg"),
        ({"coco_url": "http://images/val2017/1.jpg"}, ["1.jpg"], "1.jpg"),
        ({"coco_url": "http://[/1%20a.jpg?size=9#x"}, ["1 a.jpg"], "1 a.jpg"),
        ({"file_name": "COCO_val2014_1.jpg", "coco_url": "http://images/val2017/1.jpg"}, ["1.jpg"], "1.jpg"),
        ({"file_name": "1.jpg"}, ["a/1.jpg", "b/1.jpg"], None),
        ({"file_name": "1.jpg"}, ["2.jpg"], None),
        ({}, ["1.jpg"], None),
    ],
)
def test_the_file_of_a_image(tmp_path: Path, row: dict[str, Any], files: list[str], expected: str | None) -> None:
    paths, missing = images(tmp_path, [row], files)
    assert paths.get(1) == expected
    assert (1 in missing) == (expected is None)


def test_two_images_of_one_name_in_two_folders(tmp_path: Path) -> None:
    rows = [{"file_name": "a/1.jpg"}, {"file_name": "b/1.jpg"}]
    assert images(tmp_path, rows, ["x/a/1.jpg", "x/b/1.jpg"])[0] == {1: "x/a/1.jpg", 2: "x/b/1.jpg"}


def test_an_image_below_a_link_to_a_folder(tmp_path: Path) -> None:
    """Also where others lead to the same folder, or back."""
    (tmp_path / "elsewhere/deep").mkdir(parents=True)
    (tmp_path / "elsewhere/deep/1.jpg").touch()
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "images", target_is_directory=True)
    (tmp_path / "images").mkdir()
    for name in ("a", "b"):
        (tmp_path / "images" / name).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert images(tmp_path, [{"file_name": "1.jpg"}], []) == ({1: "a/deep/1.jpg"}, {})


def test_one_file_is_not_taken_for_two_images(tmp_path: Path) -> None:
    rows = [{"file_name": "a/1.jpg"}, {"file_name": "b/1.jpg"}]
    paths, missing = images(tmp_path, rows, ["1.jpg"])
    assert paths == {}
    assert set(missing) == {1, 2}


def test_missing_images_say_why(tmp_path: Path) -> None:
    _, missing = images(tmp_path, [{"file_name": "1.jpg"}, {"file_name": "2.jpg"}], ["a/1.jpg", "b/1.jpg"])
    assert re.fullmatch(r"1\.jpg: 2 files below .* have this name", missing[1])
    assert re.fullmatch(r"2\.jpg: no such file in .*", missing[2])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("../secret.png", None),
        ("a/../../secret.png", None),
        ("..\\secret.png", None),
        ("{root}/secret.png", None),
        ("{root}/images/../secret.png", None),
        ("/etc/hostname", None),
        ("a/../1.png", "1.png"),
        ("../images/1.png", "1.png"),
        ("{root}/images/a/2.png", "a/2.png"),
        ("/somebody/else/2.png", "a/2.png"),  # by its base name, in the folder
        ("../../link.png", "link.png"),
    ],
)
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str, expected: str | None) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "link.png").symlink_to(tmp_path / "secret.png")
    row = {"file_name": name.format(root=tmp_path)}
    paths, missing = images(tmp_path, [row], ["1.png", "a/2.png"])
    assert paths.get(1) == expected
    if expected is None:
        assert missing[1].endswith(f"the name leads out of {tmp_path / 'images'}, and no file in it is called so")


def test_a_url_leads_not_out_either(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    assert images(tmp_path, [{"coco_url": "http://host/../secret.png"}], ["1.png"])[0] == {}


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        find_images(read(tmp_path, two_images()), tmp_path / "missing")


def test_images_of_coco128() -> None:
    found = find_images(read_ground_truth(shared("data/coco128/all.json")), shared("data/coco128"))
    assert (len(found.paths), found.missing) == (128, {})
