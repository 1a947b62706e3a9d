"""`Detector.features` and `glip features`: what the network makes of an image, where it lies, and how it is kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from glip_cli import Detector
from glip_cli.cli.app import app
from glip_cli.data.synthetic import Scene, draw_scene
from glip_cli.errors import OutOfMemoryError, PromptError, UsageError
from glip_cli.inference.feature_extractor import Extractor
from glip_cli.inference.features import Features, ImageMeta, read, save, tensors_of
from glip_cli.inference.preprocess import collate, preprocess, resized_size, same_shape_batches
from glip_cli.options import KINDS, DetectOptions, FeatureOptions
from glip_cli.runs import features as bulk
from tests import forked
from tests.test_photographs import FOLDER

PROMPT = "red circle . star . small blue heart ."
ROUNDING = 1e-4  # float32 in another order of operations


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load("glip-mini", device="cpu")


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    """300x210 becomes 228x160 and is padded to 256x160."""
    return draw_scene(np.random.default_rng(5), 300, 210).image


@pytest.fixture(scope="module")
def found(detector: Detector, scene: Image.Image) -> Features:
    return detector.features(scene, PROMPT, which=KINDS)


def close(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, atol=ROUNDING, rtol=ROUNDING)


# --- they are the network's


def test_they_are_what_the_stages_of_the_network_give(detector: Detector, scene: Image.Image, found: Features) -> None:
    model, seen = detector.model, {}
    modules = {"backbone": model.backbone, "fpn": model.fpn, "fused": model.head.tower[-1]}
    hooks = [
        module.register_forward_hook(lambda _m, _i, output, kind=kind: seen.__setitem__(kind, output))
        for kind, module in modules.items()
    ]
    ids = detector.compile_prompt(PROMPT, DetectOptions()).chunks[0].tokens.ids
    row = torch.tensor([[*ids, 0, 0, 0]])
    with torch.no_grad():
        raw = model(collate([preprocess(scene, 160, 320)]), row, torch.arange(row.shape[1])[None] < len(ids))
    for hook in hooks:
        hook.remove()
    seen["fused"], hidden = seen["fused"]
    for kind, maps in seen.items():
        mine = list(getattr(found, kind).values())
        assert len(mine) == len(maps)
        for level, expected in zip(mine, maps, strict=True):
            close(level, expected[0, :, : level.shape[1], : level.shape[2]])
    close(found.fused_text, hidden[0, : len(ids)])
    # rows of the image's own columns: every row of the padded maps, but those right of the image
    levels = zip(raw.sizes, found.meta.sizes, strict=True)
    inside = torch.cat([(torch.arange(width) < w).repeat(height) for (height, width), (_, w) in levels])
    close(found.logits, raw.logits[0, inside, : len(ids)])
    close(found.centerness, raw.centerness[0, inside].sigmoid())


def test_detections_can_be_made_of_them(detector: Detector) -> None:
    """A detection is a row: its box, and the root of similarity times centerness."""
    scene = draw_scene(np.random.default_rng(5), 300, 210)
    labels = [" ".join(thing.pair) for thing in scene.things]
    detections = detector(scene.image, labels, threshold=0.1)
    found = detector.features(scene.image, labels, which=("similarity",))
    assert len(detections) >= len(scene.things) - 1 >= 1
    scores = (found.similarity * found.centerness[:, None]).sqrt()
    for box, score, label in zip(detections.boxes, detections.scores, detections.label_ids, strict=True):
        row = (found.boxes - torch.tensor(box)).abs().amax(1).argmin()
        torch.testing.assert_close(found.boxes[row], torch.tensor(box), atol=0.01, rtol=0)
        assert float(scores[row, label]) == pytest.approx(float(score), abs=1e-4)


def test_similarity_is_the_mean_of_a_labels_tokens(found: Features) -> None:
    assert found.labels == ("red circle", "star", "small blue heart")
    assert found.tokens == ("[CLS]", "red", "circle", ".", "star", ".", "small", "blue", "heart", "[SEP]")
    probabilities = found.logits.sigmoid()
    for label, places in enumerate(((1, 2), (4,), (6, 7, 8))):
        assert found.label_tokens[label] == places
        close(found.similarity[:, label], probabilities[:, list(places)].mean(1))


def test_shapes_and_strides(found: Features) -> None:
    assert found.meta == ImageMeta((300, 210), (228, 160), (256, 160), (228 / 300, 160 / 210))
    assert {k: tuple(v.shape) for k, v in found.backbone.items()} == {
        "C3": (64, 20, 29), "C4": (128, 10, 15), "C5": (256, 5, 8)}  # fmt: skip
    pyramid = {"P3": (96, 20, 29), "P4": (96, 10, 15), "P5": (96, 5, 8), "P6": (96, 3, 4), "P7": (96, 2, 2)}
    assert {k: tuple(v.shape) for k, v in found.fpn.items()} == pyramid
    assert {k: tuple(v.shape) for k, v in found.fused.items()} == pyramid
    rows = 20 * 29 + 10 * 15 + 5 * 8 + 3 * 4 + 2 * 2
    assert found.similarity.shape == (rows, 3)
    assert found.boxes.shape == found.meta.anchors.shape == (rows, 4)
    assert all(x.dtype == torch.float32 and x.is_contiguous() for x in tensors_of(found).values())


def test_a_batch_changes_nothing(detector: Detector) -> None:
    scenes = [draw_scene(np.random.default_rng(i), *size).image for i, size in
              enumerate([(160, 160), (160, 160), (160, 160), (230, 160), (160, 160)])]  # fmt: skip
    together = detector.features(scenes, PROMPT, batch_size=3)
    for image, one in zip(scenes, together, strict=True):
        alone = detector.features(image, PROMPT)
        assert alone.meta == one.meta
        for name, tensor in tensors_of(alone).items():
            close(tensors_of(one)[name], tensor)


def test_maps_before_the_text_do_not_depend_on_it_and_fused_ones_do(
    detector: Detector, scene: Image.Image, found: Features
) -> None:
    other = detector.features(scene, "moon . ring .")
    close(other.fpn["P4"], found.fpn["P4"])
    assert (other.fused["P4"] - found.fused["P4"]).abs().max() > 100 * ROUNDING


def test_a_probe_can_be_trained_on_them(detector: Detector, scene: Image.Image) -> None:
    pooled = detector.features(scene, PROMPT, pool="mean", which=("backbone", "text"))
    probe = torch.nn.Linear(256, 2)
    probe(pooled.backbone["C5"]).sum().backward()
    assert torch.equal(probe.weight.grad[0], pooled.backbone["C5"])
    pooled.text.requires_grad_().sum().backward()


def test_pooling_is_the_mean_over_the_images_cells(detector: Detector, scene: Image.Image, found: Features) -> None:
    pooled = detector.features(scene, PROMPT, pool="mean")
    for kind in ("backbone", "fpn", "fused"):
        for level, expected in getattr(found, kind).items():
            close(getattr(pooled, kind)[level], expected.mean((1, 2)))
    close(pooled.similarity, found.similarity)


# --- where they lie


@given(st.integers(1, 3000), st.integers(1, 3000))
def test_every_cell_holds_some_of_the_image_and_none_is_missing(width: int, height: int) -> None:
    resized = resized_size((width, height), 160, 320)
    meta = ImageMeta((width, height), resized, (320, 320), (resized[0] / width, resized[1] / height))
    for stride, (h, w) in zip((8, 16, 32, 64, 128), meta.sizes, strict=True):
        assert (w - 1) * stride < resized[0] <= w * stride
        assert (h - 1) * stride < resized[1] <= h * stride
    assert len(meta.centres) == sum(h * w for h, w in meta.sizes)


def test_places_computed_by_hand() -> None:
    meta = ImageMeta((40, 20), (20, 10), (32, 32), (0.5, 0.5))
    assert meta.sizes == ((2, 3), (1, 2), (1, 1), (1, 1), (1, 1))
    assert meta.centres[:9].tolist() == [[8, 8], [24, 8], [40, 8], [8, 24], [24, 24], [40, 24], [16, 16], [48, 16],
                                          [32, 32]]  # fmt: skip
    assert meta.anchors[1].tolist() == [24 - 64, 8 - 64, 24 + 64, 8 + 64]  # 64 px wide when resized


def lone_circles() -> Iterator[Scene]:
    """Scenes with one red circle, not a small one, of several sizes."""
    for seed in range(400):
        scene = draw_scene(np.random.default_rng(seed), 160 + seed % 3 * 60, 160 + seed % 5 * 30)
        if [thing.size for thing in scene.things if thing.pair == ("red", "circle")] == ["big"]:
            yield scene


def test_the_row_that_fits_red_circle_best_lies_in_the_red_circle(detector: Detector) -> None:
    for number, scene in enumerate(islice(lone_circles(), 10)):
        features = detector.features(scene.image, ["star", "red circle"], which=("similarity",))
        (box,) = (thing.box for thing in scene.things if thing.pair == ("red", "circle"))
        row = features.similarity[:, 1].argmax()
        x, y = features.meta.centres[row].tolist()
        assert box[0] < x < box[2], number
        assert box[1] < y < box[3], number


# --- what is asked


def test_only_what_is_asked_for(detector: Detector, scene: Image.Image) -> None:
    assert list(tensors_of(detector.features(scene))) == [
        *(f"backbone.C{i}" for i in (3, 4, 5)), *(f"fpn.P{i}" for i in (3, 4, 5, 6, 7))]  # fmt: skip
    names = {kind: set(tensors_of(detector.features(scene, PROMPT, which=(kind,)))) for kind in KINDS}
    places = {"boxes", "centerness", "centres", "anchors"}
    assert names["similarity"] == {"similarity"} | places
    assert names["logits"] == {"logits"} | places
    assert names["text"] == {"text.encoded", "text.fused"}
    assert names["fused"] == {f"fused.P{i}" for i in (3, 4, 5, 6, 7)}


@pytest.mark.parametrize(
    ("options", "prompt", "message"),
    [
        ({"which": ("fpm",)}, None, "which fpm: there are backbone, fpn, fused"),
        ({"which": ()}, None, r"which \(\): it names nothing"),
        ({"which": ("fpn", "fused")}, None, "which fused: it depends on a text: say what to look for"),
        ({"pool": "max"}, None, "pool max: there are none, mean"),
        ({"size": (9, 9)}, None, "size 9,9"),
        ({"batch_size": 0}, None, "batch_size 0"),
        ({}, [f"{colour} thing number {i}" for i in range(60) for colour in ("red", "blue")], r"take \d+ texts"),
    ],
)
def test_what_cannot_be_had(
    detector: Detector, scene: Image.Image, options: dict, prompt: object, message: str
) -> None:
    with pytest.raises((UsageError, PromptError), match=message):
        detector.features(scene, prompt, **options)


def test_neighbours_of_one_shape_share_a_batch() -> None:
    things = [(1, 1), (1, 1), (1, 1), (2, 1), (1, 1)]
    assert list(same_shape_batches(things, lambda x: x, 2)) == [[(1, 1)] * 2, [(1, 1)], [(2, 1)], [(1, 1)]]


# --- files


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_file_gives_them_back(found: Features, tmp_path: Path, dtype: str) -> None:
    size = save(tmp_path / "a.safetensors", found, {"image": "a.png", "model": "m"}, dtype)
    assert size == (tmp_path / "a.safetensors").stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == ["a.safetensors"]
    back = read(tmp_path / "a.safetensors")
    mine, kept = tensors_of(found), tensors_of(back)
    assert mine.keys() == kept.keys()
    for name, tensor in mine.items():
        exact = dtype == "float32" or name in ("boxes", "centres", "anchors")
        assert torch.equal(kept[name], tensor if exact else tensor.half().float()), name
    for key in ("meta", "prompt", "labels", "tokens", "label_tokens"):
        assert getattr(back, key) == getattr(found, key)


def test_of_glip_nano_three_levels_and_no_centerness(tmp_path: Path) -> None:
    """What they say is what it detects, and a file gives all of it back."""
    detector, photo = Detector.load("glip-nano", device="cpu"), FOLDER / "dogs.jpg"
    found = detector.features(photo, ["dog", "stethoscope"], which=KINDS)
    save(tmp_path / "x.safetensors", found, {"image": "x.jpg", "model": "glip-nano"})
    again = read(tmp_path / "x.safetensors")
    assert again.meta == found.meta
    assert list(found.fused) == list(again.fused) == ["P3", "P4", "P5"]
    assert found.centerness is None is again.centerness
    assert found.meta.sizes == tuple(x.shape[1:] for x in found.fused.values())
    best = detector(photo, ["dog", "stethoscope"])
    row = int(again.similarity[:, 0].argmax())
    assert best.scores[0] == pytest.approx(float(again.similarity[row, 0]), abs=1e-6)
    np.testing.assert_allclose(best.boxes[0], again.boxes[row], atol=1e-3)


def test_other_programs_can_read_what_a_file_says(found: Features, tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", found, {"image": "Bild ü.png", "model": "m@1"})
    with safe_open(tmp_path / "a.safetensors", framework="np") as file:
        told = file.metadata()
        assert file.get_tensor("fpn.P3").shape == (96, 20, 29)
    assert (told["schema"], told["image"], told["model"]) == ("glip-features/1", "Bild ü.png", "m@1")
    assert json.loads(told["labels"]) == ["red circle", "star", "small blue heart"]
    strides = {"C3": 8, "C4": 16, "C5": 32, "P3": 8, "P4": 16, "P5": 32, "P6": 64, "P7": 128}
    assert json.loads(told["strides"]) == strides
    assert json.loads(told["sizes"])["P4"] == [10, 15]
    assert json.loads(told["resized"]) == [228, 160]


def test_what_float16_cannot_hold_is_said(tmp_path: Path) -> None:
    meta = ImageMeta((8, 8), (8, 8), (32, 32), (1.0, 1.0))
    with pytest.raises(UsageError, match=r"a.safetensors: backbone.C3 has values beyond float16"):
        save(tmp_path / "a.safetensors", Features(meta, {"C3": torch.full((1, 1, 1), 7e4)}), {}, "float16")
    assert list(tmp_path.iterdir()) == []


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path / "a.safetensors")
    with pytest.raises(UsageError, match="its schema is None"):
        read(Path(bulk.__file__).parents[1] / "assets" / "glip-mini" / "glip-mini.safetensors")


# --- the command


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with photos/0.png .. 3.png."""
    monkeypatch.chdir(tmp_path)
    Path("photos").mkdir()
    for i in range(4):
        draw_scene(np.random.default_rng(i), 160 + i // 2 * 70, 160).image.save(f"photos/{i}.png")
    return tmp_path


def glip(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["features", *arguments, "-m", "glip-mini", "--device", "cpu"])


def test_a_file_for_each_image(folder: Path, detector: Detector) -> None:
    result = glip("photos", "-t", PROMPT, "-o", "out", "--which", "fpn,similarity", "-b", "2")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert result.stderr.splitlines()[-1] == "saved in out"
    assert sorted(path.name for path in Path("out").glob("*.*s")) == [f"{i}.safetensors" for i in range(4)]
    for i in range(4):
        expected = detector.features(f"photos/{i}.png", PROMPT, which=("fpn", "similarity"))
        kept = read(Path(f"out/{i}.safetensors"))
        for name, tensor in tensors_of(expected).items():
            close(tensors_of(kept)[name], tensor)
    told = bulk.read_metadata(Path("out/2.safetensors")) or {}
    assert (told["image"], told["model"]) == ("photos/2.png", detector.name)
    assert json.loads(told["which"]) == ["fpn", "similarity"]


def test_without_a_text_the_maps_of_the_image_alone(folder: Path) -> None:
    assert glip("photos/0.png", "-o", "out", "--pool", "mean", "--save-dtype", "float16").exit_code == 0
    with safe_open("out/0.safetensors", framework="np") as file:
        assert {name.split(".")[0] for name in file.keys()} == {"backbone", "fpn"}  # noqa: SIM118
        assert file.get_tensor("backbone.C4").dtype == np.float16
        assert file.get_tensor("backbone.C4").shape == (128,)


def test_again_does_only_what_is_missing(folder: Path) -> None:
    assert glip("photos", "-o", "out").exit_code == 0
    Path("out/1.safetensors").unlink()
    Path("out/2.safetensors").write_bytes(Path("out/2.safetensors").read_bytes()[:1000])
    before = {path.name: path.stat().st_mtime_ns for path in Path("out").glob("*.safetensors")}
    result = glip("photos", "-o", "out")
    assert "4 images, 2 of them there already" in result.stderr
    after = {path.name: path.stat().st_mtime_ns for path in Path("out").glob("*.safetensors")}
    assert {name for name in after if after[name] == before.get(name)} == {"0.safetensors", "3.safetensors"}
    assert len(after) == 4


def test_a_file_made_otherwise_is_not_taken_for_this_runs(folder: Path) -> None:
    assert glip("photos/0.png", "-o", "out").exit_code == 0
    result = glip("photos/0.png", "-o", "out", "-t", "red circle")
    assert result.exit_code == 2
    assert 'out/0.safetensors was made with prompt nothing, not "red circle"; choose another' in result.stderr
    Path("other").mkdir()
    Path("photos/1.png").rename("other/0.png")
    assert 'made with image "photos/0.png", not "other/0.png"' in glip("other/0.png", "-o", "out").stderr
    assert glip("photos/0.png", "-o", "out", "-t", "red circle", "--overwrite").exit_code == 0
    assert read(Path("out/0.safetensors")).labels == ("red circle",)


def test_what_is_no_image_is_named(folder: Path) -> None:
    Path("photos/bad.png").write_text("no image")
    result = glip("photos", "-o", "out")
    assert result.exit_code == 3
    assert "glip: error: photos/bad.png: not an image" in result.stderr
    assert "5 images, 1 failed" in result.stderr
    assert glip("photos/bad.png", "-o", "out").exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "out"), "no INPUT"),
        (("photos", "--which", "fused"), "--which fused: it depends on a text"),
        (("photos", "--which", "fpn,maps"), "--which maps: there are"),
        (("photos", "--save-dtype", "int8"), "--save-dtype int8: there are float32, float16"),
        (("photos", "--phrases", "red"), "--texts"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(folder: Path, arguments: tuple[str, ...], message: str) -> None:
    result = glip(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len([line for line in result.stderr.splitlines() if "error" in line]) == 1


def test_a_folder_that_cannot_be_written(folder: Path) -> None:
    Path("out").write_text("a file")
    result = glip("photos", "-o", "out")
    assert result.exit_code == 1
    assert "cannot write to out" in result.stderr


def test_a_batch_that_does_not_fit_is_halved(detector: Detector, scene: Image.Image, tmp_path: Path) -> None:
    """An extractor that takes at most two images: what a device does that has memory for no more."""

    class Small(Extractor):
        def __call__(self, batch):
            if len(batch) > 2:
                raise OutOfMemoryError("out of memory")
            return super().__call__(batch)

    whole = detector.extractor(FeatureOptions(which=("backbone",), batch_size=5))
    small = Small(whole.backbone, whole.options, whole.device, whole.dtype, whole.image_size, whole.model)
    job = bulk.FeatureJob(small, bulk.FeatureFolder(tmp_path, {}, "float32", False), None)
    made = list(job._extract([small.prepare(scene)] * 5))
    assert len(made) == 5
    assert job.most == 2


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_weights_of_somebody_else_are_not_replaced(folder: Path, more: tuple[str, ...]) -> None:
    Path("out").mkdir()
    save_file({"weight": torch.zeros(1)}, "out/0.safetensors")
    result = glip("photos/0.png", "-o", "out", *more)
    assert result.exit_code == 2
    assert "out/0.safetensors was not written by glip features; choose another --out-dir" in result.stderr
    assert load_file("out/0.safetensors")["weight"].shape == (1,)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """As the processes that tests start have it: the last digits depend on it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
def test_killed_it_goes_on_and_ends_as_undisturbed(folder: Path) -> None:
    for i in range(20):
        (folder / "photos" / f"more-{i}.png").write_bytes(Path(f"photos/{i % 4}.png").read_bytes())
    asked = ("photos", "-t", PROMPT, "--which", "fpn,similarity")
    assert glip(*asked, "-o", "whole").exit_code == 0
    process = forked.start(["features", *asked, "-m", "glip-mini", "--device", "cpu", "-o", "out"])
    assert forked.wait_until(lambda: len(list(Path("out").glob("*.safetensors"))) >= 3, process)
    process.kill()
    process.wait()
    done = len(list(Path("out").glob("*.safetensors")))
    assert 3 <= done < 24
    Path("out/.9.safetensors.1.tmp").write_text("half")  # what a kill in the midst of a file leaves
    result = glip(*asked, "-o", "out")
    assert result.exit_code == 0
    assert f"{done} of them there already" in result.stderr
    assert {path.name for path in Path("out").iterdir()} == {path.name for path in Path("whole").iterdir()}
    for path in Path("whole").glob("*.safetensors"):
        again = Path("out", path.name)
        assert bulk.read_metadata(path) == bulk.read_metadata(again)
        one, other = tensors_of(read(path)), tensors_of(read(again))
        assert all(torch.equal(one[name], other[name]) for name in one.keys() | other.keys()), path.name


def test_the_help_fits_a_terminal() -> None:
    said = forked.run(["features", "--help"], env=forked.CLEAN | {"COLUMNS": "80"}).stdout
    assert max(map(len, said.splitlines())) <= 80
    assert "--which" in said
