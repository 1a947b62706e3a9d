"""The detector, with the embedded model: what a person gets back for what was asked."""

from __future__ import annotations

import copy
import io
import os
import pickle
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import nltk.data
import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from glip_cli import Detector
from glip_cli.data.sources import expand
from glip_cli.data.synthetic import draw_scene
from glip_cli.errors import DeviceError, GlipError, OptionError, OutOfMemoryError, UsageError, WeightsError
from glip_cli.inference.device import out_of_memory, pick_device, pick_dtype
from glip_cli.inference.postprocess import RawDetections, merge, postprocess_options
from glip_cli.inference.preprocess import preprocess
from glip_cli.options import DetectOptions, FeatureOptions, parse_class_thresholds, parse_size
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.prompts.prompt import caption_prompt
from glip_cli.types import Detections
from tests.shared import shared

PROMPT = "circle . red square . small blue heart . star ."


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load("glip-mini", device="cpu")


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [draw_scene(np.random.default_rng(i), *size).image for i, size in
            enumerate([(160, 160), (160, 160), (200, 160), (320, 240)])]  # fmt: skip


def same(a: Detections, b: Detections, atol: float = 1e-3) -> None:
    assert a.names == b.names
    np.testing.assert_allclose(a.scores, b.scores, atol=atol)
    np.testing.assert_allclose(a.boxes, b.boxes, atol=20 * atol)


def test_one_image_gives_detections_and_a_list_gives_a_list(detector: Detector, scenes: list[Image.Image]) -> None:
    alone = detector(scenes[0], PROMPT, threshold=0.05)
    assert isinstance(alone, Detections)
    assert len(alone)
    assert alone.labels == ("circle", "red square", "small blue heart", "star")
    assert alone.text == PROMPT
    assert [alone.text[b:e] for b, e in alone.spans] == list(alone.labels)
    several = detector(scenes, PROMPT, threshold=0.05)
    assert len(several) == len(scenes)
    same(several[0], alone)


def test_every_kind_of_image_is_the_same_image(detector: Detector, scenes: list[Image.Image], tmp_path: Path) -> None:
    path = tmp_path / "scene.png"
    scenes[0].save(path)
    buffer = io.BytesIO()
    scenes[0].save(buffer, "PNG")
    expected = detector(scenes[0], PROMPT, threshold=0.05)
    for given in (path, str(path), buffer.getvalue(), np.asarray(scenes[0])):
        same(detector(given, PROMPT, threshold=0.05), expected)


@pytest.mark.skipif(os.name == "nt", reason="no such names")
@pytest.mark.parametrize("name", ["a.png", "n\nl.png", "n\\nl.png", "b\\s.png", os.fsdecode(b"\xff.png")])
def test_the_name_of_an_image_is_as_on_the_command_line(
    detector: Detector, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (64, 64)).save(name)
    (source,) = expand([name])
    assert detector(name, "star").to_dict()["image"] == source.name
    assert detector(Path(name), "star").name == source.name


def test_one_text_is_one_text_and_not_its_letters(detector: Detector, scenes: list[Image.Image]) -> None:
    alone = detector(scenes[0], "star", threshold=0.05, negatives="moon")
    same(alone, detector(scenes[0], ["star"], threshold=0.05, negatives=["moon"]))
    assert DetectOptions(negatives="moon") == DetectOptions(negatives=("moon",))
    assert FeatureOptions(which="fpn").which == ("fpn",)
    assert [source.name for source in expand("photo.jpg")] == ["photo.jpg"]


def test_a_sentence_is_read_as_on_the_command_line(
    scenes: list[Image.Image], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A caption; without a tagger a label, and a warning says so."""
    text = "a red square and a star"
    detector = Detector.load("glip-mini", device="cpu", offline=True)
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path))
    monkeypatch.setattr(nltk.data, "path", [])
    monkeypatch.delenv("NLTK_DATA", raising=False)
    with pytest.warns(UserWarning, match="'a red square and a star' is read as labels, because"):
        assert detector(scenes[0], text).labels == (text,)
    assert detector(scenes[0], [text]).labels == (text,)
    monkeypatch.setenv("NLTK_DATA", str(shared("nltk_data")))
    found = detector(scenes[0], text, threshold=0.05)
    assert found.labels == ("a red square", "a star")
    same(found, detector(scenes[0], caption_prompt(text, parts=[(0, 12), (17, 23)]), threshold=0.05))


def test_a_prompt_of_its_own_for_each_image(detector: Detector, scenes: list[Image.Image]) -> None:
    prompts = ["circle", "circle", ["star", "red square"], {"disc": "circle"}]
    found = detector(scenes, prompts=prompts, threshold=0.05)
    assert found == [detector(image, prompt, threshold=0.05) for image, prompt in zip(scenes, prompts, strict=True)]
    assert [one.labels for one in found] == [("circle",), ("circle",), ("star", "red square"), ("disc",)]
    for one, other in zip(found, detector(scenes, prompts=prompts, threshold=0.05, batch_size=2), strict=True):
        same(one, other)


def test_a_threshold_is_of_the_prompts_that_have_the_label(detector: Detector, scenes: list[Image.Image]) -> None:
    prompts, thresholds = ["circle . star .", "red square"], {"star": 0.9, "circle": 0.1}
    found = detector(scenes[:2], prompts=prompts, threshold=0.05, class_thresholds=thresholds)
    assert found == [
        detector(scenes[0], prompts[0], class_thresholds=thresholds),
        detector(scenes[1], prompts[1], threshold=0.05),
    ]
    said = "^class_threshold cat: no such label; the labels are 'circle', 'star', 'red square'$"
    with pytest.raises(OptionError, match=said):  # before the first image
        next(detector.predict(scenes[:2], prompts=prompts, class_thresholds={"cat": 0.5}))
    answers = detector.predict(scenes[:2], prompts=iter(prompts), class_thresholds={"cat": 0.5})
    assert [next(answers).labels, next(answers).labels] == [("circle", "star"), ("red square",)]
    with pytest.raises(OptionError, match=said):
        next(answers)


def test_what_to_do_with_errors_is_one_of_two(detector: Detector) -> None:
    with pytest.raises(OptionError, match='on_error ignore: it is "raise" or "skip"'):
        detector.predict([], "star", on_error="ignore")  # type: ignore[arg-type]


def test_prompts_are_read_as_they_are_needed(detector: Detector, scenes: list[Image.Image]) -> None:
    read: list[int] = []

    def prompts() -> Iterator[str]:
        for number, prompt in enumerate(["circle", "star", "moon"]):
            read.append(number)
            yield prompt

    answers = detector.predict([scenes[0], b"no image", scenes[1]], prompts=prompts(), on_error="skip")
    assert next(answers).labels == ("circle",)
    assert max(read) < 2
    with pytest.warns(UserWarning, match="skipped"):
        (last,) = answers
    assert last.labels == ("moon",)


@pytest.mark.parametrize(
    ("count", "given", "said"),
    [
        (2, {"prompts": ["circle"]}, "there are fewer prompts than images: give one prompt for each image"),
        (1, {"prompts": ["circle", "star"]}, "there are fewer images than prompts"),
        (1, {"prompts": "circle"}, "prompts come as a list, one for each image"),
        (1, {"prompts": ["circle"], "prompt": "star"}, "either a prompt for all images or prompts"),
        (0, {"prompts": ["circle"]}, "prompts are for a list of images"),
    ],
)
def test_prompts_that_do_not_fit_the_images(
    detector: Detector, scenes: list[Image.Image], count: int, given: dict, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        detector(scenes[:count] if count else scenes[0], **given)


def test_a_batch_changes_nothing(detector: Detector, scenes: list[Image.Image]) -> None:
    """Also among images of several sizes, which are never padded to each other's."""
    single = detector(scenes, PROMPT, threshold=0.05)
    batched = detector(scenes, PROMPT, threshold=0.05, batch_size=3)
    for a, b in zip(single, batched, strict=True):
        same(a, b)


def test_chunks_find_what_separate_prompts_find(detector: Detector, scenes: list[Image.Image]) -> None:
    chunked = detector(scenes[0], PROMPT, threshold=0.05, chunked_size=3)
    first = detector(scenes[0], ["circle", "red square", "small blue heart"], threshold=0.05)
    second = detector(scenes[0], ["star"], threshold=0.05)
    expected = sorted([*zip(first.scores, first.names, strict=True), *zip(second.scores, second.names, strict=True)])
    assert sorted(zip(chunked.scores, chunked.names, strict=True)) == expected
    assert (np.diff(chunked.scores) <= 0).all()


def test_texts_asked_together_find_what_they_find_alone(detector: Detector, scenes: list[Image.Image]) -> None:
    """As on a GPU: images and texts of several lengths in one batch."""
    options = DetectOptions(threshold=0.05, chunked_size=2)
    compiled = detector.compile_prompt("circle . small dotted blue heart . star . red square . thing .", options)
    assert len({len(part.tokens.ids) for part in compiled.chunks}) > 1
    seen = detector.encode_images([preprocess(image, 160, 320) for image in scenes[:2]])
    with torch.inference_mode():
        together = detector._predict_chunks(seen, compiled.chunks, postprocess_options(compiled, options))
        alone = [
            detector._predict_chunks(seen, [part], postprocess_options(compiled, options))[0]
            for part in compiled.chunks
        ]
    assert sum(len(found.scores) for found in alone[0]) > 0
    for mine, theirs in zip(chain(*together), chain(*alone), strict=True):
        assert_close((mine.boxes, mine.scores, mine.labels), (theirs.boxes, theirs.scores, theirs.labels))


def test_labels_that_do_not_fit_one_text_are_spread_over_several(detector: Detector, scenes: list[Image.Image]) -> None:
    labels = [f"{size} {colour} circle {i}" for i in range(60) for size, colour in [("small", "red")]]
    compiled = detector.compile_prompt(labels, DetectOptions())
    assert len(compiled.chunks) > 1
    assert detector(scenes[0], labels, threshold=0.0).labels == tuple(labels)


@pytest.mark.parametrize("labels", [["Circle", "circle"], ["Cow/ox"], ["french fries (food)", "été", "🐱 circle"]])
def test_labels_come_back_as_typed(detector: Detector, scenes: list[Image.Image], labels: list[str]) -> None:
    found = detector(scenes[0], labels, threshold=0.0)
    assert found.labels == tuple(labels)
    assert set(found.names) <= set(labels)


def test_explicit_spans_of_a_caption(detector: Detector, scenes: list[Image.Image]) -> None:
    caption = "a red square next to a circle"
    found = detector(scenes[0], caption_prompt(caption, phrases=["red square", "circle"]), threshold=0.05)
    assert found.text == caption
    assert [caption[b:e] for b, e in found.spans] == ["red square", "circle"]


def test_thresholds(detector: Detector, scenes: list[Image.Image]) -> None:
    everything = detector(scenes[0], PROMPT, threshold=0.0)
    middle = float(np.median(everything.scores))
    assert len(detector(scenes[0], PROMPT, threshold=middle)) == int((everything.scores > middle).sum())
    only = detector(scenes[0], PROMPT, threshold=1.0, class_thresholds={"circle": 0.0})
    assert set(only.names) == {"circle"}
    with pytest.raises(OptionError, match=r"^class_threshold dog: no such label; the labels are 'circle'"):
        detector(scenes[0], PROMPT, class_thresholds={"dog": 0.5})


def test_top_k(detector: Detector, scenes: list[Image.Image]) -> None:
    everything = detector(scenes[0], PROMPT, threshold=0.0)
    same(
        detector(scenes[0], PROMPT, threshold=0.0, top_k=2),
        Detections(everything.boxes[:2], everything.scores[:2], everything.label_ids[:2],
                   everything.labels, everything.spans, everything.text, everything.size),
    )  # fmt: skip


def test_negatives_compete_and_are_not_reported(detector: Detector, scenes: list[Image.Image]) -> None:
    found = detector(scenes[0], ["circle"], threshold=0.0, negatives=("square", "star"))
    assert found.labels == ("circle",)
    assert found.text == "circle ."


def test_a_negative_takes_the_object_that_it_fits_better() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 10], [20, 20, 30, 30]])
    found = RawDetections(boxes, torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 0]))
    compiled = CompiledPrompt(chunks=(), labels=("cat",), text="cat .", spans=((0, 3),), notes=())
    kept = merge([found], compiled, DetectOptions(negatives=("dog",)))
    assert kept.boxes.tolist() == [[20, 20, 30, 30]]
    weaker = RawDetections(boxes, torch.tensor([0.5, 0.8, 0.7]), torch.tensor([1, 0, 0]))
    assert len(merge([weaker], compiled, DetectOptions(negatives=("dog",))).scores) == 2


def test_a_text_is_encoded_once(detector: Detector, scenes: list[Image.Image]) -> None:
    detector(scenes[0], "one prompt . of its own .")
    before = len(detector._texts)
    detector(scenes[1], "one prompt . of its own .")
    assert len(detector._texts) == before


def test_bfloat16_is_near(detector: Detector, scenes: list[Image.Image]) -> None:
    exact = detector(scenes[0], PROMPT, threshold=0.5)
    near = Detector.load("glip-mini", device="cpu", dtype="bfloat16")(scenes[0], PROMPT, threshold=0.3)
    for score, box, name in zip(exact.scores, exact.boxes, exact.names, strict=True):
        apart = [
            np.abs(other - box).max() for other, label in zip(near.boxes, near.names, strict=True) if label == name
        ]
        assert min(apart) < 4, f"{name} {score} has no counterpart"


@pytest.mark.parametrize(
    ("name", "kind"), [("cuda:99", DeviceError), ("tpu", OptionError), ("warp9", OptionError), ("cpu:x", OptionError)]
)
def test_a_device_that_is_not_there(name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"device {name}"):
        pick_device(name)


@pytest.mark.parametrize(("name", "kind"), [("int8", OptionError), ("float16", DeviceError), ("", OptionError)])
def test_a_dtype_that_is_not_there(name: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match="dtype"):
        pick_dtype(name, torch.device("cpu"))


def test_labels_in_an_array(detector: Detector, scenes: list[Image.Image]) -> None:
    labels = np.array(["star", "circle"])
    found = detector(scenes[0], labels, threshold=0.05, negatives=np.array(["moon"]))
    same(found, detector(scenes[0], ["star", "circle"], threshold=0.05, negatives=["moon"]))
    assert [type(label) for label in found.labels] == [str, str]
    same(detector(scenes[0], np.array("star"), threshold=0.05), detector(scenes[0], "star", threshold=0.05))
    assert detector(scenes[:2], prompts=[labels, labels], threshold=0.05) == detector(
        scenes[:2], labels, threshold=0.05
    )


@pytest.mark.parametrize(
    ("images", "prompt", "options", "said"),
    [
        ("a.jpg", 3, {}, r"prompt 3: give a text, or a list of labels"),
        ("a.jpg", [3], {}, "label 1 is not a text but int: 3"),
        ("a.jpg", np.array([]), {}, "no prompt: give labels"),
        (["a.jpg"], None, {"prompts": [3]}, "prompt 3: give a text"),
        (["a.jpg"], None, {"prompts": 3}, "prompts come as a list, one for each image"),
        ("https://me:word@host/a.jpg?token=1", "star", {},
         r"^https://host/a\.jpg\?token=\*\*\*: a URL, which only the command line fetches; download"),
        (Path("https://host/a.jpg"), "star", {}, "a URL, which only the command line fetches"),
        (3, "star", {}, "int: no image; give a path, bytes"),
    ],
)  # fmt: skip
def test_what_is_no_prompt_and_no_image(detector: Detector, images: Any, prompt: Any, options: Any, said: str) -> None:
    with pytest.raises(GlipError, match=said):
        detector(images, prompt, **options)


@pytest.mark.parametrize("images", ["a.jpg", b"", 3, None])
def test_one_image_is_no_list(detector: Detector, images: Any) -> None:
    with pytest.raises(UsageError, match=r"images come as a list; .* detector\(image, prompt\)"):
        detector.predict(images, "star")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tta": "no"}, {"agnostic_nms": None}, {"tta": np.ones(2)}, {"size": np.array([480, 640])},
        {"negatives": 3}, {"negatives": None}, {"negatives": ["cat", 3]}, {"threshold": None}, {"per_text": None},
        {"per_text": 1.5}, {"per_text": "1"}, {"batch_size": None}, {"threshold": 1.5},
        {"nms_iou": -0.1}, {"top_k": 0}, {"chunked_size": 0}, {"batch_size": 0},
        {"size": (800, 400)}, {"size": (1, 1)}, {"class_thresholds": {"cat": 2.0}},
        {"threshold": "0.5"}, {"top_k": 1.5}, {"chunked_size": "8"}, {"size": "480,800"}, {"size": (800,)},
        {"tile": "800"}, {"class_thresholds": {"cat": "0.5"}}, {"class_thresholds": [("cat", 0.5)]},
    ],
)  # fmt: skip
def test_options_that_cannot_be_meant(wrong: dict[str, object]) -> None:
    (name,) = wrong
    with pytest.raises(OptionError, match=f"^{name.removesuffix('s')}"):
        DetectOptions(**wrong)


@pytest.mark.parametrize("size", ["1", "800,400", "16x1333", "5%"])
def test_a_size_that_cannot_be_is_shown_as_it_was_typed(size: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(size)
    assert str(caught.value).startswith(f"--size {size}: give the shorter side, then the longer, 32 .. 10000 px, or")


def test_a_value_that_cannot_be_is_shown_with_all_its_digits() -> None:
    for wrong, said in (
        ({"threshold": 1.0000001}, "threshold 1.0000001: give"),
        ({"threshold": 1.5}, "threshold 1.5: give"),
        ({"nms_iou": float("nan")}, "nms_iou nan: give"),
        ({"class_thresholds": {"cat": 2.0}}, "class_threshold cat=2: give"),
    ):
        with pytest.raises(OptionError, match=f"^{said}"):
            DetectOptions(**wrong)


def test_a_share_of_the_models_size(detector: Detector) -> None:
    assert detector.image_size(0.75) == (120, 240, 0)
    assert detector.image_size(1) == detector.image_size()
    scene = draw_scene(np.random.default_rng(4), 300, 200).image
    shares, sides = (detector(scene, "star . circle .", threshold=0.05, size=size) for size in (0.75, (120, 240)))
    np.testing.assert_array_equal(shares.boxes, sides.boxes)


def test_flags_with_a_form() -> None:
    assert parse_size("800,1333") == (800, 1333)
    assert parse_size("75%") == 0.75
    assert parse_size("640") == (640, 640)
    assert parse_class_thresholds(["a=b=0.5"]) == {"a=b": 0.5}
    for wrong in ("800;1333", "", "1,2,3", "-5", "%", "1e2%", "75 %%", "5%", "401%"):
        with pytest.raises(UsageError, match="--size"):
            parse_size(wrong)
    for wrong in ("cat", "cat=", "=0.5", "cat=high"):
        with pytest.raises(UsageError, match="--class-threshold"):
            parse_class_thresholds([wrong])


def test_an_unknown_model_names_the_nearest() -> None:
    with pytest.raises(WeightsError, match="glip-mini"):
        Detector.load("glip-mni", device="cpu")


def test_detections_compare_and_hash_by_value(detector: Detector, scenes: list[Image.Image]) -> None:
    found, again, other = (detector(scenes[i], PROMPT, threshold=0.05) for i in (0, 0, 3))
    assert found == again
    assert found != other
    assert found != detector(scenes[0], "circle . red square . small blue heart . moon .", threshold=0.05)
    assert found != "circle"
    assert len({found, again, other}) == 2
    assert len({DetectOptions(), DetectOptions(class_thresholds={"cat": 0.5}), DetectOptions()}) == 2


def test_arrays_of_detections_cannot_be_written_to_and_those_given_can() -> None:
    boxes, scores, ids = np.array([[0.0, 0, 5, 5]], np.float32), np.array([0.5], np.float32), np.zeros(1, np.int64)
    found = Detections(boxes, scores, ids, ("cat",), ((0, 3),), "cat .", (9, 9))
    boxes[0, 0] = scores[0] = 1
    assert found.boxes[0, 0] == 0
    for one in (found, copy.deepcopy(found), pickle.loads(pickle.dumps(found))):
        assert one == found
        for array in (one.boxes, one.scores, one.label_ids):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1


def test_a_model_that_a_detector_is_made_of_stays_as_it_is(detector: Detector, scenes: list[Image.Image]) -> None:
    """In training mode and float64 here; the answers are those of float32 in evaluation mode."""
    model = copy.deepcopy(detector.model).double().train()
    before = {name: (tensor, tensor.clone()) for name, tensor in model.state_dict(keep_vars=True).items()}
    made = Detector(model, detector.tokenizer, detector.name, "cpu")
    assert made(scenes[0], PROMPT, threshold=0.05) == detector(scenes[0], PROMPT, threshold=0.05)
    assert all(module.training for module in model.modules())
    for name, tensor in model.state_dict(keep_vars=True).items():
        same, value = before[name]
        assert tensor is same
        assert torch.equal(tensor, value)
        assert tensor.dtype == value.dtype


def test_weights_that_need_not_change_are_shared(detector: Detector) -> None:
    """So that validation during training takes no memory of its own."""
    model = copy.deepcopy(detector.model)
    assert Detector(model, detector.tokenizer, detector.name, "cpu").model is model
    made = Detector(model.train(), detector.tokenizer, detector.name, "cpu").model
    assert made is not model
    assert not made.training
    assert all(a is b for a, b in zip(made.parameters(), model.parameters(), strict=True))


@pytest.mark.parametrize(
    ("said", "kind"),
    [("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 7 bytes", OutOfMemoryError),
     ("could not create a primitive", OutOfMemoryError),
     ("could not create a memory object", OutOfMemoryError),
     ("could not execute a primitive", OutOfMemoryError),
     ("MPS backend out of memory (MPS allocated: 8 GB)", OutOfMemoryError),
     ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", OutOfMemoryError),
     ("std::bad_alloc", OutOfMemoryError),
     ("could not create a primitive descriptor for the matmul primitive. Run workload with environment variable "
      "ONEDNN_VERBOSE=all to get additional diagnostic information.", DeviceError),
     ("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)", RuntimeError)],
)  # fmt: skip
def test_only_what_is_about_memory_is_out_of_memory(said: str, kind: type[Exception]) -> None:
    with pytest.raises(kind) as caught, out_of_memory(torch.device("cpu")):
        raise RuntimeError(said)
    assert caught.type is kind
    assert "--device cpu" not in str(caught.value)
    assert kind is not DeviceError or "--dtype float32" in str(caught.value)
