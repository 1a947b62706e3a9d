"""A score threshold for each label, from images whose boxes are known; and the file that holds them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import hotcoco
import numpy as np
import numpy.typing as npt

from glip_cli.data.values import read_text, shown
from glip_cli.errors import DataError
from glip_cli.evaluation.ground_truth import GroundTruth
from glip_cli.evaluation.results import CocoResult, plain
from glip_cli.outputs.files import atomic_write, writing
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import counted

FEW = 10.0
"""Boxes of which a label's own threshold counts half. On drawn scenes, with 20 to 100 images to choose by, values of 5
to 50 gave the same F1 on the other images to 1.5 points, 4 to 8 points more than each label's own threshold."""

_ALL = 1_000_000  # detections per image and category: no cap
_ROUNDING = 1e-6  # files of results hold scores to six decimals
_DECIMALS = 3


@dataclass(frozen=True)
class Threshold:
    """The one for a label.

    Attributes:
        threshold: keep what scores more than this, in [0, 1); None where none can be found, which `reason` explains.
        f1: 2 precision recall / (precision + recall) of what is kept, in [0, 1].
        precision: kept boxes that are right / kept boxes; 0 where none is kept.
        recall: boxes that are found / `boxes`; 0 where there are none.
        boxes: in the ground truth, without crowds.
        reason: why the label has no threshold of its own, else empty.
        own: the label's own best threshold, which `threshold` leans on.
        pooled: the best threshold of all labels together, which it leans on for the rest.
    """

    threshold: float | None
    f1: float
    precision: float
    recall: float
    boxes: int
    reason: str = ""
    own: float | None = None
    pooled: float | None = None


@dataclass(frozen=True)
class Judged:
    """All detections of a label that count, best first: scores (n,), whether each is right (n,); its boxes."""

    scores: npt.NDArray[np.float64]
    right: npt.NDArray[np.bool_]
    boxes: int

    @classmethod
    def of(cls, found: Sequence[tuple[float, bool]], boxes: int) -> Judged:
        """From pairs of score and whether it is right, in any order; of equal scores the first stays first."""
        scores, right = np.array(found, np.float64).reshape(-1, 2).T
        order = np.argsort(-scores, kind="stable")
        return cls(scores[order], right[order] > 0, boxes)

    def at(self, threshold: float) -> Threshold:
        """Precision, recall and F1 of the boxes above a threshold."""
        kept = int((self.scores > threshold).sum())
        found = int(self.right[:kept].sum())
        f1, precision, recall = _share(2 * found, kept + self.boxes), _share(found, kept), _share(found, self.boxes)
        return Threshold(threshold, f1, precision, recall, self.boxes)


def best_thresholds(
    ground_truth: GroundTruth, results: Sequence[CocoResult], iou: float = 0.5, few: float = FEW
) -> dict[str, Threshold]:
    """For each label a threshold with a large F1 on these images, and on others like them.

    Boxes are matched as COCO does: in each image, best score first, each to the free box of its category with the
    largest IoU of at least `iou`; what matches a crowd counts neither way, and in LVIS neither does what was not
    looked for. The best threshold lies midway between the worst score that is kept and the next, rounded to three
    decimals where that stays between them. Of equal F1 the highest threshold is taken.

    A label of few boxes has a best threshold by chance. Each takes z = n / (n + few) of its own and 1 - z of the one
    that is best for all labels together, with n its boxes: credibility (Buehlmann, ASTIN Bulletin 4, 1967), the weight
    that leaves the least squared error where the labels' own values scatter about a common one. A label without a
    threshold of its own takes the pooled one.

    Args:
        ground_truth: categories of the same name share a threshold.
        results: COCO results of all its images, with scores as low as the thresholds may become; a score of 0
            exceeds no threshold.
        iou: in (0, 1].
        few: boxes of which a label's own threshold counts half; 0 for each label's own alone.

    Returns:
        Every label of the ground truth, in its order.
    """
    kept = [result for result in results if result["score"] > 0]
    judged = _judge(ground_truth, kept, iou)
    floor = min((float(result["score"]) for result in kept), default=0.0)
    own = {label: best_threshold(judged[label], floor) for label in dict.fromkeys(ground_truth.labels)}
    pairs = [pair for one in judged.values() for pair in zip(one.scores.tolist(), one.right.tolist(), strict=True)]
    together = Judged.of(pairs, sum(one.boxes for one in judged.values()))
    pooled = best_threshold(together, floor).threshold if few else None
    if pooled is None:
        return own
    found = {}
    for label, best in own.items():
        threshold, boxes = pooled, judged[label].boxes
        if best.threshold is not None:
            weight = boxes / (boxes + few)
            threshold = round(weight * best.threshold + (1 - weight) * pooled, _DECIMALS)
        found[label] = replace(judged[label].at(threshold), reason=best.reason, own=best.threshold, pooled=pooled)
    return found


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _judge(ground_truth: GroundTruth, results: Sequence[CocoResult], iou: float) -> dict[str, Judged]:
    names = {category.id: category.name for category in ground_truth.categories}
    found: dict[str, list[tuple[float, bool]]] = {name: [] for name in names.values()}
    for matched in _matched(ground_truth, results, iou):
        rows = zip(matched["dtScores"], matched["dtMatched"][0], matched["dtIgnore"][0], strict=True)
        found[names[matched["category_id"]]] += [(score, is_right) for score, is_right, ignored in rows if not ignored]
    boxes = dict.fromkeys(names.values(), 0)
    for row in ground_truth.annotations:
        boxes[names[row["category_id"]]] += not row["iscrowd"]
    return {name: Judged.of(found[name], boxes[name]) for name in boxes}


def _matched(ground_truth: GroundTruth, results: Sequence[CocoResult], iou: float) -> Iterator[JsonObject]:
    """The matches in each image and category, at one IoU, for all sizes, without a limit of detections."""
    truth = ground_truth.to_coco()
    found = hotcoco.LVISResults(truth, plain(results), max_dets=-1)
    evaluation = hotcoco.COCOeval(truth, found, "bbox", lvis_style=ground_truth.is_federated)
    evaluation.params.iou_thrs = [iou]
    evaluation.params.area_rng = [[0.0, 1e10]]
    evaluation.params.area_rng_lbl = ["all"]
    evaluation.params.max_dets = [_ALL]
    evaluation.evaluate()
    yield from filter(None, evaluation.eval_imgs)


def best_threshold(judged: Judged, floor: float) -> Threshold:
    """`floor` is the lowest score of all the results: nothing is known of what lies below."""
    if not judged.boxes:
        return Threshold(None, 0.0, 0.0, 0.0, 0, "no box in the ground truth")
    found = np.cumsum(judged.right)
    if not judged.right.any():
        return Threshold(None, 0.0, 0.0, 0.0, judged.boxes, "none of its boxes was found")
    kept = np.arange(1, len(found) + 1)
    f1 = 2 * found / (kept + judged.boxes)
    f1[:-1][judged.scores[:-1] == judged.scores[1:]] = -1  # equal scores are kept or dropped together
    last = int(f1.argmax())
    below = float(judged.scores[last + 1]) if last + 1 < len(f1) else floor
    return Threshold(
        threshold=_between(below, float(judged.scores[last])),
        f1=float(f1[last]),
        precision=float(found[last] / kept[last]),
        recall=float(found[last] / judged.boxes),
        boxes=judged.boxes,
    )


def _between(low: float, high: float) -> float:
    """A number that `high` exceeds and `low` does not; the middle, with few decimals where there is room."""
    if low >= high:
        return max(0.0, high - _ROUNDING)
    middle = (low + high) / 2
    short = round(middle, _DECIMALS)
    chosen = short if low < short < high else middle
    return chosen if low <= chosen < high else low


def write_thresholds(path: Path, thresholds: Mapping[str, Threshold], *, source: str = "", model: str = "") -> None:
    """A TOML file: a table `thresholds` of label = number, each with its F1, precision and recall as a comment.

    Comments say what a threshold leans on, and why a label has none. The file appears whole or not at all.

    Args:
        source: what they were measured on, for the first line.
        model: what they were measured with; another model's scores mean something else.

    Raises OutputError, and DataError for a threshold that `read_thresholds` would refuse.
    """
    for label, one in thresholds.items():
        if one.threshold is not None and not 0 <= one.threshold <= 1:
            why = f"the best threshold of {shown(label)} is {one.threshold:g}; give results with scores from 0 to 1"
            raise DataError(f"{path}: not written: {why}")
    lines = [f"# Score thresholds with the best F1 for each label{f', measured on {shown(source)}' if source else ''}"]
    pooled = next((one.pooled for one in thresholds.values() if one.pooled is not None), None)
    if pooled is not None:
        own = f"n / (n + {FEW:g}) of its own best one and the rest of the pooled one, {pooled:.3f}"
        lines.append(f"# A label with n boxes has {own}")
    lines += ["", *([f"model = {_key(model)}", ""] if model else []), "[thresholds]"]
    lines += [_line(label, chosen) for label, chosen in thresholds.items()]
    with writing(path, "choose another"), atomic_write(path) as stream:
        stream.write(("\n".join(lines) + "\n").encode())


def _line(label: str, chosen: Threshold) -> str:
    if chosen.threshold is None:
        return f"# {_key(label)}: {chosen.reason}"
    numbers = f"F1 {chosen.f1:.3f}, precision {chosen.precision:.3f}, recall {chosen.recall:.3f}"
    own = f"; {chosen.reason}, so pooled" if chosen.reason else ""
    own = f"; its own {chosen.own:.3f}" if chosen.own is not None else own
    return f"{_key(label)} = {float(chosen.threshold)!r}  # {numbers}, {counted(chosen.boxes, 'box', 'boxes')}{own}"


def _key(label: str) -> str:
    """A TOML basic string: JSON's, letters of every script as themselves, but DEL escaped, and no half characters."""
    text = json.dumps(label.encode("utf-8", "replace").decode(), ensure_ascii=False)
    return text.replace("\x7f", "\\u007f")


def read_thresholds(path: Path) -> dict[str, float]:
    """Label -> threshold in [0, 1], in the file's order.

    Raises:
        DataError: the file cannot be read, is not TOML, or holds something else.
    """
    table = _content(path).get("thresholds")
    if not isinstance(table, dict):
        raise DataError(f"{path}: has no table [thresholds]; write it as glip eval --calibrate does")
    for label, value in table.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise DataError(f"{path}: the threshold of {shown(label)} is {shown(value)}; it must be from 0 to 1")
    return {label: float(value) for label, value in table.items()}


def _content(path: Path) -> JsonObject:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as failure:
        raise DataError(f"{path}: not TOML ({failure}); write it as glip eval --calibrate does") from None


def of_another_model(path: Path, model: str) -> str:
    """A remark where a file of thresholds was measured with another model than `model`; else nothing."""
    measured = _content(path).get("model", model)
    if measured == model:
        return ""
    return f"{path} was measured with {shown(measured)}, whose scores are not those of {model}"
