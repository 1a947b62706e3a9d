"""Label Studio's ML backend protocol, with the bodies that Label Studio 1.23.2 sends (recorded).

tests/server/test_labelstudio_real.py asks a Label Studio that runs.
"""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from glip_cli.detector import Detector
from glip_cli.errors import OptionError
from glip_cli.outputs.records import Record
from glip_cli.server.errors import RequestError
from glip_cli.server.labelstudio import parse_label_config, suppress_duplicates
from glip_cli.server.options import ServeOptions
from tests.server.serving import serving
from tests.server.test_detect import SCENE, ask, scene_image

CONFIG = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image">
    <Label value="Ring" predicted_values="circle, ring"/>
    <Label value="Box" alias="red square"/>
    <Label value="star"/>
  </RectangleLabels>
</View>"""
PROMPT = CONFIG.replace("<Rect", '<TextArea name="prompt" toName="image" editable="true" maxSubmissions="1"/>\n  <Rect')
DATA_URL = "data:image/png;base64," + base64.b64encode(SCENE).decode()


def task(image: str = DATA_URL, number: int = 1) -> dict[str, Any]:
    return {
        "id": number, "data": {"image": image}, "meta": {}, "created_at": "2026-11-28T18:55:53.469144Z",
        "updated_at": "2026-11-28T18:55:53.469187Z", "is_labeled": False, "overlap": 1, "inner_id": 1,
        "total_annotations": 0, "cancelled_annotations": 0, "total_predictions": 0, "comment_count": 0,
        "unresolved_comment_count": 0, "last_comment_updated_at": None, "project": 2, "updated_by": None,
        "file_upload": 1, "comment_authors": [], "annotations": [], "predictions": [],
    }  # fmt: skip


def setup(url: str, config: str = CONFIG, extra: Any = None, project: str = "2.1795892153") -> requests.Response:
    body = {
        "project": project, "schema": config, "hostname": "http://localhost:8080",
        "access_token": "abcdef0123456789abcdef0123456789abcdef01", "extra_params": extra,
    }  # fmt: skip
    return requests.post(f"{url}/setup", json=body, timeout=60)


def predict(
    url: str, *tasks: Any, config: str = CONFIG, context: Any = None, project: str = "2.1795892153", **more: Any
) -> requests.Response:
    params = {"login": None, "password": None, "context": context}
    body = {"tasks": tasks or [task()], "project": project, "label_config": config, "params": params}
    return requests.post(f"{url}/predict", json=body, timeout=60, **more)


def text_context(text: str) -> dict[str, Any]:
    """The context of a request that an annotator's text in the TextArea causes."""
    return {
        "result": [
            {"value": {"text": [text]}, "id": "hGQT5XCzv5", "from_name": "prompt", "to_name": "image",
             "type": "textarea", "origin": "manual"}
        ]
    }  # fmt: skip


def values(prediction: dict[str, Any]) -> list[str]:
    return [region["value"]["rectanglelabels"][0] for region in prediction["result"]]


def test_predictions_are_what_detect_finds(url: str, detector: Detector) -> None:
    assert setup(url, extra={"threshold": 0.1}).json() == {"model_version": detector.name}
    answer = predict(url).json()
    assert answer["model_version"] == detector.name
    (prediction,) = answer["results"]
    found = ask(url, labels=["circle", "ring", "red square", "star"], threshold=0.1).json()
    assert prediction["model_version"] == found["model"]
    scores = [region["score"] for region in prediction["result"]]
    assert prediction["score"] == pytest.approx(sum(scores) / len(scores), abs=1e-6)
    boxes = {(one["score"], one["label"]): one["box"] for one in found["detections"]}
    words = {"Ring": ("circle", "ring"), "Box": ("red square",), "star": ("star",)}
    assert prediction["result"]
    for region in prediction["result"]:
        (value,) = region["value"].pop("rectanglelabels")
        box = next(boxes[region["score"], word] for word in words[value] if (region["score"], word) in boxes)
        percent = {key: 100 * box[corner] / 160 for key, corner in (("x", "xmin"), ("y", "ymin"))}
        percent |= {"width": 100 * box["xmax"] / 160 - percent["x"], "height": 100 * box["ymax"] / 160 - percent["y"]}
        assert region.pop("value") == pytest.approx({**percent, "rotation": 0}, abs=1e-3)
        assert region | {"id": "", "score": 0} == {
            "id": "", "type": "rectanglelabels", "from_name": "label", "to_name": "image", "score": 0,
            "original_width": 160, "original_height": 160, "image_rotation": 0,
        }  # fmt: skip
    again = predict(url).json()["results"][0]["result"]
    assert not {region["id"] for region in again} & {region["id"] for region in prediction["result"]}


def test_words_of_the_configuration() -> None:
    config = parse_label_config(CONFIG)
    assert config.values == {"circle": "Ring", "ring": "Ring", "red square": "Box", "star": "star"}
    assert config.values_of(["RING", "Red Square", "box", "moon"]) == ["Ring", "Box", "Box", "moon"]
    assert (config.from_name, config.to_name, config.key) == ("label", "image", "image")


def test_two_words_of_one_label_find_a_thing_once() -> None:
    box = {"xmin": 10.0, "ymin": 10.0, "xmax": 50.0, "ymax": 50.0}
    found = [
        {"label": label, "label_id": i, "score": score, "span": [0, 1], "box": {**box, "xmax": 50.0 + i}}
        for i, label, score in ((0, "circle", 0.9), (2, "star", 0.8), (1, "ring", 0.7))
    ]
    record: Record = {
        "schema": "glip/1",
        "image": "a",
        "width": 99,
        "height": 99,
        "model": "m",
        "prompt": "",
        "labels": ["circle", "ring", "star"],
        "detections": found,
    }  # type: ignore[typeddict-item]
    assert suppress_duplicates(record, ["Ring", "Ring", "star"], 0.6)["detections"] == found[:2]
    assert suppress_duplicates(record, ["circle", "ring", "star"], 0.6)["detections"] == found


RECTANGLES = '<RectangleLabels name="label" toName="image"><Label value="star"/></RectangleLabels>'
UNFIT = {
    "<View>": "labelling configuration: no XML (",
    '<!DOCTYPE a [<!ENTITY a "b">]><View>&a;</View>': "labelling configuration: it declares entities",
    "<View/>": 'labelling configuration: no RectangleLabels; add <RectangleLabels name="label" toName="image">',
    f"<View>{RECTANGLES}{RECTANGLES}</View>": "labelling configuration: 2 RectangleLabels ('label', 'label'); keep one",
    f"<View>{RECTANGLES}</View>": "labelling configuration: 0 Image tags have the name 'image'",
    f'<View><Image name="a" value="$a"/><Image name="b" value="$b"/>{RECTANGLES}</View>': "labelling configuration: 0 ",
    f'<View><Image name="image" value="$a"/><Image name="image" value="$b"/>{RECTANGLES}</View>':
        "labelling configuration: 2 Image tags have the name 'image'",
    f'<View><Image name="image" valueList="$images"/>{RECTANGLES}</View>':
        "labelling configuration: the Image shows ''; give it value=",
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"/></View>':
        "labelling configuration: the RectangleLabels have no Label; add one",
}  # fmt: skip


@pytest.mark.parametrize(("config", "line"), UNFIT.items(), ids=range(len(UNFIT)))
def test_a_configuration_that_will_not_do(url: str, config: str, line: str, caplog: pytest.LogCaptureFixture) -> None:
    """Label Studio shows the status alone; the line is on the server's stderr too."""
    errors = []
    for answer in (setup(url, config), predict(url, config=config)):
        assert answer.status_code == 400
        errors.append(answer.json()["error"])
        assert errors[-1].startswith(line)
    assert caplog.messages == [f"glip serve: Label Studio: {error}" for error in errors]


PARTS = [
    "<View>", "</View>", "<Image name='image' value='$image'/>", "<RectangleLabels name='a' toName='image'>",
    "</RectangleLabels>", "<Label value='star'/>", "<Label/>", "<TextArea toName='image'/>", "&lt;", "]]>", "<!--",
]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS) | st.text(max_size=9)).map("".join) | st.text())
@example("".join(PARTS[i] for i in (0, 2, 3, 5, 4, 1)))
def test_any_configuration_is_read_or_refused_in_one_line(config: str) -> None:
    refusal = ""
    try:
        parse_label_config(config)
    except RequestError as error:
        refusal = str(error)
    assert "\n" not in refusal


def test_one_of_several_images_is_the_one_of_the_labels(url: str) -> None:
    config = CONFIG.replace("<Image", '<Image name="other" value="$other"/><Image')
    assert predict(url, config=config).status_code == 200


def test_extra_parameters_are_options_of_the_project(url: str) -> None:
    few = {"top_k": 1, "threshold": 0.01}
    assert setup(url, extra=json.dumps(few), project="7.1").status_code == 200
    assert len(predict(url, project="7.1").json()["results"][0]["result"]) == 1
    assert setup(url, extra={"threshold": 0.01}, project="7.1").status_code == 200
    assert len(predict(url, project="7.1").json()["results"][0]["result"]) > 1
    for extra, line in (
        ({"labels": ["a"]}, "extra_params: no option is called 'labels'; there are 'threshold', "),
        ({"threshold": 2}, "threshold 2"),
        ({"threshold": "high"}, "extra_params: threshold: "),
        ("[1]", "extra_params: no JSON object"), ("{", "extra_params: no JSON object"),
    ):  # fmt: skip
        answer = setup(url, extra=extra)
        assert (answer.status_code, answer.json()["error"][: len(line)]) == (400, line)


def test_a_written_text_is_the_prompt(url: str) -> None:
    setup(url, PROMPT, {"threshold": 0.01}, "8.1")
    (prediction,) = predict(url, config=PROMPT, context=text_context("Circle . heart"), project="8.1").json()["results"]
    found = ask(url, texts="Circle . heart", threshold=0.01).json()["detections"]
    assert values(prediction) == [{"Circle": "Ring", "heart": "heart"}[one["label"]] for one in found]
    assert {"Ring", "heart"} == set(values(prediction))
    nothing = predict(url, config=PROMPT, context={"result": []}).json()["results"]
    assert [one["result"] for one in nothing] == [[]]  # as Label Studio asks when an annotation has been submitted
    refused = predict(url, config=PROMPT, context=text_context("@/etc/passwd"))
    assert refused.status_code == 400
    assert refused.json()["error"].startswith("'@/etc/passwd': files of labels are not read here")


def test_a_prompt_without_labels(url: str) -> None:
    config = PROMPT[: PROMPT.index("<Label")] + PROMPT[PROMPT.index("</Rect") :]
    assert setup(url, config).status_code == 200
    assert predict(url, config=config).json()["results"] == [{"error": "nothing is written in the TextArea"}]
    (prediction,) = predict(url, config=config, context=text_context("circle . star")).json()["results"]
    assert set(values(prediction)) <= {"circle", "star"}


def test_of_several_tasks_one_may_fail(url: str, caplog: pytest.LogCaptureFixture) -> None:
    bad = "data:image/png;base64," + base64.b64encode(b"no image").decode()
    answer = predict(url, task(), task(bad, 2), {"id": 3, "data": []})
    assert answer.status_code == 200
    first, second, third = answer.json()["results"]
    assert first["result"]
    assert second == {"error": "task 2: not an image in a known format; convert it to JPEG or PNG"}
    assert third == {"error": "task 3: its data have no 'image', which the Image shows"}
    assert caplog.messages == [f"glip serve: Label Studio: {one['error']}" for one in (second, third)]
    alone = predict(url, task(bad, 2))
    assert (alone.status_code, alone.json()) == (422, second)


def test_many_tasks_are_asked_for_one_by_one(detector: Detector) -> None:
    """One result for several tasks makes Label Studio ask for each alone (`_get_predictions_from_ml_backend_...`)."""
    with serving(detector, ServeOptions(port=0, max_images=2)) as address:
        assert predict(address, task(), task(number=2), task(number=3)).json()["results"] == [{}]
        assert len(predict(address, task(), task(number=2)).json()["results"]) == 2
    with serving(detector, ServeOptions(port=0, time_limit=3)) as address:  # of an image it is thought: 1 s
        assert predict(address, task(), task(number=2)).json()["results"] == [{}]


def test_images_are_upright_as_label_studio_shows_them(url: str) -> None:
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    scene_image(3, 200, 120).transpose(Image.Transpose.ROTATE_90).save(stream, "PNG", exif=exif)
    turned = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    setup(url, extra={"threshold": 0.01}, project="9.1")
    (prediction,) = predict(url, task(turned), project="9.1").json()["results"]
    sizes = {(region["original_width"], region["original_height"]) for region in prediction["result"]}
    assert sizes == {(200, 120)}


def test_what_else_label_studio_asks(url: str, detector: Detector) -> None:
    assert requests.get(f"{url}/versions", timeout=60).json() == {"versions": [detector.name]}
    event = {"action": "ANNOTATION_CREATED", "annotation": {"id": 1}, "project": {"id": 2}}
    assert requests.post(f"{url}/webhook", json=event, timeout=60).json() == {}
    train = requests.post(f"{url}/webhook", json={"action": "START_TRAINING", "project": {}}, timeout=60)
    assert train.status_code == 501


def test_the_token_is_the_password(detector: Detector) -> None:
    with serving(detector, ServeOptions(port=0, token="secret")) as address:
        assert predict(address).status_code == 401
        assert predict(address, auth=("glip", "wrong")).status_code == 401
        assert predict(address, auth=("glip", "secret")).status_code == 200
        assert requests.get(f"{address}/health", timeout=60).status_code == 200


HOSTILE = [
    b"", b"{", b"[]", b"null", b"[" * 100_000, b'{"tasks": 1, "label_config": ""}',
    b'{"tasks": [1], "label_config": ""}',
    b'{"schema": 5}', b'{"schema": "\\ud800"}', b'{"tasks": [], "label_config": "\\ud800"}',
    json.dumps({"tasks": [{}], "schema": "<a>" * 50_000, "label_config": "<a>" * 50_000}).encode(),
    json.dumps({"schema": "<?xml version='1.0' encoding='klingon'?><a/>"}).encode(),
    json.dumps({"schema": CONFIG.replace("star", "")}).encode(),
    json.dumps({"schema": CONFIG, "extra_params": "[" * 100_000}).encode(),
    json.dumps({"tasks": [{"data": {"image": 5}}], "label_config": CONFIG}).encode(),
    json.dumps({"tasks": [{"id": {}, "data": {"image": "s3://a"}}], "label_config": CONFIG}).encode(),
    json.dumps({"tasks": [{"id": "x" * 9999}], "label_config": CONFIG, "params": {"context": [[]]}}).encode(),
    json.dumps({"tasks": [{}], "label_config": CONFIG, "params": {"context": {"result": [{"type": "textarea", "value":
                {"text": ["x" * 200_000]}}]}}}).encode(),
]  # fmt: skip


@pytest.mark.parametrize("body", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_bodies(url: str, body: bytes) -> None:
    for path in ("setup", "predict"):
        answer = requests.post(f"{url}/{path}", body, headers={"Content-Type": "application/json"}, timeout=60)
        is_empty = b'"context": [[]]' in body and path == "predict"  # nothing is written, so nothing is looked at
        assert answer.status_code == 200 if is_empty else 400 <= answer.status_code < 500, answer.text
        assert is_empty or "\n" not in answer.json()["error"]


# -------------------------------------------------------------------------------------- where the images come from


class LabelStudioFiles(BaseHTTPRequestHandler):
    """Stands for Label Studio's files and tokens: who is asked, and with which Authorization."""

    def do_GET(self) -> None:
        sent = self.headers.get("Authorization")
        self.server.asked.append((self.path, sent))  # type: ignore[attr-defined]
        there = self.server.redirects.get(self.path)  # type: ignore[attr-defined]
        if there:
            self.answer(302, b"", there)
        elif sent in ("Token legacy-token", "Bearer access-1"):
            self.answer(200, SCENE)
        else:
            self.answer(401, b"{}")

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))  # type: ignore[attr-defined]
        good = body == {"refresh": PERSONAL}
        self.answer(200 if good else 401, json.dumps({"access": "access-1"} if good else {"detail": "no"}).encode())

    def answer(self, status: int, body: bytes, location: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if location:
            self.send_header("Location", location)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass


PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJ0b2tlbl90eXBlIjoicmVmcmVzaCJ9.c2lnbmVk"


@pytest.fixture
def site() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), LabelStudioFiles)
    server.asked, server.redirects = [], {}
    server.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def error(answer: requests.Response) -> str:
    assert answer.status_code == 422, answer.text
    return str(answer.json()["error"])


UPLOAD = "/data/upload/2/a0d53eda-photo.jpg"


@pytest.mark.parametrize("token", ["legacy-token", PERSONAL])
def test_label_studios_images_are_fetched_with_its_token(detector: Detector, site: Any, token: str) -> None:
    options = ServeOptions(port=0, label_studio=f"{site.url}/", label_studio_token=token)
    authorization = "Token legacy-token" if token == "legacy-token" else "Bearer access-1"
    with serving(detector, options) as address:
        for image in (UPLOAD, site.url + UPLOAD, "/data/local-files/?d=a/b%20c.jpg", "s3://bucket/a b.jpg"):
            assert predict(address, task(image, 5)).status_code == 200, image
        assert error(predict(address, task(f"http://127.0.0.2:{site.server_port}{UPLOAD}"))).endswith("up to there")
    refreshes = [body for path, body in site.asked if path == "/api/token/refresh/"]
    assert refreshes == ([{"refresh": PERSONAL}] if token == PERSONAL else [])
    assert [one for one in site.asked if one[0] != "/api/token/refresh/"] == [
        (UPLOAD, authorization), (UPLOAD, authorization), ("/data/local-files/?d=a/b%20c.jpg", authorization),
        ("/tasks/5/presign/?fileuri=czM6Ly9idWNrZXQvYSBiLmpwZw==", authorization),
    ]  # fmt: skip


def test_a_redirect_does_not_take_the_token_along(detector: Detector, site: Any) -> None:
    private = f"http://127.0.0.2:{site.server_port}/stolen"
    site.redirects = {"/data/away": private, "/data/within": f"{site.url}/data/next"}
    for allow in (False, True):
        options = ServeOptions(port=0, label_studio=site.url, label_studio_token="legacy-token", allow_urls=allow)
        with serving(detector, options) as address:
            away = error(predict(address, task("/data/away")))
            assert ("not of the public internet" if allow else "which --allow-urls is needed") in away
            assert error(predict(address, task("/data/within"))).endswith(
                "401 Unauthorized; check --label-studio-token"
            )
    assert ("/data/next", None) in site.asked
    assert not [path for path, _ in site.asked if path == "/stolen"]


def test_a_url_that_only_looks_like_label_studios(detector: Detector, site: Any) -> None:
    """Its host is another: neither the token nor the freedom of any address is for it."""
    port = site.server_port
    options = ServeOptions(
        port=0, label_studio="http://studio.example", label_studio_token="legacy-token", allow_urls=True
    )
    with serving(detector, options) as address:
        for image in (f"http://studio.example@127.0.0.1:{port}/a", f"http://studio.example?@127.0.0.1:{port}/a",
                      f"http://studio.example\\@127.0.0.1:{port}/a", f"http://studio.example.@127.0.0.1:{port}/a",
                      f"http://127.0.0.1:{port}/http://studio.example/"):  # fmt: skip
            error(predict(address, task(image)))
    assert site.asked == []


def test_a_wrong_token(detector: Detector, site: Any) -> None:
    check = "check --label-studio and --label-studio-token"
    lines = {
        "wrong": f"{site.url}{UPLOAD}: the server answers 401 Unauthorized; check --label-studio-token",
        "a.b.c": f"{site.url}: Label Studio answers 401; {check}",
    }
    for token, line in lines.items():
        with serving(detector, ServeOptions(port=0, label_studio=site.url, label_studio_token=token)) as address:
            assert error(predict(address, task(UPLOAD))) == line
    with serving(
        detector, ServeOptions(port=0, label_studio="http://127.0.0.1:9", label_studio_token="a.b.c")
    ) as address:
        line = f"http://127.0.0.1:9: Label Studio gives no token of access (URLError); {check}"
        assert error(predict(address, task(UPLOAD))) == line


def test_without_the_options_an_error_names_them(url: str) -> None:
    has = "Label Studio has this image; start glip serve with --label-studio URL and --label-studio-token TOKEN"
    assert error(predict(url, task(UPLOAD))) == f"{UPLOAD}: {has}"
    assert error(predict(url, task("http://127.0.0.1:8080/a.jpg"))).startswith(
        "http://127.0.0.1:8080/a.jpg: URLs are not fetched; start glip serve with --allow-urls"
    )
    assert error(predict(url, task("file:///etc/passwd"))) == "'file:///etc/passwd': no URL of an image"
    assert error(predict(url, task("data:image/png,x"))) == "task 1: its data: URL holds no base64; write it in base64"


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"label_studio": "http://localhost:8080"}, "it asks for a token: give --label-studio-token too"),
        ({"label_studio_token": "t"}, "give the token as it is shown, and --label-studio URL"),
        ({"label_studio": "localhost:8080", "label_studio_token": "t"}, "give the URL of its first page"),
        ({"label_studio": "http://a:b@localhost", "label_studio_token": "t"}, "give the URL of its first page"),
        ({"label_studio": "http://localhost", "label_studio_token": "t\n"}, "give the token as it is shown"),
    ],
)
def test_options(options: dict[str, Any], line: str) -> None:
    with pytest.raises(OptionError, match=line):
        ServeOptions(**options)
