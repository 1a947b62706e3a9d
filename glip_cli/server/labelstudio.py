"""Label Studio's protocol for ML backends: what its label_studio/ml/api_connector.py sends, and models.py reads.

Label Studio shows the status of an error and not its text, so the text is logged here as well.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from uuid import uuid4
from xml.etree import ElementTree

import torch
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from glip_cli.model.torchvision_ops import batched_nms
from glip_cli.outputs.annotation_tools import labelstudio_prediction
from glip_cli.outputs.records import AnyRecord, Record, corners
from glip_cli.server.errors import RequestError, in_fields, json_response
from glip_cli.server.labelstudio_images import TaskImages, task_name
from glip_cli.server.request import JSON, OPTIONS, ExplainRequest, ImageRequest, PromptFields, validated
from glip_cli.utils.json import JsonObject
from glip_cli.utils.text_format import listed, message, one_line, quoted

if TYPE_CHECKING:
    from glip_cli.server.app import Service

MAX_PROJECTS = 1000  # whose extra parameters are kept
_log = logging.getLogger(__name__)


class SetupBody(BaseModel):
    project: str | None = None
    label_config: str = Field(alias="schema")
    extra_params: object = None


class PredictBody(BaseModel):
    tasks: list[JsonObject]
    project: str | None = None
    label_config: str
    params: JsonObject | None = None


class WebhookBody(BaseModel):
    action: str = ""


class Backend:
    """Answers the requests of Label Studio; its state are the extra parameters of each project."""

    def __init__(self, service: Service):
        self.service, self.images = service, TaskImages(service.limits)
        self._extra: dict[str | None, JsonObject] = {}

    async def setup(self, body: SetupBody) -> JsonObject:
        """Raises RequestError where the configuration or an option will not do."""
        self._extra.pop(body.project, None)
        self._extra[body.project] = parse_extra_params(body.extra_params)
        if len(self._extra) > MAX_PROJECTS:
            del self._extra[next(iter(self._extra))]
        config = parse_label_config(body.label_config)
        if config.values:
            await self.service.queue.read(self.service.compile, self._fields(config, [], body.project))
        return {"model_version": self.service.detector.name}

    async def predict(self, request: Request, body: PredictBody) -> JsonObject:
        """Raises RequestError; of several images, one that cannot be read has an error in place of a result."""
        version = {"model_version": self.service.detector.name}
        config, context = parse_label_config(body.label_config), (body.params or {}).get("context")
        texts = prompt_texts(context)
        if not texts and context is not None:  # an annotator works, and has written nothing
            return {"results": [{"result": [], "score": None, **version} for _ in body.tasks], **version}
        if not texts and not config.values:
            return {"results": [{"error": "nothing is written in the TextArea"} for _ in body.tasks], **version}
        fields = self._fields(config, texts, body.project)
        if not self._fits_one_request(len(body.tasks)):
            return {"results": [{}], **version}  # one result for several tasks: Label Studio then asks for each alone
        images = [
            ImageRequest(partial(self.images.read, task, config.key), task_name(task), fields) for task in body.tasks
        ]
        answers = await self.service.answer_request(request, images)
        _, compiled = await self.service.queue.read(self.service.compile, fields)  # kept since then
        results = [self._result(record, config, compiled.nms_iou) for record, _ in answers]
        if len(results) == 1 and "error" in results[0]:
            raise RequestError(422, results[0]["error"])
        for result in results:
            if "error" in result:
                _log.warning("glip serve: Label Studio: %s", result["error"])
        return {"results": results, **version}

    def _fits_one_request(self, tasks: int) -> bool:
        limits, queue = self.service.limits, self.service.queue
        return tasks <= 1 or (tasks <= limits.max_images and 2 * queue.seconds_for(tasks) < limits.time_limit)

    def _fields(self, config: LabelingConfig, texts: Sequence[str], project: str | None) -> PromptFields:
        prompt = {"texts": list(texts)} if texts else {"labels": list(config.values)}
        return validated(ExplainRequest, {**self._extra.get(project, {}), **prompt})

    def _result(self, record: AnyRecord, config: LabelingConfig, iou: float) -> JsonObject:
        if "error" in record:
            return {"error": record["error"]}
        values = config.values_of(record["labels"])
        record = suppress_duplicates(record, values, iou)
        return labelstudio_prediction(record, values, config.from_name, config.to_name, uuid4().hex[:8])


def suppress_duplicates(record: Record, values: Sequence[str], iou: float) -> Record:
    """Keep the best of the boxes that several labels of one value have on the same object."""
    found = record["detections"]
    if len(set(values)) == len(values) or not found:
        return record
    boxes = torch.tensor([corners(one) for one in found])
    value_ids = torch.tensor([values.index(values[one["label_id"]]) for one in found])
    kept = batched_nms(boxes, torch.tensor([one["score"] for one in found]), value_ids, iou)
    return {**record, "detections": [found[i] for i in sorted(kept.tolist())]}


def add_routes(app: FastAPI, service: Service) -> None:
    backend = Backend(service)

    @app.post("/setup", openapi_extra=_body_of(SetupBody))
    async def setup(request: Request) -> Response:
        """Label Studio connects a project: its labelling configuration and options are checked."""
        with _logged(request), service.queue.places(1):
            return json_response(await backend.setup(validated(SetupBody, await request.body())))

    @app.post("/predict", openapi_extra=_body_of(PredictBody))
    async def predict(request: Request) -> Response:
        """Label Studio asks for predictions of tasks."""
        with _logged(request), service.queue.places(1):
            return json_response(await backend.predict(request, validated(PredictBody, await request.body())))

    @app.post("/webhook")
    async def webhook(request: Request) -> Response:
        """Label Studio reports what happens in it; nothing is done with it."""
        with _logged(request):
            if validated(WebhookBody, await request.body()).action == "START_TRAINING":
                raise RequestError(501, "this server does not train; export the annotations as COCO for glip finetune")
            return json_response({})

    @app.get("/versions")
    async def versions() -> Response:
        """The one model version that Label Studio can choose."""
        return json_response({"versions": [service.detector.name]})


def _body_of(kind: type[BaseModel]) -> JsonObject:
    return {"requestBody": {"required": True, "content": {JSON: {"schema": kind.model_json_schema()}}}}


@contextmanager
def _logged(request: Request) -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        _log.warning("glip serve: Label Studio: %s", in_fields(str(error), request))
        raise


# ------------------------------------------------------------------------------------------------------------- requests
# What is asked, out of Label Studio's requests: the labelling configuration, what an annotator writes, options.


_KEY = re.compile(r"\$([\w.-]+)")


@dataclass(frozen=True)
class LabelingConfig:
    """A labelling configuration of Label Studio.

    Attributes:
        from_name, to_name: the names of the RectangleLabels and of their Image.
        key: where a task's data have the image.
        values: for each label that the model reads, the value of its Label.
    """

    from_name: str
    to_name: str
    key: str
    values: Mapping[str, str]

    def values_of(self, labels: Sequence[str]) -> list[str]:
        """The values of the Labels that they match, ignoring case; a label without a match is its own value."""
        folded = {value.casefold(): value for value in self.values.values()}
        folded |= {word.casefold(): value for word, value in self.values.items()}
        return [self.values.get(label) or folded.get(label.casefold(), label) for label in labels]


def parse_label_config(config: str) -> LabelingConfig:
    """Raises RequestError 400."""
    root = _root(config)
    rectangles = list(root.iter("RectangleLabels"))
    if len(rectangles) != 1:
        several = f"{len(rectangles)} RectangleLabels ({listed(tag.get('name') for tag in rectangles)}); keep one"
        none = (
            'no RectangleLabels; add <RectangleLabels name="label" toName="image"> with a Label for each thing to find'
        )
        raise _unfit(several if rectangles else none)
    from_name, to_name = rectangles[0].get("name", ""), rectangles[0].get("toName", "")
    images = [tag for tag in root.iter("Image") if tag.get("name") == to_name]
    if len(images) != 1:
        raise _unfit(f"{len(images)} Image tags have the name {quoted(to_name)}, to which the RectangleLabels belong; "
                     "one must")  # fmt: skip
    shown = images[0].get("value", "")
    if not (key := _KEY.fullmatch(shown)):
        raise _unfit(
            f'the Image shows {quoted(shown)}; give it value="$image", where image is a name of the tasks\' data'
        )
    values = _values(rectangles[0])
    if not values and not any(tag.get("toName") == to_name for tag in root.iter("TextArea")):
        raise _unfit("the RectangleLabels have no Label; add one for each thing to find")
    return LabelingConfig(from_name, to_name, key[1], values)


def _values(rectangles: ElementTree.Element) -> dict[str, str]:
    """From labels that the model reads to the values of their Labels, in order."""
    values: dict[str, str] = {}
    for label in rectangles.iter("Label"):
        value = label.get("value", "")
        several = [word.strip() for word in label.get("predicted_values", "").split(",")]
        for word in list(filter(None, several)) or [label.get("alias") or value]:
            values.setdefault(word, value)
    return values


def _root(config: str) -> ElementTree.Element:
    if "<!ENTITY" in config:  # a few lines of them can unfold to gigabytes
        raise _unfit("it declares entities, which are not expanded; write it without them")
    try:
        return ElementTree.fromstring(config)
    except (ElementTree.ParseError, ValueError) as error:
        raise _unfit(f"no XML ({one_line(str(error))})") from None


def _unfit(reason: str) -> RequestError:
    return RequestError(400, message(f"labelling configuration: {reason}"))


def parse_extra_params(given: object) -> JsonObject:
    """Options out of `extra_params`, which Label Studio's page sends as text. Raises RequestError 400."""
    try:
        extra = json.loads(given) if isinstance(given, str) and given.strip() else given or {}
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise RequestError(400, 'extra_params: no JSON object; write it like {"threshold": 0.4}')
    if unknown := [name for name in extra if name not in OPTIONS]:
        raise RequestError(
            400, message(f"extra_params: no option is called {listed(unknown)}; there are {listed(OPTIONS)}")
        )
    validated(ExplainRequest, extra, "extra_params: ")
    return extra


def prompt_texts(context: object) -> list[str]:
    """The texts of TextAreas in the context of an interactive request."""
    texts: list[str] = []
    results = _mapping(context).get("result")
    for result in results if isinstance(results, list) else ():
        if _mapping(result).get("type") == "textarea":
            text = _mapping(result.get("value")).get("text")
            texts += [
                one for one in (text if isinstance(text, list) else [text]) if isinstance(one, str) and one.strip()
            ]
    return texts


def _mapping(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}
