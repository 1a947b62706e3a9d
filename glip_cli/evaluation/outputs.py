"""The outputs of `glip eval`: metrics.json, flat, and beside it the results and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.checkpoints import registry
from glip_cli.errors import OptionError, UsageError
from glip_cli.evaluation.flickr30k import RANKS, Recalls
from glip_cli.evaluation.odinw import OdinwSet, evalai_json, odinw_sets, published
from glip_cli.evaluation.report.page import ReportRow, ReportTable, is_report, write_table_report
from glip_cli.outputs.coco import COCO_RESULTS
from glip_cli.outputs.files import save_json
from glip_cli.utils.json import JsonObject, parsed_object

if TYPE_CHECKING:
    from glip_cli.evaluation.run import EvalResult

METRICS, RESULTS, REPORT, EVALAI = "metrics.json", COCO_RESULTS, "report.html", "evalai.json"
UNDEFINED = -1.0
"""By which the evaluators say that there is nothing to measure; never written or shown."""


@dataclass(frozen=True)
class PublishedValue:
    """A published result of this model on this data set, in percent."""

    metric: str  # a key of the measured summary
    value: float
    source: str


def published_values(model: str, dataset: str) -> list[PublishedValue]:
    """The published results in weights.toml; `dataset` is named as there."""
    if model not in registry.names():
        return []
    return [
        PublishedValue(one.metric.removeprefix("fixed "), one.value, f"{one.source}, {one.setting}")
        for one in registry.find(model).published
        if one.dataset == dataset
    ]


def write_metrics(
    path: Path, facts: Mapping[str, str], metrics: Mapping[str, float], extra: Mapping[str, object]
) -> None:
    """Flat: numbers in [0, 1] (null: nothing of that kind in the ground truth), then facts in words, then tables."""
    save_json(path, {**{key: defined(value) for key, value in metrics.items()}, **facts, **extra}, indent=2)


def defined(share: float) -> float | None:
    """None for `UNDEFINED`."""
    return None if share < 0 else share


def check_outputs(out: Path, names: Iterable[str]) -> None:
    """Whether files of these names may be written in a folder: there are none, or an evaluation left them.

    Raises UsageError.
    """
    is_eval = _is_metrics(out / METRICS)  # which every evaluation writes first
    for path in (out / name for name in names):
        if path.exists() and not (is_eval and (path.name != REPORT or is_report(path))):
            raise UsageError(f"{path} was not written by glip eval; choose another --out-dir")


def _is_metrics(path: Path) -> bool:
    keys = (parsed_object(path.read_bytes()) or {}).keys() if path.is_file() else set()
    return {"dataset", "protocol"} <= keys or {"model", "benchmark"} <= keys


def read_metrics(path: Path) -> JsonObject:
    """Raises OptionError."""
    file = path / METRICS if path.is_dir() else path
    try:
        metrics = parsed_object(file.read_bytes())
    except OSError as error:
        raise OptionError("compare", file, f"{error.strerror or error}; give the metrics.json of a glip eval") from None
    if metrics is None:
        raise OptionError("compare", file, "is no metrics.json; give that of a glip eval")
    return metrics


# --------------------------------------------------------------------------------------------------------------- tables
# What several data sets, or recalls instead of AP, leave: metrics.json and a report of tables.


def odinw_table(scores: Mapping[str, float], sets: tuple[OdinwSet, ...], which: int, model: str) -> ReportTable:
    """One row per set, the measured AP beside the published one, and the mean over the sets that were measured.

    An AP of -1, where a set has no box to be found, is a dash and not in the mean.
    """
    found = {name: score for name, score in scores.items() if score >= 0}
    rows = [
        ReportRow(
            (one.title, found.get(one.name, "-" if one.name in scores else None), _published(model, which, one.name)),
            f"{one.name}/{REPORT}" if one.name in found else None,
        )
        for one in sets
    ]
    average = sum(found.values()) / len(found) if found else None
    rows.append(ReportRow(("average", average, _published(model, which, "average"))))
    absent = ", ".join(one.title for one in sets if one.name not in found)
    note = f"average over {len(found)} of {len(sets)} sets{'; absent: ' if absent else ''}{absent}"
    return ReportTable(f"ODinW-{which}", ("set", "AP", "published"), tuple(rows), note)


def _published(model: str, which: int, name: str) -> str:
    """The published value for the same prompts, if there is one."""
    first = next(iter(published(model, which, name)), None)
    return f"{first.value:.1f} ({first.source}, {first.prompts})" if first else ""


def write_odinw(
    out: Path, table: ReportTable, facts: Mapping[str, str], runs: Mapping[str, EvalResult], report: bool, evalai: bool
) -> list[Path]:
    """metrics.json with the AP of each measured set and `average`, report.html, and what the leaderboard takes."""
    titles = {one.name: one.title for one in odinw_sets(35)}
    metrics = {f"AP {titles[name]}": run.metrics["AP"] for name, run in runs.items()}
    average = table.rows[-1].cells[1]
    metrics["average"] = average if isinstance(average, float) else UNDEFINED
    files = _write_table(out, table, table.title, facts, metrics, {}, report)
    if evalai:
        save_json(out / EVALAI, evalai_json({name: run.results for name, run in runs.items()}))
        files.append(out / EVALAI)
    return files


def recall_table(recalls: Recalls) -> ReportTable:
    """One row per type of phrase."""
    rows = [
        ReportRow((kind, count, *(recalls.recall[f"{name}_{kind}"] for name in RANKS)))
        for kind, count in recalls.phrases.items()
    ]
    columns = ("phrases of type", "number", *(name.replace("_", " ").lower() for name in RANKS))
    return ReportTable("Recall", columns, tuple(rows), f"{recalls.protocol} boxes, IoU 0.5")


def write_recalls(out: Path, recalls: Recalls, facts: Mapping[str, str], report: bool) -> list[Path]:
    """metrics.json with the keys of microsoft/GLIP, and report.html."""
    more = {"phrases": recalls.phrases}
    return _write_table(out, recall_table(recalls), "Flickr30k Entities", facts, recalls.recall, more, report)


def _write_table(
    out: Path,
    table: ReportTable,
    dataset: str,
    facts: Mapping[str, str],
    metrics: Mapping[str, float],
    more: Mapping[str, object],
    report: bool,
) -> list[Path]:
    write_metrics(out / METRICS, facts, metrics, more)
    if not report:
        return [out / METRICS]
    write_table_report(out / REPORT, title=f"{facts['model']} on {dataset}", facts=facts, tables=[table])
    return [out / METRICS, out / REPORT]
