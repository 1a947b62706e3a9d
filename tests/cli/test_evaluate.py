"""`glip eval` as a person runs it, with the embedded model on drawn scenes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from glip_cli.cli.app import app
from glip_cli.cli.evaluate import ONLY, check_flags
from glip_cli.data.synthetic import Scene, draw_scene
from glip_cli.errors import UsageError
from glip_cli.evaluation import compare
from glip_cli.evaluation.boxes import coco_entries
from glip_cli.evaluation.compare import compare_scores
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.evaluation.odinw import odinw_sets
from glip_cli.evaluation.scenes import coco_of, draw_scenes
from glip_cli.evaluation.scores import coco_scores
from glip_cli.runs.journal import read_records
from tests import forked

KEYS = {"AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current one. Intervals are of few resamplings; tests/evaluation/test_compare.py holds how good they are."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "compare_scores", partial(compare_scores, samples=20))
    return tmp_path


def glip(*arguments: str | Path, model: bool = True) -> Result:
    chosen = ["-m", "glip-mini", "--device", "cpu"] if model else []
    return CliRunner().invoke(app, ["eval", *map(str, arguments), *chosen])


def metrics(out: str = "outputs") -> dict:
    return json.loads(Path(out, "metrics.json").read_text())


def scenes(count: int) -> list[Scene]:
    return [draw_scene(np.random.default_rng((3, i))) for i in range(count)]


def save(folder: Path, drawn: list[Scene], content: dict, name: str = "annotations_without_background.json") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for image, scene in zip(content["images"], drawn, strict=True):
        scene.image.save(folder / image["file_name"])
    (folder / name).write_text(json.dumps(content))


def test_labels_that_the_tokenizer_reads_alike_are_noted_once() -> None:
    gt = draw_scenes(Path("data"), 2, seed=3)
    content = json.loads(gt.read_text())
    for category, name in zip(content["categories"], ("裂纹", "划痕"), strict=False):
        category["name"] = name
    gt.write_text(json.dumps(content))
    result = glip("coco", "--gt", gt, "--no-report")
    assert result.exit_code == 0, result.output
    assert result.stderr.count("note: the model cannot tell these labels apart: '裂纹', '划痕'\n") == 1


def test_coco_scores_what_the_model_finds() -> None:
    gt = draw_scenes(Path("data"), 6, seed=3)
    result = glip("coco", "--gt", gt)
    assert result.exit_code == 0, result.output
    found = metrics()
    assert set(found) >= KEYS
    assert found["AP50"] > 0.05
    assert found["model"].startswith("glip-mini@")
    assert found["protocol"] == "COCO AP"
    assert "6 images" in found["size"]
    for line in ("dataset", "protocol", "model", "settings", "AP50"):
        assert line in result.stdout
    assert "glip-mini@" in Path("outputs/report.html").read_text()
    # the numbers are those of the records, scored by hand
    truth = read_ground_truth(gt)
    ids = [category.id for category in truth.promptable]
    records = list(read_records(Path("outputs/detections/results.jsonl")))
    rows = [row for i, record in enumerate(records) for row in coco_entries(record, truth.images[i].id, ids)]
    assert rows == json.loads(Path("outputs/coco_results.json").read_text())
    assert coco_scores(truth, rows).summary["AP"] == found["AP"]


def test_the_whole_prompt_is_asked_without_a_threshold() -> None:
    glip("coco", "--gt", draw_scenes(Path("data"), 2), "--no-report")
    (record, _) = read_records(Path("outputs/detections/results.jsonl"))
    assert record["labels"] == [
        row["name"] for row in json.loads(Path("data/instances.json").read_text())["categories"]
    ]
    settings = json.loads(Path("outputs/detections/run.json").read_text())
    assert (settings["threshold"], settings["top_k"], settings["chunked_size"]) == (0.0, 100, None)
    assert len(record["detections"]) <= 100
    assert not Path("outputs/report.html").exists()


def test_what_is_asked_may_be_changed() -> None:
    """AP counts 100 boxes of an image and class, so that more of them change nothing where there are no more."""
    gt = draw_scenes(Path("data"), 3, seed=3)
    plain = glip("coco", "--gt", gt, "--no-report", "-o", "plain")
    assert plain.exit_code == 0, plain.output
    assert glip("coco", "--gt", gt, "--no-report", "-o", "more", "--top-k", "300").exit_code == 0
    assert {key: metrics("more")[key] for key in KEYS} == {key: metrics("plain")[key] for key in KEYS}
    result = glip("coco", "--gt", gt, "--no-report", "--max-det", "3", "--nms-iou", ".5", "--chunked-size", "40")
    assert result.exit_code == 0, result.output
    said = "100 boxes per image, but 40 names per prompt, NMS at IoU 0.5, 3 boxes per image; label scores above 0.05"
    assert said in metrics()["settings"]
    records = list(read_records(Path("outputs/detections/results.jsonl")))
    assert max(len(record["detections"]) for record in records) == 3
    settings = json.loads(Path("outputs/detections/run.json").read_text())
    assert (settings["top_k"], settings["nms_iou"], settings["chunked_size"]) == (3, 0.5, 40)
    assert metrics()["AR100"] < metrics("plain")["AR100"]
    assert "holds a run with" in glip("coco", "--gt", gt, "--no-report", "--max-det", "4").stderr


def test_images_are_saved_with_both_kinds_of_boxes() -> None:
    gt = draw_scenes(Path("data"), 2, seed=3)
    result = glip("coco", "--gt", gt, "--save-vis", "--no-report", "-o", "run")
    assert result.exit_code == 0, result.output
    assert "saved run/metrics.json, run/coco_results.json, run/vis\n" in result.stderr
    names = [image["file_name"] for image in json.loads(gt.read_text())["images"]]
    assert sorted(path.name for path in Path("run/vis").iterdir()) == [f"{Path(name).stem}.jpg" for name in names]
    for name in names:
        with Image.open(Path("data", name)) as image, Image.open(Path("run/vis", name).with_suffix(".jpg")) as drawn:
            assert drawn.width > 2 * image.width
            assert drawn.height > image.height
    scored_alone = glip("coco", "--gt", gt, "--dt", "run/coco_results.json", "--save-vis", "-o", "dt", model=False)
    assert scored_alone.exit_code == 0, scored_alone.output
    for path in Path("run/vis").iterdir():
        assert Path("dt/vis", path.name).read_bytes() == path.read_bytes()


def test_a_file_of_results_needs_no_model() -> None:
    gt = draw_scenes(Path("data"), 4, seed=3)
    assert glip("coco", "--gt", gt, "-o", "first").exit_code == 0
    result = glip("coco", "--gt", gt, "--dt", "first/coco_results.json", "-o", "second", model=False)
    assert result.exit_code == 0, result.output
    assert {key: metrics("second")[key] for key in KEYS} == {key: metrics("first")[key] for key in KEYS}
    from_records = glip("coco", "--gt", gt, "--dt", "first/detections/results.jsonl", "-o", "third", model=False)
    assert from_records.exit_code == 0, from_records.output
    assert metrics("third")["AP"] == metrics("first")["AP"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("metrics.json", ["coco", "--gt", "gt.json", "--dt", "dt.json"]),
        ("coco_results.json", ["coco", "--gt", "gt.json", "--dt", "dt.json"]),
        ("coco_images.json", ["coco", "--gt", "gt.json", "--images", "photos"]),
        ("vis/a.jpg", ["coco", "--gt", "gt.json", "--save-vis"]),
        ("report.html", ["lvis-minival", "--gt", "gt.json"]),
        ("metrics.json", ["scenes"]),
        ("scenes/instances.json", ["scenes", "--limit", "1"]),
        ("scenes/00000.png", ["scenes", "--limit", "1"]),
        ("report.html", ["odinw-13", "--data", "data"]),
        ("evalai.json", ["odinw-13", "--data", "data", "--evalai"]),
        ("AerialMaritimeDrone_large/metrics.json", ["odinw-13", "--data", "data"]),
        ("metrics.json", ["flickr30k", "--data", "data"]),
    ],
)
@pytest.mark.parametrize("content", ['{"AP": 0.5, "model": "mine"}', "[1, 2]", ""])
def test_files_that_glip_eval_did_not_write_are_not_replaced(name: str, arguments: list[str], content: str) -> None:
    (odinw_set,) = (one for one in odinw_sets(13) if one.name == "AerialMaritimeDrone_large")
    for path in (Path(name), Path("data", odinw_set.val), Path("data", odinw_set.minival or odinw_set.val)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    result = glip(*arguments, "-o", ".")
    assert result.exit_code == 2, result.output
    assert re.search(f"{name} was not written by glip( eval)?; choose another --out-dir", result.stderr)
    assert Path(name).read_text() == content


def test_what_an_evaluation_left_is_replaced_by_the_next_but_a_report_of_others() -> None:
    gt, dt = truth_and_results(3, 2)
    arguments = ("coco", "--gt", gt, "--dt", dt, "-o", "out")
    for _ in range(2):
        assert glip(*arguments, model=False).exit_code == 0
    Path("out/report.html").write_text("<!doctype html><title>mine</title>")
    assert "out/report.html was not written by glip eval" in glip(*arguments, model=False).stderr
    assert glip(*arguments, "--no-report", model=False).exit_code == 0


@pytest.mark.parametrize(("factor", "shift"), [(100, 0), (20, -10)], ids=["percent", "logits"])
def test_scores_that_are_no_shares_are_scored_by_their_order(factor: float, shift: float) -> None:
    save(Path("data"), scenes(4), coco_of(scenes(4)))
    gt, dt = truth_and_results(4, 3)
    rows = [{**row, "score": 0.9 - 0.01 * i} for i, row in enumerate(json.loads(dt.read_text()))]
    dt.write_text(json.dumps(rows))
    assert glip("coco", "--gt", gt, "--dt", dt, "-o", "shares", model=False).exit_code == 0
    dt.write_text(json.dumps([{**row, "score": factor * row["score"] + shift} for row in rows]))
    result = glip("coco", "--gt", gt, "--dt", dt, "-o", "out", "--images", "data", "--save-vis", model=False)
    assert result.exit_code == 0, result.output
    assert metrics("out")["AP"] == metrics("shares")["AP"] > 0
    assert "scores of results below 0 or above 1: " in result.stderr
    page = Path("out/report.html").read_text()
    assert "No threshold can be chosen: the scores are not from 0 to 1." in page
    assert "The scores are not from 0 to 1, so they say nothing of how many are right." in page
    result = glip("coco", "--gt", gt, "--dt", dt, "-o", "out", "--calibrate", "t.toml", model=False)
    assert (result.exit_code, Path("t.toml").exists()) == (2, False)
    assert "t.toml: not written: the best threshold of" in result.stderr


def test_a_box_that_lies_far_away_is_drawn_far_away() -> None:
    save(Path("data"), scenes(2), coco_of(scenes(2)))
    gt, dt = truth_and_results(2, 2)
    far = {"bbox": [1e300, -1e300, 1e300, 1e300]}
    truth, rows = json.loads(gt.read_text()), json.loads(dt.read_text())
    gt.write_text(
        json.dumps({**truth, "annotations": [*truth["annotations"], {**truth["annotations"][0], **far, "id": 99}]})
    )
    dt.write_text(json.dumps([*rows, {**rows[0], **far, "score": 0.95}]))
    result = glip("coco", "--gt", gt, "--dt", dt, "-o", "out", "--images", "data", "--save-vis", model=False)
    assert result.exit_code == 0, result.output
    assert len(list(Path("out/vis").iterdir())) == 2


def test_what_batch_writes_can_be_scored() -> None:
    gt = draw_scenes(Path("data"), 4, seed=3)
    names = Path("names.txt")
    names.write_text("\n".join(row["name"] for row in json.loads(gt.read_text())["categories"]))
    arguments = [
        "batch",
        "data",
        "-t",
        f"@{names}",
        "--threshold",
        "0",
        "--top-k",
        "100",
        "--format",
        "coco,coco-results",
        "-o",
        "run",
    ]
    done = CliRunner().invoke(app, [*arguments, "-m", "glip-mini", "--device", "cpu"])
    assert done.exit_code == 0, done.output
    glip("coco", "--gt", gt, "-o", "direct", "--no-report")
    for file in ("coco.json", "coco_results.json", "results.jsonl"):
        result = glip("coco", "--gt", gt, "--dt", f"run/{file}", "-o", f"scored {file}", "--no-report", model=False)
        assert result.exit_code == 0, result.output
        assert metrics(f"scored {file}")["AP"] == pytest.approx(metrics("direct")["AP"], abs=1e-9)


def test_scenes_tell_seen_from_held_out_pairs() -> None:
    result = glip("scenes", "--limit", "12")
    assert result.exit_code == 0, result.output
    assert 0 < metrics()["AP50 seen pairs"] <= 1
    held_out = metrics()["AP50 held-out pairs"]
    assert held_out is None or 0 <= held_out <= 1
    assert len(list(Path("outputs/scenes").glob("*.png"))) == 12
    assert "drawn scenes" in result.stdout
    again = glip("scenes", "--limit", "12", "-o", "again", "--compare", "outputs", "--no-report")
    (line,) = (line for line in again.stdout.splitlines() if line.startswith("AP50 seen pairs"))
    assert line.split()[-1] == "+0.0", line


def test_an_evaluation_goes_on_where_it_was() -> None:
    gt = draw_scenes(Path("data"), 5, seed=3)
    glip("coco", "--gt", gt, "--no-report")
    before = metrics()
    journal = Path("outputs/detections/results.jsonl")
    whole = journal.read_bytes()
    journal.write_bytes(whole[: whole.index(b"\n") + 40])  # one record and a torn one
    result = glip("coco", "--gt", gt, "--no-report")
    assert "going on after 1 image" in result.stderr
    assert journal.read_bytes() == whole
    assert metrics() == before
    refused = glip("coco", "--gt", gt, "--size", "200,300")
    assert refused.exit_code == 2
    assert "holds a run with size" in refused.stderr


def test_two_runs_are_compared_with_intervals() -> None:
    gt = draw_scenes(Path("data"), 6, seed=3)
    glip("coco", "--gt", gt, "-o", "a", "--no-report")
    result = glip("coco", "--gt", gt, "-o", "b", "--size", "128,256", "--compare", "a")
    assert result.exit_code == 0, result.output
    assert "before" in result.stdout
    assert ".." in result.stdout, "no interval"
    assert "Comparison" in Path("b/report.html").read_text()
    nothing = glip("coco", "--gt", gt, "-o", "b", "--size", "128,256", "--compare", "none")
    assert nothing.exit_code == 2
    assert "--compare" in nothing.stderr


def test_calibrated_thresholds_are_taken_by_detect() -> None:
    gt = draw_scenes(Path("data"), 12, seed=3)
    result = glip("coco", "--gt", gt, "--calibrate", "thresholds.toml", "--no-report")
    assert result.exit_code == 0, result.output
    import tomllib

    chosen = tomllib.loads(Path("thresholds.toml").read_text())["thresholds"]
    content = json.loads(gt.read_text())
    assert list(chosen) == [row["name"] for row in content["categories"]], "those without a box too"
    label = content["categories"][content["annotations"][0]["category_id"] - 1]["name"]
    threshold = chosen[label]
    detect = ["detect", "data", "-t", f"{label} . never seen .", "--thresholds", "thresholds.toml", "--json",
              "--threshold", "0.99", "--no-save-vis", "--no-save-pred",
              "-m", "glip-mini", "--device", "cpu"]  # fmt: skip
    shown = CliRunner().invoke(app, detect)
    assert shown.exit_code == 0, shown.output
    scores = [d["score"] for line in shown.stdout.splitlines() for d in json.loads(line)["detections"]]
    assert scores
    assert min(scores) > threshold
    assert "was measured with" not in shown.stderr
    path = Path("thresholds.toml")
    path.write_text(path.read_text().replace('model = "glip-mini@', 'model = "glip-other@'))
    shown = CliRunner().invoke(app, detect)
    assert 'note: thresholds.toml was measured with "glip-other@' in shown.stderr
    other = CliRunner().invoke(app, [*detect[:3], "zebra", *detect[4:]])
    assert other.exit_code == 2
    assert "none of its labels is asked for" in other.stderr


def test_lvis_asks_forty_names_at_a_time() -> None:
    drawn = scenes(4)
    content = coco_of(drawn)
    for image in content["images"]:
        there = {row["category_id"] for row in content["annotations"] if row["image_id"] == image["id"]}
        image |= {"neg_category_ids": [c for c in range(1, 31) if c not in there], "not_exhaustive_category_ids": []}
        image["coco_url"] = f"http://images.cocodataset.org/val2017/{image['file_name']}"
    for i, row in enumerate(content["categories"]):
        row |= {"frequency": "rcf"[i % 3]}
    save(Path("coco/val2017"), drawn, content)
    for image in content["images"]:
        del image["file_name"]
    Path("lvis.json").write_text(json.dumps(content))
    result = glip("lvis-minival", "--gt", "lvis.json", "--images", "coco")
    assert result.exit_code == 0, result.output
    assert metrics()["protocol"] == "LVIS Fixed AP"
    assert {"AP", "APr", "APc", "APf"} <= set(metrics())
    settings = json.loads(Path("outputs/detections/run.json").read_text())
    assert (settings["chunked_size"], settings["per_text"], settings["top_k"]) == (40, 300, None)
    capped = glip("lvis-minival", "--gt", "lvis.json", "--images", "coco", "--capped", "-o", "capped")
    assert capped.exit_code == 0, capped.output
    assert metrics("capped")["protocol"] == "LVIS AP"
    packed = glip("lvis-minival", "--gt", "lvis.json", "--images", "coco", "--packed", "-o", "packed")
    assert packed.exit_code == 0, packed.output
    assert "as many names as fit" in packed.stdout
    assert json.loads(Path("packed/detections/run.json").read_text())["chunked_size"] is None
    both = glip("lvis-minival", "--gt", "lvis.json", "--images", "coco", "--packed", "--capped", "-o", "both")
    assert both.exit_code == 2


def test_odinw_runs_what_is_there_and_names_what_is_not() -> None:
    drawn = scenes(3)
    for one in odinw_sets(13)[:2]:
        content = coco_of(drawn)
        names = [{"id": i + 1, "name": f"class {i}"} for i in range(len(one.labels))]
        content["annotations"] = [row | {"category_id": 1 + row["id"] % len(names)} for row in content["annotations"]]
        path = Path("DATASET", one.file("official"))
        save(path.parent, drawn, content | {"categories": names}, path.name)
    result = glip("odinw-13", "--data", "DATASET", "--evalai", "--no-report")
    assert result.exit_code == 0, result.output
    assert "average over 2 of 13 sets; absent:" in result.stdout
    assert "AerialDrone" in result.stdout
    found = metrics()
    assert found["average"] == pytest.approx(np.mean([found["AP AerialDrone"], found["AP Aquarium"]]), abs=2e-3)
    assert len(json.loads(Path("outputs/evalai.json").read_text())) == 2
    first = next(read_records(Path("outputs", odinw_sets(13)[1].name, "detections/results.jsonl")))
    assert first["labels"] == list(odinw_sets(13)[1].labels)
    with_report = glip("odinw-13", "--data", "DATASET", "--limit", "2", "-o", "limited")
    assert with_report.exit_code == 0, with_report.output
    assert Path("limited/report.html").exists()
    nowhere = glip("odinw-35", "--data", "coco")
    assert nowhere.exit_code == 2
    assert "none of the sets of ODinW-35" in nowhere.stderr


def flickr(folder: Path) -> None:
    """Two scenes, one sentence each that names all of its things."""
    for name in ("Sentences", "Annotations"):
        (folder / "flickr30k" / name).mkdir(parents=True)
    (folder / "flickr30k_images").mkdir()
    for number, scene in enumerate(scenes(2)):
        words, objects = [], []
        for chain, thing in enumerate(scene.things, 1):
            words.append(f"[/EN#{chain}/other a {thing.colour} {thing.shape}]")
            box = "".join(
                f"<{k}>{int(v)}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), thing.box, strict=True)
            )
            objects.append(f"<object><name>{chain}</name><bndbox>{box}</bndbox></object>")
        (folder / f"flickr30k/Sentences/{number}.txt").write_text(" and ".join(words) + " .\n")
        size = "<size><width>160</width><height>160</height><depth>3</depth></size>"
        (folder / f"flickr30k/Annotations/{number}.xml").write_text(
            f"<annotation>{size}{''.join(objects)}</annotation>"
        )
        scene.image.save(folder / f"flickr30k_images/{number}.jpg", quality=95)
    (folder / "flickr30k/val.txt").write_text("0\n1\n")


def test_flickr_grounds_the_phrases_of_sentences() -> None:
    flickr(Path("data"))
    result = glip("flickr30k", "--data", "data", "--split", "val")
    assert result.exit_code == 0, result.output
    found = metrics()
    assert found["phrases"]["all"] == sum(len(scene.things) for scene in scenes(2))
    assert (
        0 <= found["Recall@1_all"] <= found["Recall@5_all"] <= found["Recall@10_all"] <= found["Upper_bound_all"] <= 1
    )
    assert found["Upper_bound_all"] > 0.5
    Path("data/flickr30k_images/1.jpg").write_bytes(b"not an image")
    damaged = glip("flickr30k", "--data", "data", "--split", "val", "-o", "damaged")
    assert damaged.exit_code == 3
    assert metrics("damaged")["failed"] == "1 of 2 sentences, scored as nothing found: 1#0"
    scenes(2)[1].image.save("data/flickr30k_images/1.jpg", quality=95)
    merged = glip("flickr30k", "--data", "data", "--split", "val", "--merged", "-o", "merged")
    assert metrics("merged")["protocol"] == "merged boxes"
    assert merged.exit_code == 0, merged.output


def test_two_processes_give_what_one_gives() -> None:
    """With one thread each: sums in another order differ in the last digits."""
    gt = draw_scenes(Path("data"), 5, seed=3)
    words = ["eval", "coco", "--gt", gt, "--no-report", "-m", "glip-mini", "--device", "cpu", "-o"]
    one = forked.run([*words, "one"])
    assert one.returncode == 0, one.stderr
    ranks = [{"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2"} for rank in "01"]  # as torchrun says it
    two = [forked.start([*words, "two"], env=forked.CLEAN | rank) for rank in ranks]
    assert [process.wait() for process in two] == [0, 0], [process.stderr for process in two]
    assert Path("two/detections/results.jsonl").read_bytes() == Path("one/detections/results.jsonl").read_bytes()
    assert {key: metrics("two")[key] for key in KEYS} == {key: metrics("one")[key] for key in KEYS}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["imagenet"], "there are coco, lvis-minival"),
        (["coco"], "needs --gt FILE"),
        (["odinw-13"], "needs --data DIR"),
        (["coco", "--gt", "none.json"], "none.json"),
        (["scenes", "--dt", "x.json"], "--dt is for coco and lvis"),
    ],
)
def test_what_is_missing_is_said_in_one_line(arguments: list[str], said: str) -> None:
    result = glip(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_missing_images_are_refused_or_left_out() -> None:
    gt = draw_scenes(Path("data"), 4, seed=3)
    Path("data/00002.png").unlink()
    refused = glip("coco", "--gt", gt)
    assert refused.exit_code == 2
    assert "instances.json: 1 of 4 images are missing, first 00002.png: no such file in data; " in refused.stderr
    result = glip("coco", "--gt", gt, "--skip-missing")
    assert result.exit_code == 0, result.output
    assert "note: 1 missing image left out, first 00002.png: no such file in data" in result.stderr
    assert "3 images" in metrics()["size"]


def test_an_image_that_cannot_be_read_counts_as_nothing_found() -> None:
    gt = draw_scenes(Path("data"), 3, seed=3)
    Path("data/00001.png").write_bytes(b"not an image")
    result = glip("coco", "--gt", gt)
    assert result.exit_code == 3
    assert "00001.png" in result.stderr
    assert "failed    1 of 3 images, scored as nothing found: 00001.png" in result.stdout
    found = metrics()
    assert "3 images" in found["size"]
    assert found["images"] == {"number": 3, "failed": ["00001.png"], "absent": []}
    assert "1 of 3 images, scored as nothing found: 00001.png" in Path("outputs/report.html").read_text()
    listed = json.loads(Path("outputs/coco_images.json").read_text())
    assert [image["file_name"] for image in listed["images"]] == ["00000.png", "00002.png"]


def test_images_of_twice_the_size_are_scored_with_one_note() -> None:
    gt = draw_scenes(Path("data"), 2, seed=3)
    glip("coco", "--gt", gt, "-o", "stated", "--no-report")
    Path("large").mkdir()
    for path in Path("data").glob("*.png"):
        with Image.open(path) as image:
            image.resize((320, 320)).save(Path("large", path.name))
    result = glip("coco", "--gt", gt, "--images", "large", "-o", "twice")
    assert result.exit_code == 0, result.output
    note = (
        "images of another size than stated; their boxes are scaled or turned to match: 2, first "
        "00000.png: 320 x 320, stated 160 x 160 (kept)"
    )
    assert [line for line in result.stderr.splitlines() if line.startswith("note")] == [f"note: {note}"]
    assert metrics("twice")["notes"] == [note]
    assert note in Path("twice/report.html").read_text()
    # the model resizes them itself, to nearly the same pixels
    assert metrics("twice")["AP"] == pytest.approx(metrics("stated")["AP"], abs=0.05)
    assert metrics("stated")["AP"] > 0.5
    again = glip("coco", "--gt", gt, "--dt", "twice/detections/results.jsonl", "-o", "again", model=False)
    assert again.exit_code == 0, again.output
    assert metrics("again")["AP"] == metrics("twice")["AP"]
    assert metrics("again")["notes"] == [note]


def truth_and_results(count: int, found: int, folder: str = "data") -> tuple[Path, Path]:
    """Annotations of `count` drawn scenes, all things of one class; the boxes of the first `found` as results."""
    gt = Path(folder, "instances.json")
    gt.parent.mkdir(exist_ok=True)
    content = coco_of(scenes(count))
    content["categories"] = [{"id": 1, "name": "thing"}]
    for row in content["annotations"]:
        row["category_id"] = 1
    gt.write_text(json.dumps(content))
    keys = ("image_id", "category_id", "bbox")
    rows = [{key: row[key] for key in keys} | {"score": 0.9} for row in content["annotations"]]
    dt = Path(folder, f"first-{found}.json")
    dt.write_text(json.dumps([row for row in rows if row["image_id"] <= found]))
    return gt, dt


def first_images(gt: Path, count: int) -> Path:
    """The same annotations of the first images alone, in a file of the same name."""
    content = json.loads(gt.read_text())
    content["images"] = content["images"][:count]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] <= count]
    path = Path(f"first-{count}", gt.name)
    path.parent.mkdir()
    path.write_text(json.dumps(content))
    return path


def scored(gt: Path, dt: Path, out: str, *more: str) -> Result:
    return glip("coco", "--gt", gt, "--dt", dt, "-o", out, "--no-report", *more, model=False)


def test_runs_of_other_images_are_compared_on_those_that_both_have() -> None:
    gt, all_right = truth_and_results(8, 8)
    half = truth_and_results(8, 2)[1]
    some = first_images(gt, 4)
    assert scored(gt, half, "before").exit_code == 0
    Path("few.json").write_text(json.dumps([r for r in json.loads(all_right.read_text()) if r["image_id"] <= 4]))
    result = scored(some, Path("few.json"), "now", "--compare", "before")
    assert result.exit_code == 0, result.output
    assert "note: compared on the 4 images that both runs have; before 8, now 4" in result.stderr
    assert result.stdout.splitlines()[4].split() == ["measured", "now,", "same", "images", "before", "change"]
    # before: half of the boxes of the four, and none of the other four, which do not count
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("AR100"))
    before = coco_scores(read_ground_truth(some), json.loads(half.read_text())).summary["AR100"]
    assert line.split()[1:4] == ["100.0", "100.0", f"{100 * before:.1f}"]
    assert ".." in line
    back = scored(gt, half, "back", "--compare", "now")
    assert back.exit_code == 0, back.output
    assert "note: compared on the 4 images that both runs have; before 4, now 8" in back.stderr


def test_ids_that_are_text_are_those_of_the_results_too() -> None:
    gt, dt = truth_and_results(3, 2)
    for path in (gt, dt):
        content = json.loads(path.read_text())
        for row in content["images"] if path == gt else []:
            row["id"] = f"img_{row['id']}"
        for row in content["annotations"] if path == gt else content:
            row["image_id"] = f"img_{row['image_id']}"
        path.write_text(json.dumps(content))
    assert scored(gt, dt, "first").exit_code == 0
    assert 0.5 < metrics("first")["AP"] < 1
    assert json.loads(Path("first/coco_results.json").read_text())[0]["image_id"] == "img_1"
    again = scored(gt, Path("first/coco_results.json"), "again", "--compare", "first")
    assert again.exit_code == 0, again.output
    assert metrics("again")["AP"] == metrics("first")["AP"]
    assert "note" not in again.stderr


def test_a_limit_holds_for_a_file_of_results_too() -> None:
    gt, half = truth_and_results(4, 2)
    assert scored(gt, half, "all").exit_code == 0
    assert metrics("all")["AP"] < 1
    assert scored(gt, half, "some", "--limit", "2").exit_code == 0
    assert (metrics("some")["AP"], metrics("some")["images"]["number"]) == (1, 2)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dataset": "other.json"}, "its dataset is other.json, here it is instances.json"),
        ({"protocol": "LVIS AP"}, "its protocol is LVIS AP, here it is COCO AP"),
        ({"images": "others"}, "its image 1 is other.png, here it is 00000.png"),
        ({"images": "none"}, "its images are all others"),
        ({"classes": "others"}, "its classes are others"),
        ({"no list": ""}, "its size is 9 images, here it is 3 images, "),
        ({"no results": ""}, "its size is 9 images, here it is 3 images, "),
    ],
)
def test_runs_that_cannot_be_compared_are_refused_in_one_line(change: dict[str, str], said: str) -> None:
    gt, dt = truth_and_results(3, 3)
    assert scored(gt, dt, "before").exit_code == 0
    facts, listed = metrics("before"), json.loads(Path("before/coco_images.json").read_text())
    if "images" in change:
        listed["images"] = [{"id": 1 if change["images"] == "others" else 99, "file_name": "other.png"}]
    if "classes" in change:
        listed["categories"][0]["name"] = "zebra"
    if "no list" in change:
        Path("before/coco_images.json").unlink()
    else:
        Path("before/coco_images.json").write_text(json.dumps(listed))
    if "no results" in change:
        Path("before/coco_results.json").unlink()
    facts |= {key: change[key] for key in ("dataset", "protocol") if key in change}
    if said.startswith("its size"):
        facts["size"] = "9 images"
    Path("before/metrics.json").write_text(json.dumps(facts))
    result = scored(gt, dt, "now", "--compare", "before")
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
    assert not Path("now/metrics.json").exists()


def test_what_cannot_be_measured_is_no_number() -> None:
    gt, _ = truth_and_results(2, 2)
    content = json.loads(gt.read_text())
    gt.write_text(json.dumps(content | {"annotations": []}))
    dt = Path("nothing.json")
    dt.write_text("[]")
    result = scored(gt, dt, "outputs")
    assert result.exit_code == 0, result.output
    found = metrics()
    assert {found[key] for key in KEYS} == {None}
    assert {(one["AP"], one["AP50"]) for one in found["classes"]} == {(None, None)}
    assert [line.split()[1] for line in result.stdout.splitlines() if line.startswith("A")] == ["-"] * len(KEYS)
    assert "note: no box in the ground truth, so there is nothing to find" in result.stderr
    gt.write_text(json.dumps(content | {"annotations": [{**row, "iscrowd": 1} for row in content["annotations"]]}))
    crowds = scored(gt, dt, "crowds")
    assert "note: no box but of crowds in the ground truth, so there is nothing to find" in crowds.stderr
    with_report = glip("coco", "--gt", gt, "--dt", dt, model=False)
    assert with_report.exit_code == 0, with_report.output
    assert "-100" not in Path("outputs/report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["flickr30k", "--data", "d", "--compare", "x"],
            "--compare is for coco, lvis and scenes, not for flickr30k",
        ),
        (
            ["odinw-13", "--data", "d", "--calibrate", "x"],
            "--calibrate is for coco, lvis and scenes, not for odinw-13",
        ),
        (["coco", "--gt", "x.json", "--merged"], "--merged is for flickr30k, not for coco"),
        (
            ["flickr30k", "--data", "d", "--max-det", "5"],
            "--max-det is for coco, lvis, scenes and odinw, not for flickr",
        ),
        (["odinw-13", "--data", "d", "-s", "5"], "--chunked-size is for coco, lvis and scenes, not for odinw-13"),
        (["flickr30k", "--data", "d", "--save-vis"], "--save-vis is for coco, lvis, scenes and odinw, not for flickr"),
        (
            ["coco", "--gt", "x.json", "--dt", "y.json", "--max-det", "5"],
            "--max-det does not go with --dt, for which no",
        ),
        (
            ["coco", "--gt", "x.json", "--dt", "y.json", "--onnx", "z.onnx"],
            "--onnx does not go with --dt, for which no",
        ),
        (["coco", "--gt", "x.json", "--onnx", "z.onnx"], "--onnx does not go with --model: leave one of them out"),
        (["coco", "--gt", "x.json", "--dt", "y.json", "--skip-missing"], "--skip-missing does not go with --dt"),
    ],
)
def test_flags_that_would_do_nothing_are_refused(arguments: list[str], said: str) -> None:
    result = glip(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def as_voc(folder: Path, content: dict) -> None:
    names = {row["id"]: row["name"] for row in content["categories"]}
    for image in content["images"]:
        rows = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        things = "".join(
            f"<object><name>{name}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + width}</xmax>"
            f"<ymax>{y + height}</ymax></bndbox></object>"
            for name, (x, y, width, height) in ((names[row["category_id"]], row["bbox"]) for row in rows)
        )
        path = folder / f"{Path(image['file_name']).stem}.xml"
        path.write_text(f"<annotation><filename>{image['file_name']}</filename>{things}</annotation>")


def as_yolo(folder: Path, content: dict) -> None:
    sizes = {image["id"]: (image["width"], image["height"]) for image in content["images"]}
    stems = {image["id"]: Path(image["file_name"]).stem for image in content["images"]}
    for row in content["annotations"]:
        (width, height), (x, y, w, h) = sizes[row["image_id"]], row["bbox"]
        line = f"{row['category_id']} {(x + w / 2) / width} {(y + h / 2) / height} {w / width} {h / height}\n"
        with (folder / f"{stems[row['image_id']]}.txt").open("a") as stream:
            stream.write(line)
    names = {row["id"]: row["name"] for row in content["categories"]}
    (folder / "data.yaml").write_text(f"test: .\nnames: {json.dumps(names)}")


def as_csv(folder: Path, content: dict) -> None:
    files = {image["id"]: image["file_name"] for image in content["images"]}
    names = {row["id"]: row["name"] for row in content["categories"]}
    lines = ["filename,class,xmin,ymin,xmax,ymax"]
    for row in content["annotations"]:
        x, y, width, height = row["bbox"]
        lines.append(f"{files[row['image_id']]},{names[row['category_id']]},{x},{y},{x + width},{y + height}")
    (folder / "_annotations.csv").write_text("\n".join(lines))


def as_labelimg(folder: Path, content: dict) -> None:
    as_yolo(folder, content)
    (folder / "data.yaml").unlink()
    names = {row["id"]: row["name"] for row in content["categories"]}
    (folder / "classes.txt").write_text("".join(f"{names.get(i, 'none')}\n" for i in range(max(names) + 1)))


def as_labelme(folder: Path, content: dict) -> None:
    names = {row["id"]: row["name"] for row in content["categories"]}
    for image in content["images"]:
        boxes = [(names[row["category_id"]], row["bbox"]) for row in content["annotations"]
                 if row["image_id"] == image["id"]]  # fmt: skip
        shapes = [{"label": name, "shape_type": "rectangle", "points": [[x, y], [x + width, y + height]]}
                  for name, (x, y, width, height) in boxes]  # fmt: skip
        path = folder / f"{Path(image['file_name']).stem}.json"
        path.write_text(json.dumps({"shapes": shapes, "imagePath": image["file_name"]}))


def as_imagefolder(folder: Path, content: dict) -> None:
    names = {row["id"]: row["name"] for row in content["categories"]}
    lines = []
    for image in content["images"]:
        rows = [row for row in content["annotations"] if row["image_id"] == image["id"]]
        objects = {"bbox": [row["bbox"] for row in rows], "categories": [names[row["category_id"]] for row in rows]}
        lines.append(json.dumps({"file_name": image["file_name"], "objects": objects}))
    (folder / "metadata.jsonl").write_text("\n".join(lines))


@pytest.mark.parametrize("write", [as_voc, as_yolo, as_csv, as_labelimg, as_labelme, as_imagefolder])
def test_other_formats_of_annotations_are_the_same_ground_truth(write: Callable[[Path, dict], None]) -> None:
    gt = draw_scenes(Path("data"), 3, seed=3)
    content = json.loads(gt.read_text())
    results = [{**row, "score": 0.9 - i / 100} for i, row in enumerate(content["annotations"][::2])]
    (folder := Path("set", "test")).mkdir(parents=True)
    for image in content["images"]:
        (folder / image["file_name"]).symlink_to(Path("data", image["file_name"]).resolve())
    write(folder, content)
    by_name = {row["id"]: row["name"] for row in content["categories"]}
    records = [
        {"schema": "glip/1", "image": image["file_name"], "width": image["width"], "height": image["height"],
         "detections": [{"label": by_name[row["category_id"]], "score": row["score"], "box": edges(row["bbox"])}
                        for row in results if row["image_id"] == image["id"]]}
        for image in content["images"]
    ]  # fmt: skip
    Path("results.jsonl").write_text("\n".join(map(json.dumps, records)))
    plain = glip("coco", "--gt", gt, "--dt", "results.jsonl", "-o", "plain", "--no-report", model=False)
    assert plain.exit_code == 0, plain.output
    split = ["--split", "test"]
    for path, more in ((Path("set"), split), (folder, split if write is as_yolo else [])):
        done = glip("coco", "--gt", path, "--dt", "results.jsonl", "--no-report", *more, model=False)
        assert done.exit_code == 0, done.output
        assert {key: metrics()[key] for key in KEYS} == {key: metrics("plain")[key] for key in KEYS}


@pytest.mark.parametrize("write", [as_labelimg, as_imagefolder])
def test_names_of_ones_own_in_every_format(write: Callable[[Path, dict], None]) -> None:
    """What is read for a class is the other word, so that as much is found."""
    gt = draw_scenes(Path("data"), 2, seed=3)
    content = json.loads(gt.read_text())
    gt.unlink()
    typed = content["categories"][content["annotations"][0]["category_id"] - 1]
    write(Path("data"), content)
    plain = glip("coco", "--gt", "data", "--no-report", "-o", "plain")
    assert plain.exit_code == 0, plain.output
    Path("words.json").write_text(json.dumps({"my thing": typed["name"]}))
    words, typed["name"] = f"'{typed['name']} = my thing'", "my thing"
    for path in Path("data").glob("*.txt"):
        path.unlink()
    write(Path("data"), content)
    done = glip("coco", "--gt", "data", "--words", "words.json", "--no-report")
    assert done.exit_code == 0, done.output
    assert metrics()["words"] == words
    assert {key: metrics()[key] for key in KEYS} == {key: metrics("plain")[key] for key in KEYS}
    assert metrics()["AP"] > 0.2


def edges(bbox: list[float]) -> dict[str, float]:
    x, y, width, height = bbox
    return {"xmin": x, "ymin": y, "xmax": x + width, "ymax": y + height}


def test_a_split_of_a_file_that_has_none() -> None:
    gt = draw_scenes(Path("data"), 1, seed=3)
    done = glip("coco", "--gt", gt, "--dt", "x.json", "--split", "val", model=False)
    assert done.exit_code == 2
    assert "--split chooses a part of a folder or data.yaml" in done.stderr


def test_flags_that_do_something_are_not_refused() -> None:
    none = dict.fromkeys(ONLY)
    check_flags("coco", none | {"gt": "data.yaml", "split": "test", "images": "x", "dt": "y", "compare": "z"})
    check_flags("lvis-val", none | {"gt": "x", "capped": True, "skip_missing": True, "calibrate": "y"})
    check_flags("odinw-13", none | {"data": "x", "split": "val", "evalai": True, "skip_missing": True})
    check_flags("flickr30k", none | {"data": "x", "split": "val", "images": "y", "merged": True})
    with pytest.raises(UsageError, match="--nms-iou is for coco, lvis, scenes and odinw, not for flickr30k"):
        check_flags("flickr30k", none | {"data": "x", "nms_iou": 0.0})
