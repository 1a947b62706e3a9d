"""The report as a reader and a browser meet it: well formed, closed to the outside, true to the numbers."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from glip_cli.errors import OutputError
from glip_cli.evaluation.compare import compare_scores
from glip_cli.evaluation.ground_truth import GroundTruth, read_ground_truth
from glip_cli.evaluation.report.charts import mean_curves
from glip_cli.evaluation.report.examples import FOUND, MISSED, RIGHT, SIDE, WRONG, Mark, Matches, draw
from glip_cli.evaluation.report.page import (
    ReportRow,
    ReportTable,
    count,
    environment,
    points,
    relative,
    shortened,
    write_table_report,
)
from glip_cli.evaluation.report.sections import Confusion, confusion_content, write_report
from glip_cli.evaluation.scores import BoxScores, coco_scores, lvis_scores
from glip_cli.utils.text_format import percent
from tests.evaluation.datasets import box, hit, read, two_images
from tests.shared import shared

VOID = {"meta", "input", "br", "img"}
HOSTILE = (
    "<script>alert(1)</script>",
    "\"' onmouseover='alert(1)",
    "</style></title><img src=x onerror=alert(1)>",
    "&lt;b&gt; &amp;",
    "${title} $script {0} %s",
    "קופסה אדומה",
    "صندوق",
    "👩‍👩‍👧‍👦 family",
    "x" * 5000,
    "bell\x07 and\x1b[31m red",
    "  ",
)


class Page(HTMLParser):
    """Every element with its attributes and text; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text
        self.open: list[dict[str, Any]] = []
        self.elements: list[dict[str, Any]] = []
        self.feed(text)
        self.close()
        assert not self.open, f"left open: {[e['tag'] for e in self.open]}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len({key for key, _ in attrs}) == len(attrs), f"an attribute twice: {attrs}"
        found = {"tag": tag, "text": "", **{f"@{key}": value for key, value in attrs}}
        self.elements.append(found)
        if tag not in VOID:
            self.open.append(found)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open[-1]["tag"] == tag, f"</{tag}> closes <{self.open[-1]['tag']}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        for one in self.open:
            one["text"] += data

    def all(self, tag: str, **attributes: str) -> list[dict[str, Any]]:
        wanted = {f"@{key.rstrip('_')}": value for key, value in attributes.items()}
        return [e for e in self.elements if e["tag"] == tag and wanted.items() <= e.items()]

    def section(self, anchor: str) -> str:
        (found,) = self.all("section", id=anchor)
        return str(found["text"])


def report(path: Path, truth: GroundTruth, results: list[dict[str, Any]], **more: Any) -> Page:
    scores = more.pop("scores", None) or coco_scores(truth, results)
    arguments = {"title": "A run", "facts": {"model": "glip-mini"}, "images": {}, **more}
    write_report(path / "report.html", scores=scores, ground_truth=truth, results=results, **arguments)
    return Page((path / "report.html").read_text(encoding="utf-8"))


def perfect(truth: GroundTruth) -> list[dict[str, Any]]:
    return [hit(row["image_id"], row["category_id"], row["bbox"], 0.9) for row in truth.annotations]


def image_files(folder: Path, truth: GroundTruth) -> dict[int, Path]:
    for image in truth.images:
        Image.new("RGB", (image.width or 1, image.height or 1), "grey").save(folder / image.file_name)
    return {image.id: folder / image.file_name for image in truth.images}


def rows(page: Page, anchor: str) -> list[str]:
    """The lines of the first table of a section, as text."""
    start = page.text.index(f'id="{anchor}"')
    body = page.text[page.text.index("<tbody>", start) : page.text.index("</tbody>", start)]
    return [re.sub(r"<[^>]*>", "|", row) for row in body.split("</tr>")[:-1]]


# --- escaping


def rendered(template: str, **content: object) -> str:
    return environment().from_string('{% import "sections.html" as parts %}' + template).render(content)


@given(st.text())
def test_any_text_comes_back_as_text(text: str) -> None:
    page = Page(rendered('<p title="{{ text }}">{{ text }}</p>', text=text))
    assert [e["tag"] for e in page.elements] == ["p"]
    assert page.elements[0]["text"] == page.elements[0]["@title"]


@given(st.text(st.characters(exclude_categories=["Cc", "Cn", "Cs"])))
def test_text_without_control_characters_is_kept_to_the_letter(text: str) -> None:
    assert html.unescape(rendered("{{ text }}", text=text)) == text


def test_what_utf8_cannot_hold_is_written_as_an_escape() -> None:
    assert rendered("{{ text }}", text="a\ud800b\x00c") == "a\\ud800b\\x00c"


def test_numbers_are_short() -> None:
    assert [percent(x) for x in (0.5128, 0.0, 1.0, -1.0, None, float("nan"))] == ["51.3", "0.0", "100.0", "-", "-", "-"]
    assert [points(x) for x in (0.5, -0.25, None)] == ["+50.0", "−25.0", ""]
    assert count(1234567) == "1\u202f234\u202f567"


@given(st.text(), st.integers(1, 50))
def test_shortened_names_fit_and_say_so(text: str, limit: int) -> None:
    short = shortened(text, limit)
    assert len(short) <= limit
    assert short.endswith("…") or short == " ".join(text.split())


def test_a_cut_name_is_whole_in_its_tooltip() -> None:
    page = Page(rendered("{{ parts.name(text, 10) }}", text="y" * 90))
    assert page.elements[0] == {"tag": "bdi", "text": "y" * 9 + "…", "@title": "y" * 90}


# --- the page


def test_a_perfect_run_says_so(tmp_path: Path) -> None:
    truth = read(tmp_path, two_images())
    page = report(tmp_path, truth, perfect(truth), notes=["read <this>"])
    header = page.all("header")[0]["text"]
    assert "2 images · 3 boxes · 2 classes · 3 detections" in header
    assert [e["text"] for e in page.all("dl", class_="tiles")] == [
        "AP100.0mean of IoU .50 to .95AP50100.0at IoU .50AP75100.0at IoU .75"
        "APs-small, under 32²APm100.0mediumAPl-large, over 96²"
    ]
    assert "read <this>" in page.section("run")
    assert "No box was taken for another class." in page.section("confusion")


def test_the_page_fetches_nothing(tmp_path: Path) -> None:
    truth = read(tmp_path, two_images())
    page = report(tmp_path, truth, perfect(truth)[:2], images=image_files(tmp_path, truth))
    for found in page.elements:
        for key in ("@src", "@href", "@xlink:href", "@action", "@srcset"):
            assert found.get(key, "#").startswith(("#", "data:image/jpeg;base64,"))
    assert not re.findall(r"url\((?!#)", page.text)
    assert "@import" not in page.text
    assert page.all("image")


def test_the_policy_allows_this_script_and_nothing_else(tmp_path: Path) -> None:
    truth = read(tmp_path, two_images())
    page = report(tmp_path, truth, [])
    (script,) = page.all("script")
    digest = base64.b64encode(hashlib.sha256(script["text"].encode()).digest()).decode()
    (policy,) = [e["@content"] for e in page.all("meta") if "@http-equiv" in e]
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}';" in policy


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    data = two_images()
    data["categories"] = [{"id": i + 1, "name": text} for i, text in enumerate(HOSTILE)]
    for i in range(len(HOSTILE)):
        data["annotations"].append(box(10 + i, 1, i + 1, [10.0 * i, 5, 30, 30]))
    data["images"][0]["file_name"] = "<img src=x onerror=alert(1)>.jpg"
    truth = read(tmp_path, data)
    file = tmp_path / "1.png"
    Image.new("RGB", (200, 100)).save(file)
    results = [hit(1, i % len(HOSTILE) + 1, [10.0 * (i // 2), 5, 30, 30], 0.9 - 0.01 * i) for i in range(20)]
    hostile = {"title": HOSTILE[0], "facts": {HOSTILE[1]: HOSTILE[2]}, "notes": HOSTILE}
    page = report(tmp_path, truth, results, images={1: file}, **hostile)
    assert len(page.all("script")) == len(page.all("style")) == len(page.all("title", **{})) - _tooltips(page) == 1
    assert not page.all("img")
    assert not [key for e in page.elements for key in e if key.startswith("@on")]
    shown = {e.get("@title") or e["text"] for e in page.all("bdi")}
    for text in HOSTILE[:-1]:
        assert html.unescape(rendered("{{ text }}", text=text)) in shown
    assert "(blank)" in {e["text"] for e in page.all("bdi")}


def _tooltips(page: Page) -> int:
    """Titles within the SVGs, which are of the same tag as the page's."""
    return len(re.findall(r"<g[^>]*><title>", page.text))


def test_the_table_of_classes_is_sorted_and_sortable(tmp_path: Path) -> None:
    data = two_images()
    data["categories"].append({"id": 9, "name": "unseen"})
    truth = read(tmp_path, data)
    page = report(tmp_path, truth, [hit(1, 5, [100, 0, 40, 40], 0.9), hit(1, 3, [0, 0, 50, 50], 0.8)])
    lines = rows(page, "classes")
    assert ["dog" in lines[0], "cat" in lines[1], "unseen" in lines[2]] == [True] * 3
    values = [e["@data-value"] for e in page.all("td") if "bar" in str(e.get("@class"))][:6]
    # One of two cats: precision 1 up to recall 0.5, so 51 of 101 points.
    assert [values[0], values[4]] == ["1.000000", ""]
    assert float(values[2]) == pytest.approx(51 / 101, abs=1e-6)


@pytest.mark.parametrize("case", ["one class", "no detections", "no boxes", "neither"])
def test_small_sets_have_every_section(tmp_path: Path, case: str) -> None:
    data = two_images()
    if case == "one class":
        data["categories"], data["annotations"] = data["categories"][:1], data["annotations"][:2]
    if case in ("no boxes", "neither"):
        data["annotations"] = []
    truth = read(tmp_path, data)
    results = [] if case in ("no detections", "neither") else [hit(1, 3, [0, 0, 50, 50], 0.9)]
    page = report(tmp_path, truth, results, images=image_files(tmp_path, truth))
    anchors = [e["@id"] for e in page.all("section")]
    assert anchors == ["run", "classes", "curves", "thresholds", "mistakes", "calibration", "confusion", "images"]
    assert [e["@href"] for e in page.all("a")] == [f"#{anchor}" for anchor in anchors]
    assert ("There are no detections." in page.section("calibration")) == (not results)


def test_many_federated_classes_stay_small(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    categories = [{"id": i + 1, "name": f"thing_{i}", "frequency": "rcf"[i % 3]} for i in range(1203)]
    listed = {"neg_category_ids": [1, 2], "not_exhaustive_category_ids": [], "width": 400, "height": 300}
    data = {
        "images": [{"id": i, "file_name": f"{i}.jpg", **listed} for i in range(40)],
        "categories": categories,
        "annotations": [
            box(i + 1, i % 40, i % 1203 + 1, [*rng.integers(0, 200, 2).tolist(), 40, 40]) for i in range(2406)
        ],
    }
    truth = read(tmp_path, data)
    results = [hit(row["image_id"], row["category_id"], row["bbox"], 0.5) for row in truth.annotations[::2]]
    page = report(tmp_path, truth, results, scores=lvis_scores(truth, results, fixed=True))
    assert len(page.text.encode()) < 2_000_000
    assert all(f">thing_{i}<" in page.text for i in range(1203))
    assert "federated" in page.section("confusion")
    assert len(page.all("polyline")) == 2 * 1203
    assert "APr" in page.all("dl", class_="tiles")[0]["text"]


def test_a_run_of_eighty_classes_with_images(tmp_path: Path) -> None:
    truth = read_ground_truth(shared("data/coco128/all.json"))
    results = json.loads(shared("data/eval/coco/coco128_derived_results.json").read_text(encoding="utf-8"))
    images = {row.id: shared("data/coco128/images") / row.file_name for row in truth.images}
    page = report(tmp_path, truth, results, images=images)
    assert len(page.text.encode()) < 2_000_000
    assert len(page.all("svg", class_="image")) == 12
    assert "Of 80 classes, the 18 most often confused are shown" in page.section("confusion")
    for category in truth.categories:
        assert f">{category.name}<" in page.text


def test_a_failure_leaves_the_earlier_report(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("earlier")
    bad = ReportTable("t", ("a",), (ReportRow(("x",), link="/etc/passwd"),))
    with pytest.raises(ValueError, match="relative"):
        write_table_report(path, title="t", facts={}, tables=[bad])
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]
    assert path.read_text() == "earlier"


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot write .*file.report\.html: .*; choose another"):
        write_table_report(tmp_path / "file" / "report.html", title="t", facts={}, tables=[])


def test_a_comparison_marks_what_is_sure(tmp_path: Path) -> None:
    truth = read(tmp_path, two_images())
    results = perfect(truth)
    this, other = coco_scores(truth, results), coco_scores(truth, results[1:])
    page = report(tmp_path, truth, results, scores=this, comparison=compare_scores(other, this, samples=0))
    # Without one of two cats AP is the mean of 51/101 and 1: 75.2.
    assert re.sub(r"\|+", " ", rows(page, "comparison")[0]).split() == ["AP", "75.2", "100.0", "+24.8"]
    page = report(tmp_path, truth, results, scores=this, comparison=compare_scores(other, this, samples=20))
    assert "20 resamplings of 2 images" in page.section("comparison")


# --- curves and mistakes


def scored(tmp_path: Path, results: list[dict[str, Any]]) -> tuple[GroundTruth, BoxScores]:
    truth = read(tmp_path, two_images())
    return truth, coco_scores(truth, results)


def test_the_area_under_each_curve_is_its_ap(tmp_path: Path) -> None:
    found = [hit(1, 3, [0, 0, 50, 30], 0.9), hit(1, 5, [102, 0, 40, 40], 0.8), hit(2, 3, [60, 0, 50, 50], 0.7)]
    _, scores = scored(tmp_path, found)
    areas = [curve.mean() for curve in mean_curves(scores.evaluation).values()]
    assert areas == pytest.approx([scores.summary[key] for key in ("AP50", "AP75", "AP")])
    assert len(set(areas)) == 3


def test_without_ground_truth_there_is_no_curve(tmp_path: Path) -> None:
    truth = read(tmp_path, {**two_images(), "annotations": []})
    assert mean_curves(coco_scores(truth, []).evaluation) == {}


def test_a_chart_has_the_colours_of_the_page_and_its_numbers(tmp_path: Path) -> None:
    found = [hit(1, 3, [0, 0, 50, 30], 0.9), hit(1, 5, [102, 0, 40, 40], 0.8), hit(2, 3, [60, 0, 50, 50], 0.7)]
    truth, scores = scored(tmp_path, found)
    page = report(tmp_path, truth, found, scores=scores)
    curves, *_ = charts = page.all("svg", class_="chart")
    assert len(charts) == 3
    assert f"IoU 0.50: {percent(scores.summary['AP50'])}" in curves["text"]
    assert "var(--series1)" in page.text
    assert not re.findall(r"(?:stroke|fill): #", page.text[page.text.index("<main>") :])
    identifiers = [e["@id"] for e in page.elements if "@id" in e]
    assert len(set(identifiers)) == len(identifiers)


def test_the_threshold_of_the_best_f1_by_hand(tmp_path: Path) -> None:
    """Right at 0.9 and 0.7, wrong at 0.6: two of three boxes are found above 0.65, F1 is 2 * 2 / (2 + 3)."""
    found = [hit(1, 3, [0, 0, 50, 50], 0.9), hit(1, 5, [100, 0, 40, 40], 0.7), hit(2, 5, [0, 0, 9, 9], 0.6)]
    truth, scores = scored(tmp_path, found)
    matches = Matches(scores.evaluation, truth)
    best = matches.best()
    assert (best.threshold, best.f1, best.precision, best.recall) == pytest.approx((0.65, 0.8, 1.0, 2 / 3))
    thresholds, lines = matches.curves()
    at = {name: values[65] for name, values in lines.items()}
    assert thresholds[65] == 0.65
    assert at == pytest.approx({"F1": 0.8, "precision": 1.0, "recall": 2 / 3})
    assert [values[0] for values in lines.values()] == pytest.approx([4 / 6, 2 / 3, 2 / 3])
    section = report(tmp_path, truth, found, scores=scores).section("thresholds")
    assert "score above 0.650" in section


def test_a_matrix_counted_by_hand(tmp_path: Path) -> None:
    """A cat found, a cat taken for a dog, the dog missed, a dog where nothing is; a fifth detection scores too low."""
    found = [
        hit(1, 3, [0, 0, 50, 50], 0.9),
        hit(2, 5, [0, 0, 50, 50], 0.8),
        hit(2, 5, [150, 0, 40, 40], 0.7),
        hit(1, 5, [100, 0, 40, 40], 0.2),
    ]
    truth, scores = scored(tmp_path, found)
    content = confusion_content(scores.evaluation, truth, 0.3)
    assert content["names"] == ["cat", "dog", "nothing"]
    assert content["matrix"] == [[1, 1, 0], [0, 0, 1], [0, 1, 0]]
    assert content["pairs"] == [("cat", "dog", 1, 0.5)]


@given(st.integers(0, 2**32), st.integers(31, 50))
def test_a_reduced_matrix_loses_no_box(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.integers(0, 3, (classes + 1, classes + 1))
    kept = sorted(rng.choice(classes, 5, replace=False).tolist())
    small, names = Confusion(matrix, tuple(map(str, range(classes)))).reduced(kept)
    assert names == [*map(str, kept), "other", "nothing"]
    assert small.sum() == matrix.sum()
    assert small[:5, :5].tolist() == matrix[np.ix_(kept, kept)].tolist()
    assert small[-1, -1] == matrix[-1, -1]


def test_many_classes_show_the_most_confused() -> None:
    matrix = np.diag(np.full(41, 5))
    matrix[7, 33] = 3
    confusion = Confusion(matrix, tuple(f"c{i}" for i in range(40)))
    small, names = confusion.reduced(confusion.shown())
    assert names == ["c7", "c33", "other", "nothing"]
    assert small[0].tolist() == [5, 3, 0, 0]
    assert [*confusion.pairs()] == [("c7", "c33", 3, 0.375)]


# --- images


def test_boxes_are_judged_above_the_score_only(tmp_path: Path) -> None:
    data = two_images()
    data["annotations"].append(box(4, 1, 3, [60, 60, 30, 30], iscrowd=1))
    truth = read(tmp_path, data)
    found = [
        hit(1, 3, [0, 0, 50, 50], 0.9),
        hit(1, 5, [100, 0, 40, 40], 0.2),  # right, but not shown to anyone
        hit(1, 5, [150, 50, 20, 20], 0.8),
        hit(1, 3, [62, 62, 20, 20], 0.7),  # in a crowd: neither right nor wrong
    ]
    matches = Matches(coco_scores(truth, found).evaluation, truth)
    assert {(mark.label, mark.outcome, mark.score) for mark in matches.marks(1, 0.3)} == {
        ("cat", FOUND, None),
        ("dog", MISSED, None),
        ("cat", RIGHT, 0.9),
        ("dog", WRONG, 0.8),
    }
    assert matches.tally(1, 0.3).f1 == pytest.approx(0.5)  # 2 / (2 + 1 wrong + 1 missed)
    assert matches.tally(2, 0.3) == (0, 0, 1)


def test_best_and_worst_images(tmp_path: Path) -> None:
    truth = read(tmp_path, two_images())
    page = report(tmp_path, truth, perfect(truth)[:1], images=image_files(tmp_path, truth))
    captions = [e["text"] for e in page.all("figcaption") if "right" in e["text"]]
    assert captions == ["1.jpgF1 0.67: 1 right, 0 wrong, 1 missed", "2.jpgF1 0.00: 0 right, 0 wrong, 1 missed"]


def test_images_that_cannot_be_read_are_passed_over(tmp_path: Path) -> None:
    truth = read(tmp_path, two_images())
    (tmp_path / "1.jpg").write_bytes(b"\xff\xd8\xff no image")
    files = {1: tmp_path / "1.jpg", 2: tmp_path / "missing.jpg"}
    page = report(tmp_path, truth, perfect(truth), images=files)
    assert "No image of this set was at hand" in page.section("images")


def test_an_image_is_small_and_upright(tmp_path: Path) -> None:
    data = two_images()
    data["images"][0] |= {"width": 800, "height": 1200}
    truth = read(tmp_path, data)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter
    Image.new("RGB", (1200, 800), "red").save(tmp_path / "a.jpg", exif=exif)
    page = report(tmp_path, truth, perfect(truth), images={1: tmp_path / "a.jpg"})
    (image,) = page.all("image")
    with Image.open(io.BytesIO(base64.b64decode(image["@href"].removeprefix("data:image/jpeg;base64,")))) as small:
        assert (small.format, small.size) == ("JPEG", (320, SIDE))


@pytest.mark.parametrize("size", [(720, 360), (1, 1), (4000, 20), (20, 4000)])
def test_a_drawing_has_each_box_in_its_place(size: tuple[int, int]) -> None:
    width, height = size
    marks = [
        Mark((width / 4, height / 4, width / 2, height / 2), "cat", MISSED),
        Mark((0, 0, width, height), "صندوق", WRONG, 0.456),
    ]
    page = Page(rendered("{{ parts.drawing(one) }}", one=draw(Image.new("RGB", size), marks, "a.jpg")))
    (image,) = page.all("svg")
    _, _, *view = (float(x) for x in image["@viewbox"].split())
    boxes = [e for e in page.all("rect") if "@class" not in e and "@rx" not in e]
    if size == (720, 360):
        assert [float(boxes[0][f"@{key}"]) for key in ("x", "y", "width", "height")] == [180, 90, 360, 180]
        assert [e["text"] for e in page.all("text")] == ["\u2068cat\u2069", "\u2068صندوق\u2069 0.46"]
    for one in boxes:
        assert float(one["@x"]) <= view[0]
        assert float(one["@y"]) <= view[1]
    assert max(view) <= 1080


# --- tables of numbers


def test_tables_with_links_and_missing_numbers(tmp_path: Path) -> None:
    table = ReportTable(
        "ODinW",
        ("set", "AP", "images"),
        (ReportRow(("Aquarium", 0.2213, 63), link="Aquarium & co/report.html"), ReportRow(("<Pothole>", None, 0))),
        note="Average over 1 of 2.",
    )
    write_table_report(tmp_path / "report.html", title="ODinW-13", facts={"model": "glip-t"}, tables=[table])
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert [e["@href"] for e in page.all("a")] == ["#table1", "./Aquarium%20%26%20co/report.html"]
    cells = [(e["text"], e["@data-value"]) for e in page.all("td")]
    assert cells[:3] == [("Aquarium", "Aquarium"), ("22.1", "0.221300"), ("63", "63")]
    assert cells[3:] == [("<Pothole>", "<Pothole>"), ("-", ""), ("0", "0")]
    assert "Average over 1 of 2." in page.section("table1")


def test_a_link_cannot_lead_out_of_the_folder() -> None:
    assert relative("javascript:alert(1)") == "./javascript%3Aalert%281%29"
    for outside in ("/etc/passwd", "//host/x", "\\\\host\\x"):
        with pytest.raises(ValueError, match="relative"):
            relative(outside)


# --- in a browser


CLICKS = """
for (const title of ["boxes", "AP", "AP", "class"]) {
  const button = [...document.querySelectorAll("#classes th button")].find((b) => b.textContent === title);
  button.click();
  const names = [...document.querySelectorAll("#classes tbody td:first-child")].map((cell) => cell.textContent);
  const order = button.parentElement.getAttribute("aria-sort");
  document.body.append(Object.assign(document.createElement("output"), { textContent: `${order}: ${names}` }));
}
"""


def test_a_browser_sorts_the_table(tmp_path: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs chromium or google-chrome on the PATH")
    data = two_images()
    data["categories"].append({"id": 9, "name": "ant"})
    truth = read(tmp_path, data)
    page = report(tmp_path, truth, [hit(1, 5, [100, 0, 40, 40], 0.9), hit(1, 3, [0, 0, 50, 50], 0.8)])
    digest = base64.b64encode(hashlib.sha256(CLICKS.encode()).digest()).decode()
    driven = page.text.replace("script-src '", f"script-src 'sha256-{digest}' '", 1)
    (tmp_path / "driven.html").write_text(driven.replace("</body>", f"<script>{CLICKS}</script></body>"))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    url = (tmp_path / "driven.html").as_uri()
    dom = subprocess.run([browser, *flags, url], capture_output=True, text=True, timeout=60, check=True).stdout
    assert re.findall("<output>(.*?)</output>", dom) == [
        "descending: cat,dog,ant",
        "descending: dog,cat,ant",
        "ascending: cat,dog,ant",
        "ascending: ant,cat,dog",
    ]
