"""Classes in other words, with the embedded model: boxes are those of the words, and every output says the class."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import requests
import yaml
from typer.testing import CliRunner, Result

from glip_cli import Detector, evaluate, label_prompt
from glip_cli.checkpoints.finetuned import RunConfig, read_run_config
from glip_cli.checkpoints.parts import load_prompt_compiler, tuned_prompt
from glip_cli.cli.app import app, run
from glip_cli.data.synthetic import draw_scene
from glip_cli.errors import UsageError
from glip_cli.evaluation.scenes import draw_scenes
from glip_cli.outputs.formats import WRITERS
from glip_cli.training.tuning import save_tuned
from glip_cli.types import Detections
from tests.server.serving import serving

WORDS = {"disc": "circle", "red square": "red square", "glyph": "star"}
READ = [*WORDS.values()]
TYPED = "circle = disc . red square . star = glyph ."


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load("glip-mini", device="cpu", offline=True)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for i in range(2):
        draw_scene(np.random.default_rng(i)).image.save(f"{i}.png")
    return tmp_path


def glip(*arguments: str | Path, model: str = "glip-mini") -> Result:
    result = CliRunner().invoke(app, [*map(str, arguments), "-m", model, "--device", "cpu"])
    assert result.exit_code == 0, result.output
    return result


def same_boxes(found: Detections, expected: Detections) -> None:
    """To the last bit."""
    assert len(found)
    for one, other in zip(found._arrays(), expected._arrays(), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("options", [{}, {"chunked_size": 1}, {"negatives": ["disc", "moon"]}, {"tile": 96}])
def test_python(detector: Detector, options: dict) -> None:
    found = detector("0.png", WORDS, threshold=0.05, **options)
    same_boxes(found, detector("0.png", READ, threshold=0.05, **options))
    assert found.labels == tuple(WORDS)
    assert set(found.names) <= set(WORDS)
    assert found.text == "circle . red square . star ."
    assert [found.text[begin:end] for begin, end in found.spans] == READ
    same_boxes(detector("0.png", TYPED, threshold=0.05, **options), found)


def test_a_list_in_python_is_taken_as_it_is(detector: Detector) -> None:
    assert detector("0.png", ["circle = disc"], threshold=0.05).labels == ("circle = disc",)


def test_every_file_says_the_class() -> None:
    formats = ",".join(WRITERS.keys() - {"json", "parquet"})  # one holds the prompt, the other is no text
    threshold = ["--threshold", "0.05", "--class-threshold", "disc=0.04"]
    said = glip("batch", "0.png", "1.png", "-t", TYPED, *threshold, "--format", formats, "-o", "here").stderr
    assert "labels: 'circle = disc', 'red square', 'star = glyph' (words = class)" in said
    alone = ["--threshold", "0.05", "--class-threshold", "circle=0.04"]
    glip("batch", "0.png", "1.png", "-t", "circle . red square . star .", *alone, "--format", formats, "-o", "there")
    here, there = (read(Path(name)) for name in ("here", "there"))
    class_of = {words: label for label, words in WORDS.items()}
    assert here["record"] == [(class_of[label], *rest) for label, *rest in there["record"]]
    assert here["csv"] == [(class_of[label], *rest) for label, *rest in there["csv"]]
    assert here["yolo"] == (list(WORDS), there["yolo"][1])
    saying = {
        path.relative_to("there")
        for path in Path("there").rglob("*")
        if path.is_file() and b"circle" in path.read_bytes()
    }
    assert len(saying) > 6
    for name in saying - {Path("results.jsonl"), Path("run.json")}:  # which have the prompt too
        content = Path("here", name).read_bytes()
        assert b"disc" in content, name
        assert b"circle" not in content, name


def read(out: Path) -> dict:
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    for record in records:
        assert all(record["prompt"][slice(*one["span"])] == READ[one["label_id"]] for one in record["detections"])
    with (out / "results.csv").open() as file:
        rows = [(row.pop("label"), row) for row in csv.DictReader(file)]
    (names,), labels = out.rglob("data.yaml"), sorted(path.read_text() for path in out.rglob("labels/**/*.txt"))
    listed = yaml.safe_load(names.read_text())["names"]
    return {
        "record": [(one["label"], one["box"], one["score"]) for record in records for one in record["detections"]],
        "csv": rows,
        "yolo": ([*(listed.values() if isinstance(listed, dict) else listed)], labels),
    }


def test_a_file_of_labels_and_the_table_of_explain() -> None:
    Path("labels.txt").write_text("# ours\ncircle = disc\nred square\nstar = glyph\n")
    from_file = glip("detect", "0.png", "-t", "@labels.txt", "--json", "--explain", "--no-save-vis", "--no-save-pred")
    typed = glip("detect", "0.png", "-t", TYPED, "--json", "--no-save-vis", "--no-save-pred")
    assert from_file.stdout == typed.stdout
    (row,) = (line for line in from_file.stderr.splitlines() if "glyph" in line and "star" in line and "│" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][:2] == ["glyph", "star"]
    plain = glip("detect", "0.png", "-t", "circle", "--explain", "--no-save-vis", "--no-save-pred")
    assert "words" not in plain.stderr


def renamed(gt: Path, out: Path, rename: Callable[[str], str]) -> Path:
    """The same annotations with other names of the categories."""
    content = json.loads(gt.read_text())
    for category in content["categories"]:
        category["name"] = rename(category["name"])
    out.write_text(json.dumps(content))
    return out


def test_an_evaluation_in_words_is_that_of_the_renamed_set(detector: Detector) -> None:
    gt = draw_scenes(Path("data"), 3, seed=3)
    names = [category["name"] for category in json.loads(gt.read_text())["categories"]]
    coded = renamed(gt, Path("data/coded.json"), lambda name: f"class {names.index(name)}")
    Path("words.json").write_text(json.dumps({f"class {i}": name for i, name in enumerate(names)}))
    glip("eval", "coco", "--gt", gt, "--images", "data", "-o", "plain", "--no-report")
    out = glip("eval", "coco", "--gt", coded, "--images", "data", "--words", "words.json", "-o", "words", "--no-report")
    assert f"words     '{names[0]} = class 0'" in out.stdout
    plain, words = (json.loads(Path(name, "metrics.json").read_text()) for name in ("plain", "words"))
    assert words["AP"] == plain["AP"] > 0
    assert words["AP50"] == plain["AP50"]
    assert [one["name"] for one in words["classes"]] == [f"class {i}" for i in range(len(names))]
    assert [one["AP"] for one in words["classes"]] == [one["AP"] for one in plain["classes"]]
    assert Path("words/coco_results.json").read_bytes() == Path("plain/coco_results.json").read_bytes()
    mapping = json.loads(Path("words.json").read_text())
    assert evaluate(detector, coded, "data", words=mapping, out="words", report=False).metrics["AP"] == plain["AP"]
    with pytest.raises(UsageError, match="--words: there is no class 'clas 0'; the classes are 'class 0', "):
        evaluate(detector, coded, "data", words={"clas 0": "circle"}, out="other")


def test_a_tuned_model_remembers_the_words() -> None:
    """Also for a training that goes on, when their file is gone; another file is refused.

    Two steps of training and two evaluations, some seconds: the only way from --words to the boxes of a tuned model.
    """
    gt = draw_scenes(Path("data"), 2, seed=5)
    names = [category["name"] for category in json.loads(gt.read_text())["categories"]]
    class_of = {name: name if i == 1 else f"class {i}" for i, name in enumerate(names)}
    coded = renamed(gt, Path("data/coded.json"), lambda name: class_of[name])
    words = {f"class {i}": name for i, name in enumerate(names) if i != 1}
    Path("words.json").write_text(json.dumps(words))
    start = ["finetune", "--train", coded, "--images", "data", "--mode", "prompt", "--workers", "0", "-o", "cells"]
    done = glip(*start, "--words", "words.json", "--epochs", "1")
    assert "vocabulary knows nothing" not in done.stderr

    Path("words.json").write_text(json.dumps({**words, "class 0": "moon"}))
    again = [*map(str, start), "--words", "words.json", "--epochs", "2", "--resume", "-m", "glip-mini"]
    refused = CliRunner().invoke(app, again)
    assert refused.exit_code == 2
    assert 'holds a training with words {"class 0": ' in refused.stderr
    Path("words.json").unlink()
    Path("own.json").write_text('{"class 0": "disc"}')
    done = CliRunner().invoke(app, ["finetune", "--resume", "-o", "cells", "--epochs", "2", "--device", "cpu"])
    assert done.exit_code == 0, done.output

    card = read_run_config(Path("cells/best"))
    labels = tuple(class_of.values())
    assert (card.labels, dict(card.words)) == (labels, words)
    assert tuned_prompt("cells") == label_prompt(dict(zip(labels, names, strict=True)))
    reader = load_prompt_compiler({"model": "cells", "offline": True})
    assert reader.tuned_words == reader.prompt_tuned_labels == tuple(names)

    found = glip("detect", "0.png", "--json", "--threshold", "0.05", "--no-save-vis", "--no-save-pred", model="cells")
    assert f"labels of the model: '{names[0]} = class 0', '{names[1]}'," in found.stderr
    assert "note: " not in found.stderr  # the prompt is the one that the offset was tuned for
    record = json.loads(found.stdout)
    assert record["labels"] == list(labels)
    tuned = Detector.load("cells", device="cpu", offline=True)
    same_boxes(tuned("0.png", threshold=0.05), tuned("0.png", names, threshold=0.05))
    assert record["detections"] == tuned("0.png", threshold=0.05).to_dict()["detections"]

    few = renamed(gt, Path("data/few.json"), lambda name: class_of[name] if names.index(name) < 3 else name)
    more = ["finetune", "--train", few, "--images", "data", "--mode", "head", "--workers", "0", "--epochs", "1"]
    done = glip(*more, "-o", "more", model="cells")
    assert f"'{names[0]} = class 0', '{names[2]} = class 2'\n" in done.stderr
    assert dict(read_run_config(Path("more/best")).words) == {label: words[label] for label in ("class 0", "class 2")}
    assert "was tuned for" not in done.stderr
    own = glip(*more, "-o", "own", "--words", "own.json", model="cells")
    assert "words of" not in own.stderr
    assert f"was tuned for the prompt of '{names[0]}', '{names[1]}'" in own.stderr
    assert dict(read_run_config(Path("own/best")).words) == {"class 0": "disc"}

    scored = glip("eval", "coco", "--gt", coded, "--images", "data", "--no-report", "-o", "eval", model="cells")
    assert f"words     '{names[0]} = class 0'" in scored.stdout
    glip("eval", "coco", "--gt", gt, "--images", "data", "--no-report", "-o", "plain", model="cells")
    here, there = (json.loads(Path(name, "metrics.json").read_text())["AP"] for name in ("eval", "plain"))
    assert here == there > 0


def test_a_whole_network_remembers_the_words(detector: Detector) -> None:
    """In its file too, which may be taken out of its folder."""
    card = RunConfig("full", "cells", "glip-mini", labels=("disc", "star"), words={"disc": "circle"})
    save_tuned(Path("cells"), detector.model, card)
    assert read_run_config(Path("cells")) == card
    Path("cells/model.safetensors").rename("alone.safetensors")
    assert tuned_prompt(weights="alone.safetensors") == label_prompt({"disc": "circle", "star": "star"})
    same_boxes(
        Detector.load(weights="alone.safetensors", device="cpu", offline=True)("0.png", threshold=0.05),
        detector("0.png", ["circle", "star"], threshold=0.05),
    )


def test_a_server(detector: Detector) -> None:
    image = {"image": ("0.png", Path("0.png").read_bytes())}
    with serving(detector) as url:
        code = base64.b64encode(Path("0.png").read_bytes()).decode()
        asked = {"labels": WORDS, "threshold": 0.05, "image": code, "name": "0.png"}
        answer = requests.post(f"{url}/detect", json=asked, timeout=60)
        assert answer.status_code == 200, answer.text
        assert answer.json() == detector("0.png", WORDS, threshold=0.05).to_dict()
        form = requests.post(f"{url}/detect", data={"texts": TYPED, "threshold": "0.05"}, files=image, timeout=60)
        assert form.content == answer.content
        rows = requests.post(f"{url}/explain", json={"labels": WORDS}, timeout=60).json()["rows"]
        assert [(row["label"], row["words"]) for row in rows] == [*WORDS.items()]
        refused = requests.post(f"{url}/detect", json={"labels": {"box": " "}, "image": code}, timeout=60)
        assert refused.status_code == 400
        assert "what to read for label 'box' is blank" in refused.text


def test_notes_of_what_glip_nano_knows_are_of_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The class is not read: "human being" is a word that it knows, SKU-1 is none."""
    for text, note in (
        ("person = human being", ""),
        ("cat = SKU-1", ""),
        ("pangolin = cat", "glip-nano does not know 'pangolin = cat'"),
        ("red cat = dog", "glip-nano reads no more of 'red cat = dog' than 'cat'"),
    ):
        assert run(["detect", "-m", "glip-nano", "-t", text, "-t", "sheep", "--explain"]) == 0
        said = capsys.readouterr().err
        assert note in said
        assert ("glip-nano" in said) == bool(note), said
