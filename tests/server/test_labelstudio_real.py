"""A Label Studio that runs: a project, photographs, the backend connected, predictions on the tasks.

It is not part of the dev extra, as it pins many packages. In an environment of its own:

    pip install label-studio
    LABEL_STUDIO_PROGRAM=.../bin/label-studio pytest -m long tests/server/test_labelstudio_real.py
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from PIL import Image

from glip_cli.detector import Detector
from glip_cli.server.options import ServeOptions
from tests.server.serving import serving

PROGRAM = os.environ.get("LABEL_STUDIO_PROGRAM") or shutil.which("label-studio")
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(PROGRAM is None, reason="no label-studio; LABEL_STUDIO_PROGRAM names one elsewhere"),
]
PHOTO = Path(__file__).parents[2] / "docs" / "images" / "photo.jpg"
EMAIL, PASSWORD = "ann@example.org", "a-password-for-a-test"
START_SECONDS = 600  # it makes its database first, by hundreds of migrations
CONFIG = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image">
    <Label value="Tasse" predicted_values="mug, cup"/>
    <Label value="furniture"/>
  </RectangleLabels>
</View>"""
PROMPT = CONFIG.replace("<Rect", '<TextArea name="prompt" toName="image" editable="true" maxSubmissions="1"/>\n  <Rect')
BACKEND_TOKEN = "what-label-studio-must-send"


class LabelStudio:
    """Its API, as a user of it."""

    def __init__(self, url: str):
        self.url, self.session = url, requests.Session()
        self.session.get(f"{url}/user/login/", timeout=60)
        form = {"email": EMAIL, "password": PASSWORD, "csrfmiddlewaretoken": self.session.cookies["csrftoken"]}
        self.session.post(f"{url}/user/login/", form, headers={"Referer": url}, timeout=60)
        self.token = self.ask("POST", "/api/token/", json={})["token"]

    def ask(self, method: str, path: str, **more: Any) -> Any:
        headers = {"X-CSRFToken": self.session.cookies["csrftoken"], "Referer": self.url}
        answer = self.session.request(method, self.url + path, headers=headers, timeout=300, **more)
        assert answer.ok, answer.text
        return answer.json()

    def project(self, config: str, *photographs: bytes) -> int:
        made = int(self.ask("POST", "/api/projects", json={"title": "mugs", "label_config": config})["id"])
        files = {f"file{i}": (f"{i}.jpg", data, "image/jpeg") for i, data in enumerate(photographs)}
        self.ask("POST", f"/api/projects/{made}/import", files=files)
        return made

    def connect(self, project: int, backend: str, **more: Any) -> int:
        body = {
            "project": project, "url": backend, "title": "glip", "auth_method": "BASIC_AUTH",
            "basic_auth_user": "glip", "basic_auth_pass": BACKEND_TOKEN, **more,
        }  # fmt: skip
        connected = self.ask("POST", "/api/ml", json=body)
        assert connected["readable_state"] == "Connected", connected
        return int(connected["id"])

    def retrieve_predictions(self, project: int) -> list[dict[str, Any]]:
        """The tasks with their predictions, in order."""
        every = {"selectedItems": {"all": True, "excluded": []}}
        self.ask("POST", f"/api/dm/actions?id=retrieve_tasks_predictions&project={project}", json=every)
        rows = self.ask("GET", f"/api/tasks?project={project}&page_size=100")["tasks"]
        return [self.ask("GET", f"/api/tasks/{number}") for number in sorted(row["id"] for row in rows)]


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudio]:
    folder = tmp_path_factory.mktemp("label-studio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {"SENTRY_DSN": "", "FRONTEND_SENTRY_DSN": "", "COLLECT_ANALYTICS": "false", "LATEST_VERSION_CHECK": "false"}
    settings = {"LABEL_STUDIO_BASE_DATA_DIR": str(folder), "USE_DEFAULT_BANNED_SUBNETS": "false", **quiet}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    words = [
        PROGRAM or "", "start", "--init", "--no-browser", "--internal-host", "127.0.0.1", "--port", str(port),
        "--username", EMAIL, "--password", PASSWORD,
    ]  # fmt: skip
    url = f"http://localhost:{port}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            words, cwd=folder, env=inherited | settings, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            wait_for(f"{url}/health", process, folder / "log")
            yield LabelStudio(url)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(60)


def wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            requests.get(url, timeout=5)
        except requests.RequestException:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(1)
        else:
            return


@pytest.fixture(scope="module")
def nano() -> Detector:
    return Detector.load("glip-nano", device="cpu", offline=True)


def options(studio: LabelStudio, **more: Any) -> ServeOptions:
    return ServeOptions(
        port=0, token=BACKEND_TOKEN, label_studio=studio.url, label_studio_token=studio.token, **more
    )  # fmt: skip


def rotated(path: Path) -> bytes:
    """Saved on its side, with the EXIF orientation that rights it."""
    stream, exif = io.BytesIO(), Image.Exif()
    exif[0x0112] = 6
    with Image.open(path) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(stream, "JPEG", quality=95, exif=exif)
    return stream.getvalue()


def test_predictions_come_to_the_tasks(studio: LabelStudio, nano: Detector) -> None:
    photographs = (PHOTO.read_bytes(), rotated(PHOTO))
    with serving(nano, options(studio)) as backend:
        project = studio.project(CONFIG, *photographs, PHOTO.read_bytes()[:3000])
        studio.connect(project, backend, extra_params={"threshold": 0.35})
        tasks = studio.retrieve_predictions(project)
    for task, photograph in zip(tasks, photographs, strict=False):
        (prediction,) = task["predictions"]
        assert prediction["model_version"] == nano.name
        regions = prediction["result"]
        assert prediction["score"] == pytest.approx(sum(r["score"] for r in regions) / len(regions), abs=1e-6)
        assert {r["value"]["rectanglelabels"][0] for r in regions} == {"Tasse", "furniture"}
        assert {(r["from_name"], r["to_name"], r["type"]) for r in regions} == {("label", "image", "rectanglelabels")}
        assert {(r["original_width"], r["original_height"]) for r in regions} == {(600, 400)}
        alone = nano(photograph, ["mug", "cup", "furniture"], threshold=0.35)
        assert regions[0]["score"] == pytest.approx(float(alone.scores[0]), abs=1e-5)
        x1, y1, x2, y2 = map(float, alone.boxes[0])
        percent = [regions[0]["value"][side] for side in ("x", "y", "width", "height")]
        assert percent == pytest.approx([x1 / 6, y1 / 4, (x2 - x1) / 6, (y2 - y1) / 4], abs=1e-3)
    assert tasks[2]["predictions"] == []


def test_many_tasks_are_asked_for_one_by_one(studio: LabelStudio, nano: Detector) -> None:
    with serving(nano, options(studio, max_images=2)) as backend:
        project = studio.project(CONFIG, *[PHOTO.read_bytes()] * 4)
        studio.connect(project, backend)
        tasks = studio.retrieve_predictions(project)
        counts = requests.get(f"{backend}/metrics", headers={"Authorization": f"Bearer {BACKEND_TOKEN}"}, timeout=60)
    assert [len(task["predictions"]) for task in tasks] == [1] * 4
    assert 'glip_requests_total{path="/predict",status="200"} 5.0' in counts.text.splitlines()


def test_a_text_that_an_annotator_writes(studio: LabelStudio, nano: Detector) -> None:
    with serving(nano, options(studio)) as backend:
        project = studio.project(PROMPT, PHOTO.read_bytes())
        connected = studio.connect(project, backend, is_interactive=True)
        task = studio.ask("GET", f"/api/tasks?project={project}")["tasks"][0]["id"]
        region = {"id": "hGQT5XCzv5", "type": "textarea", "from_name": "prompt", "to_name": "image", "origin": "manual"}
        body = {"task": task, "context": {"result": [{**region, "value": {"text": ["Cup . wooden table"]}}]}}
        answer = studio.ask("POST", f"/api/ml/{connected}/interactive-annotating", json=body)
    found = answer["data"]
    assert found["model_version"] == nano.name
    assert {r["value"]["rectanglelabels"][0] for r in found["result"]} == {"Tasse", "wooden table"}
    assert all(0.3 < r["score"] < 1 for r in found["result"])
