"""POST /detect and /explain: the answers of `glip detect`, to the last digit."""

from __future__ import annotations

import base64
import io
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image
from typer.testing import CliRunner

from glip_cli.cli.app import app
from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from glip_cli.options import DetectOptions
from glip_cli.prompts.prompt import caption_prompt
from glip_cli.server.options import ServeOptions
from glip_cli.utils.http import USER_AGENT
from tests.server.serving import serving

PROMPT = "circle . red square . star ."


def scene_image(seed: int, width: int = 160, height: int = 160) -> Image.Image:
    return draw_scene(np.random.default_rng(seed), width, height).image


def scene(seed: int, width: int = 160, height: int = 160) -> bytes:
    stream = io.BytesIO()
    scene_image(seed, width, height).save(stream, "PNG")
    return stream.getvalue()


SCENE = scene(0)
CODE = base64.b64encode(SCENE).decode()


def glip(image: bytes, folder: Path, *flags: str) -> str:
    """What `glip detect --json` prints."""
    (folder / "a.png").write_bytes(image)
    words = ["detect", str(folder / "a.png"), "--json", "-q", "--no-save-vis", "--no-save-pred", "-m", "glip-mini"]
    result = CliRunner().invoke(app, [*words, "--device", "cpu", *flags])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def ask(url: str, **body: Any) -> requests.Response:
    return requests.post(f"{url}/detect", json={"image": CODE, **body}, timeout=60)


SAME: list[tuple[list[str], dict[str, Any]]] = [
    (["-t", PROMPT], {"texts": PROMPT}),
    (["-t", PROMPT, "--threshold", "0.05"], {"texts": [PROMPT], "threshold": 0.05}),
    (["-t", "circle", "-t", "st. star"], {"labels": ["circle", "st. star"]}),
    (["--caption", "a [circle] and two [red square]s", "--threshold", "0.1"],
     {"caption": "a [circle] and two [red square]s", "threshold": 0.1}),
    (["--caption", "a circle here", "-p", "[[[2,8]]]"], {"caption": "a circle here", "tokens_positive": [[[2, 8]]]}),
    (["-t", PROMPT, "--tile", "96", "--threshold", "0.05", "--top-k", "4"],
     {"texts": PROMPT, "tile": 96, "threshold": 0.05, "top_k": 4}),
    (["-t", PROMPT, "--size", "128,160", "--nms-iou", "0.3", "--agnostic-nms", "--class-threshold", "star=0.02"],
     {"texts": PROMPT, "size": [128, 160], "nms_iou": 0.3, "agnostic_nms": True, "class_thresholds": {"star": 0.02}}),
    (["-t", PROMPT, "--negative", "triangle", "-s", "1", "--size", "75%"],
     {"texts": PROMPT, "size": 0.75, "negatives": ["triangle"], "chunked_size": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("flags", "body"), SAME, ids=range(len(SAME)))
def test_answers_are_those_of_the_command(url: str, tmp_path: Path, flags: list[str], body: dict[str, Any]) -> None:
    answer = ask(url, **body, name=str(tmp_path / "a.png"))
    assert answer.status_code == 200, answer.text
    assert answer.text == glip(SCENE, tmp_path, *flags)


def test_a_form_says_what_json_says(url: str) -> None:
    fields = {
        "texts": ["circle", "star"], "negatives": "red square, triangle",
        "class_thresholds": ["star=0.02", "circle=.1"], "size": "128,160", "agnostic_nms": "true", "top_k": "3",
    }  # fmt: skip
    form = requests.post(f"{url}/detect", data=fields, files={"image": ("b.png", SCENE)}, timeout=60)
    body = ask(
        url, texts=["circle", "star"], negatives=["red square", "triangle"], size=[128, 160], agnostic_nms=True,
        class_thresholds={"star": 0.02, "circle": 0.1}, top_k=3, name="b.png",
    )  # fmt: skip
    assert form.status_code == 200, form.text
    assert form.content == body.content


@pytest.mark.parametrize(
    ("form", "body"),
    [
        ({"labels": '["circle", "red . star"]'}, {"labels": ["circle", "red . star"]}),
        ({"labels": ' {"disc": "circle"}'}, {"labels": {"disc": "circle"}}),
        ({"labels": "circle . star"}, {"labels": ["circle", "star"]}),
        ({"labels": "a circle on a star"}, {"labels": ["a circle on a star"]}),
        ({"labels": ["circle, red", "star"]}, {"labels": ["circle, red", "star"]}),
        ({"texts": "star", "negatives": '["circle, red"]'}, {"texts": "star", "negatives": ["circle, red"]}),
        ({"texts": "star", "class_thresholds": '{"star": 0.1}'}, {"texts": "star", "class_thresholds": {"star": 0.1}}),
        ({"caption": "a circle", "phrases": '["circle"]'}, {"caption": "a circle", "phrases": ["circle"]}),
    ],
)  # fmt: skip
def test_a_list_of_a_form_may_be_json(url: str, form: dict[str, Any], body: dict[str, Any]) -> None:
    answer = requests.post(f"{url}/detect", data=form, files={"image": ("b.png", SCENE)}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.content == ask(url, name="b.png", **body).content


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ('["cat", "dog"', 'labels \'["cat", "dog"\': begins as JSON and is none; give one list: ["cat", "remote"]'),
        ("[red] cat", "labels '[red] cat': begins as JSON and is none"),
        (["cat", '["dog"]'], "labels '[\"dog\"]': begins as JSON and is none"),
        ("[1, 2]", "labels.list[str].0: Input should be a valid string"),
        ("@/etc/passwd", "'@/etc/passwd': files of labels are not read here"),
        ("[]", "no label; give at least one"),
        ("", "no label in ''"),
    ],
)
def test_labels_of_a_form_that_cannot_be_meant(url: str, labels: str | list[str], said: str) -> None:
    answer = requests.post(f"{url}/detect", data={"labels": labels}, files={"image": ("b.png", SCENE)}, timeout=60)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)


def test_a_prompt_comes_as_it_was_made(url: str) -> None:
    made = caption_prompt("a circle beside a red square", phrases=["circle", "red square"])
    body = {"text": made.text, "labels": made.labels, "spans": made.spans, "is_caption": True}
    sent = ask(url, prompt=body, threshold=0.05)
    assert sent.content == ask(url, caption="a circle beside a red square", phrases=["circle", "red square"],
                               threshold=0.05).content  # fmt: skip


def test_several_images_with_prompts_of_their_own(url: str) -> None:
    """One of them cannot be read: the others are answered all the same."""
    asked = [
        {"image": CODE, "name": "a", "texts": "circle", "threshold": 0.01},
        {"image": base64.b64encode(b"no image").decode(), "name": "b", "texts": "star"},
        {"image": base64.b64encode(scene(1, 200, 120)).decode(), "name": "c", "labels": ["star", "heart"]},
    ]
    answer = requests.post(f"{url}/detect", json=asked, timeout=60)
    assert answer.status_code == 200, answer.text
    first, second, third = answer.json()
    assert first == ask(url, **asked[0]).json()
    assert second == {"schema": "glip/1", "image": "b", "model": first["model"],
                      "error": "b: not an image in a known format; convert it to JPEG or PNG"}  # fmt: skip
    assert third["labels"] == ["star", "heart"]
    assert (third["width"], third["height"]) == (200, 120)


def test_several_files_of_a_form(url: str) -> None:
    files = [("image", (f"{i}.png", scene(i))) for i in range(3)]
    answer = requests.post(f"{url}/detect", data={"texts": PROMPT}, files=files, timeout=60)
    assert [record["image"] for record in answer.json()] == ["0.png", "1.png", "2.png"]


def test_an_image_that_cannot_be_read(url: str) -> None:
    answer = ask(url, image=base64.b64encode(SCENE[:200]).decode(), texts="star", name="cut.png")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("cut.png: damaged or cut short")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({}, "say what to find with texts 'cat . remote .', or with caption"),
        ({"texts": "cat", "caption": "a cat"}, "texts and caption are both given; give one of them"),
        ({"texts": "cat", "phrases": ["cat"]}, "phrases and tokens_positive name parts of a caption, not of texts"),
        ({"texts": "a = b = c"}, "'a = b = c' has 2 \" = \"; write words = class, or custom_entities for labels as"),
        ({"texts": "cat", "class_thresholds": {"dog": 0.5}}, "class_thresholds dog: no such label; the labels are"),
        ({"caption": "a [cat]", "negatives": ["dog"]}, "negatives does not go with a caption; name the labels with"),
        ({"texts": "cat", "knowledge": {"cat": "a pet"}}, "knowledge is for models without fusion, such as glip-t-a"),
    ],
)
def test_errors_name_the_fields_of_the_request(url: str, body: dict[str, Any], said: str) -> None:
    """`glip --server` shows them to users of flags."""
    answer = ask(url, **body)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(said)
    asked = requests.post(f"{url}/detect", json={"image": CODE, **body}, headers={"User-Agent": USER_AGENT}, timeout=60)
    assert "--" in asked.json()["error"] or said.startswith(("texts and caption", "'a = b"))


def test_a_value_of_a_form_is_named_as_its_field(url: str) -> None:
    for name, value in (("size", "1,2,3"), ("class_thresholds", "cat")):
        data = {"texts": "cat", name: value}
        answer = requests.post(f"{url}/detect", data=data, files={"image": ("b.png", SCENE)}, timeout=60)
        assert answer.json()["error"].startswith(f"{name} {value}: write ")
        assert "--" not in answer.text


def test_notes_name_the_fields_of_the_request(url: str) -> None:
    asked = {"texts": "the left star", "custom_entities": True, "tta": True}
    notes = requests.post(f"{url}/explain", json=asked, timeout=60).json()["notes"]
    assert "the prompt says left or right, which a mirror swaps: tta goes without mirrored views" in notes


def test_notes_come_in_a_header(url: str) -> None:
    notes = json.loads(ask(url, labels=["star", "star"]).headers["Glip-Notes"])
    assert notes[0] == "label 'star' is given 2 times; each keeps an id of its own"
    notes = json.loads(ask(url, labels=["星"], threshold=0.01).headers["Glip-Notes"])
    assert any("threshold 0.01" in note for note in notes)


def test_notes_of_many_images_stay_in_a_header(url: str) -> None:
    """Python's own client refuses one of 65,536 bytes, and many a proxy one of 8,190."""
    asked = [{"image": "", "labels": [f"{'星' * 60} {i}"] * 2} for i in range(30)]
    with requests.post(f"{url}/detect", json=[{**one, "image": CODE} for one in asked], timeout=60) as answer:
        header = answer.headers["Glip-Notes"]
    assert 4000 < len(header) <= 8000
    *notes, last = json.loads(header)
    words, left = last.split(": ")
    assert words == "notes left out"
    assert len(notes) + int(left) >= 30


@pytest.mark.parametrize("code", [base64.encodebytes(SCENE).decode(), f"data:image/png;base64,{CODE}"])
def test_base64_as_other_programs_write_it(url: str, code: str) -> None:
    """In lines, as `base64 photo.jpg` does; and as a browser."""
    assert ask(url, image=code, texts="star").content == ask(url, texts="star").content


def test_clients_at_once_get_what_each_asked_for(detector: Detector) -> None:
    images = [scene(seed, 160 + 32 * (seed % 3), 160) for seed in range(12)]
    prompts = ["circle . star", "red square", "heart . circle"]

    with serving(detector, ServeOptions(port=0)) as address:

        def one(i: int) -> Any:
            return ask(
                address, image=base64.b64encode(images[i]).decode(), texts=prompts[i % 3], threshold=0.05
            ).json()["detections"]

        with ThreadPoolExecutor(12) as clients:
            answers = list(clients.map(one, range(12)))
    for i, found in enumerate(answers):
        alone = detector(Image.open(io.BytesIO(images[i])), prompts[i % 3], threshold=0.05)
        assert found == alone.to_dict()["detections"]


def test_explain(url: str) -> None:
    answer = requests.post(f"{url}/explain", json={"texts": "star . red square"}, timeout=60).json()
    assert answer["labels"] == ["star", "red square"]
    assert answer["prompt"] == "star . red square ."
    assert answer["texts"] == [{"text": "star. red square", "labels": 2, "tokens": 6}]
    assert [row["label"] for row in answer["rows"]] == answer["labels"]
    assert answer["rows"][1]["spans"] == [[6, 16]]
    assert [piece for _, piece in answer["rows"][1]["tokens"]]


def test_what_is_loaded(url: str, detector: Detector) -> None:
    answer = requests.get(f"{url}/model", timeout=60).json()
    assert answer["name"] == detector.name
    assert answer["default_threshold"] == DetectOptions().threshold
    assert requests.get(f"{url}/health", timeout=60).json() == {"status": "UP", "model": detector.name}


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/health", 200), ("/detect", 405)])
def test_head(url: str, path: str, status: int) -> None:
    """What a probe or `curl -I` asks: the headers of GET, without a body."""
    head, get = (requests.request(method, url + path, timeout=60) for method in ("HEAD", "GET"))
    assert (head.status_code, get.status_code, head.content) == (status, status, b"")
    assert head.headers["Content-Length"] == str(len(get.content))


def test_metrics_count_requests_and_images(detector: Detector) -> None:
    with serving(detector) as address:
        ask(address, texts="star")
        ask(address, texts="star", image="")
        ask(address, threshold="high", texts="star")
        requests.get(f"{address}/nowhere", timeout=60)
        lines = requests.get(f"{address}/metrics", timeout=60).text.splitlines()
    assert 'glip_requests_total{path="/detect",status="200"} 1.0' in lines
    assert 'glip_requests_total{path="/detect",status="422"} 1.0' in lines
    assert 'glip_requests_total{path="/detect",status="400"} 1.0' in lines
    assert 'glip_requests_total{path="other",status="404"} 1.0' in lines
    assert 'glip_images_total{outcome="detected"} 1.0' in lines
    assert "glip_queue_images 0.0" in lines


def test_the_api_describes_itself(url: str) -> None:
    described = requests.get(f"{url}/openapi.json", timeout=60).json()
    kinds = described["paths"]["/detect"]["post"]["requestBody"]["content"]
    assert set(kinds) == {"application/json", "multipart/form-data"}
    one = kinds["application/json"]["schema"]["anyOf"][0]
    assert {"image", "name", "texts", "threshold", "tile", "knowledge"} <= set(one["properties"])


def test_the_api_has_a_page(url: str) -> None:
    page = requests.get(f"{url}/docs", timeout=60)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "script-src 'none'" in page.headers["Content-Security-Policy"]
    for field in ("image", "class_thresholds", "tokens_positive"):
        assert f"<code>{field}</code>" in page.text
    assert "https://" not in page.text
