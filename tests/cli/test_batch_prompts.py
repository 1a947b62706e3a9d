"""`glip batch --prompts`: a prompt for each image, and for each pair what `glip detect` finds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from glip_cli.cli.app import app
from glip_cli.data.prompted import KEPT_PROMPTS, PromptedImage
from glip_cli.data.sources import ImageInput
from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from glip_cli.options import DetectOptions
from glip_cli.prompts.prompt import label_prompt
from glip_cli.runs.runner import Runner
from tests.forked import wait_until
from tests.runs.process import finish, kept, lines, start

MODEL = ("-m", "glip-mini", "--device", "cpu", "--threshold", "0.05")
PROMPTS = ["circle . red square .", "star", "circle . red square .", "square, star", "star"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photos/0.png .. 3.png of two shapes, and questions.csv of ten rows about them."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(4):
        draw_scene(np.random.default_rng(i), *((160, 160), (160, 128))[i % 2]).image.save(f"photos/{i}.png")
    write_csv([(f"photos/{i % 4}.png", PROMPTS[i % 5]) for i in range(10)])
    return tmp_path


def write_csv(rows: list[tuple[str, str]]) -> None:
    Path("questions.csv").write_text("image,prompt\n" + "".join(f'{image},"{text}"\n' for image, text in rows))


def glip(*arguments: str, command: str = "batch") -> Result:
    return CliRunner().invoke(app, [command, *arguments, *MODEL])


def each(*arguments: str) -> Result:
    return glip("--prompts", "questions.csv", *arguments)


def records(path: str = "outputs/results.jsonl") -> list[dict]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_each_pair_gets_what_detect_finds(folder: Path) -> None:
    result = each()
    assert result.exit_code == 0, result.stderr
    assert result.stderr.splitlines()[0] == "10 images with 3 prompts, 4 labels in all"
    assert len(records()) == 10
    assert sum(len(record["detections"]) for record in records()) > 5
    for number, record in enumerate(records()):
        alone = glip(f"photos/{number % 4}.png", "-t", PROMPTS[number % 5], "--json", "--no-save-vis", "--no-save-pred",
                     command="detect")  # fmt: skip
        assert record == json.loads(alone.stdout)


def test_batches_hold_one_prompt_and_one_shape(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert each("-o", "one").exit_code == 0
    sizes: list[int] = []
    plain = Detector.detect

    def counted(self: Detector, batch: list, *more: object) -> object:
        sizes.append(len(batch))
        return plain(self, batch, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(Detector, "detect", counted)
    assert each("-b", "4").exit_code == 0
    assert sum(sizes) == 10
    assert max(sizes) > 1, "alike ones are detected together"
    for one, other in zip(records("one/results.jsonl"), records(), strict=True):
        assert (one["image"], one["prompt"], one["labels"]) == (other["image"], other["prompt"], other["labels"])
        scores = [[found["score"] for found in record["detections"]] for record in (one, other)]
        np.testing.assert_allclose(*scores, rtol=0, atol=1e-4)


def test_files_do_not_collide_and_classes_are_those_of_all_prompts(folder: Path) -> None:
    asked = [word for name in ("coco", "yolo", "mmdet", "csv") for word in ("--format", name)]
    result = each("--save-vis", *asked)
    assert result.exit_code == 0, result.stderr
    assert len(list(Path("outputs/vis").rglob("*.jpg"))) == len(list(Path("outputs/labels").rglob("*.txt"))) == 10
    names = ["circle", "red square", "star", "square"]
    coco = json.loads(Path("outputs/coco.json").read_text())
    assert [category["name"] for category in coco["categories"]] == names
    assert json.loads(Path("outputs/mmdet_classes.json").read_text()) == names
    found = [one["label"] for record in records() for one in record["detections"]]
    in_order = [f"photos/{number % 4}{f'-{number // 4 + 1}' if number > 3 else ''}" for number in range(10)]
    preds = [json.loads(Path(f"outputs/preds/{name}.json").read_text()) for name in in_order]
    assert [names[number] for pred in preds for number in pred["labels"]] == found
    rows = [line for name in in_order for line in Path(f"outputs/labels/{name}.txt").read_text().splitlines()]
    assert [names[int(row.split()[0])] for row in rows] == found
    assert each("--save-vis", *asked).exit_code == 0, "the numbers of an earlier run are the same"


def test_thresholds_are_of_the_prompts_that_have_the_label(folder: Path) -> None:
    assert each("--class-threshold", "star=1").exit_code == 0
    found = {one["label"] for record in records() for one in record["detections"]}
    assert found
    assert "star" not in found
    result = each("--class-threshold", "cat=0.5", "-o", "other")
    assert result.exit_code == 2
    assert "--class-threshold cat: no such label; the labels are 'circle', 'red square', 'star', 'square'" in (
        result.stderr
    )


def test_tiles(folder: Path) -> None:
    write_csv([("photos/0.png", "star"), ("photos/0.png", "circle")])
    assert each("--tile", "96").exit_code == 0
    for record, text in zip(records(), ("star", "circle"), strict=True):
        alone = glip("photos/0.png", "-t", text, "--tile", "96", "--json", "--no-save-vis", "--no-save-pred",
                     command="detect")  # fmt: skip
        assert record == json.loads(alone.stdout)


def test_again_nothing_is_detected_and_other_rows_are_refused(folder: Path) -> None:
    assert each().exit_code == 0
    before = Path("outputs/results.jsonl").read_bytes()
    again = each("--format", "csv")
    assert "10 images (0 now)" in again.stderr
    text = Path("questions.csv").read_text()
    Path("questions.csv").write_text(text.replace("star", "stars", 1))
    result = each()
    assert result.exit_code == 2
    assert "outputs holds a run with another file of --prompts, or one that has changed; " in result.stderr
    assert Path("outputs/results.jsonl").read_bytes() == before
    status = CliRunner().invoke(app, ["batch", "--status"])
    assert status.stdout.splitlines() == [f"10 of 10 images done, {sum(len(r['detections']) for r in records())} "
                                          "boxes, 0 failed", "complete"]  # fmt: skip


def test_an_image_that_cannot_be_read_is_a_record(folder: Path) -> None:
    write_csv([("photos/0.png", "star"), ("gone.png", "star"), ("photos/1.png", "star")])
    assert each().exit_code == 3
    assert ["error" in record for record in records()] == [False, True, False]


@pytest.mark.parametrize(
    ("content", "arguments", "told"),
    [
        ("image,prompt\n0.png,star\n0.png,\n", [], "questions.csv, line 3: has no 'prompt'"),
        (f"image,prompt\n0.png,star\n0.png,{'z ' * 300}\n", [], "questions.csv, line 3: label "),
        ("image,caption\n0.png,a [star]\n", ["--negative", "dog"], "questions.csv, line 2: --negative does not go"),
        ("image,prompt\n0.png,star\n", ["photos"], "--prompts FILE names the images too"),
        ("image,prompt\n0.png,star\n", ["-t", "star"], "--prompts FILE gives each image its prompt"),
    ],
)
def test_refused_before_the_model_is_loaded(
    folder: Path, monkeypatch: pytest.MonkeyPatch, content: str, arguments: list[str], told: str
) -> None:
    monkeypatch.setattr(Detector, "load", None)
    Path("questions.csv").write_text(content)
    result = each(*arguments)
    assert result.exit_code == 2, result.output
    assert told in result.stderr
    assert not Path("outputs").exists()


def test_each_prompt_is_made_ready_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    detector = Detector.load("glip-mini", device="cpu")
    compiled: list[tuple[str, ...]] = []
    plain = Detector.compile_prompt

    def counted(self: Detector, prompt: object, options: DetectOptions) -> object:
        compiled.append(prompt.labels)  # type: ignore[attr-defined]
        return plain(self, prompt, options)  # type: ignore[arg-type]

    monkeypatch.setattr(Detector, "compile_prompt", counted)
    prompts = [label_prompt([name]) for name in ("star", "circle", "star", "star", "circle")]
    sources: list[ImageInput] = [PromptedImage("0", "photos/0.png", prompt=prompt) for prompt in prompts]
    runner = Runner(detector, None, DetectOptions(), workers=1)
    assert [outcome.detections.text for outcome in runner(sources) if outcome.detections is not None] == [
        "star .", "circle .", "star .", "star .", "circle ."
    ]  # fmt: skip
    assert compiled == [("star",), ("circle",)]
    assert runner._compile.cache_info().maxsize == KEPT_PROMPTS


def test_killed_it_goes_on(folder: Path) -> None:
    """SIGKILL in the midst of batches of several prompts: in the end the bytes of an undisturbed run."""
    chance, journal = random.Random(3), Path("killed/results.jsonl")
    write_csv([(f"photos/{i % 4}.png", PROMPTS[i % 5]) for i in range(40)])
    command = ["batch", "--prompts", "questions.csv", "-b", "2", "--format", "coco", *MODEL]
    process = start([*command, "-o", "killed"])
    more = chance.randint(8, 14)
    assert wait_until(lambda: lines(journal) >= more, process)
    process.kill()
    process.wait()
    assert lines(journal) < 40
    code, output = finish([*command, "-o", "killed"])
    assert (code, "going on after" in output) == (0, True), output
    assert each("-b", "2", "--format", "coco", "-o", "straight").exit_code == 0
    assert kept(Path("killed")) == kept(Path("straight"))


def test_two_shards_give_what_one_process_does(folder: Path) -> None:
    assert each("-o", "one").exit_code == 0
    for rank in range(2):
        assert each("-o", "two", "--shard", f"{rank}/2").exit_code == 0
    assert Path("two/results.jsonl").read_bytes() == Path("one/results.jsonl").read_bytes()
