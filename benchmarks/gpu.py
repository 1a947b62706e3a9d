"""What is to be known of a GPU, in minutes: whether answers are right on it, what they cost, and whether training runs.

Three tables, each part of which stands for itself: one that fails says why, and the rest goes on.

- Agreement with mmdetection's detections of tests/golden, and of `parity` where the reference material is there.
- Images a second of GLIP-T, GLIP-T (A) and GLIP-L, eager and compiled, beside the textbook form.
- Steps of training GLIP-T, whole and by LoRA, on drawn scenes.

`tiny` does the same with glip-mini on small images: a test runs it on the CPU, so that the script works on its day.
"""

from __future__ import annotations

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks import subjects
from benchmarks.foreign import Found, compare
from benchmarks.load import converted
from benchmarks.machine import describe
from benchmarks.timing import interleaved, markdown
from glip_cli.detector import Detector
from glip_cli.inference.preprocess import preprocess
from glip_cli.options import DetectOptions
from glip_cli.training.job import Callbacks
from glip_cli.training.run import finetune
from tests import recipe
from tests.shared import GOLDEN, SHARED

Row = tuple[str, ...]
NAMES = ("cat", "remote")
WAYS = ("eager", "compiled", "textbook")
EPOCHS = 4  # of a training, each a row of numbers
GOLDENS = (GOLDEN / "goldens", SHARED / "parity" / "goldens")
PHOTO = SHARED / "data" / "photos" / "000000039769.png"
SIZES = {"synthetic200": (200, 1333), "synthetic256": (240, 1333), "cats": (800, 1333)}


@dataclass(frozen=True)
class Plan:
    """How much is done.

    Attributes:
        kinds: of goldens.
        size: shorter and longer side of the images.
        seconds: after which no new part of the work is begun.
    """

    device: str
    dtypes: tuple[str, ...] = ("float32", "bfloat16")
    models: tuple[str, ...] = ("glip-t", "glip-t-a", "glip-l")
    goldens: tuple[str, ...] = ("glip-t", "glip-t-a", "glip-l")
    kinds: tuple[str, ...] = ("synthetic200", "synthetic256", "cats")
    batches: tuple[int, ...] = (1, 8)
    ways: tuple[str, ...] = WAYS
    size: tuple[int, int] = (800, 1333)
    repeats: int = 5
    trained: str = "glip-t"
    steps: int = 20
    seconds: float = 420.0

    @classmethod
    def tiny(cls, device: str) -> Plan:
        return cls(
            device, ("float32",), ("glip-mini",), ("glip-t",), ("synthetic200",), (1, 2), ("eager", "textbook"),
            (64, 96), 1, "glip-mini", 8,
        )  # fmt: skip


def measure(plan: Plan) -> dict[str, object]:
    """The tables, each with rows of words; "failed" are the parts that ended in an error."""
    began, failed = time.monotonic(), list[str]()

    def rows_of(parts: Iterator[tuple[str, Callable[[], Sequence[Row]]]]) -> list[Row]:
        rows: list[Row] = []
        for name, part in parts:
            if time.monotonic() - began > plan.seconds:
                rows.append((name, "left out: the time is up"))
                continue
            try:
                rows += part()
            except Exception as error:  # of whatever kind, the other parts are to be known
                failed.append(name)
                rows.append((name, f"failed: {type(error).__name__}: {error}".splitlines()[0]))
            gc.collect()
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
        return rows

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False  # as the goldens were made
    return {
        "machine": describe(), "agreement": rows_of(agreements(plan)), "speed": rows_of(speeds(plan)),
        "training": rows_of(trainings(plan)), "failed": failed, "seconds": round(time.monotonic() - began),
    }  # fmt: skip


def agreements(plan: Plan) -> Iterator[tuple[str, Callable[[], Sequence[Row]]]]:
    for model, dtype in product(plan.goldens, plan.dtypes):
        yield f"{model}, {dtype}", partial(agreement, plan, model, dtype)


def agreement(plan: Plan, model: str, dtype: str) -> list[Row]:
    """Of each golden, a row."""
    detector = subjects.detector(model, dtype, plan.device)
    rows: list[Row] = []
    for file in golden_files(subjects.LETTER[model]):
        kind = file.stem.split("-")[1]
        if kind not in plan.kinds:
            continue
        stored = np.load(file)
        image = Image.open(PHOTO).convert("RGB") if kind == "cats" else Image.fromarray(recipe.synthetic())
        found = detector(image, NAMES, threshold=0.0, size=SIZES[kind])
        theirs = Found(stored["labels"], stored["scores"], stored["boxes"])
        apart = compare(theirs, Found(found.label_ids, found.scores, found.boxes))
        rows.append((f"{model}, {dtype}", kind, f"{apart['ours']} of {apart['theirs']}",
                     f"{apart['score']:.1e}", f"{apart['pixels']:.1e}"))  # fmt: skip
    return rows


def golden_files(letter: str) -> list[Path]:
    """Those for `NAMES`, each once."""
    files = {path.name: path for folder in GOLDENS for path in sorted(folder.glob(f"{letter}-*-cat.npz"))}
    return [path for path in files.values() if PHOTO.exists() or "cats-" not in path.name]


def speeds(plan: Plan) -> Iterator[tuple[str, Callable[[], Sequence[Row]]]]:
    for model, dtype, batch in product(plan.models, plan.dtypes, plan.batches):
        yield f"{model}, {dtype}, batch {batch}", partial(speed, plan, model, dtype, batch)


def speed(plan: Plan, model: str, dtype: str, batch: int) -> list[Row]:
    """Images a second in each way, and the most memory that the first took."""
    question = subjects.Question.of(NAMES, plan.size)
    runs: dict[str, Callable[[], object]] = {}
    for way in plan.ways:
        if way == "textbook" and (batch > 1 or dtype != "float32"):  # which it does not have
            continue
        detector = subjects.detector(model, dtype, plan.device, compile=way == "compiled")
        ours = way != "textbook"
        runs[way] = of_batch(detector, question, batch) if ours else subjects.reference(detector, question)
    peak = peak_mb(runs[plan.ways[0]])
    timings = interleaved(runs, plan.repeats)
    rates = {way: f"{batch / timing.median:.2f}" for way, timing in timings.items()}
    return [(f"{model}, {dtype}, batch {batch}", *(rates.get(way, "") for way in WAYS), peak)]


def of_batch(detector: Detector, question: subjects.Question, batch: int) -> Callable[[], object]:
    options = DetectOptions(size=question.size, batch_size=batch)
    compiled = detector.compile_prompt(question.names, options)
    items = [preprocess(question.image, *question.size)] * batch
    return lambda: detector.detect(items, compiled, options)


def peak_mb(run: Callable[[], object]) -> str:
    """What the first run takes of a GPU's memory, weights included."""
    if not torch.cuda.is_available():
        run()
        return ""
    torch.cuda.reset_peak_memory_stats()
    run()
    return str(torch.cuda.max_memory_allocated() >> 20)


def trainings(plan: Plan) -> Iterator[tuple[str, Callable[[], Sequence[Row]]]]:
    for mode in ("lora", "full"):
        yield f"{plan.trained}, {mode}", partial(training, plan, mode)


def training(plan: Plan, mode: str) -> list[Row]:
    """Seconds of a step, without those of the first epoch; its mean loss and that of the last one; the most memory."""
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        weights = None if plan.trained == "glip-mini" else str(converted(plan.trained, Path(folder)))
        finetune(
            f"scenes:{2 * plan.steps // EPOCHS}", out=Path(folder) / "run", device=plan.device, batch_size=2,
            epochs=EPOCHS, size=plan.size[:1], max_size=plan.size[1], mode=mode, weights=weights,
            model=None if weights else plan.trained,
            callbacks=Callbacks(row=lambda row, *_: rows.append(row)),
        )  # fmt: skip
    seconds = np.median([row["seconds"] for row in rows[1:]])
    most = str(int(rows[-1]["memory"]) >> 20) if "memory" in rows[-1] else ""
    return [(f"{plan.trained}, {mode}", f"{seconds:.3f}", f"{rows[0]['loss']:.3f}", f"{rows[-1]['loss']:.3f}", most)]


def table(result: dict[str, object]) -> str:
    columns = {
        "agreement": ("model", "golden", "detections", "scores apart", "pixels apart"),
        "speed": ("images a second", *WAYS, "peak MB"),
        "training": ("model", "s a step", "first loss", "last loss", "peak MB"),
    }
    shown = [str(result["machine"])]
    for name, titles in columns.items():
        rows = result[name]
        assert isinstance(rows, list)
        shown.append(markdown(titles, rows))
    failed = f"failed: {result['failed']}" if result["failed"] else "nothing failed"
    return "\n\n".join((*shown, f"{failed}; {result['seconds']} s"))
