"""From captions to training data: what the engine says, and that `glip finetune` reads exactly that."""

from __future__ import annotations

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from PIL import Image

from glip_cli.annotation.engine import GroundingEngine, read_sentence
from glip_cli.annotation.grounding import by_image, class_name, count_captions, merged, write_formats, write_grounding
from glip_cli.checkpoints.tagger import load_tagger
from glip_cli.data.captions import read_captions
from glip_cli.detector import Detector
from glip_cli.options import DetectOptions
from glip_cli.outputs.records import AnyRecord, Record, error_record, record
from glip_cli.prompts.prompt import caption_prompt
from glip_cli.prompts.spans import read_brackets
from glip_cli.runs.items import Item
from glip_cli.training.dataset import GroundingItem, read_train_set
from tests.annotation.examples import WORDS, captioned, draw, write_jsonl, write_tar
from tests.shared import shared

OPTIONS = DetectOptions(threshold=0.2)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load("glip-mini", device="cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    draw(folder, 6)
    return folder


@pytest.fixture(scope="module")
def made(detector: Detector, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[AnyRecord]:
    rows = captioned(sorted(path.name for path in photos.iterdir()))
    path = write_jsonl(tmp_path_factory.mktemp("captions") / "c.jsonl", rows)
    return annotated(detector, path, photos)


def annotated(detector: Detector, captions: Path, images: Path | None = None, tagger: Any = None) -> list[AnyRecord]:
    return list(GroundingEngine(detector, OPTIONS, tagger, workers=2)(map(Item, read_captions(captions, images))))


def journal(path: Path, records: list[AnyRecord]) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def detection(label: str, label_id: int, score: float, *box: float) -> dict[str, Any]:
    corners = dict(zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    return {"label": label, "label_id": label_id, "score": score, "span": [0, 1], "box": corners}


def found(image: str, caption: str, labels: list[str], spans: list[Any], *detections: dict[str, Any]) -> AnyRecord:
    return cast(Record, {"schema": "glip/1", "image": image, "width": 100, "height": 50, "model": "made@0",
                         "prompt": caption, "labels": labels, "detections": list(detections),
                         "spans": spans})  # fmt: skip


# ------------------------------------------------------------------------------------------------------------ engine


def test_an_answer_is_the_detectors_own(detector: Detector, photos: Path, made: list[AnyRecord]) -> None:
    rows = captioned(sorted(path.name for path in photos.iterdir()))
    assert len(made) == len(rows) == 12
    for (image, caption), answer in zip(rows, made, strict=True):
        text, parts = read_brackets(caption)
        one = detector(photos / image, caption_prompt(text, parts=parts), threshold=OPTIONS.threshold)
        assert answer == record(image, one, detector.name)
    assert sum(len(cast(Record, answer)["detections"]) for answer in made) > 12


def test_a_tar_gives_the_answers_of_the_files(
    detector: Detector, photos: Path, made: list[AnyRecord], tmp_path: Path
) -> None:
    rows = captioned(sorted(path.name for path in photos.iterdir()))
    assert annotated(detector, write_tar(tmp_path / "c.tar", rows, photos)) == made


def test_a_caption_without_a_phrase_is_a_record_that_says_so(detector: Detector, photos: Path, tmp_path: Path) -> None:
    class Verbs:
        """A tagger to which nothing is a noun."""

        def tag(self, tokens: Any, /) -> list[tuple[str, str]]:
            return [(token, "VB") for token in tokens]

    path = write_jsonl(tmp_path / "c.jsonl", [("0.png", "go and see."), ("0.png", "a [star]")])
    bare, other = annotated(detector, path, photos, Verbs())
    assert bare == {"schema": "glip/1", "image": "0.png", "width": 96, "height": 96, "model": detector.name,
                    "prompt": "go and see.", "labels": [], "detections": [], "spans": []}  # fmt: skip
    assert cast(Record, other)["labels"] == ["star"]


def test_failures_are_of_one_caption(detector: Detector, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "0.png").write_bytes((photos / "0.png").read_bytes())
    rows = [("none.png", "a [star]"), ("broken.png", "a [star]"), ("broken.png", "a [moon]"),
            ("0.png", "a ]star["), ("0.png", "a [star]")]  # fmt: skip
    *failed, last = annotated(detector, write_jsonl(tmp_path / "c.jsonl", rows))
    assert [one["image"] for one in failed] == ["none.png", "broken.png", "broken.png", "0.png"]
    assert "none.png: no such file; check the path" in cast(Any, failed[0])["error"]
    assert "0.png: a ']' too many at character 2" in cast(Any, failed[3])["error"]
    assert "error" not in last


def test_parts_behind_the_window_are_left_out(detector: Detector) -> None:
    caption = "[red star] and " + "so " * 200 + "[blue moon] is"
    for window, labels in ((256, ("red star",)), (900, ("red star", "blue moon"))):
        prompt = read_sentence(caption, None, detector.tokenizer, window)[1]
        assert prompt is not None
        assert prompt.labels == labels
        if window == 256:
            assert detector.compile_prompt(prompt, OPTIONS).labels == labels


def test_noun_phrases_by_the_real_tagger(
    detector: Detector, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NLTK_DATA", str(shared("nltk_data")))
    tagger = load_tagger(cache_dir=tmp_path / "cache", offline=True)
    text = "A red circle next to the small blue star; a red circle"
    path = write_jsonl(tmp_path / "c.jsonl", [("0.png", text), ("0.png", "wow")])
    one, _ = (cast(Record, made) for made in annotated(detector, path, photos, tagger))
    assert one["labels"] == ["A red circle", "the small blue star"]
    assert one["spans"] == [[[0, 12], [42, 54]], [[21, 40]]]


# --------------------------------------------------------------------------------------------------------- grounding


def test_the_whole_file_by_hand(tmp_path: Path) -> None:
    records = [
        error_record("lost.jpg", "lost", "made@0"),
        found("a.jpg", "a cat, a dog and a cat", ["a cat", "a dog"], [[[0, 5], [17, 22]], [[7, 12]]],
              detection("a cat", 0, 0.9, 10.0, 20.0, 30.5, 25.0), detection("a cat", 0, 0.6, 1.0, 2.0, 3.0, 4.0)),
        found("a.jpg", "a fox", ["a fox"], [[[0, 5]]]),
        found("b.jpg", "so", [], []),
        found("c.jpg", "a dog", ["a dog"], [[[0, 5]]], detection("a dog", 0, 0.7, 0.0, 0.0, 100.0, 50.0)),
    ]  # fmt: skip
    path = journal(tmp_path / "results.jsonl", records)
    write_grounding(path, tmp_path / "grounding.json")
    data = json.loads((tmp_path / "grounding.json").read_text())
    assert data["images"] == [
        {"id": 1, "file_name": "a.jpg", "width": 100, "height": 50, "caption": "a cat, a dog and a cat"},
        {"id": 2, "file_name": "c.jpg", "width": 100, "height": 50, "caption": "a dog"},
    ]
    common = {"category_id": 1, "iscrowd": 0}
    assert data["annotations"] == [
        {"id": 1, "image_id": 1, "bbox": [10.0, 20.0, 20.5, 5.0], "area": 102.5, "tokens_positive": [[0, 5], [17, 22]],
         "score": 0.9} | common,
        {"id": 2, "image_id": 1, "bbox": [1.0, 2.0, 2.0, 2.0], "area": 4.0, "tokens_positive": [[0, 5], [17, 22]],
         "score": 0.6} | common,
        {"id": 3, "image_id": 2, "bbox": [0.0, 0.0, 100.0, 50.0], "area": 5000.0, "tokens_positive": [[0, 5]],
         "score": 0.7} | common,
    ]  # fmt: skip
    total = count_captions(path)
    assert (total.captions, total.grounded, total.without_phrase, total.phrases, total.found) == (4, 2, 1, 4, 2)


def test_the_reader_of_finetune_gets_every_span_and_box(made: list[AnyRecord], photos: Path, tmp_path: Path) -> None:
    write_grounding(journal(tmp_path / "results.jsonl", made), tmp_path / "grounding.json")
    train_set, findings = read_train_set(tmp_path / "grounding.json", photos)
    assert findings.rows == ()
    asked = [cast(Record, one) for one in made if cast(Record, one)["detections"]]
    assert len(train_set) == len(asked) > 6
    for item, one in zip(train_set.items, asked, strict=True):
        assert isinstance(item, GroundingItem)
        assert (item.image, item.caption) == (photos / one["image"], one["prompt"])
        labels = [detection["label"] for detection in one["detections"]]
        assert ["".join(item.caption[b:e] for b, e in spans) for spans in item.spans] == labels
        corners = [list(detection["box"].values()) for detection in one["detections"]]
        np.testing.assert_allclose(item.boxes, corners, atol=2e-3)


def test_no_box_at_all_is_still_a_file(tmp_path: Path) -> None:
    write_grounding(journal(tmp_path / "r.jsonl", [found("a.jpg", "so", [], [])]), tmp_path / "grounding.json")
    data = json.loads((tmp_path / "grounding.json").read_text())
    assert (data["images"], data["annotations"]) == ([], [])


# ------------------------------------------------------------------------------------------------------- other tools


def test_classes_are_phrases_without_article() -> None:
    names = ["A  red Square", "the Moon", "an owl", "THE", "theatre", "a"]
    assert [class_name(name) for name in names] == ["red square", "moon", "owl", "the", "theatre", "a"]


def test_the_captions_of_a_image_become_one_record() -> None:
    first = found("a.jpg", "A cat", ["A cat"], [[[0, 5]]], detection("A cat", 0, 0.6, 0, 0, 10, 10))
    second = found("a.jpg", "dog, the cat", ["dog", "the cat"], [[[0, 3]], [[5, 12]]],
                   detection("the cat", 1, 0.8, 0, 0, 10, 9), detection("the cat", 1, 0.5, 0, 0, 10, 5),
                   detection("dog", 0, 0.7, 0, 0, 10, 10))  # fmt: skip
    lost = error_record("a.jpg", "a caption in brackets that do not match", "made@0")
    one = cast(Record, merged([lost, first, second]))
    assert one["labels"] == ["cat", "dog"]
    # 9/10 and 10/10 overlap by 0.9: the better stays; 5/10 by 5/9: another object
    assert [(box["label"], box["label_id"], box["score"]) for box in one["detections"]] == [
        ("cat", 0, 0.8), ("dog", 1, 0.7), ("cat", 0, 0.5)]  # fmt: skip
    assert merged([lost]) == lost
    assert [one["image"] for one in by_image(lambda: [lost, first, second, found("b", "", [], [])])] == ["a.jpg", "b"]
    scattered = list(by_image(lambda: [first, found("b", "", [], []), second]))
    assert [one["image"] for one in scattered] == ["b", "a.jpg"]
    assert scattered[1] == one | {"prompt": "A cat"}, "its captions do not stand in a row"


def test_paths_of_one_image_are_one_image(tmp_path: Path) -> None:
    """Whatever their form; URLs and names with backslashes, which say something else, are not touched."""
    forms = ["a.jpg", "./a.jpg", "x/../a.jpg", ".//a.jpg", str(tmp_path / "a.jpg")]
    others = ["x/a.jpg", "http://host/a//a.jpg", "http://host/a/a.jpg", "\\udcff.jpg", "a.jpg#frame=1"]
    images = [*forms[:2], *others, *forms[2:]]
    path = journal(tmp_path / "results.jsonl", [
        found(name, "a cat", ["a cat"], [[[0, 5]]], detection("a cat", 0, 0.6, 20 * place, 0, 20 * place + 10, 10))
        for place, name in enumerate(images)
    ])  # fmt: skip
    write_formats(tmp_path, path, ["coco"], tmp_path)
    data = json.loads((tmp_path / "coco.json").read_text())
    assert [one["file_name"] for one in data["images"]] == [*others, "a.jpg"]
    assert Counter(one["image_id"] for one in data["annotations"])[len(images) - len(forms) + 1] == len(forms)


def test_one_task_and_one_image_per_image(made: list[AnyRecord], tmp_path: Path) -> None:
    path = journal(tmp_path / "results.jsonl", made)
    write_formats(tmp_path, path, ["labelstudio", "coco", "yolo"])
    data = json.loads((tmp_path / "coco.json").read_text())
    images = [cast(Record, one) for one in by_image(lambda: made)]
    tasks = json.loads((tmp_path / "labelstudio.json").read_text())
    assert len(tasks) == len(images) == 6
    counts = [len(one["detections"]) for one in images]
    assert [len(task["predictions"][0]["result"]) for task in tasks] == counts
    assert len(data["images"]) == 6
    assert len(data["annotations"]) == sum(counts)
    lines = [(tmp_path / f"labels/{number}.txt").read_text().count("\n") for number in range(6)]
    assert lines == counts


# ---------------------------------------------------------------------------------------------------------- images


@pytest.fixture
def turned(tmp_path: Path) -> Path:
    """An image that EXIF turns by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    buffer = io.BytesIO()
    Image.new("RGB", (80, 40), "red").save(buffer, "JPEG", exif=exif)
    (tmp_path / "turned.jpg").write_bytes(buffer.getvalue())
    return tmp_path


def test_sizes_are_of_the_upright_image(detector: Detector, turned: Path) -> None:
    (one,) = annotated(detector, write_jsonl(turned / "c.jsonl", [("turned.jpg", WORDS)]))
    assert (cast(Record, one)["width"], cast(Record, one)["height"]) == (40, 80)
