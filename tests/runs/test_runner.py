"""The road for many images, with the embedded model: the answers of one at a time, in order, in bounded memory."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from glip_cli.data.sources import ImageInput, expand
from glip_cli.detector import Detector
from glip_cli.errors import ImageError, OutOfMemoryError, OutputError
from glip_cli.inference.batch_detector import ImageFeatures
from glip_cli.inference.device import free_cached_memory
from glip_cli.inference.preprocess import ImageSize, PreprocessedImage
from glip_cli.options import DetectOptions
from glip_cli.outputs.images import AnnotatedImages
from glip_cli.runs import runner as runner_module
from glip_cli.runs.items import Item
from glip_cli.runs.local import Clock, ImageResult, LocalEngine
from glip_cli.runs.runner import BLOCK, Runner
from glip_cli.types import Detections

PROMPT = "circle . red square . star ."


def make(detector: Detector, batch_size: int = 1, workers: int = 2) -> Runner:
    options = DetectOptions(threshold=0.05, batch_size=batch_size)
    return Runner(detector, detector.compile_prompt(PROMPT, options), options, workers)


def paths(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


def sources(folder: Path) -> list[ImageInput]:
    return list(expand([str(folder)]))


@pytest.fixture(scope="module")
def alone(detector: Detector, mixed: Path) -> list[Detections | None]:
    """What a plain loop over the detector finds."""

    def one(path: Path) -> Detections | None:
        try:
            return detector(path, PROMPT, threshold=0.05)
        except ImageError:
            return None

    return [one(path) for path in paths(mixed)]


@pytest.fixture
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("two_threads")
def test_a_small_model_detects_in_an_image_on_each_thread(
    detector: Detector, mixed: Path, alone: list[Detections | None]
) -> None:
    met, both = set[str](), threading.Barrier(2, timeout=60)

    class Meeting(Detector):
        def encode_images(self, batch: Sequence[PreprocessedImage]) -> ImageFeatures:
            assert torch.get_num_threads() == 1
            if len(met) < 2:
                met.add(threading.current_thread().name + str(both.wait()))
            return super().encode_images(batch)

    runner = make(Meeting(detector.model, detector.tokenizer, detector.name, "cpu"))
    for outcome, expected in zip(runner(sources(mixed)), alone, strict=True):
        if expected is None:
            assert outcome.error
            continue
        assert outcome.detections is not None
        np.testing.assert_array_equal(outcome.detections.boxes, expected.boxes)
        np.testing.assert_array_equal(outcome.detections.scores, expected.scores)
    assert len(met) == 2
    assert torch.get_num_threads() == 2
    assert not runner.clock.model


@pytest.mark.parametrize("name", ["glip-nano", "glip-mini"])
def test_the_digits_are_those_of_any_number_of_threads(name: str) -> None:
    """So the records of a run, which does several images at once, are those of `glip detect`."""
    detector = Detector.load(name, device="cpu", offline=True)
    photographs = sorted((Path(__file__).parents[1] / "photographs").glob("*.jpg"))[:4]
    threads, found = torch.get_num_threads(), []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        found.append(detector(photographs, "person . animal . table .", threshold=0.0))
    torch.set_num_threads(threads)
    for one, other in chain(zip(found[0], found[1], strict=True), zip(found[0], found[2], strict=True)):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        np.testing.assert_array_equal(one.scores, other.scores)


@pytest.mark.parametrize(("batch_size", "pixels", "score"), [(1, 0, 0), (3, 1e-3, 1e-4), (4, 1e-3, 1e-4)])
def test_answers_are_those_of_a_plain_loop_in_its_order(
    detector: Detector, mixed: Path, alone: list[Detections | None], batch_size: int, pixels: float, score: float
) -> None:
    outcomes = list(make(detector, batch_size)(sources(mixed)))
    assert [Path(outcome.source.name) for outcome in outcomes] == paths(mixed)
    assert sum(found is None for found in alone) == 3
    for outcome, expected in zip(outcomes, alone, strict=True):
        assert (outcome.detections is None) == (expected is None) == (outcome.error is not None)
        if outcome.detections is None or expected is None:
            continue
        assert outcome.detections.names == expected.names
        np.testing.assert_allclose(outcome.detections.boxes, expected.boxes, rtol=0, atol=pixels)
        np.testing.assert_allclose(outcome.detections.scores, expected.scores, rtol=0, atol=score)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_begun_at_a_block_it_gives_the_same_digits(detector: Detector, mixed: Path, batch_size: int) -> None:
    whole = list(make(detector, batch_size)(sources(mixed)))
    runner = make(detector, batch_size)
    assert runner.block_size == (1 if batch_size == 1 else batch_size * BLOCK)
    begin = 32
    later = list(runner(sources(mixed)[begin:]))
    for one, other in zip(whole[begin:], later, strict=True):
        if one.detections is not None and other.detections is not None:
            np.testing.assert_array_equal(one.detections.boxes, other.detections.boxes)
            np.testing.assert_array_equal(one.detections.scores, other.detections.scores)


def test_images_are_freed_once_detected(detector: Detector, mixed: Path) -> None:
    for outcome in make(detector, 4)(sources(mixed)):
        assert outcome.prepared is None
        assert outcome.image is None
        assert outcome.done


class Recorder:
    """Stands for the detector where only the shape of the batches matters."""

    device = torch.device("cpu")
    is_small = False

    def __init__(self, fits: int = 99) -> None:
        self.fits, self.batches = fits, []

    def image_size(self, size: tuple[int, int]) -> ImageSize:
        return ImageSize(*size)

    def detect(self, batch: list[PreprocessedImage], *more: object) -> list[Detections]:
        if len(batch) > self.fits:
            raise OutOfMemoryError("out of memory")
        self.batches.append([item.size for item in batch])
        nothing = np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64)
        return [Detections(*nothing, ("cat",), ((0, 3),), "cat .", item.size) for item in batch]


def made_runner(recorder: Recorder, batch_size: int, shapes: list[int], monkeypatch: pytest.MonkeyPatch) -> Runner:
    """A runner whose image number i has the shape 32 x 32 * shapes[i]; 0 is one that cannot be read."""

    def read(self: Runner, source: ImageInput) -> ImageResult:
        shape = shapes[int(source.name)]
        if shape == 0:
            return ImageResult(source, error=ImageError(source.name))
        pixels = torch.zeros(3, 32, 32 * shape)
        return ImageResult(source, prepared=PreprocessedImage(pixels, (int(source.name), 1), (1.0, 1.0)))

    monkeypatch.setattr(Runner, "_read", read)
    options = DetectOptions(batch_size=batch_size, size=(32, 32))
    return Runner(recorder, None, options, workers=2)  # type: ignore[arg-type]


def numbered(count: int) -> Iterator[ImageInput]:
    return (ImageInput(str(number), str(number)) for number in range(count))


@given(shapes=st.lists(st.integers(0, 3), max_size=90), batch_size=st.integers(1, 4), fits=st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_each_image_is_detected_once_among_its_like(shapes: list[int], batch_size: int, fits: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        recorder = Recorder(fits)
        runner = made_runner(recorder, batch_size, shapes, patch)
        outcomes = list(runner(numbered(len(shapes))))
    assert [int(outcome.source.name) for outcome in outcomes] == list(range(len(shapes)))
    batches = [[number for number, _ in batch] for batch in recorder.batches]
    assert sorted(chain.from_iterable(batches)) == [number for number, shape in enumerate(shapes) if shape]
    for batch in batches:
        assert len(batch) <= min(batch_size, fits)
        assert len({shapes[number] for number in batch}) == 1
        assert len({number // runner.block_size for number in batch}) == 1
    full = max((len(same) for same in _per_block(shapes, runner.block_size)), default=0)
    assert (runner.effective_batch_size is not None) == (fits < min(batch_size, full))


def _per_block(shapes: list[int], block: int) -> list[list[int]]:
    blocks = [shapes[i : i + block] for i in range(0, len(shapes), block)]
    return [[one for one in part if one == shape] for part in blocks for shape in (1, 2, 3)]


class Tangled(Recorder):
    """What did not fit hangs on an error that hangs on itself, as from Python 3.12 on."""

    def __init__(self) -> None:
        super().__init__(fits=2)
        self.left: list[weakref.ref[PreprocessedImage]] = []

    def detect(self, batch: list[PreprocessedImage], *more: object) -> list[Detections]:
        assert not any(one() for one in self.left), "what did not fit before is still there"
        large = PreprocessedImage(torch.zeros(3, 32, 32), (1, 1), (1.0, 1.0))
        self.left.append(weakref.ref(large))
        try:
            return super().detect(batch, *more)
        except OutOfMemoryError as error:
            cycle: list[object] = [error, large]
            cycle.append(cycle)
            raise


def test_what_did_not_fit_is_gone_before_less_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Tangled()
    gc.disable()
    try:
        runner = made_runner(recorder, 8, [1] * 8, monkeypatch)
        assert len(list(runner(numbered(8)))) == 8
    finally:
        gc.enable()
    assert runner.effective_batch_size == 2
    assert len(recorder.left) == 6


def test_what_did_not_fit_is_let_go_while_another_thread_collects() -> None:
    """Then `gc.collect` does nothing."""
    inside = threading.Event()

    class Slow:
        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            inside.set()
            time.sleep(0.2)

    gc.disable()
    try:
        Slow()
        thread = threading.Thread(target=gc.collect)
        thread.start()
        assert inside.wait(10)
        cycle: list[object] = [large := torch.zeros(1)]
        cycle.append(cycle)
        left = weakref.ref(large)
        del cycle, large
        free_cached_memory(torch.device("cpu"))
        assert left() is None
    finally:
        gc.enable()
    thread.join()


def test_one_image_that_does_not_fit_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    runner = made_runner(Recorder(fits=0), 4, [1] * 9, monkeypatch)
    with pytest.raises(OutOfMemoryError):
        list(runner(numbered(9)))


def test_a_million_images_are_taken_as_they_are_needed(detector: Detector, scenes: Path) -> None:
    taken = 0

    def million() -> Iterator[ImageInput]:
        nonlocal taken
        while taken < 1_000_000:
            taken += 1
            yield ImageInput("00.png", str(scenes / "00.png"))

    outcomes = make(detector)(million())
    assert len(list(islice(outcomes, 10))) == 10
    time.sleep(0.3)
    assert taken <= 10 + 2 * 2 + 2
    outcomes.close()  # type: ignore[attr-defined]


def test_told_to_stop_it_ends_after_the_batch_at_hand(detector: Detector, scenes: Path) -> None:
    runner = make(detector)
    seen = 0
    for seen, _ in enumerate(runner(sources(scenes)), 1):
        if seen == 5:
            runner.stop.set()
    assert seen == 5


def test_the_share_of_time_that_the_model_waited(detector: Detector, scenes: Path) -> None:
    def slow() -> Iterator[ImageInput]:
        for source in sources(scenes)[:4]:
            time.sleep(0.4)
            yield source

    runner = make(detector)
    runner._threads = 1  # else images are detected where they are read
    assert len(list(runner(slow()))) == 4
    assert runner.clock.data_time > 0.3  # for the first image at least, when there is nothing else to do
    assert 0 < runner.clock.waited_share < 1
    assert Clock(model=3, data_time=1).waited_share == 0.25
    assert Clock().waited_share == 0


def test_memory_that_a_reader_lacks_is_no_fault_of_the_image(
    detector: Detector, scenes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(*_: object) -> PreprocessedImage:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: 7 bytes")

    monkeypatch.setattr(runner_module, "preprocess", starved)
    with pytest.raises(OutOfMemoryError, match="out of memory on cpu"):
        list(make(detector)(sources(scenes)))


def test_images_are_saved_before_their_record(detector: Detector, mixed: Path, tmp_path: Path) -> None:
    before = threading.active_count()
    engine = LocalEngine(make(detector), AnnotatedImages(tmp_path, drawn=True))
    items = (Item(source, f"name{number}") for number, source in enumerate(sources(mixed)))
    for number, record in enumerate(engine(items)):
        assert (tmp_path / f"vis/name{number}.jpg").exists() == ("detections" in record)
    assert threading.active_count() < before + 8


def test_images_that_cannot_be_saved_end_the_run(detector: Detector, mixed: Path, tmp_path: Path) -> None:
    (tmp_path / "vis").touch()
    engine = LocalEngine(make(detector), AnnotatedImages(tmp_path, drawn=True))
    with pytest.raises(OutputError, match="make room, then run the same command to resume"):
        list(engine(Item(source, "name") for source in sources(mixed)))


def test_an_image_that_fails_keeps_nothing_of_what_was_read(detector: Detector, tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.new("RGB", (64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:60])
    (outcome,) = make(detector)([ImageInput(str(path), str(path))])
    assert str(outcome.error).startswith(f"{path}: damaged or cut short")
    assert outcome.error is not None
    assert outcome.error.__traceback__ is outcome.error.__cause__ is outcome.error.__context__ is None
