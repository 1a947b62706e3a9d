"""`index.html` of a run, in a real Chromium from a file, and the thumbnails beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from PIL import Image, ImageDraw

from glip_cli.data.image_io import read_image
from glip_cli.errors import UsageError
from glip_cli.outputs.annotation_tools import LabelStudioWriter
from glip_cli.outputs.earlier import check_earlier, clear_earlier
from glip_cli.outputs.files import FileNames
from glip_cli.outputs.html import HtmlWriter
from glip_cli.outputs.images import is_thumbnail_of, save_thumbnail
from glip_cli.outputs.records import AnyRecord, error_record, record
from glip_cli.types import Detections
from glip_cli.utils.text_format import shown_path
from tests.browser import check_axe, open_browser
from tests.outputs.examples import HOSTILE, image, left_in

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = playwright.expect
LABELS = ("cat", "remote")
ATTACK = "</script><img src=x onerror=\"document.title='bad'\">"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser(viewport={"width": 1400, "height": 900}) as context:
        yield context


@pytest.fixture
def show(browser: Any, tmp_path: Path) -> Iterator[Any]:
    """Writes records as a page and opens it. At the end: its policy refused nothing, and only files were asked for."""
    faults: list[str] = []
    asked: list[str] = []

    def opened(*records: AnyRecord, out: Path = tmp_path / "run") -> Any:
        write(out, *records)
        page = browser.new_page()
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((out / "index.html").as_uri())
        return page

    yield opened
    for page in browser.pages:
        page.close()
    assert [fault for fault in faults if not fault.startswith("Failed to load resource")] == []
    assert [address for address in asked if not address.startswith(("file:", "data:"))] == []


def write(out: Path, *records: AnyRecord) -> None:
    writer, names = HtmlWriter(out, read_image), FileNames()
    for one in records:
        writer.add(one, names.of(one["image"]))
    writer.close()


def boxes(name: str, scores: Sequence[float], label_ids: Sequence[int]) -> AnyRecord:
    """Boxes from left to right in an image of 200 x 100."""
    count = len(scores)
    corners = np.array([[20 * i, 30, 20 * i + 15, 60] for i in range(count)], np.float32).reshape(-1, 4)
    spans = tuple((0, 1) for _ in LABELS)
    found = Detections(corners, np.array(scores, np.float32), np.array(label_ids), LABELS, spans, "x", (200, 100))
    return record(name, found, "glip-t@c24ce662")


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[AnyRecord]:
    """Five records in the current folder: `photos/a #1.png`, b, c, one that failed and one of the web."""
    monkeypatch.chdir(tmp_path)
    names = ["photos/a #1.png", "photos/b.png", "photos/c.png"]
    Path("photos").mkdir()
    for i, name in enumerate(names):
        drawn = Image.new("RGB", (200, 100), (60 * i, 120, 200))
        ImageDraw.Draw(drawn).ellipse((20, 20, 80, 80), fill="white")
        drawn.save(name)
    return [
        boxes(names[0], [0.9, 0.6, 0.31], [0, 1, 0]),
        boxes(names[1], [0.52], [1]),
        boxes(names[2], [], []),
        error_record("photos/d.png", "photos/d.png: not an image", "glip-t@c24ce662"),
        boxes("https://example.org/e.png", [0.7], [0]),
    ]


def listed(page: Any) -> list[str]:
    """The names of the tiles, in their order."""
    tiles = page.locator("#grid li").all()
    return [
        tile.locator(".name").inner_text()
        for tile in sorted(tiles, key=lambda tile: int(tile.get_attribute("aria-posinset")))
    ]


def set_score(page: Any, score: str) -> None:
    page.locator("#score").fill(score)


def test_filters_and_order(show: Any, album: list[AnyRecord]) -> None:
    page = show(*album)
    expect(page.locator("#count")).to_have_text("5 images, 5 boxes")
    assert page.locator("#label option").all_inner_texts() == ["all labels", "cat (2)", "remote (2)"]
    assert page.locator("#score").input_value() == "0.31"
    assert page.locator("#grid svg rect.over").count() == 5

    set_score(page, "0.55")
    expect(page.locator("#count")).to_have_text("5 images, 3 boxes")
    assert page.locator("#grid svg rect.over").count() == 3
    page.select_option("#kind", "boxes")
    assert listed(page) == ["a #1.png", "e.png"]
    page.select_option("#kind", "none")
    assert listed(page) == ["b.png", "c.png"]
    page.select_option("#kind", "failed")
    assert listed(page) == ["d.png"]

    page.select_option("#kind", "all")
    page.select_option("#order", "doubtful")
    assert listed(page) == ["b.png", "e.png", "a #1.png", "c.png", "d.png"]
    page.select_option("#order", "best")
    assert listed(page)[:2] == ["a #1.png", "e.png"]
    page.select_option("#label", "1")
    assert listed(page) == ["a #1.png"]
    set_score(page, "0.31")
    assert listed(page) == ["a #1.png", "b.png"]
    page.fill("#name", "B.PNG")
    assert listed(page) == ["b.png"]
    page.fill("#name", "nowhere")
    expect(page.locator("#nothing")).to_be_visible()
    page.click("#reset")
    assert len(listed(page)) == 5


def test_the_boxes_lie_where_the_record_says(show: Any, album: list[AnyRecord]) -> None:
    page = show(*album)
    rect = page.locator("#grid li").nth(0).locator("rect.over").last
    assert [rect.get_attribute(side) for side in ("x", "y", "width", "height")] == ["0", "30", "15", "30"]
    page.locator("#grid button").first.click()
    photo, box = (page.locator(where).bounding_box() for where in ("#frame img", "#frame rect.over >> nth=2"))
    scale = photo["width"] / 200
    assert photo["height"] == pytest.approx(100 * scale, abs=1)
    assert box["y"] - photo["y"] == pytest.approx(30 * scale, abs=2)
    assert box["width"] == pytest.approx(15 * scale, abs=4)  # with its line


def test_an_image_is_enlarged_from_its_own_file_and_else_from_the_thumbnail(show: Any, album: list[AnyRecord]) -> None:
    page = show(*album)
    page.locator("#grid button").first.click()
    wait = "() => document.querySelector('#frame img').naturalWidth > 0"
    page.wait_for_function(wait)
    assert page.locator("#frame img").get_attribute("src") == "../photos/a%20%231.png"
    assert page.locator("#original").get_attribute("href") == "../photos/a%20%231.png"
    assert page.locator("#boxes li").all_inner_texts() == ["cat\n0.90", "remote\n0.60", "cat\n0.31"]
    page.locator("#boxes button").nth(1).click()
    page.mouse.move(5, 5)
    assert page.locator("#frame .hot").count() == 2  # the box and its tag
    page.keyboard.press("Escape")
    Path("photos/b.png").unlink()
    page.locator("#grid button").nth(1).click()
    expect(page.locator("#frame img")).to_have_attribute("src", "thumbnails/photos/b.jpg")
    page.wait_for_function(wait)


def test_keyboard(show: Any, album: list[AnyRecord]) -> None:
    page = show(*album)
    name_of = "document.activeElement.querySelector('.name')?.textContent"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(name_of) == "a #1.png"
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "name"
    page.keyboard.type("/")  # is a letter of the name here
    assert page.locator("#name").input_value() == "/"
    for _ in range(5):
        page.keyboard.press("Tab")
    assert page.evaluate(name_of) == "a #1.png"
    page.keyboard.press("ArrowRight")
    assert page.evaluate(name_of) == "b.png"
    page.keyboard.press("End")
    assert page.evaluate(name_of) == "e.png"
    page.keyboard.press("Enter")
    expect(page.locator("#large-name")).to_have_text("https://example.org/e.png")
    expect(page.locator("#place")).to_have_text("5 of 5")
    page.keyboard.press("ArrowLeft")
    expect(page.locator("#large-count")).to_have_text("photos/d.png: not an image")
    page.keyboard.press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    expect(page.locator(":focus .name")).to_have_text("d.png")
    assert page.evaluate("document.activeElement.ariaLabel") == "photos/d.png: photos/d.png: not an image"


def test_axe_finds_no_violation(show: Any, album: list[AnyRecord]) -> None:
    page = show(*album)
    check_axe(page, "grid")
    page.locator("#grid button").first.click()
    check_axe(page, "large")


def test_hostile_names_and_labels_are_texts(show: Any) -> None:
    texts = (ATTACK, "<!--<script>", *HOSTILE)
    everything = image("x", [[0, 0, 9, 9]] * len(texts), texts, range(len(texts)))
    page = show(*({**everything, "image": name} for name in texts), error_record(ATTACK, ATTACK, ATTACK))
    assert page.title() == "Images of a run of glip"
    assert page.locator("img").count() == 0
    page.locator("#grid button").first.click()
    assert page.locator("#large-name").text_content() == ATTACK
    assert page.locator("#boxes bdi").all_text_contents()[0] == ATTACK
    assert page.evaluate("document.querySelectorAll('script').length") == 3


def test_ten_thousand_images(show: Any) -> None:
    page = show(*(boxes(f"{i}.png", [0.9, 0.5], [i % 2, 0]) for i in range(10_000)))
    expect(page.locator("#count")).to_have_text("10,000 images, 20,000 boxes")
    assert page.locator("#grid li").count() < 100
    page.locator("#grid button").first.focus()
    page.keyboard.press("End")
    expect(page.locator("li:has(> :focus)")).to_have_attribute("aria-posinset", "10000")
    assert page.locator("#grid li").count() < 100
    page.fill("#name", "777")
    expect(page.locator("#count")).to_have_text("19 of 10,000 images, 38 boxes")
    expect(page.locator("#grid li")).to_have_count(19)


def test_a_page_without_an_image(show: Any) -> None:
    page = show()
    expect(page.locator("#count")).to_have_text("0 images, 0 boxes")
    expect(page.locator("#nothing")).to_be_visible()


# --- files


def test_thumbnails_are_made_of_files_and_kept_for_the_same_image_only(tmp_path: Path, album: list[AnyRecord]) -> None:
    out = tmp_path / "run"
    write(out, *album)
    made = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.jpg"))
    assert made == [f"thumbnails/photos/{name}.jpg" for name in ("a #1", "b", "c")]
    first = out / "thumbnails/photos/b.jpg"
    os.utime(first, (1, 1))
    write(out, *album)
    assert first.stat().st_mtime == 1
    save_thumbnail(Image.new("RGB", (9, 9)), first, "elsewhere/b.png")
    write(out, *album)
    assert is_thumbnail_of(first, "photos/b.png")


@pytest.mark.skipif(os.name == "nt", reason="no such names")
def test_a_line_end_in_a_name_leads_to_no_other_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    colours = {"n\nx.png": (255, 0, 0), "n\\nx.png": (0, 0, 255)}
    for name, colour in colours.items():
        Image.new("RGB", (20, 10), colour).save(name)
    write(tmp_path / "run", *(boxes(shown_path(name), [], []) for name in colours))
    for file, colour in zip(("n/nx.jpg", "n/nx-2.jpg"), colours.values(), strict=True):
        with Image.open(tmp_path / "run/thumbnails" / file) as thumbnail:
            assert np.abs(np.subtract(thumbnail.getpixel((5, 5)), colour)).max() < 8
    page = (tmp_path / "run/index.html").read_text("utf-8")
    assert all(f'"../{quote(name)}"' in page for name in colours)
    assert [labelstudio_file(shown_path(name)) for name in colours] == [quote(name) for name in colours]


def labelstudio_file(name: str) -> str:
    """Where its tasks of Label Studio say that the image is."""
    writer = LabelStudioWriter(Path("labelstudio"))
    writer.add(boxes(name, [], []), "")
    writer.close()
    (task,) = json.loads(Path("labelstudio/labelstudio.json").read_text("utf-8"))
    return str(task["data"]["image"]).partition("?d=")[2]


def test_a_thumbnail_is_small_and_says_of_what_it_is(tmp_path: Path) -> None:
    for size, small in (((3000, 1500), (320, 160)), ((50, 40), (50, 40)), ((5000, 2), (320, 1))):
        save_thumbnail(Image.new("RGB", size), tmp_path / "x.jpg", "犬.png")
        with Image.open(tmp_path / "x.jpg") as written:
            assert written.size == small
        assert is_thumbnail_of(tmp_path / "x.jpg", "犬.png")
        assert not is_thumbnail_of(tmp_path / "x.jpg", "猫.png")
    (tmp_path / "x.jpg").write_bytes(b"no image")
    assert not is_thumbnail_of(tmp_path / "x.jpg", "犬.png")


@pytest.mark.parametrize("name", ["index.html", "thumbnails/x.jpg", "grid.jpg"])
def test_the_files_of_others_stay(name: str, tmp_path: Path) -> None:
    (tmp_path / "thumbnails").mkdir()
    (tmp_path / name).write_text("<!doctype html><title>mine</title>")
    before = left_in(tmp_path)
    with pytest.raises(UsageError, match=r"was not written by .*glip; choose another --out-dir"):
        check_earlier(tmp_path, ["html", "grid"], LABELS)
    clear_earlier(tmp_path)
    assert left_in(tmp_path) == before
