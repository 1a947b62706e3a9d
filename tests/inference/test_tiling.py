"""Views of an image: tiles cover it, boxes come back to where they were, and the merge keeps the right ones."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torchvision.ops import box_iou
from typer.testing import CliRunner, Result

from glip_cli import Detector
from glip_cli.cli.app import app
from glip_cli.data.sources import expand
from glip_cli.data.synthetic import draw_scene
from glip_cli.errors import OutOfMemoryError, UsageError
from glip_cli.inference.postprocess import RawDetections
from glip_cli.inference.preprocess import ImageSize
from glip_cli.inference.tiling import (
    Crop,
    all_crops,
    combine,
    crop_options,
    render_crop,
    scales,
    tiles,
    to_crop_coordinates,
    to_image_coordinates,
)
from glip_cli.options import DetectOptions
from glip_cli.runs.runner import Runner
from glip_cli.types import Detections

SIZE = (160, 320)
PROMPT = "circle . red square . star . triangle . heart . ring . moon . cross ."
TILES = {"tile": 160, "overlap": 0.25}

sides = st.integers(1, 400)


@pytest.fixture(scope="module")
def detector() -> Detector:
    return Detector.load("glip-mini", device="cpu")


@pytest.fixture(scope="module")
def large() -> tuple[Image.Image, list[tuple[str, tuple[float, ...]]]]:
    """Eight scenes of 160 pixels, four by two, and the shape and box of every object."""
    canvas, things = Image.new("RGB", (640, 320)), []
    for i in range(8):
        scene, (x, y) = draw_scene(np.random.default_rng(i)), (i % 4 * 160, i // 4 * 160)
        canvas.paste(scene.image, (x, y))
        things += [(thing.shape, tuple(np.add(thing.box, (x, y, x, y)))) for thing in scene.things]
    return canvas, things


@pytest.fixture(scope="module")
def wide(large: tuple) -> Image.Image:
    """Three of the scenes: four tiles and the whole."""
    return large[0].crop((160, 160, 640, 320))


@st.composite
def views(draw: st.DrawFn) -> Crop:
    left, top, width, height = draw(sides), draw(sides), draw(sides), draw(sides)
    size = draw(st.tuples(sides, sides))
    return Crop((left, top, left + width, top + height), (min(size), max(size)), draw(st.booleans()))


@given(shape=st.tuples(sides, sides), side=st.integers(64, 200), overlap=st.floats(0, 0.9))
def test_tiles_cover_the_image_and_overlap(shape: tuple[int, int], side: int, overlap: float) -> None:
    made = list(tiles(shape, side, overlap, SIZE))
    assert len({view.box for view in made}) == len(made)
    for axis in (0, 1):
        spans = sorted({(view.box[axis], view.box[axis + 2]) for view in made})
        assert spans[0][0] == 0
        assert spans[-1][1] == shape[axis]
        assert all(end - begin == min(side, shape[axis]) for begin, end in spans)
        assert all(a_end - b_begin >= side * overlap - 0.5 for (_, a_end), (b_begin, _) in pairwise(spans))
    assert len(made) == len({view.box[0] for view in made}) * len({view.box[1] for view in made})
    for view in made:
        assert view.truncated_edges == tuple(
            edge not in (0, end) for edge, end in zip(view.box, (-1, -1, *shape), strict=True)
        )


def test_tiles_by_hand() -> None:
    made = all_crops((1000, 500), DetectOptions(tile=400, overlap=0.25), (800, 1333))
    assert [view.box for view in made] == [
        (0, 0, 400, 400), (300, 0, 700, 400), (600, 0, 1000, 400),
        (0, 100, 400, 500), (300, 100, 700, 500), (600, 100, 1000, 500),
        (0, 0, 1000, 500),
    ]  # fmt: skip
    assert [view.truncated_edges for view in made[:3]] == [
        (False, False, True, True), (True, False, True, True), (True, False, False, True)
    ]  # fmt: skip
    assert made[-1].truncated_edges == (False,) * 4
    assert {view.size for view in made} == {(800, 1333)}
    assert len(all_crops((400, 300), DetectOptions(tile=400), SIZE)) == 1
    assert len(all_crops((401, 300), DetectOptions(tile=400), SIZE)) == 3


def test_scales_of_a_model_that_is_given_an_area() -> None:
    made = list(scales(ImageSize(384, 384, 32)))
    assert [scale.size for scale in made[::2]] == [ImageSize(side, side, 32) for side in (320, 448, 640)]
    assert [scale.flipped for scale in made] == [False, True] * 3


def test_scales_are_the_official_ones_for_a_model_of_800_pixels() -> None:
    """TEST.SCALES, RANGES, MAX_SIZE and FLIP of the official defaults (defaults.py:826-836)."""
    made = list(scales(ImageSize(800, 1333)))
    assert [scale.size[0] for scale in made[::2]] == [
        400, 500, 600, 640, 700, 900, 1000, 1100, 1200, 1300, 1400, 1800
    ]  # fmt: skip
    assert {scale.size[1] for scale in made} == {2500}
    assert [scale.flipped for scale in made] == [False, True] * 12
    assert [scale.scale_range for scale in made[::2]] == [
        (96, 1e4), (96, 1e4), (64, 1e4), (64, 1e4), (64, 1e4), (0, 1e4), (0, 1e4), (0, 256), (0, 256), (0, 192),
        (0, 192), (0, 96),
    ]  # fmt: skip
    assert not any(scale.flipped for scale in scales(ImageSize(800, 1333), flips=False))
    small = list(scales(ImageSize(*SIZE)))
    assert (small[0].size, small[0].scale_range) == (ImageSize(80, 600), pytest.approx((19.2, 2000)))
    both = all_crops((1000, 500), DetectOptions(tile=400, tta=True), ImageSize(*SIZE))
    assert len(both) == len(all_crops((1000, 500), DetectOptions(tile=400), ImageSize(*SIZE))) * 24
    assert {view.truncated_edges for view in both} > {(False, False, True, True)}


@given(view=views(), rows=st.lists(st.tuples(*[st.floats(0, 800, width=32)] * 4), min_size=1, max_size=5))
def test_mapping_back_is_the_inverse_of_mapping_forward(view: Crop, rows: list[tuple[float, ...]]) -> None:
    boxes = torch.tensor(rows)
    for there, back in ((to_crop_coordinates, to_image_coordinates), (to_image_coordinates, to_crop_coordinates)):
        torch.testing.assert_close(back(there(boxes, view), view), boxes, rtol=0, atol=5e-4)  # of numbers up to 1600


def test_mirrored_boxes_by_hand() -> None:
    """Columns 2, 3, 4 of ten are 5, 6, 7 in the mirror: the box that ends at 5 ends at 8."""
    view = Crop((100, 50, 110, 60), (10, 10), flipped=True)
    assert to_image_coordinates(torch.tensor([[2.0, 1, 5, 4]]), view).tolist() == [[105, 51, 108, 54]]
    half = Crop((0, 0, 10, 10), (5, 5), flipped=True)  # columns 0 .. 4 are reported as 0, 2, .. 8, and 8 + 1 at the end
    assert to_image_coordinates(torch.tensor([[0.0, 0, 9, 9]]), half).tolist() == [[0, 0, 9, 9]]
    assert to_image_coordinates(torch.tensor([[0.0, 0, 3, 9]]), half).tolist() == [[6, 0, 9, 9]]


@given(data=st.data())
@settings(max_examples=50)
def test_what_a_view_shows_is_where_its_boxes_say(data: st.DataObject) -> None:
    """A white rectangle in a black image, found again among the pixels that the model gets."""
    left, top = data.draw(st.integers(0, 20)), data.draw(st.integers(0, 20))
    view = Crop((left, top, left + 30, top + 20), (20, 30), data.draw(st.booleans()))  # at its own size
    x1, y1 = data.draw(st.integers(left, left + 29)), data.draw(st.integers(top, top + 19))
    x2, y2 = data.draw(st.integers(x1 + 1, left + 30)), data.draw(st.integers(y1 + 1, top + 20))
    image = np.zeros((45, 55, 3), np.uint8)
    image[y1:y2, x1:x2] = 255
    rows, columns = np.nonzero(render_crop(Image.fromarray(image), view).pixels[0].numpy() > 0)
    shown = torch.tensor([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]]).float()
    assert to_image_coordinates(shown, view).tolist() == [[x1, y1, x2, y2]]


def found(*rows: tuple[tuple[float, ...], float, int]) -> RawDetections:
    boxes, scores, labels = zip(*rows, strict=True) if rows else ((), (), ())
    return RawDetections(
        torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels, dtype=torch.int64)
    )


def merged(
    made: list[Crop], *parts: RawDetections, nms_iou: float = 0.6, agnostic: bool = False
) -> list[tuple[list[float], float, int]]:
    every = combine(made, parts, nms_iou, agnostic)
    scores = [round(score, 4) for score in every.scores.tolist()]
    return list(zip(every.boxes.tolist(), scores, every.labels.tolist(), strict=True))


LEFT = Crop((0, 0, 100, 100), (100, 100), truncated_edges=(False, False, True, False))
RIGHT = Crop((80, 0, 180, 100), (100, 100), truncated_edges=(True, False, False, False))


def test_an_object_that_two_views_see_is_one() -> None:
    parts = found(((82.0, 10, 92, 20), 0.7, 0)), found(((2.5, 10, 12, 20), 0.8, 0))
    assert merged([LEFT, RIGHT], *parts) == [([82.5, 10, 92, 20], 0.8, 0)]
    assert len(merged([LEFT, RIGHT], *parts, nms_iou=0.99)) == 2


def test_labels_suppress_each_other_only_when_asked_to() -> None:
    parts = found(((82.0, 10, 92, 20), 0.7, 1)), found(((2.0, 10, 12, 20), 0.8, 0))
    assert [label for _, _, label in merged([LEFT, RIGHT], *parts)] == [0, 1]
    assert [label for _, _, label in merged([LEFT, RIGHT], *parts, agnostic=True)] == [0]


WHOLE_ONE = ((1.0, 10, 40, 20), 0.5, 0)  # in the right tile: 81 .. 120 of the image
CUT_ONE = ((81.0, 10, 100, 20), 0.9, 0)  # in the left tile: its left half, which IoU does not give up


def test_a_cut_box_loses_against_a_larger_one_of_another_view() -> None:
    assert merged([LEFT, RIGHT], found(CUT_ONE), found(WHOLE_ONE)) == [([81, 10, 120, 20], 0.5, 0)]


@pytest.mark.parametrize(
    "other",
    [
        found(),  # no view holds more
        found(((1.0, 10, 40, 20), 0.4, 0)),  # less than half as sure
        found(((1.0, 10, 40, 20), 0.9, 1)),  # something else
        found(((11.0, 10, 50, 20), 0.9, 0)),  # holds too little of it
        found(((0.0, 10, 20, 20), 0.8, 0)),  # not larger
    ],
)
def test_a_cut_box_stays_where_no_view_knows_better(other: RawDetections) -> None:
    assert ([81, 10, 100, 20], 0.9, 0) in [
        (box, score, label) for box, score, label in merged([LEFT, RIGHT], found(CUT_ONE), other)
    ]


def test_a_box_is_cut_only_by_an_edge_inside_the_image() -> None:
    alone = Crop((0, 0, 100, 100), (100, 100))
    assert len(merged([alone, RIGHT], found(CUT_ONE), found(WHOLE_ONE))) == 2
    clear = ((81.0, 10, 97, 20), 0.9, 0)
    assert len(merged([LEFT, RIGHT], found(clear), found(WHOLE_ONE))) == 2
    same_view = found(CUT_ONE, ((60.0, 10, 100, 20), 0.8, 0))
    assert len(merged([LEFT, RIGHT], same_view, found())) == 2


def test_the_edge_of_a_mirrored_tile_is_on_the_other_side() -> None:
    mirrored = Crop(LEFT.box, LEFT.size, flipped=True, truncated_edges=LEFT.truncated_edges)
    parts = found(((0.0, 10, 19, 20), 0.9, 0)), found(WHOLE_ONE)
    assert merged([mirrored, RIGHT], *parts) == [([81, 10, 120, 20], 0.5, 0)]


@pytest.mark.parametrize(("side", "counted"), [(9.0, False), (10.0, True), (20.0, True), (21.0, False)])
def test_only_boxes_of_the_scale_count(side: float, counted: bool) -> None:
    """Measured with the +1 of the resized image: 9 columns from 10 to 18, at twice the size, span 10 .. 37 - 1."""
    view = Crop((0, 0, 100, 100), (100, 100), scale_range=(10, 20))
    assert len(merged([view], found(((10.0, 10, 10 + side, 10 + side), 0.9, 0)))) == counted
    double = Crop((0, 0, 100, 100), (200, 200), scale_range=(2 * side - 1, 2 * side - 1))
    assert len(merged([double], found(((10.0, 10, 10 + side, 10 + side), 0.9, 0)))) == 1


def test_views_without_a_find_give_none() -> None:
    assert merged([LEFT, RIGHT], found(), found()) == []


def test_a_view_is_asked_for_everything() -> None:
    """What labels, thresholds and limits would drop is dropped after the merge; how the model is asked stays."""
    asked = {"chunked_size": 3, "nms_iou": 0.5, "size": (64, 128), "batch_size": 4}
    later = {"threshold": 0.4, "class_thresholds": {"cat": 0.5}, "negatives": ("dog",), "agnostic_nms": True}
    options = DetectOptions(**asked, **later, tile=100, tta=True)
    assert crop_options(options) == DetectOptions(threshold=0.0, **asked)
    assert crop_options(DetectOptions(top_k=7, tile=100)) == DetectOptions(threshold=0.0)
    assert crop_options(DetectOptions(top_k=300, tile=100)) == DetectOptions(threshold=0.0, per_text=300)


def same(a: Detections, b: Detections, atol: float = 0) -> None:
    assert a.names == b.names
    np.testing.assert_allclose(a.scores, b.scores, rtol=0, atol=atol)
    np.testing.assert_allclose(a.boxes, b.boxes, rtol=0, atol=20 * atol)


def test_a_image_that_fits_one_tile_gets_the_ordinary_answer(detector: Detector, large: tuple) -> None:
    image = large[0].crop((0, 0, 160, 160))
    plain = detector(image, PROMPT, threshold=0.05)
    assert len(plain)
    same(detector(image, PROMPT, threshold=0.05, tile=160), plain)
    same(detector(image, PROMPT, threshold=0.05, tile=1000), plain)


def test_the_model_answers_a_mirrored_view_as_the_mirrored_image(detector: Detector, large: tuple) -> None:
    """The image has the model's own size, where a mirror is x -> 160 - x."""
    image = large[0].crop((160, 0, 320, 160))
    turned = detector(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), PROMPT, threshold=0.3)
    options = DetectOptions(threshold=0.3)
    view = Crop((160, 0, 320, 160), SIZE, flipped=True)
    (answer,) = detector.detect([render_crop(large[0], view)], detector.compile_prompt(PROMPT, options), options)
    same(answer, turned)
    back = to_image_coordinates(torch.tensor(answer.boxes), view).numpy()
    assert len(back)
    expected = 160 + np.stack((160 - turned.boxes[:, 2], 160 - turned.boxes[:, 0]), axis=1)
    np.testing.assert_allclose(back[:, [0, 2]], expected, atol=1e-4)


def right(answer: Detections, things: list[tuple[str, tuple[float, ...]]]) -> int:
    """How many objects have a box of their shape that covers them."""
    count = 0
    for shape, box in things:
        of_shape = answer.boxes[[name == shape for name in answer.names]]
        count += bool(len(of_shape) and box_iou(torch.tensor([box]), torch.tensor(of_shape)).max() > 0.5)
    return count


def test_tiles_find_what_one_look_misses(detector: Detector, large: tuple) -> None:
    image, things = large
    things = [thing for thing in things if thing[0] != "square"]  # of which only red ones are asked
    plain, tiled = detector(image, PROMPT), detector(image, PROMPT, **TILES)
    assert right(plain, things) < 0.75 * len(things)
    assert right(tiled, things) > 0.85 * len(things)
    assert len(tiled) < 1.5 * len(things)  # and each is reported about once
    assert tiled.size == (640, 320)
    assert (np.diff(tiled.scores) <= 0).all()


def test_thresholds_and_top_k_apply_to_what_was_merged(detector: Detector, wide: Image.Image) -> None:
    everything = detector(wide, PROMPT, threshold=0.0, **TILES)
    middle = float(np.median(everything.scores))
    above = everything.scores > middle
    some = detector(wide, PROMPT, threshold=middle, **TILES)
    np.testing.assert_array_equal(some.boxes, everything.boxes[above])
    stars = detector(wide, PROMPT, threshold=1.0, class_thresholds={"star": middle}, **TILES)
    star = above & (everything.label_ids == 2)
    assert star.any()
    np.testing.assert_array_equal(stars.boxes, everything.boxes[star])
    np.testing.assert_array_equal(detector(wide, PROMPT, threshold=0.0, top_k=7, **TILES).boxes,
                                  everything.boxes[:7])  # fmt: skip


def test_negatives_compete_after_the_merge(detector: Detector, wide: Image.Image) -> None:
    """The answer follows from that to all labels: a box goes where a better one of a negative overlaps it."""
    labels = ["star", "ring", "circle", "moon"]
    every = detector(wide, labels, threshold=0.0, **TILES)
    negative = every.label_ids >= 2
    boxes = torch.tensor(every.boxes)
    better = torch.tensor(every.scores)[None] > torch.tensor(every.scores)[:, None]
    beaten = ((box_iou(boxes, boxes) > 0.6) & better & torch.from_numpy(negative)[None]).any(1).numpy()
    assert (beaten & ~negative).any()
    answer = detector(wide, labels[:2], negatives=tuple(labels[2:]), threshold=0.0, **TILES)
    assert answer.labels == ("star", "ring")
    np.testing.assert_array_equal(answer.boxes, every.boxes[~negative & ~beaten])


def test_agnostic_nms_acts_across_views(detector: Detector, wide: Image.Image) -> None:
    answer = detector(wide, PROMPT, threshold=0.05, agnostic_nms=True, **TILES)
    boxes = torch.tensor(answer.boxes) - torch.tensor([0.0, 0, 1, 1])
    overlaps = box_iou(boxes, boxes).fill_diagonal_(0)
    assert overlaps.max() <= 0.6 + 1e-5
    assert len(detector(wide, PROMPT, threshold=0.05, **TILES)) > len(answer)


def test_views_share_a_batch_and_nothing_changes(detector: Detector, wide: Image.Image) -> None:
    same(
        detector(wide, PROMPT, threshold=0.1, batch_size=4, **TILES),
        detector(wide, PROMPT, threshold=0.1, **TILES),
        atol=1e-4,
    )


def test_several_texts_are_merged_in_every_view(detector: Detector, wide: Image.Image) -> None:
    chunked = detector(wide, ["star", "ring", "moon"], threshold=0.0, chunked_size=2, **TILES)
    first = detector(wide, ["star", "ring"], threshold=0.0, **TILES)
    second = detector(wide, ["moon"], threshold=0.0, **TILES)
    expected = sorted([*zip(first.scores, first.names, strict=True), *zip(second.scores, second.names, strict=True)])
    assert sorted(zip(chunked.scores, chunked.names, strict=True)) == expected


def test_a_prompt_with_a_side_is_asked_without_mirrors(detector: Detector, wide: Image.Image) -> None:
    with_views = DetectOptions(tta=True)
    assert any("left or right" in note for note in detector.compile_prompt("left star .", with_views).notes)
    assert not any("left or right" in note for note in detector.compile_prompt("left star .", DetectOptions()).notes)
    assert not any("left or right" in note for note in detector.compile_prompt("star .", with_views).notes)
    looked: list[torch.Tensor] = []
    encode = detector.encode_images
    detector.encode_images = lambda batch: (looked.append(batch[0].pixels), encode(batch))[1]  # type: ignore[method-assign]
    try:
        image = wide.crop((0, 0, 160, 160))
        detector(image, "left star .", tta=True, size=(64, 128))
        assert len(looked) == 12
        detector(image, "star .", tta=True, size=(64, 128))
        assert len(looked) == 12 + 24
    finally:
        del detector.encode_images  # type: ignore[method-assign]
    torch.testing.assert_close(looked[12].flip(-1), looked[13], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [({"tile": 10}, "tile 10"), ({"tile": 0}, "tile 0"), ({"overlap": 0.3}, "overlap 0.3: .* tile size"),
     ({"tile": 100, "overlap": 1.0}, "overlap 1"), ({"tile": 100, "overlap": -0.1}, "overlap -0.1"),
     ({"tile": 100, "overlap": float("nan")}, "overlap nan")],
)  # fmt: skip
def test_options_that_cannot_be_meant(wrong: dict, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        DetectOptions(**wrong)


def test_the_default_overlap_is_a_setting_like_one_that_was_given() -> None:
    assert DetectOptions(tile=100) == DetectOptions(tile=100, overlap=0.2)
    assert DetectOptions().overlap is None


@pytest.fixture
def folder(wide: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    wide.save("in/a.png")
    wide.crop((0, 0, 200, 160)).save("in/b.png")
    wide.crop((0, 0, 160, 160)).save("in/c.png")
    Path("in/d.png").write_bytes(b"no image")
    return tmp_path


@pytest.mark.parametrize("keep", [False, True])
def test_a_run_gives_the_answers_of_a_plain_loop(detector: Detector, folder: Path, keep: bool) -> None:
    options = DetectOptions(threshold=0.05, **TILES)
    runner = Runner(detector, detector.compile_prompt(PROMPT, options), options, workers=2, keep_images=keep)
    outcomes = list(runner(expand(["in"])))
    assert [Path(outcome.source.name).name for outcome in outcomes] == ["a.png", "b.png", "c.png", "d.png"]
    assert outcomes[3].error
    for outcome in outcomes[:3]:
        assert outcome.detections
        same(outcome.detections, detector(outcome.source.location, PROMPT, threshold=0.05, **TILES))
        assert (outcome.image is not None) == keep


class Small:
    """Stands for a detector whose memory holds two views at once."""

    device = torch.device("cpu")

    def __init__(self, fits: int) -> None:
        self.fits, self.asked = fits, []

    def image_size(self, size: tuple[int, int] | None) -> ImageSize:
        return ImageSize(*(size or SIZE))

    def detect_crops(self, image: Image.Image, compiled: object, options: DetectOptions) -> tuple[Detections, bool]:
        self.asked.append(options.batch_size)
        if options.batch_size > self.fits:
            raise OutOfMemoryError("out of memory")
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        return Detections(*nothing, ("cat",), ((0, 3),), "cat .", image.size), False


def test_fewer_views_at_once_where_memory_is_short(folder: Path) -> None:
    options = DetectOptions(batch_size=8, size=SIZE, tile=160)
    runner = Runner(Small(2), None, options, workers=1)  # type: ignore[arg-type]
    assert sum(outcome.detections is not None for outcome in runner(expand(["in"]))) == 3
    assert runner.detector.asked == [8, 4, 2, 2, 2]  # type: ignore[attr-defined]
    assert runner.effective_batch_size == 2
    with pytest.raises(OutOfMemoryError):
        list(Runner(Small(0), None, options, workers=1)(expand(["in"])))  # type: ignore[arg-type]


def glip(*arguments: str) -> Result:
    return CliRunner().invoke(app, [*arguments, "-m", "glip-mini", "--device", "cpu"])


def test_the_flags_of_detect(detector: Detector, folder: Path) -> None:
    result = glip("detect", "in/a.png", "-t", PROMPT, "--json", "--tile", "160", "--overlap", "0.25")
    assert result.exit_code == 0, result.stderr
    expected = detector("in/a.png", PROMPT, **TILES)
    rows = json.loads(result.stdout)["detections"]
    assert [row["label"] for row in rows] == expected.names
    np.testing.assert_allclose([row["box"]["xmax"] for row in rows], expected.boxes[:, 2], atol=0.01)
    assert glip("detect", "in/a.png", "-t", PROMPT, "--overlap", "0.3").exit_code == 2
    noted = glip("detect", "in/c.png", "-t", "left star", "--tta", "--size", "64,128", "--json")
    assert noted.exit_code == 0, noted.stderr
    assert "left or right" in noted.stderr


def test_a_batch_goes_on_with_the_same_views_only(folder: Path) -> None:
    started = glip("batch", "in/a.png", "-t", PROMPT, "-o", "run", "--tile", "160")
    assert started.exit_code == 0, started.stderr
    assert glip("batch", "in/a.png", "-t", PROMPT, "-o", "run", "--tile", "160", "--overlap", "0.2").exit_code == 0
    for other in (["--tile", "160", "--overlap", "0.3"], ["--tile", "160", "--tta"], []):
        refused = glip("batch", "in/a.png", "-t", PROMPT, "-o", "run", *other)
        assert refused.exit_code == 2
        assert "run holds a run with t" in refused.stderr or "run holds a run with overlap" in refused.stderr


def test_sentences_are_not_asked_in_views(folder: Path) -> None:
    for flag in (["--tile", "160"], ["--tta"]):
        refused = glip("eval", "flickr30k", "--data", "in", *flag)
        assert refused.exit_code == 2
        assert "leave out --tile and --tta" in " ".join(refused.stderr.split())
