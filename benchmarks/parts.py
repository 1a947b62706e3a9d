"""Where the time of one image goes, part by part, by hooks around the modules."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from torch import nn

from benchmarks import subjects
from benchmarks.machine import describe
from benchmarks.timing import markdown, now
from glip_cli.data.image_io import read_image
from glip_cli.inference.preprocess import preprocess
from glip_cli.model.bert import TextLayer
from glip_cli.model.dyhead import DynamicConv
from glip_cli.model.fusion import Fusion
from glip_cli.model.glip import Glip
from glip_cli.options import DetectOptions
from glip_cli.utils.lru_cache import LastUsed


def measure(architecture: str, size: tuple[int, int], dtype: str, device: str, repeats: int) -> dict[str, object]:
    subject = subjects.detector(architecture, dtype, device)
    question = subjects.Question.of(("cat", "remote"), size)
    file = io.BytesIO()
    question.image.save(file, "JPEG")
    options = DetectOptions(size=size)
    compiled = subject.compile_prompt(question.names, options)
    spent: dict[str, list[float]] = defaultdict(list)
    for turn in range(repeats + 1):
        subject._texts = LastUsed()  # so that BERT runs each time
        once: dict[str, float] = defaultdict(float)
        with clock(once, "decoding"):
            image = read_image(file.getvalue())
        with clock(once, "resizing"):
            item = preprocess(image, *size)
        with clock(once, "all after resizing"), watched(subject.model, once):
            seen = subject.encode_images([item])
            subject.detect_features(seen, compiled, options)
        for part, seconds in once.items():
            if turn:
                spent[part].append(seconds)
    rows = {part: round(median(seconds), 5) for part, seconds in spent.items()}
    named = sum(rows[part] for part in rows if part not in ("decoding", "resizing", "all after resizing"))
    rows["head's products, post-processing"] = round(rows.pop("all after resizing") - named, 5)
    return {"machine": describe(), "architecture": architecture, "size": size, "dtype": dtype, "rows": rows}


def parts(model: Glip) -> Iterator[tuple[str, nn.Module]]:
    yield from (("backbone", model.backbone), ("FPN", model.fpn), ("BERT", model.text))
    kinds = {Fusion: "fusion", TextLayer: "BERT layers between", DynamicConv: "dynamic head"}
    yield from ((kinds[type(module)], module) for module in model.head.modules() if type(module) in kinds)


@contextmanager
def watched(model: Glip, spent: dict[str, float]) -> Iterator[None]:
    began: dict[nn.Module, float] = {}
    handles = []
    for name, module in parts(model):
        handles.append(module.register_forward_pre_hook(lambda m, _: began.__setitem__(m, now())))

        def after(m: nn.Module, _inputs: object, _outputs: object, name: str = name) -> None:
            spent[name] += now() - began[m]

        handles.append(module.register_forward_hook(after))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def clock(spent: dict[str, float], part: str) -> Iterator[None]:
    started = now()
    yield
    spent[part] += now() - started


def table(result: dict[str, object]) -> str:
    rows = result["rows"]
    assert isinstance(rows, dict)
    total = sum(rows.values())
    lines = [(part, f"{seconds * 1000:.1f}", f"{seconds / total:.0%}") for part, seconds in rows.items()]
    return markdown(("part", "ms", "share"), [*lines, ("all", f"{total * 1000:.1f}", "")])
