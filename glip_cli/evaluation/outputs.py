"""What `glip eval` leaves: metrics.json, flat, and beside it the results and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.checkpoints import registry
from glip_cli.errors import OptionError, UsageError
from glip_cli.evaluation.flickr30k import Recalls
from glip_cli.evaluation.odinw import OdinwSet, PublishedAP, check_names, evalai_json, odinw_sets, published
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
    """A number somebody published for this model on this data set, in percent."""

    metric: str  # a key of the measured summary
    value: float
    source: str


def published_values(model: str, dataset: str) -> list[PublishedValue]:
    """Those of weights.toml for a registered model; `dataset` is named as there."""
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

    An AP of -1, where a set has no box to be found, is a dash and not in the mean. Raises ValueError for a name that
    is none of `sets`.
    """
    check_names(scores, sets)
    found = {name: score for name, score in scores.items() if score >= 0}
    rows = [_row(one, scores, first(published(model, which, one.name))) for one in sets]
    average = sum(found.values()) / len(found) if found else None
    rows.append(ReportRow(("average", average, first(published(model, which)))))
    absent = ", ".join(one.title for one in sets if one.name not in found)
    note = f"average over {len(found)} of {len(sets)} sets{'; absent: ' if absent else ''}{absent}"
    return ReportTable(f"ODinW-{which}", ("set", "AP", "published"), tuple(rows), note)


def _row(one: OdinwSet, scores: Mapping[str, float], published: str) -> ReportRow:
    score = scores.get(one.name)
    if score is None or score < 0:
        return ReportRow((one.title, None if score is None else "-", published))
    return ReportRow((one.title, score, published), f"{one.name}/{REPORT}")


def first(values: tuple[PublishedAP, ...]) -> str:
    """The published value that was asked with the same prompts, where there is one."""
    return f"{values[0].value:.1f} ({values[0].source}, {values[0].prompts})" if values else ""


def write_odinw(
    out: Path, table: ReportTable, facts: Mapping[str, str], runs: Mapping[str, EvalResult], report: bool, evalai: bool
) -> list[Path]:
    """metrics.json with the AP of each measured set and `average`, report.html, and what the leaderboard takes."""
    titles = {one.name: one.title for one in odinw_sets(35)}
    metrics = {f"AP {titles[name]}": run.metrics["AP"] for name, run in runs.items()}
    average = table.rows[-1].cells[1]
    metrics["average"] = average if isinstance(average, float) else UNDEFINED
    write_metrics(out / METRICS, facts, metrics, {})
    files = [out / METRICS]
    if report:
        write_table_report(out / REPORT, title=f"{facts['model']} on {table.title}", facts=facts, tables=[table])
        files.append(out / REPORT)
    if evalai:
        save_json(out / EVALAI, evalai_json({name: run.results for name, run in runs.items()}))
        files.append(out / EVALAI)
    return files


def recall_table(recalls: Recalls) -> ReportTable:
    """One row per type of phrase."""
    ranks = ("Recall@1", "Recall@5", "Recall@10", "Upper_bound")
    rows = [
        ReportRow((kind, count, *(recalls.recall[f"{rank}_{kind}"] for rank in ranks)))
        for kind, count in recalls.phrases.items()
    ]
    columns = ("phrases of type", "number", *(rank.replace("_", " ").lower() for rank in ranks))
    return ReportTable("Recall", columns, tuple(rows), f"{recalls.protocol} boxes, IoU 0.5")


def write_recalls(out: Path, recalls: Recalls, facts: Mapping[str, str], report: bool) -> list[Path]:
    """metrics.json with the keys of microsoft/GLIP, and report.html."""
    write_metrics(out / METRICS, facts, recalls.recall, {"phrases": recalls.phrases})
    files = [out / METRICS]
    if report:
        tables = [recall_table(recalls)]
        write_table_report(out / REPORT, title=f"{facts['model']} on Flickr30k Entities", facts=facts, tables=tables)
        files.append(out / REPORT)
    return files
