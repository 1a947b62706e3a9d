"""What is said of a data set before it is measured on."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from glip_cli.errors import OptionError, UsageError
from glip_cli.prompts.prompt import label_prompt
from glip_cli.training.dataset import TrainSet, read_train_set
from glip_cli.training.settings import Data
from glip_cli.training.validation import new_check
from tests.data.test_voc import thing, xml
from tests.data.test_voc import written as voc
from tests.training.examples import coco, written


def test_odd_annotations_images_of_other_sizes_and_those_that_are_trained_on(tmp_path: Path) -> None:
    rows = coco()
    (first, *_) = rows["images"]
    rows["annotations"].append({**rows["annotations"][0], "id": 99, "image_id": 77})
    file = written(tmp_path / "data", rows)
    Image.new("RGB", (2 * first["width"], 2 * first["height"])).save(file.parent / first["file_name"])
    check = new_check(file, None)
    annotations, sizes = check.notes([])
    assert (
        annotations == "boxes of an image that is not listed: 1, first train.json: annotations[3]: image 77 (dropped)"
    )
    assert sizes.startswith("images of another size than stated; their boxes are scaled or turned to match: 1, ")
    assert f"first {first['file_name']}: " in sizes
    count = len(check.task.images)
    assert list(check.notes([read_train_set(file)[0]]))[2:] == [
        f"{count} of its {count} images are trained on too; AP on them says little of others"
    ]


def test_classes_are_asked_for_in_their_words(tmp_path: Path) -> None:
    """Of a set that has some of them; words for a class that none of the training sets has are refused."""
    file = written(tmp_path / "data", coco())
    name, *others = new_check(file, None).task.truth.labels
    asked = new_check(file, None, words={name: "small thing", "no class of it": "x"}).task.category_prompt.prompt
    assert asked == label_prompt([name, *others], {name: "small thing"})
    (read,) = Data(train=(file,), words={name: "small thing"}).read(lambda found: None)
    assert isinstance(read, TrainSet)
    assert read.words == {name: "small thing"}
    validated = Data(train=(file,), val=file, words={name: "small thing"}).validation()
    assert validated is not None
    assert validated.train_set is not None
    assert label_prompt(validated.train_set.labels, validated.train_set.words) == validated.task.category_prompt.prompt
    with pytest.raises(UsageError, match="--words: there is no class 'x'; the classes are"):
        Data(train=(file,), words={"x": "y"}).read(lambda found: None)
    with pytest.raises(OptionError, match="give class -> words"):
        Data(train=(file,), words=["x"])  # type: ignore[arg-type]


def test_classes_that_no_training_set_has_are_noted(tmp_path: Path) -> None:
    rows = coco()
    (trained, _) = read_train_set(written(tmp_path / "train", rows))
    rows["categories"][0]["name"] = rows["categories"][0]["name"].upper() + " "  # the model reads it as the other
    rows["categories"].append({"id": 999, "name": "without a box"})
    check = new_check(written(tmp_path / "val", rows), None)
    assert list(check.untrained([trained])) == []
    rows["categories"][0]["name"] = "another name"
    (note,) = new_check(written(tmp_path / "other", rows), None).untrained([trained])
    assert note == "classes that no training set has, which AP counts: 'another name'; check how they are called"


def test_a_voc_folder_without_lists_is_one_set(tmp_path: Path) -> None:
    names = "ab"
    for name in names:
        voc(tmp_path, {f"Annotations/{name}.xml": xml(f"{name}.png", thing()), f"JPEGImages/{name}.png": b""})

    def notes() -> list[str]:
        data = Data(train=(tmp_path,), val=tmp_path)
        check = data.validation()
        assert check
        return list(check.notes([read_train_set(tmp_path)[0]]))

    assert notes() == ["2 of its 2 images are trained on too; AP on them says little of others"]
    (tmp_path / "ImageSets" / "Main").mkdir(parents=True)
    for split, name in zip(("train", "val"), names, strict=True):
        (tmp_path / "ImageSets" / "Main" / f"{split}.txt").write_text(name)
    (note,) = notes()
    assert note.startswith("annotation files of other splits, as ImageSets/Main says: 1, first ")
