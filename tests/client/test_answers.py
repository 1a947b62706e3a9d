"""Whatever JSON a server answers: detections, or one line; never another exception."""

from __future__ import annotations

import json
from contextlib import suppress
from email.message import Message
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.client.connection import Answer, Server
from glip_cli.client.model import RemoteModel, request_fields
from glip_cli.errors import GlipError
from glip_cli.options import DetectOptions
from glip_cli.outputs.records import record
from glip_cli.prompts.prompt import caption_prompt, label_prompt
from glip_cli.types import Prompt
from tests.outputs.examples import FOUND

MODEL = {"name": "m@1", "labels": ["cat"], "dtype": "float32", "limits": {"upload_bytes": 64e6, "images": 32}}
EXPLAINED = {
    "notes": ["a note"],
    "rows": [{"label": "cat", "words": "cat", "text": 0, "spans": [[0, 3]], "tokens": [[1, "cat"]]}],
    "texts": [{"text": "cat", "labels": 1, "tokens": 3}],
}
FOUND_RECORD = record("image", FOUND, "m@1")
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


class Said(Server):
    """A server that says what it is made to say; JSON in between, as over the wire."""

    def __init__(self, about: Any, explained: Any, found: Any, status: int, notes: str) -> None:
        super().__init__("http://127.0.0.1:1")
        self.about, self.explained, self.found, self.status, self.notes = about, explained, found, status, notes

    def get(self, path: str) -> Any:
        return json.loads(json.dumps(self.about))

    def post(self, path: str, body: Any) -> Answer:
        headers = Message()
        headers["Glip-Notes"] = self.notes
        value = self.explained if path == "/explain" else self.found
        return Answer(self.status, headers, json.loads(json.dumps(value)))


@st.composite
def changed(draw: st.DrawFn, value: Any) -> Any:
    """With anything in the place of one part of it, or without the part."""
    if not isinstance(value, dict | list) or not value or draw(st.booleans()):
        return draw(anything)
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    key = draw(st.sampled_from(sorted(copy))) if isinstance(copy, dict) else draw(st.integers(0, len(copy) - 1))
    if draw(st.integers(0, 3)) == 0:
        del copy[key]
    else:
        copy[key] = draw(changed(copy[key]))
    return copy


def asked(said: Said) -> None:
    remote = RemoteModel(said)
    prompt, options = label_prompt(["cat"]), DetectOptions()
    assert isinstance(remote.about["name"], str)
    own = remote.own_prompt()
    assert all(isinstance(label, str) for label in (*(own.labels if own else ()), remote.dtype))
    remote.explain(prompt, options)
    remote.detect(b"no image", "a.png", request_fields(prompt, options))


def test_what_a_server_says_is_taken() -> None:
    asked(Said(MODEL, EXPLAINED, FOUND_RECORD, 200, "[]"))


@given(
    about=st.just(MODEL) | changed(MODEL),
    explained=st.just(EXPLAINED) | changed(EXPLAINED),
    found=changed(FOUND_RECORD) | changed({"error": "no"}),
    status=st.sampled_from([200, 200, 200, 408, 413, 422, 504]),
    notes=st.sampled_from(["[]", '["a"]', "1", "{", "[" * 5000]),
)
@settings(max_examples=200)
def test_any_answer(about: Any, explained: Any, found: Any, status: int, notes: str) -> None:
    with suppress(GlipError):
        asked(Said(about, explained, found, status, notes))


@pytest.mark.parametrize("prompt", [label_prompt(["a_b", "a_b"]), caption_prompt("a cat", phrases=["cat"])])
def test_a_request_says_all_that_was_asked(prompt: Prompt) -> None:
    options = DetectOptions(negatives="dog", size=(96, 128), class_thresholds={"cat": 0.1}, per_text=300)
    asked = json.loads(json.dumps(request_fields(prompt, options)))
    read = asked.pop("prompt")
    assert Prompt(read["text"], tuple(read["labels"]), tuple(tuple(map(tuple, spans)) for spans in read["spans"]),
                  read["is_caption"], tuple(read["notes"])) == prompt  # fmt: skip
    assert DetectOptions(**{**asked, "size": tuple(asked["size"])}) == options
