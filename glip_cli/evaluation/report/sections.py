"""The parts of a run's report: what each says in words, around its tables and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from glip_cli.evaluation.report.calibration import calibration_figure
from glip_cli.evaluation.report.charts import class_curves, curves_chart, mean_curves
from glip_cli.evaluation.report.confusion import confusion_content, confusion_of
from glip_cli.evaluation.report.html import Html, Section, element, fragment, paragraph, percent, plural
from glip_cli.evaluation.report.images import images_content
from glip_cli.evaluation.report.tables import count_cell, difference_cell, name_cell, share_cell, table, text_cell

if TYPE_CHECKING:
    from hotcoco import COCOeval

    from glip_cli.data.frames import Frames
    from glip_cli.evaluation.coco import BoxScores, ClassScore
    from glip_cli.evaluation.compare import Comparison
    from glip_cli.evaluation.compare import MetricChange as ComparedRow
    from glip_cli.evaluation.ground_truth import GroundTruth

SCORE = 0.3
"""Detections below it are not drawn and not in the confusion matrix, as they would not be shown to a person."""

_MEANING = {
    "AP": "mean of IoU .50 to .95",
    "AP50": "at IoU .50",
    "AP75": "at IoU .75",
    "APs": "small, under 32²",
    "APm": "medium",
    "APl": "large, over 96²",
    "APr": "rare classes",
    "APc": "common classes",
    "APf": "frequent classes",
}
_FREQUENCIES = {"r": "rare", "c": "common", "f": "frequent"}
_ERRORS = {
    "Cls": ("wrong class", "The box is right, the class is not."),
    "Loc": ("wrong place", "The class is right, the box overlaps too little (IoU 0.1 to 0.5)."),
    "Both": ("wrong class and place", "Overlaps an object of another class too little."),
    "Dupe": ("found twice", "Right, but a detection with a higher score has this object."),
    "Bkg": ("nothing there", "Overlaps no object (IoU under 0.1)."),
    "Miss": ("missed", "An object that no detection and no other error accounts for."),
    "FP": ("any false detection", "All detections that are wrong, taken away at once."),
    "FN": ("any missed object", "All objects that were not found, taken away at once."),
}


def run_sections(
    scores: BoxScores, ground_truth: GroundTruth, images: Mapping[int, Path], frames: Frames
) -> list[Section]:
    """All that one evaluation gives; `images` is image id -> file, `frames` where the boxes lie in it."""
    evaluation = scores.evaluation
    return [
        Section("classes", "AP of each class", _classes(scores.per_class, ground_truth)),
        Section("curves", "Precision and recall", _curves(evaluation, scores.per_class)),
        Section("mistakes", "Kinds of mistakes", _errors(evaluation)),
        Section("confusion", "Confusion", _confusion(evaluation, ground_truth)),
        Section("calibration", "Can scores be believed?", _calibration(evaluation)),
        Section("images", "Images", _images(evaluation, ground_truth, images, frames)),
    ]


def headline(summary: Mapping[str, float]) -> Html:
    """AP and its parts large, what remains (recall) in one line."""
    tiles = (
        element("div", element("dt", key), element("dd", percent(summary[key])), element("dd", _MEANING[key]))
        for key in summary
        if key in _MEANING
    )
    rest = [f"{key} {percent(value)}" for key, value in summary.items() if key not in _MEANING]
    small = paragraph("Recall: " + " · ".join(rest)) if rest else Html("")
    hint = paragraph("All in percent; – where there is no such ground truth.")
    return fragment([element("dl", *tiles, class_="tiles"), element("div", small, hint, class_="small")])


def _classes(scores: Sequence[ClassScore], ground_truth: GroundTruth) -> Html:
    """Best first; classes without ground truth last."""
    frequency = {category.name: category.frequency for category in ground_truth.categories if category.frequency}
    columns = ["class", "AP", "AP50", "boxes", "detections", *(["frequency"] if frequency else [])]
    rows = [
        [
            name_cell(score.name),
            share_cell(score.AP, bar=True),
            share_cell(score.AP50, bar=True),
            count_cell(score.boxes),
            count_cell(score.detections),
            *([text_cell(_FREQUENCIES.get(frequency.get(score.name) or "", ""))] if frequency else []),
        ]
        for score in sorted(scores, key=lambda score: -score.AP)
    ]
    return table(columns, rows)


def _curves(evaluation: COCOeval, scores: Sequence[ClassScore]) -> Html:
    curves = mean_curves(evaluation)
    if not curves:
        return paragraph("There is no ground truth to recall.")
    about = paragraph("Means over the classes that have ground truth. The number is the area under the curve: AP.")
    return fragment([about, curves_chart(curves), class_curves(evaluation, scores)])


def _errors(evaluation: COCOeval) -> Html:
    """TIDE (Bolya et al., arXiv 2008.08115): by how much AP50 would rise if one kind of mistake were mended."""
    errors = evaluation.tide_errors(pos_thr=0.5, bg_thr=0.1)
    gains, counts = errors["delta_ap"], errors["counts"]
    full = max(*gains.values(), 0.01)
    rows = [
        (
            text_cell(title, meaning),
            share_cell(max(gains[kind], 0.0), bar=True, full=full),
            count_cell(counts.get(kind)),
        )
        for kind, (title, meaning) in _ERRORS.items()
    ]
    about = paragraph(
        f"By how many points AP50 ({percent(errors['ap_base'])}) would rise if one kind were mended and all else "
        "stayed (TIDE, arXiv 2008.08115); the gains do not add up."
    )
    return fragment([about, table(("kind", "gain", "count"), rows)])


def _confusion(evaluation: COCOeval, ground_truth: GroundTruth) -> Html:
    if ground_truth.is_federated:
        return paragraph(
            "Left out: in a federated data set not every object has its box, so a detection without one may be right."
        )
    crowds = any(row["iscrowd"] for row in ground_truth.annotations)
    names = [category.name for category in ground_truth.categories]
    about = paragraph(f"Detections with a score of at least {SCORE:g}, matched at IoU 0.5 whatever their class.")
    return fragment([about, confusion_content(confusion_of(evaluation, names, SCORE), crowds)])


def _calibration(evaluation: COCOeval) -> Html:
    calibration = evaluation.calibration(n_bins=10, iou_threshold=0.5)
    if not calibration["num_detections"]:
        return paragraph("There are no detections.")
    about = paragraph(
        "How many detections of a score are right (IoU 0.5). On the diagonal a score of 0.7 means right in 7 of 10. "
        "Expected calibration error ",
        element("b", percent(calibration["ece"])),
        " points, greatest ",
        element("b", percent(calibration["mce"])),
        f", of {plural(calibration['num_detections'], 'detection')}; their number by score is below the diagram.",
    )
    return fragment([about, calibration_figure(calibration)])


def _images(evaluation: COCOeval, ground_truth: GroundTruth, images: Mapping[int, Path], frames: Frames) -> Html:
    content = images_content(evaluation, ground_truth, images, frames, SCORE)
    return content or paragraph("No image of this set was at hand to draw on.")


def comparison_content(comparison: Comparison) -> Html:
    """Each metric of both runs; with resampling also the interval of the difference, and whether it leaves out 0."""
    sampled = comparison.samples > 0
    columns = ["metric", "other run", "this run", "difference", *(["from", "to", ""] if sampled else [])]
    about = (
        f"In points. With 95 % confidence the difference lies between “from” and “to” "
        f"({plural(comparison.samples, 'resampling')} of {plural(comparison.images, 'image')})."
    )
    rows = [_compared(row, sampled) for row in comparison.rows]
    about = about if sampled else "In points."
    return fragment([paragraph(f"{about} {comparison.note}".strip()), table(columns, rows)])


def _compared(row: ComparedRow, sampled: bool) -> list[Html]:
    cells = [text_cell(row.metric), share_cell(row.a), share_cell(row.b), difference_cell(row.difference)]
    if not sampled:
        return cells
    clear = row.low is not None and row.high is not None and (row.low > 0 or row.high < 0)
    return [*cells, difference_cell(row.low), difference_cell(row.high), text_cell("clear" if clear else "")]
