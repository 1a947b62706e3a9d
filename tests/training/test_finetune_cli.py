"""`glip finetune` as a person types it, on drawn scenes with glip-mini, and what its folder is good for."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from glip_cli.cli.app import app
from glip_cli.cli.finetune import ProgressPrinter
from glip_cli.evaluation.scenes import draw_scenes
from glip_cli.training import report
from glip_cli.training.metrics_log import read_rows

runner = CliRunner()


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_scenes(tmp_path_factory.mktemp("scenes"), 8, seed=5)


def words(scenes: Path, out: Path, *more: object) -> list[str]:
    start = ["finetune", "--train", scenes, "-m", "glip-mini", "-o", out, "--workers", 0, "--keep-limit", 4]
    return [str(word) for word in [*start, "--device", "cpu", *more]]


def finetune(scenes: Path, out: Path, *more: object) -> Result:
    return runner.invoke(app, words(scenes, out, *more))


def test_from_a_data_set_to_a_model_that_detects(scenes: Path, tmp_path: Path) -> None:
    out = tmp_path / "tuned"
    done = finetune(scenes, out, "--val", scenes, "--epochs", 2, "--keep-check", "scenes")
    assert done.exit_code == 0, done.output
    said = done.stderr
    assert "instances.json: 8 images, 37 boxes" in said
    assert (
        "settings: mode full, lr 0.0004, language-lr 0.0004, freeze-backbone-at -1, weight-decay 0.05, batch-size 4"
        in said
    )
    assert "measuring AP before the training on drawn scenes, 4 images" in said
    both = "note: instances.json: 8 of its 8 images are trained on too; AP on them says little of others"
    assert [line for line in said.splitlines() if line.startswith("note: ")] == [both]
    assert re.search(r"; this epoch ends in \d+ s, the training in \d+ s$", said, re.MULTILINE)
    (last,) = re.findall(r"^step 4 of 4, epoch 2: AP .*$", said, re.MULTILINE)
    assert re.fullmatch(r".*: AP \d+\.\d, AP50 \d+\.\d, F1 \d+\.\d, val loss \d\.\d+(, best)?", last)
    assert f"glip detect photo.jpg --model {out}" in said
    assert re.search(r"new data \(instances.json, 8 images\) +AP +\d+\.\d +\d+\.\d +[+-]", done.stdout)
    assert re.search(r"keep-check \(drawn scenes, 4 images\) +AP50 held-out pairs", done.stdout)
    table = {(row["check"], row["metric"]): row for row in json.loads((out / "before_after.json").read_bytes())}
    assert table["new data", "AP"]["after"] > table["new data", "AP"]["before"]
    assert table["new data", "APl"] == {"check": "new data", "name": "instances.json, 8 images", "metric": "APl",
                                        "before": None, "after": None}  # fmt: skip
    assert re.search(r"APl +- +- +-$", done.stdout, re.MULTILINE)
    page = (out / "report.html").read_text()
    titles = re.findall(r"<h2>(.*?)</h2>", page)
    assert titles[:6] == ["The training", "Before and after", "Losses and learning rate", "AP, precision and recall",
                          "Classes", "First batches"]  # fmt: skip
    assert titles[6:] == ["AP of each class", "Precision and recall", "Score threshold", "Kinds of mistakes",
                          "Can scores be believed?", "Confusion", "Images"]  # fmt: skip
    assert f"<dd>{100 * table['new data', 'AP']['after']:.1f}</dd>" in page
    assert page.count("data:image/jpeg;base64,") >= 8 + 6  # in the first batches, and on --val
    assert both.removeprefix("note: ") in page
    assert not list(out.rglob("*.png"))
    (tmp_path / "plain").touch()  # of the mode that the umask gives
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in files} == {(tmp_path / "plain").stat().st_mode}
    validated = [row for row in read_rows(out / "metrics.jsonl") if "AP" in row]
    for row in validated:
        parts = sum(row[f"val_{part}"] for part in ("token", "box", "centerness"))
        assert row["val_loss"] == pytest.approx(parts, rel=1e-5)  # rows have six digits
        right = 2 * row["precision"] * row["recall"]
        assert row["F1"] * (row["precision"] + row["recall"]) == pytest.approx(right, rel=1e-5)
        assert row["F1"] <= row["max_F1"]
    aps = [row["AP"] for row in validated]
    assert table["new data", "AP"]["after"] == pytest.approx(max(aps), abs=1e-5)  # best, loaded, is what was best
    for folder in (out, out / "best", out / "last"):
        found = runner.invoke(app, ["detect", str(scenes.parent / "00000.png"), "-t", "red circle . blue star",
                                    "-m", str(folder), "--json", "--device", "cpu"])  # fmt: skip
        assert found.exit_code == 0, found.output
        assert json.loads(found.stdout)["model"].startswith("tuned@")


def test_labels_that_the_tokenizer_reads_alike_and_the_command_of_its_last_line(tmp_path: Path) -> None:
    gt = draw_scenes(tmp_path / "data", 2, seed=5)
    content = json.loads(gt.read_text())
    for category, name in zip(content["categories"], ("裂纹", "划痕"), strict=False):
        category["name"] = name
    gt.write_text(json.dumps(content))
    done = finetune(gt, tmp_path / "run", "--mode", "head", "--epochs", 1)
    assert done.exit_code == 0, done.output
    assert done.stderr.count("note: the model cannot tell these labels apart: '裂纹', '划痕'\n") == 1
    assert done.stderr.count("note: the model's vocabulary knows nothing of '裂纹', '划痕': it reads [UNK]") == 1
    typed = re.search(r"to use it: glip (detect) photo.jpg (--\S+) (\S+)$", done.stderr, re.MULTILINE)
    assert typed
    found = runner.invoke(
        app, [typed[1], str(gt.parent / "00000.png"), typed[2], typed[3], "--json", "--device", "cpu"]
    )
    assert found.exit_code == 0, found.output
    assert json.loads(found.stdout)["labels"][:2] == ["裂纹", "划痕"]
    assert "labels of the model: '裂纹', '划痕', " in found.stderr


def test_a_folder_that_holds_a_training_needs_a_word(scenes: Path, tmp_path: Path) -> None:
    once = ("--epochs", 1, "--mode", "head")
    assert finetune(scenes, tmp_path, *once).exit_code == 0
    again = finetune(scenes, tmp_path, *once)
    assert again.exit_code == 2
    assert "--resume continues it, --overwrite starts over" in again.stderr
    other = finetune(scenes, tmp_path, *once, "--lr", 0.5, "--resume")
    assert "holds a training with lr 0.002, not 0.5" in other.stderr
    assert finetune(scenes, tmp_path, *once, "--resume").exit_code == 0
    assert "--overwrite would remove the model" in finetune(scenes, tmp_path, "-m", tmp_path, "--overwrite").stderr
    assert finetune(scenes, tmp_path, *once, "--lr", 0.001, "--overwrite").exit_code == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--epochs", 0), "--epochs 0: give a number of at least 1"),
        (("--mode", "some"), "--mode some: there are full, head, prompt, lora"),
        (("--schedule", "auto"), "--schedule auto lowers the rates by the AP on --val, which is not given"),
        (("--share", 1, "--share", 2), "2 shares for 1 training set; give one for each"),
        (
            ("--init", "zero"),
            "--init zero: say random or pretrained, or give the name or file of a model whose image side is taken",
        ),
        (("--init", "random", "--mode", "head"), "--init random trains a new network: it goes with --mode full"),
        (("--train", "scenes"), "--train scenes: say how many drawn scenes an epoch has, as in scenes:1000"),
        (("--train", "scenes:8", "--shots", 2), "--shots 2: counts images per class; scenes:8 has no end of them"),
        (("--optimizer", "muon", "--mode", "lora"), "--optimizer muon: the other modes train few matrices"),
        (("--size", "big"), "--size big: give shorter sides in pixels, as 480,560,640"),
        (("--images", "a", "--images", "b"), "2 folders of images for 1 training set; give one, or one for each"),
    ],
)
def test_flags_that_cannot_be_meant(scenes: Path, tmp_path: Path, more: tuple[object, ...], said: str) -> None:
    done = finetune(scenes, tmp_path / "out", *more)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_nothing_to_train_on(tmp_path: Path) -> None:
    done = runner.invoke(app, ["finetune", "-o", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert "--train is missing: give a COCO or grounding json" in done.stderr


def test_shots_are_written_down(scenes: Path, tmp_path: Path) -> None:
    done = finetune(scenes, tmp_path, "--epochs", 1, "--shots", 1, "--mode", "head")
    assert done.exit_code == 0, done.output
    (chosen,) = json.loads((tmp_path / "shots.json").read_bytes())
    assert chosen["set"] == "instances.json"
    content = json.loads(scenes.read_bytes())
    files = {row["id"]: str(scenes.parent / row["file_name"]) for row in content["images"]}
    assert 0 < len(chosen["images"]) <= 8
    assert all(files[row["id"]] == row["file"] for row in chosen["images"])
    ids = {row["id"] for row in chosen["images"]}
    boxes = sum(row["image_id"] in ids for row in content["annotations"])
    said = f"instances.json: --shots 1 takes {len(ids)} of the 8 images, {boxes} of the 37 boxes"
    assert said in done.stderr


def test_class_names_that_the_model_cannot_tell_apart_are_said(scenes: Path, tmp_path: Path) -> None:
    content = json.loads(scenes.read_bytes())
    content["categories"][0]["name"], content["categories"][1]["name"] = "裂纹", "划痕"
    for name, more in (("train", {}), ("val", {"annotations": []})):
        (tmp_path / f"{name}.json").write_text(json.dumps({**content, **more}))
    images = ("--images", scenes.parent, "--val", tmp_path / "val.json", "--val-images", scenes.parent)
    done = finetune(tmp_path / "train.json", tmp_path / "out", *images)
    assert done.exit_code == 2  # there is no box to validate on
    assert "note: the model's vocabulary knows nothing of '裂纹', '划痕': it reads [UNK] instead" in done.stderr
    assert "note: the model cannot tell these labels apart: '裂纹', '划痕'" in done.stderr


def test_an_image_that_is_damaged_inside_ends_nothing(tmp_path: Path) -> None:
    """Its header and its end are whole, so no check finds it but decoding."""
    scenes = draw_scenes(tmp_path / "scenes", 4, seed=5)
    damaged = scenes.parent / "00001.png"
    data = damaged.read_bytes()
    damaged.write_bytes(data[: len(data) // 2] + bytes(64) + data[len(data) // 2 + 64 :])
    done = finetune(scenes, tmp_path / "out", "--epochs", 1, "--mode", "head")
    assert done.exit_code == 0, done.output
    assert "instances.json: 4 images" in done.stderr
    assert re.search(r"00001\.png: damaged or cut short .*; other images take its place", done.stderr)
    assert re.search(r"1 image could not be read in training, all listed in metrics\.jsonl; first .*00001", done.stderr)
    (unread,) = read_rows(tmp_path / "out" / "metrics.jsonl")[-1]["unread"].items()
    assert (str(damaged) in unread[0], unread[1]) == (True, 1)


@pytest.mark.parametrize("mode", ["head", "prompt", "lora"])
def test_what_the_other_modes_leave_is_measured_too(scenes: Path, tmp_path: Path, mode: str) -> None:
    if mode == "lora":
        pytest.importorskip("peft")
    done = finetune(scenes, tmp_path, "--val", scenes, "--epochs", 1, "--mode", mode)
    assert done.exit_code == 0, done.output
    rows = json.loads((tmp_path / "before_after.json").read_bytes())
    assert rows[0]["after"] == pytest.approx(read_rows(tmp_path / "metrics.jsonl")[-1]["AP"], abs=2e-3)
    assert not (tmp_path / "best" / "model.safetensors").exists()


def test_a_training_that_only_made_it_worse_says_so(scenes: Path, tmp_path: Path) -> None:
    """The best of it is saved all the same."""
    done = finetune(scenes, tmp_path, "--val", scenes, "--epochs", 1, "--mode", "head", "--lr", 0.5, "--clip", 1000)
    assert done.exit_code == 0, done.output
    ap = json.loads((tmp_path / "before_after.json").read_bytes())[0]
    assert ap["after"] < ap["before"]
    assert done.stderr.count("at the best is below the ") == 1
    before, after = (f"{100 * ap[name]:.1f}" for name in ("before", "after"))
    assert f"note: AP {after} at the best is below the {before} before the training, so the model " in done.stderr


def test_an_image_side_and_drawn_scenes_are_enough(tmp_path: Path) -> None:
    """As scripts/train_mini.py calls it, with nothing of the model's but its backbone and its pyramid."""
    more = ("--init", "glip-mini", "--optimizer", "muon", "--muon-lr", 2e-3, "--level-factor", 20, "--size", 160,
            "--schedule", "cosine", "--epochs", 1, "--warmup", 1, "--bf16")  # fmt: skip
    done = runner.invoke(app, [*words(Path("scenes:8"), tmp_path, *more)])
    assert done.exit_code == 0, done.output
    assert "scenes:8: 8 drawn scenes in each epoch, new ones every time" in done.stderr
    card = json.loads((tmp_path / "best" / "config.json").read_bytes())
    assert (card["base"], card["training"]["freeze_backbone_at"], card["training"]["train"]) == ("", -1, ["scenes:8"])
    assert read_rows(tmp_path / "metrics.jsonl")[-1]["step"] == 2


def resume(out: Path, *more: object) -> Result:
    return runner.invoke(app, [str(word) for word in ("finetune", "--resume", "-o", out, "--device", "cpu", *more)])


def test_resumed_by_its_folder_alone(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From another folder too; with more epochs it goes on after its end; other flags and other data are refused."""
    data = tmp_path / "data"
    shutil.copytree(scenes.parent, data)
    monkeypatch.chdir(tmp_path)
    begun = finetune(Path("data/instances.json"), Path("out"), "--mode", "head", "--epochs", 1, "--lr", 1e-3)
    assert begun.exit_code == 0, begun.output
    monkeypatch.chdir(data)
    done = resume(tmp_path / "out", "--epochs", 2, "--workers", 0, "--keep-check", "none")
    assert done.exit_code == 0, done.output
    assert "going on from step 2, epoch 1\n" in done.stderr
    assert "ended after step 4, epoch 2" in done.stderr
    assert "settings: mode head, lr 0.001" in done.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_bytes())["epochs"] == 2

    refused = {
        ("--lr", 0.5): "holds a training with lr 0.001, not 0.5; choose another --out-dir, or --overwrite",
        ("-m", "glip-t"): 'holds a training with model "glip-mini", not "glip-t"',
        ("--epochs", 1): f"--epochs 1: {tmp_path / 'out'} has done 2 already; give more",
    }
    for more, said in refused.items():
        other = resume(tmp_path / "out", *more)
        assert (other.exit_code, said in other.stderr) == (2, True), other.stderr
    assert "holds no training to go on with: check --out-dir, or begin one with --train" in resume(data).stderr

    rows = json.loads((data / "instances.json").read_bytes())
    rows["categories"][0]["name"], rows["categories"][1]["name"] = "first", "second"
    (data / "instances.json").write_text(json.dumps(rows))
    other = resume(tmp_path / "out", "--epochs", 3)
    assert other.exit_code == 2
    assert "began with other data: the classes of instances.json changed; put back what was there" in other.stderr
    assert json.loads((tmp_path / "out" / "run.json").read_bytes())["epochs"] == 2


NO_BOX = "images, and AP needs some: give annotations with boxes, or leave it out"


@pytest.fixture(scope="module")
def trained(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One epoch, with a validation."""
    out = tmp_path_factory.mktemp("trained") / "run"
    assert finetune(scenes, out, "--val", scenes, "--epochs", 1).exit_code == 0
    return out


def edited(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def resaved(path: Path, **values: object) -> None:
    torch.save({**torch.load(path, weights_only=True), **values}, path)


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (lambda folder: edited(folder / "run.json", train=5), "run.json"),
        (lambda folder: edited(folder / "run.json", digests={"train.json": 5}), "run.json"),
        (lambda folder: (folder / "run.json").write_text("["), "run.json"),
        (lambda folder: resaved(folder / "state.pt", watch={"a": 1}), "state.pt"),
        (lambda folder: resaved(folder / "state.pt", weights={}), "state.pt"),
        (lambda folder: resaved(folder / "state.pt", step="x"), "state.pt"),
    ],
)
def test_a_folder_that_is_damaged_is_one_line(
    trained: Path, tmp_path: Path, damage: Callable[[Path], object], name: str
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    damage(folder)
    done = runner.invoke(app, ["finetune", "--resume", "-o", str(folder), "--epochs", "2", "--device", "cpu"])
    assert done.exit_code == 2, done.output
    assert re.search(rf"{name} is damaged( or of another version)?; --overwrite starts over$", done.stderr.strip())


@pytest.mark.parametrize("content", ["cut", "[]", '{"new data": 5}', '{"new data": {"AP": "x"}}'])
def test_what_was_measured_before_is_measured_again_where_its_file_is_damaged(
    trained: Path, tmp_path: Path, content: str
) -> None:
    folder = shutil.copytree(trained, tmp_path / "run")
    before = (folder / "before.json").read_text()
    (folder / "before.json").write_text(content)
    done = runner.invoke(app, ["finetune", "--resume", "-o", str(folder), "--device", "cpu"])
    assert done.exit_code == 0, done.output
    assert json.loads((folder / "before.json").read_text()) == json.loads(before)


@pytest.mark.parametrize("flag", ["--val", "--keep-check"])
@pytest.mark.parametrize("kind", ["empty", "crowds"])
def test_without_a_box_to_measure_on_nothing_begins(scenes: Path, tmp_path: Path, flag: str, kind: str) -> None:
    rows = json.loads(scenes.read_bytes())
    crowds = [{**row, "iscrowd": 1} for row in rows["annotations"]]
    given = scenes.parent / f"{kind}.json"
    given.write_text(json.dumps({**rows, "annotations": crowds if kind == "crowds" else []}))
    done = finetune(scenes, tmp_path, flag, given)
    assert done.exit_code == 2
    assert f"{flag} {given}: no box in its {8 if flag == '--val' else 4} {NO_BOX}" in done.stderr
    assert not (tmp_path / "state.pt").exists()
    assert not (tmp_path / "before.json").exists()


def test_a_yolo_val_without_labels(scenes: Path, tmp_path: Path) -> None:
    (tmp_path / "val" / "images").mkdir(parents=True)
    for image in sorted(scenes.parent.glob("*.png"))[:2]:
        shutil.copy(image, tmp_path / "val" / "images")
    (tmp_path / "data.yaml").write_text("names: [red circle]\nval: val/images\ntrain: val/images\n")
    done = finetune(scenes, tmp_path / "out", "--val", tmp_path / "data.yaml")
    assert done.exit_code == 2
    assert f"--val {tmp_path / 'data.yaml'}: no box in its 2 images, and AP needs some" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_stopped_it_says_the_best_so_far_and_how_to_go_on(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def validated_then_stopped(self: ProgressPrinter, row: dict[str, Any], *more: Any) -> None:
        if "AP" in row:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(ProgressPrinter, "row", validated_then_stopped)
    out = tmp_path / "my run"
    done = finetune(scenes, out, "--val", scenes, "--mode", "head")
    assert done.exit_code == 130, done.output
    last = done.stderr.splitlines()[-1]
    assert re.search(r"^stopped after step 2, epoch 1; best AP \d+\.\d at step 2; to go on: ", last)
    assert last.endswith(f": glip finetune --resume -o '{out}' --device cpu --workers 0")
    assert re.search(r"^data +metric +before +at the best +change$", done.stdout, re.MULTILINE)
    assert re.search(r"^new data \(instances.json, 8 images\) +AP +\d+\.\d +\d+\.\d", done.stdout, re.MULTILINE)


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
def test_stopped_before_the_first_step_it_ends_at_once(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "measure", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    done = finetune(scenes, tmp_path / "out", "--val", scenes)
    assert done.exit_code == 130
    assert not (tmp_path / "out" / "state.pt").exists()
