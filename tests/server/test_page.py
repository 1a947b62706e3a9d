"""The page of `glip serve`, in a real Chromium, with a real server and glip-mini behind it."""

from __future__ import annotations

import io
import json
import re
import shlex
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from typer.testing import CliRunner

from glip_cli.cli.app import app as glip
from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from glip_cli.outputs.colours import box_colours
from glip_cli.outputs.files import FileNames
from glip_cli.outputs.formats import WRITERS
from glip_cli.outputs.records import Record, record
from glip_cli.server.app import create_app
from glip_cli.server.options import ServeOptions
from glip_cli.types import Detections
from tests.browser import check_axe, open_browser
from tests.server.serving import running, serving

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
expect = playwright.expect

LABELS = "circle, red square, star, triangle"
SENTENCE = "A circle 🙂 and a red square, beside a star."


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with open_browser(permissions=["clipboard-read"]) as context:
        yield context


@pytest.fixture
def new_page(browser: Any) -> Iterator[Any]:
    """Opens a page at a URL. At the end: its policy refused nothing, no script failed, no other server was asked."""
    faults: list[str] = []
    asked: list[str] = []

    def opened(url: str) -> Any:
        page = browser.new_page()
        page.set_viewport_size({"width": 1600, "height": 1000})
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("console", lambda said: faults.append(said.text))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(url)
        return page

    yield opened
    others = [address for address in asked if not re.match(r"blob:|data:|http://127\.0\.0\.1:\d+/", address)]
    for page in browser.pages:
        page.close()
    assert [fault for fault in faults if not fault.startswith("Failed to load resource")] == []
    assert others == []


@pytest.fixture
def page(new_page: Any, url: str) -> Any:
    return new_page(url)


@pytest.fixture
def scenes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Names that COCO's ids, a shell and a file system take in their own ways."""
    monkeypatch.chdir(tmp_path)
    paths = [tmp_path / name for name in ("0007.png", "it's, a 'scene' $1.png", "0007.webp")]
    for seed, path in enumerate(paths):
        draw_scene(np.random.default_rng(seed), 160, 160).image.save(path, lossless=True)
    return paths


def detect(page: Any, paths: list[Path], texts: str = LABELS, threshold: str = "0.3") -> None:
    page.fill("#texts", texts)
    page.set_input_files("#files", paths)
    expect(page.locator("#images .done")).to_have_count(len(paths))
    page.fill("#threshold", threshold)


def download(page: Any, kind: str) -> dict[str, bytes]:
    """The files of a download by name; those of a zip file by their paths in it."""
    with page.expect_download() as waiting:
        page.click(f"[data-save={kind}]")
    name, data = waiting.value.suggested_filename, Path(waiting.value.path()).read_bytes()
    if not name.endswith(".zip"):
        return {name: data}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        return {one: archive.read(one) for one in archive.namelist()}


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def run_command(words: list[str], folder: Path, *formats: str) -> dict[str, bytes]:
    """The files that a command writes, and what it prints under the name ""."""
    assert words[0] == "glip"
    flags = [flag for name in formats for flag in ("--format", name)]
    more = [*flags, "--json", "-q", "--no-save-vis", "-o", str(folder), "--device", "cpu"]
    done = CliRunner().invoke(glip, [*words[1:], *more])
    assert done.exit_code == 0, done.stderr
    return written(folder) | {"": done.stdout.encode()}


# ------------------------------------------------------------------------------------------- the same as glip detect


def test_downloads_are_what_the_copied_command_writes(page: Any, scenes: list[Path], tmp_path: Path) -> None:
    detect(page, scenes, threshold="0.15")
    words = shlex.split(page.input_value("#command"))
    assert words == ["glip", "detect", "0007.png", "--texts", LABELS, "--threshold", "0.15", "-m", "glip-mini"]
    alone = run_command(words, tmp_path / "alone", "json")
    assert download(page, "json") == {"0007.json": alone["preds/0007.json"]}
    assert len(json.loads(alone[""])["detections"]) == page.locator(".box").count() > 1
    page.select_option("#scope", "all")
    names = [path.name for path in scenes]
    for kind in ("json", "coco", "yolo"):
        made = run_command([*words[:2], *names, *words[3:]], tmp_path / kind, kind)
        del made[""]
        assert download(page, kind) == made, kind


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        ({"caption": SENTENCE}, ["--caption", SENTENCE]),
        ({"caption": "a circle or a star", "phrases": "circle, star"}, ["--phrases", "circle", "--phrases", "star"]),
        ({"texts": "the circle"}, ["--texts", "the circle", "--custom-entities"]),
        ({"texts": "circle. star.", "negatives": "red square, triangle", "top_k": "3", "nms_iou": "0.3", "tile": "96"},
         ["--negative", "red square", "--negative", "triangle", "--top-k", "3", "--nms-iou", "0.3", "--tile", "96"]),
        ({"texts": "circle", "agnostic_nms": True}, ["--agnostic-nms"]),
        pytest.param({"texts": "circle", "tta": True}, ["--tta"], marks=pytest.mark.long),
    ],
    ids=["caption", "phrases", "label like a caption", "options", "agnostic", "views"],
)  # fmt: skip
def test_the_command_prints_the_record(
    page: Any, scenes: list[Path], tmp_path: Path, fields: dict[str, str | bool], flags: list[str]
) -> None:
    if "caption" in fields:
        page.check("input[value=caption]", force=True)
    page.click("#options summary")
    for name, value in fields.items():
        page.check(f"#{name}") if value is True else page.fill(f"#{name}", value)
    page.set_input_files("#files", [scenes[1]])
    expect(page.locator("#images .done")).to_have_count(1)
    page.fill("#threshold", "0.05")
    page.click("#copy")
    words = shlex.split(page.evaluate("navigator.clipboard.readText()"))
    assert set(flags) <= set(words)
    printed = json.loads(run_command(words, tmp_path / "out")[""])
    (shown,) = map(json.loads, download(page, "json").values())
    assert shown == printed
    assert shown["detections"]


def hostile() -> Record:
    """Numbers and names that two languages may write in two ways."""
    labels = ("a \"b\", c", "日本 🙂", "\x85\u2028\ufffe", "x" * 300, "a \"b\", c", "\t")  # fmt: skip
    boxes = [[-0.0, 1, 10, 127], [5, 0, 128, 64], [0.001, 0.0625, 0.126, 1e-4], [3, 5, 4, 6], [-9, -9, 999, 999]]
    found = Detections(
        np.array(boxes, np.float32), np.array([1, 0.5, 0.4, 0.301, 0.3001], np.float32), np.array([0, 1, 2, 3, 4]),
        labels, tuple((i, i + 1) for i in range(6)), "any " * 9, (128, 128), model="glip-t@c24ce662",
    )  # fmt: skip
    return record("hostile, 名.png", found, found.model)


def test_hostile_records_are_written_as_the_writers_do(page: Any, scenes: list[Path], tmp_path: Path) -> None:
    records: list[Record] = [{**hostile(), "image": name} for name in ("CON.x.png", "con.x.jpg", ".png", "a..b.png")]
    answers = iter(records)
    page.route("**/detect", lambda route: route.fulfill(json=next(answers)))
    for _ in records:
        detect_one_more(page, scenes[0])
    page.select_option("#scope", "all")
    names = FileNames()
    stems = [names.of(one["image"]) for one in records]
    for kind in ("json", "coco", "yolo"):
        writer = WRITERS[kind](tmp_path / kind)
        for one, stem in zip(records, stems, strict=True):
            writer.add(one, stem)
        writer.close()
        assert download(page, kind) == written(tmp_path / kind), kind


def detect_one_more(page: Any, path: Path) -> None:
    count = page.locator("#images .done").count()
    page.fill("#texts", LABELS)
    page.set_input_files("#files", [path])
    expect(page.locator("#images .done")).to_have_count(count + 1)


def test_colours_are_those_of_the_drawn_image(page: Any, detector: Detector, scenes: list[Path]) -> None:
    found = hostile_crowd()
    page.route("**/detect", lambda route: route.fulfill(json=record("a.png", found, "m@12345678")))
    detect(page, [scenes[0]])
    colours = page.locator(".box").evaluate_all("all => all.map(box => box.style.getPropertyValue('--colour'))")
    assert [tuple(map(int, colour.split())) for colour in colours] == box_colours(found, "bright")


def hostile_crowd() -> Detections:
    """60 boxes of 40 labels, so that hues beyond the palette and shades are needed."""
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 80, (60, 2))
    labels = tuple(map(str, range(40)))
    return Detections(
        np.concatenate([corners, corners + rng.uniform(1, 70, (60, 2))], 1).astype(np.float32),
        np.linspace(0.99, 0.31, 60, dtype=np.float32), np.arange(60) % 40, labels, ((0, 1),) * 40, "", (160, 160),
    )  # fmt: skip


def test_the_drawn_image(page: Any, scenes: list[Path]) -> None:
    detect(page, [scenes[0]], threshold="0.15")
    ((name, data),) = download(page, "image").items()
    with Image.open(io.BytesIO(data)) as drawn, Image.open(scenes[0]) as before:
        assert (name, drawn.format, drawn.size) == ("0007-boxes.jpg", "JPEG", before.size)
        changed = np.abs(np.asarray(drawn, np.int16) - np.asarray(before.convert("RGB"), np.int16)).max(2) > 60
    ((_, made),) = download(page, "json").items()
    for found in json.loads(made)["detections"]:
        box = found["box"]
        column = round((box["xmin"] + box["xmax"]) / 2)
        assert changed[max(round(box["ymax"]) - 4, 0) : round(box["ymax"]) + 2, min(column, 159)].any(), found
    page.check("input[value=caption]", force=True)
    page.fill("#caption", SENTENCE)
    page.press("#caption", "Enter")
    expect(page.locator("#sentence mark")).to_have_count(3)
    with Image.open(io.BytesIO(*download(page, "image").values())) as drawn:
        assert drawn.width == 160
        assert drawn.height > 170


# --------------------------------------------------------------------------------------------------- what can be done


def test_threshold_and_labels_act_without_asking_again(page: Any, scenes: list[Path]) -> None:
    detect(page, [scenes[0]], threshold="0.05")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "blob:" not in request.url else None)
    every = page.locator(".box").count()
    scores = [float(text) for text in page.locator("#rows tr td:nth-child(2)").all_inner_texts()]
    page.fill("#threshold", "0.2")
    few = sum(score > 0.2 for score in scores)
    assert 0 < few < every
    expect(page.locator(".box")).to_have_count(few)
    expect(page.locator("#count")).to_have_text(re.compile(rf"{few} detections?$"))
    first = page.locator(".chip input").first
    label, counted = page.locator(".chip").first.inner_text().split()
    first.uncheck()
    expect(page.locator(".box")).to_have_count(few - int(counted))
    assert label not in page.locator("#rows").inner_text().split()
    page.fill("#threshold", "0.95")
    expect(page.locator("#found-none")).to_contain_text("Nothing is shown")
    assert asked == []


def test_by_keyboard_alone(page: Any, scenes: list[Path]) -> None:
    keys = page.keyboard
    page.on("filechooser", lambda chooser: chooser.set_files([scenes[0]]))

    def tab_to(selector: str) -> None:
        for _ in range(40):
            keys.press("Tab")
            if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                return
        raise AssertionError(f"{selector} cannot be reached")

    tab_to("#texts")
    keys.type(LABELS)
    tab_to("#choose")
    keys.press("Enter")
    expect(page.locator("#images .done")).to_have_count(1)
    expect(page.locator("#live")).to_contain_text("0007.png: ")
    tab_to("#skip")
    tab_to(".box")
    expect(page.locator("#rows tr.active")).to_have_count(1)
    keys.press("Enter")
    expect(page.locator("#boxes [aria-pressed=true]")).to_have_count(1)
    tab_to("#threshold")
    expect(page.locator("#rows tr.active")).to_have_count(1)  # it stays, as it was pressed
    for _ in range(20):
        keys.press("ArrowLeft")
    expect(page.locator("#threshold-shown")).to_have_text("0.10")
    expect(page.locator("#live")).to_contain_text("detection")
    tab_to("#rows button")
    tab_to("#rows button")
    expect(page.locator("#rows tr").nth(1)).to_have_class("active")
    expect(page.locator(".box").nth(1)).to_have_class("box active")


def test_pointing_links_boxes_and_rows(page: Any, scenes: list[Path]) -> None:
    detect(page, [scenes[0]], threshold="0.1")
    page.locator("#rows tr").nth(1).hover()
    expect(page.locator(".box.active")).to_have_count(1)
    page.locator(".box").nth(0).hover()
    expect(page.locator("#rows tr").nth(0)).to_have_class("active")
    page.locator(".chip").first.hover()
    assert page.locator(".box.active").count() == int(page.locator(".chip b").first.inner_text())


def test_phrases_stand_in_their_colours_in_the_caption(page: Any, scenes: list[Path]) -> None:
    page.check("input[value=caption]", force=True)
    page.fill("#caption", SENTENCE)
    page.set_input_files("#files", [scenes[0]])
    expect(page.locator("#sentence")).to_have_text(SENTENCE)
    marks = page.locator("#sentence mark")
    assert marks.all_inner_texts() == ["A circle", "a red square", "a star"]
    page.fill("#threshold", "0.95")
    grey = marks.evaluate_all("all => all.map(mark => mark.style.backgroundColor)")
    page.fill("#threshold", "0.05")
    assert grey == ["", "", ""]
    assert any(marks.evaluate_all("all => all.map(mark => mark.style.backgroundColor)"))


def test_explain(page: Any, url: str) -> None:
    page.fill("#texts", LABELS)
    page.click("#explain summary")
    answer = requests.post(f"{url}/explain", json={"texts": LABELS}, timeout=60).json()
    rows = page.locator("#explanation tbody tr")
    expect(rows).to_have_count(4)
    for i, row in enumerate(answer["rows"]):
        tokens = " ".join(f"{place}:{piece}" for place, piece in row["tokens"])
        assert rows.nth(i).inner_text().split() == [*row["label"].split(), "0", *rows_spans(row), *tokens.split()]


def rows_spans(row: dict[str, Any]) -> list[str]:
    return [f"{begin}–{end}" for begin, end in row["spans"]]


FILES = """([kind, names]) => {
  const data = new DataTransfer();
  const make = (name) => new Promise((made) => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 64, height: 64 });
    canvas.getContext("2d").fillRect(0, 0, 9, 9);
    canvas.toBlob((blob) => made(new File([blob], name, { type: "image/png" })));
  });
  return Promise.all(names.map(make)).then((files) => {
    files.forEach((file) => data.items.add(file));
    const event = kind === "paste"
      ? new ClipboardEvent("paste", { clipboardData: data, cancelable: true, bubbles: true })
      : new DragEvent("drop", { dataTransfer: data, cancelable: true, bubbles: true });
    document.body.dispatchEvent(event);
  });
}"""


def test_images_are_pasted_and_dropped_and_the_last_are_kept(page: Any) -> None:
    page.evaluate(FILES, ["paste", ["image.png"]])
    expect(page.locator("#said")).to_contain_text("pasted-1.png")
    page.evaluate(FILES, ["drop", [f"{i}.png" for i in range(13)]])
    expect(page.locator("#files-error")).to_contain_text("1 of them were left out")
    names = page.locator("#images button:not(.add)").evaluate_all("all => all.map(one => one.ariaLabel)")
    assert names == [f"{i}.png: not asked yet" for i in range(12)]
    page.click("#remove")
    expect(page.locator("#images button[aria-current=true]")).to_have_attribute("aria-label", "1.png: not asked yet")


# ------------------------------------------------------------------------------------------------------------- errors


def test_each_image_has_its_own_error(page: Any, scenes: list[Path], tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.fill("#texts", LABELS)
    page.set_input_files("#files", [tmp_path / "broken.png", scenes[0]])
    expect(page.locator("#images .done")).to_have_count(1)
    expect(page.locator("#image-error")).to_contain_text("not an image")
    page.locator("#images .done").click()
    expect(page.locator("#image-error")).to_be_empty()
    expect(page.locator(".box").first).to_be_visible()
    page.fill("#texts", "@labels.txt")
    page.press("#texts", "Enter")
    expect(page.locator("#image-error")).to_contain_text("@labels.txt")


def test_a_busy_server_is_asked_again(new_page: Any, detector: Detector, scenes: list[Path]) -> None:
    options = ServeOptions(port=0, queue=1)
    app = create_app(detector, options)
    with running(app, options) as url:
        page = new_page(url)
        with app.state.service.queue.places(1):
            page.fill("#texts", LABELS)
            page.set_input_files("#files", [scenes[0]])
            expect(page.locator("#said")).to_contain_text("The server is busy; trying again in 1 s")
            page.click("#stop")
            expect(page.locator("#images .idle")).to_have_count(1)
            page.press("#texts", "Enter")
            expect(page.locator("#images .busy")).to_have_count(1)
        expect(page.locator("#images .done")).to_have_count(1)


def test_a_token_is_asked_for_where_the_server_wants_one(new_page: Any, detector: Detector, scenes: list[Path]) -> None:
    with serving(detector, ServeOptions(port=0, token="s3cret")) as url:
        page = new_page(url)
        expect(page.locator("#token")).to_be_focused()
        page.fill("#texts", LABELS)
        page.fill("#token", "wrong")
        page.press("#token", "Enter")
        expect(page.locator("#form-error")).to_contain_text("does not know this token")
        page.fill("#token", "s3cret")
        page.set_input_files("#files", [scenes[0]])
        expect(page.locator("#images .failed")).to_have_count(1)
        page.press("#token", "Enter")
        expect(page.locator("#images .done")).to_have_count(1)
        expect(page.locator("#token")).to_be_hidden()
        page.reload()
        expect(page.locator("#model")).to_contain_text("glip-mini@")


def test_a_server_that_is_gone(new_page: Any, detector: Detector, scenes: list[Path]) -> None:
    with serving(detector) as url:
        page = new_page(url)
        expect(page.locator("#model")).to_contain_text("glip-mini@")
    page.fill("#texts", LABELS)
    page.set_input_files("#files", [scenes[0]])
    expect(page.locator("#image-error")).to_contain_text("does not answer")


# ------------------------------------------------------------------------------------------------------ accessibility


def test_axe_finds_no_violation(page: Any, scenes: list[Path], tmp_path: Path) -> None:
    check_axe(page, "empty")
    (tmp_path / "broken.png").write_bytes(b"no image")
    page.click("#options summary")
    page.click("#explain summary")
    page.fill("#texts", LABELS)
    page.set_input_files("#files", [scenes[0], tmp_path / "broken.png"])
    expect(page.locator("#images .done")).to_have_count(1)
    expect(page.locator("#images .failed")).to_have_count(1)
    check_axe(page, "found")
    page.locator("#images .failed").click()
    check_axe(page, "error")


@pytest.mark.long
def test_axe_finds_no_violation_in_the_description_of_the_api(page: Any, url: str) -> None:
    page.goto(f"{url}/docs")
    check_axe(page, "docs")
