"""The evaluation of each kind of data set for `glip eval`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import cast

from glip_cli.cli.command import Values
from glip_cli.cli.console import Console, print_line, print_rows
from glip_cli.cli.evaluate import DatasetFlags, ReportFlags
from glip_cli.data.image_files import find_images
from glip_cli.errors import UsageError
from glip_cli.evaluation import flickr30k, odinw
from glip_cli.evaluation.boxes import (
    ScoringProtocol,
    box_task,
    only,
)
from glip_cli.evaluation.calibrate import best_thresholds, write_thresholds
from glip_cli.evaluation.compare import MetricChange
from glip_cli.evaluation.flickr30k import OPTIONS, CaptionEngine, boxes_of, source_of
from glip_cli.evaluation.ground_truth import GroundTruth, read_ground_truth
from glip_cli.evaluation.outputs import (
    EVALAI,
    METRICS,
    REPORT,
    PublishedValue,
    check_outputs,
    odinw_table,
    published_values,
    recall_table,
    write_odinw,
    write_recalls,
)
from glip_cli.evaluation.report.page import ReportTable
from glip_cli.evaluation.results import read_predictions, skipped
from glip_cli.evaluation.run import (
    DETECTIONS,
    PROTOCOLS,
    EvalResult,
    OutputOptions,
    category_prompt,
    run_task,
    score_boxes,
)
from glip_cli.evaluation.scenes import SCENES, SEED, composition, draw_scenes
from glip_cli.evaluation.session import Session
from glip_cli.options import DetectKeywords
from glip_cli.prompts.words import check_words, read_words
from glip_cli.runs.journal import read_records
from glip_cli.utils.text_format import counted, percent

COCO_VAL = "instances_val2017.json", 5000
"""How COCO's val2017 is known, for which values are published."""


@dataclass(frozen=True)
class EvalRequest:
    """The values of all flags but the model's."""

    flags: DatasetFlags
    report: ReportFlags
    out: Path
    console: Console
    changes: Values = field(default_factory=dict)

    @property
    def dataset(self) -> str:
        return self.flags.dataset

    @property
    def wanted(self) -> OutputOptions:
        return OutputOptions(self.out, not self.report.no_report, self.report.compare, self.report.save_vis)

    def wanted_of(self, one: odinw.OdinwSet) -> OutputOptions:
        return replace(self.wanted, out=self.out / one.name, compare=None)

    def check_tables(self) -> None:
        """Raises UsageError where the tables of ODinW or Flickr30k would replace files of others."""
        report = [] if self.report.no_report else [REPORT]
        check_outputs(self.out, (METRICS, *report, *([EVALAI] if self.report.evalai else [])))

    @property
    def split(self) -> str:
        return self.flags.split or ("official" if self.dataset.startswith("odinw") else "test")

    @property
    def rules(self) -> ScoringProtocol:
        """Raises UsageError."""
        if self.flags.capped and self.flags.packed:
            raise UsageError(
                "--capped and --packed do not go together: lvis-api's protocol is that of 40 names a prompt"
            )
        protocol = "lvis-capped" if self.flags.capped else "lvis-packed" if self.flags.packed else "lvis"
        if not self.dataset.startswith("lvis"):
            protocol = "coco"
        return PROTOCOLS[protocol].changed(cast(DetectKeywords, self.changes))

    def truth(self) -> GroundTruth:
        """Raises UsageError."""
        path, split = self.flags.gt, self.flags.split
        if path is None and self.dataset == "scenes":
            path = draw_scenes(self.wanted.out / "scenes", self.flags.limit or SCENES)
        if path is None:
            raise UsageError(f"glip eval {self.dataset} needs --gt FILE, annotations (COCO, YOLO, VOC, labelme ...)")
        if split and path.suffix.lower() in (".json", ".csv"):
            raise UsageError(f"--split chooses a part of a folder or data.yaml, and {path} is one file: leave it out")
        return read_ground_truth(path, images=self.flags.images, split=split)

    def folder(self) -> Path:
        """Raises UsageError."""
        if self.flags.data is None:
            raise UsageError(f"glip eval {self.dataset} needs --data DIR, the folder of the data set")
        return self.flags.data


def boxes(request: EvalRequest, session: Session) -> None:
    """COCO, LVIS and drawn scenes."""
    request.wanted.check()
    truth = request.truth()
    folder = request.flags.images or truth.folder
    words = read_words(request.flags.words) if request.flags.words else None
    check_words(words or {}, truth.labels)
    if request.dataset == "scenes":
        truth = replace(truth, name=f"drawn scenes of seed {SEED}")
    task = box_task(
        request.dataset,
        truth,
        folder,
        request.rules,
        limit=request.flags.limit,
        skip_missing=request.flags.skip_missing,
    )
    task = replace(task, category_prompt=category_prompt(session.detector, task.truth, words))
    run = run_task(session, task, request.wanted, more=composition if request.dataset == "scenes" else None)
    if run:
        conclude(run, request, published_values(session.model_name, published_as(request.dataset, task.truth)))


def score_file(request: EvalRequest, dt: Path) -> None:
    """`--dt`: a file of results; no model is loaded."""
    request.wanted.check()
    truth = request.truth()
    images = find_images(truth, request.flags.images).paths if request.flags.images or request.report.save_vis else {}
    found = read_predictions(dt, truth, images)
    if request.flags.limit:
        truth = only(truth, [image.id for image in truth.images[: request.flags.limit]])
        found = found.of(truth)
    conclude(score_boxes(truth, found, request.rules.score, {"results": dt.name}, request.wanted, images), request, [])


def conclude(run: EvalResult, request: EvalRequest, published: Sequence[PublishedValue]) -> None:
    request.console.warn(*run.truth.notes, *([run.comparison.note] if run.comparison and run.comparison.note else []))
    show(run, published)
    files = list(run.files)
    if request.report.calibrate:
        chosen, facts = best_thresholds(run.truth, run.results), run.facts
        write_thresholds(request.report.calibrate, chosen, source=facts["dataset"], model=facts.get("model", ""))
        files.append(request.report.calibrate)
    request.console.info(f"saved {', '.join(map(str, files))}")


def published_as(dataset: str, truth: GroundTruth) -> str:
    """The data set's name in weights.toml; "" where nothing can have been published for it."""
    if dataset == "coco" and (truth.name, len(truth.images)) == COCO_VAL:
        return "COCO val2017"
    return {"lvis-minival": "LVIS minival", "lvis-val": "LVIS val"}.get(dataset, "")


def odinw_benchmark(request: EvalRequest, session: Session, which: int) -> None:
    """Evaluate every set that exists, each in a folder of its own, and the average."""
    sets, root = odinw.odinw_sets(which), request.folder()
    there = {one: path for one in sets if (path := odinw.locate(one, root, request.split))}
    if not there:
        raise UsageError(f"--data {root}: has none of the sets of ODinW-{which}, such as {sets[0].file(request.split)}")
    request.check_tables()
    for one in there:
        request.wanted_of(one).check()
    runs: dict[str, EvalResult] = {}
    for one, path in there.items():
        request.console.info(one.title)
        run = odinw_set(request, session, one, path)
        if session.stop.is_set():
            return
        if run:
            runs[one.name] = run
    if len(runs) == len(there):  # else another process ends last, and writes
        facts = {
            "model": session.detector.name,
            "benchmark": f"ODinW-{which}, split {request.split}",
            **failed_in(runs),
        }
        table = odinw_table({name: run.metrics["AP"] for name, run in runs.items()}, sets, which, session.model_name)
        show_facts(facts)
        show_rows(table)
        files = write_odinw(request.wanted.out, table, facts, runs, request.wanted.report, request.report.evalai)
        request.console.info(f"saved {', '.join(map(str, files))}")


def failed_in(runs: Mapping[str, EvalResult]) -> dict[str, str]:
    """The fact that images of some sets could not be read; empty where all could."""
    failed = [f"{name}: {run.facts['failed']}" for name, run in runs.items() if "failed" in run.facts]
    return {"failed": f"images of {counted(len(failed), 'set')}, first {failed[0]}"} if failed else {}


def odinw_set(request: EvalRequest, session: Session, one: odinw.OdinwSet, path: Path) -> EvalResult | None:
    task = box_task(
        one.name,
        read_ground_truth(path, names=one.names),
        path.parent,
        request.rules,
        category_prompt=odinw.odinw_prompt(one),
        limit=request.flags.limit,
        skip_missing=request.flags.skip_missing,
    )
    run = run_task(session, task, request.wanted_of(one), f"{one.name}/{DETECTIONS}")
    if run:
        request.console.warn(*run.truth.notes)
    return run


def flickr(request: EvalRequest, session: Session) -> None:
    """Recall of the phrases of Flickr30k Entities' sentences."""
    request.check_tables()
    items = list(
        islice(
            flickr30k.flickr_items(request.folder(), request.split, images=request.flags.images), request.flags.limit
        )
    )
    sources = [source_of(item) for item in items]
    options = replace(session.base, **OPTIONS)
    sentences = {source.name: item for source, item in zip(sources, items, strict=True)}
    engine = CaptionEngine(session.detector, options, sentences, session.stop)
    records = session.run(DETECTIONS, sources, engine, {"model": session.detector.name, **asdict(options)})
    if records is None:
        return
    predictions, failed = [], []
    for record, item in zip(read_records(records), items, strict=True):
        predictions.append(boxes_of(record, len(item.phrases)))
        if "error" in record:
            failed.append(record["image"])
    recalls = flickr30k.recall(predictions, items, "merged" if request.flags.merged else "any")
    facts = {
        "model": session.detector.name,
        "dataset": f"Flickr30k Entities {request.split}: {counted(len(items), 'sentence')}, "
        f"{counted(recalls.phrases['all'], 'phrase')}",
        "protocol": f"{recalls.protocol} boxes",
        **({"failed": skipped(failed, len(items), "sentence")} if failed else {}),
    }
    show_facts(facts)
    show_rows(recall_table(recalls))
    files = write_recalls(request.wanted.out, recalls, facts, request.wanted.report)
    request.console.info(f"saved {', '.join(map(str, files))}")


# ------------------------------------------------------------------------------------------------------------ on stdout
# The numbers of `glip eval` on stdout.


def show(run: EvalResult, published: Sequence[PublishedValue]) -> None:
    """Facts and numbers, in percent; under the measured ones those that were published, or those of another run."""
    show_facts(run.facts)
    rows = {"measured": {key: percent(value) for key, value in run.metrics.items()}}
    for one in published:
        rows.setdefault(one.source, {})[one.metric] = f"{one.value:.1f}"
    if run.comparison and run.comparison.note:
        rows["now, same images"] = {row.metric: percent(row.b) for row in run.comparison.rows}
    if run.comparison:
        rows["before"] = {row.metric: percent(row.a) for row in run.comparison.rows}
        rows["change"] = {row.metric: change(row) for row in run.comparison.rows}
    # one line per metric: many of them side by side would not fit a terminal
    print_rows(("", *rows), ((name, *(row.get(name, "") for row in rows.values())) for name in run.metrics))


def show_facts(facts: Mapping[str, str]) -> None:
    longest = max(map(len, facts))
    for name, value in facts.items():
        print_line(f"{name:<{longest}}  {value}")


def change(row: MetricChange) -> str:
    if row.difference is None:
        return "-"
    if row.low is None or row.high is None:
        return f"{100 * row.difference:+.1f}"
    return f"{100 * row.difference:+.1f} ({100 * row.low:+.1f} .. {100 * row.high:+.1f})"


def show_rows(table: ReportTable) -> None:
    """A report's table; floats are shares of one."""
    print_rows(
        table.columns,
        ([percent(cell) if isinstance(cell, float) else str(cell or "") for cell in row.cells] for row in table.rows),
    )
    print_line(table.note)
