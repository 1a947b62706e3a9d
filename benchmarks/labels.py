"""How the time grows with the number of names: two, COCO's 80 in one text, LVIS's 1203 in many."""

from __future__ import annotations

from benchmarks import subjects
from benchmarks.machine import describe
from benchmarks.timing import interleaved, markdown
from glip_cli.prompts.labels import parse_texts

LVIS_CHUNK = 40  # as published


def measure(
    architecture: str, size: tuple[int, int], dtype: str, device: str, repeats: int, everything: bool
) -> dict[str, object]:
    """`everything`: also all of LVIS, which takes a while with fusion."""
    subject = subjects.detector(architecture, dtype, device)
    lvis = parse_texts(["$: lvis"])
    questions = {
        "2 names": (("cat", "remote"), None),
        "coco, 80 names": (parse_texts(["$: coco"]), None),
        "lvis, 1 text of 40": (lvis[:LVIS_CHUNK], LVIS_CHUNK),
        "lvis, 3 texts of 40": (lvis[: 3 * LVIS_CHUNK], LVIS_CHUNK),
    }
    if everything:
        questions["lvis, 1203 names, 40 a text"] = (lvis, LVIS_CHUNK)
        questions["lvis, 1203 names, packed"] = (lvis, None)
    runs = {
        name: subjects.ours(subject, subjects.Question.of(names, size), chunk)
        for name, (names, chunk) in questions.items()
    }
    timings = interleaved(runs, repeats)
    base = timings["2 names"].median
    rows = {
        name: {
            "seconds": round(timing.median, 4),
            "spread": round(timing.spread, 4),
            "times": round(timing.median / base, 2),
        }
        for name, timing in timings.items()
    }
    one, three = rows["lvis, 1 text of 40"]["seconds"], rows["lvis, 3 texts of 40"]["seconds"]
    extra = round((three - one) / 2 / one, 3)
    return {"machine": describe(), "architecture": architecture, "size": size, "rows": rows, "extra_text": extra}


def table(result: dict[str, object]) -> str:
    rows = result["rows"]
    assert isinstance(rows, dict)
    lines = [(name, f"{row['seconds']:.3f} ± {row['spread']:.3f}", f"{row['times']}") for name, row in rows.items()]
    return (
        markdown(("", "s per image", "x 2 names"), lines)
        + f"\n\nOne more text of 40 names costs {result['extra_text']:.0%} of a run with one."
    )
