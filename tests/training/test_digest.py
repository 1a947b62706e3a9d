"""What of a data set changed since a training began with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from glip_cli.errors import UnavailableError
from glip_cli.training.checkpoint import Digest, changes, digest_of_data
from glip_cli.training.dataset import read_train_set
from glip_cli.training.validation import new_check
from tests.training.examples import coco, written


def digests(file: Path) -> dict[str, Digest]:
    """The same file to train and to validate on."""
    return digest_of_data([read_train_set(file)[0]], [new_check(file, None).task])


def test_every_change_is_named(tmp_path: Path) -> None:
    file = written(tmp_path / "data", coco())
    before = digests(file)
    assert list(before) == ["train.json", "train.json (2)"]

    rows = coco()
    rows["categories"][0]["name"], rows["categories"][1]["name"] = "star", "disk"
    file.write_text(json.dumps(rows))
    assert list(changes(before, digests(file))) == ["the classes of train.json", "the classes of train.json (2)"]

    rows = coco()
    rows["annotations"][2]["bbox"] = [1, 0, 59, 80]
    file.write_text(json.dumps(rows))
    assert list(changes(before, digests(file))) == ["the boxes of train.json", "the boxes of train.json (2)"]

    file.write_text(json.dumps(coco()))
    Image.new("RGB", (100, 50)).save(file.parent / "a.png")
    assert list(changes(before, digests(file))) == ["the images of train.json", "the images of train.json (2)"]


def test_another_folder_or_spelling_is_the_same(tmp_path: Path) -> None:
    file = written(tmp_path / "data", coco())
    before = digests(file)
    shutil.copytree(file.parent, tmp_path / "moved")
    moved = tmp_path / "moved" / "train.json"
    moved.write_text(json.dumps(coco(), indent=2))
    assert digests(moved) == before


def test_an_image_that_is_gone_since_it_was_checked(tmp_path: Path) -> None:
    (train_set, _) = read_train_set(written(tmp_path, coco()))
    train_set.items[0].image.unlink()
    with pytest.raises(
        UnavailableError, match=r"a\.png: it was there, and now: No such file or directory; put it back"
    ):
        digest_of_data([train_set], [])
