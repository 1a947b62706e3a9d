"""The best and the worst images of a data set: which they are, and what became of every box."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from glip_cli.evaluation.report.drawing import (
    MAX_TAGS,
    BoxOutcome,
    Mark,
    Thumbnail,
    drawing,
    read_thumbnail,
    shape,
    swatch,
)
from glip_cli.evaluation.report.html import Html, element, fragment, name, paragraph, shortened

if TYPE_CHECKING:
    from hotcoco import COCOeval

    from glip_cli.data.frames import Frames
    from glip_cli.evaluation.ground_truth import GroundTruth

_EACH = 6
_SHORTLIST = 60  # images with the highest and with the lowest AP, whose boxes are looked at


@dataclass(frozen=True)
class MatchResult:
    """An image with its boxes above the score threshold."""

    image_id: int
    marks: tuple[Mark, ...]

    def number(self, outcome: BoxOutcome) -> int:
        return sum(mark.outcome is outcome for mark in self.marks)

    @property
    def mistakes(self) -> int:
        return self.number(BoxOutcome.MISSED) + self.number(BoxOutcome.WRONG)

    @property
    def f1(self) -> float:
        """2 TP / (2 TP + FP + FN); 0 without any box."""
        right = self.number(BoxOutcome.RIGHT)
        return 2 * right / (2 * right + self.mistakes) if right else 0.0


def images_content(
    evaluation: COCOeval, ground_truth: GroundTruth, images: Mapping[int, Path], frames: Frames, score: float
) -> Html:
    """Up to six of the best and six of the worst; empty where no image can be read.

    Args:
        evaluation: evaluated; says which boxes match at IoU 0.5.
        ground_truth: names of categories and files.
        images: image id -> file; images without one that can be read are passed over.
        frames: where the boxes lie in images of another size than their annotations state.
        score: detections below it are neither drawn nor counted.
    """
    names = {row.id: row.file_name for row in ground_truth.images}
    judged = [_placed(one, frames) for one in match_image(evaluation, ground_truth, images, score)]
    good = sorted((p for p in judged if p.f1 > 0), key=lambda p: (-p.f1, -p.number(BoxOutcome.RIGHT)))
    best = list(islice(_drawn(good, names, images), _EACH))
    bad = sorted((p for p in judged if p.mistakes), key=lambda p: (p.f1, -p.mistakes))
    shown = {drawn.image_id for drawn, _ in best}
    worst = list(islice(_drawn((p for p in bad if p.image_id not in shown), names, images), _EACH))
    groups = [_group(title, found) for title, found in (("Best", best), ("Worst", worst)) if found]
    return fragment([_explanation(score), _switches(), *groups]) if groups else Html("")


def match_image(
    evaluation: COCOeval, ground_truth: GroundTruth, images: Mapping[int, Path], score: float
) -> tuple[MatchResult, ...]:
    """The images with a file whose AP is highest and lowest, with what became of each box above `score`.

    Boxes that count neither way (crowds and what lies in them, LVIS' classes that were not looked for) are left out.
    """
    diagnostics = evaluation.image_diagnostics(iou_thr=0.5, score_thr=score)
    labels = {category.id: category.name for category in ground_truth.categories}
    chosen = _shortlist({i: row for i, row in diagnostics["img_summary"].items() if i in images})
    return tuple(MatchResult(i, tuple(_marks(evaluation, diagnostics, labels, i, score))) for i in chosen)


def _placed(judged: MatchResult, frames: Frames) -> MatchResult:
    """With its boxes in pixels of the image."""
    boxes = (frames.to_image(judged.image_id, list(mark.box)) for mark in judged.marks)
    marks = (replace(mark, box=(x, y, w, h)) for mark, (x, y, w, h) in zip(judged.marks, boxes, strict=True))
    return replace(judged, marks=tuple(marks))


def _shortlist(summary: Mapping[int, dict[str, Any]]) -> list[int]:
    ordered = sorted(summary, key=lambda i: (-summary[i]["ap"], -summary[i]["tp"], i))
    return list(dict.fromkeys([*ordered[:_SHORTLIST], *ordered[-_SHORTLIST:]]))


def _marks(
    evaluation: COCOeval, diagnostics: dict[str, Any], labels: Mapping[int, str], image_id: int, score: float
) -> Iterator[Mark]:
    """Matching goes by falling score, so leaving out the low ones changes no other box's outcome."""
    found = {row["id"]: row for row in _annotations(evaluation.coco_dt, image_id) if row["score"] >= score}
    for row in _annotations(evaluation.coco_gt, image_id):
        if row["id"] in diagnostics["gt_status"]:
            met = diagnostics["gt_match"].get(row["id"]) in found
            yield Mark(tuple(row["bbox"]), labels[row["category_id"]], BoxOutcome.MET if met else BoxOutcome.MISSED)
    for row in found.values():
        status = diagnostics["dt_status"].get(row["id"])
        if status is not None:
            outcome = BoxOutcome.RIGHT if status == "tp" else BoxOutcome.WRONG
            yield Mark(tuple(row["bbox"]), labels[row["category_id"]], outcome, row["score"])


def _annotations(table: Any, image_id: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = table.load_anns(table.get_ann_ids(img_ids=[image_id]))
    return rows


def _drawn(
    judged: Iterable[MatchResult], names: Mapping[int, str], images: Mapping[int, Path]
) -> Iterator[tuple[MatchResult, Html]]:
    for drawn in judged:
        thumbnail = read_thumbnail(images[drawn.image_id])
        if thumbnail is not None:
            yield drawn, _figure(drawn, thumbnail, names.get(drawn.image_id, ""))


def _figure(drawn: MatchResult, thumbnail: Thumbnail, file_name: str) -> Html:
    tally = (
        f"F1 {drawn.f1:.2f}: {drawn.number(BoxOutcome.RIGHT)} right, "
        f"{drawn.number(BoxOutcome.WRONG)} wrong, {drawn.number(BoxOutcome.MISSED)} missed"
    )
    caption = element("figcaption", name(file_name, 48), element("span", tally))
    image = drawing(drawn.marks, thumbnail, f"{shortened(file_name, 48)}, {tally}")
    return element("figure", image, caption, style=f"--ratio:{shape(thumbnail):.2f}")


def _group(title: str, figures: Sequence[tuple[MatchResult, Html]]) -> Html:
    return fragment([element("h3", title), element("div", *(figure for _, figure in figures), class_="images")])


def _explanation(score: float) -> Html:
    return paragraph(
        f"By F1 at IoU 0.5 of detections with a score of at least {score:g}, among the images with the highest and "
        f"the lowest AP. At most {MAX_TAGS} labels each, mistakes first; every box has its own in a tooltip."
    )


def _switches() -> Html:
    truth = _switch("show-truth", "ground truth", ("met", "was found"), ("missed", "was missed"))
    found = _switch("show-found", "detections", ("right", "right"), ("wrong", "wrong"))
    return element("div", truth, found, class_="switches")


def _switch(class_: str, title: str, *kinds: tuple[str, str]) -> Html:
    side = "truth" if class_ == "show-truth" else "found"
    box = element("input", type="checkbox", checked=True, class_=class_)
    samples = (fragment([swatch(f"{kind} {side}"), f" {text} "]) for kind, text in kinds)
    return element("label", box, element("b", f" {title} "), *samples)
