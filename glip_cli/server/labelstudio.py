"""Label Studio's protocol for ML backends: what its label_studio/ml/api_connector.py sends, and models.py reads.

Label Studio shows the status of an error and not its text, so the text is logged here as well.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import torch
from fastapi import FastAPI, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from glip_cli.model.torchvision_ops import batched_nms
from glip_cli.outputs.annotation_tools import labelstudio_prediction
from glip_cli.outputs.records import AnyRecord, Record, corners
from glip_cli.server.errors import RequestError, json_response
from glip_cli.server.labelstudio_config import LabelConfig, parse_extra_params, parse_label_config, prompt_texts
from glip_cli.server.labelstudio_images import TaskImages, task_name
from glip_cli.server.request import JSON, Asked, Question, validated

if TYPE_CHECKING:
    from glip_cli.server.app import Service

MAX_PROJECTS = 1000  # whose extra parameters are kept
_log = logging.getLogger(__name__)
Body = TypeVar("Body", bound=BaseModel)


class SetupBody(BaseModel):
    project: str | None = None
    label_config: str = Field(alias="schema")
    extra_params: Any = None


class PredictBody(BaseModel):
    tasks: list[dict[str, Any]]
    project: str | None = None
    label_config: str
    params: dict[str, Any] | None = None


class WebhookBody(BaseModel):
    action: str = ""


class Backend:
    """Answers the requests of Label Studio; its state are the extra parameters of each project."""

    def __init__(self, service: Service):
        self.service, self.images = service, TaskImages(service.limits)
        self._extra: dict[str | None, dict[str, Any]] = {}

    async def setup(self, body: SetupBody) -> dict[str, Any]:
        """Raises RequestError where the configuration or an option will not do."""
        self._extra.pop(body.project, None)
        self._extra[body.project] = parse_extra_params(body.extra_params)
        if len(self._extra) > MAX_PROJECTS:
            del self._extra[next(iter(self._extra))]
        config = parse_label_config(body.label_config)
        if config.values:
            await self.service.queue.read(self.service.compile, self._question(config, [], body.project))
        return {"model_version": self.service.detector.name}

    async def predict(self, request: Request, body: PredictBody) -> dict[str, Any]:
        """Raises RequestError; of several images, one that cannot be read has an error in place of a result."""
        version = {"model_version": self.service.detector.name}
        config, context = parse_label_config(body.label_config), (body.params or {}).get("context")
        texts = prompt_texts(context)
        if not texts and context is not None:  # an annotator works, and has written nothing
            return {"results": [{"result": [], "score": None, **version} for _ in body.tasks], **version}
        if not texts and not config.values:
            return {"results": [{"error": "nothing is written in the TextArea"} for _ in body.tasks], **version}
        question = self._question(config, texts, body.project)
        if not self._fits_one_request(len(body.tasks)):
            return {"results": [{}], **version}  # one result for several tasks: Label Studio then asks for each alone
        asked = [Asked(partial(self.images.read, task, config.key), task_name(task), question) for task in body.tasks]
        answers = await self.service.answer_request(request, asked)
        _, compiled = await self.service.queue.read(self.service.compile, question)  # kept since then
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

    def _question(self, config: LabelConfig, texts: Sequence[str], project: str | None) -> BaseModel:
        prompt = {"texts": list(texts)} if texts else {"labels": list(config.values)}
        return validated(Question, {**self._extra.get(project, {}), **prompt})

    def _result(self, record: AnyRecord, config: LabelConfig, iou: float) -> dict[str, Any]:
        if "error" in record:
            return {"error": record["error"]}
        values = config.values_of(record["labels"])
        record = suppress_duplicates(record, values, iou)
        return labelstudio_prediction(record, values, config.from_name, config.to_name, uuid4().hex[:8])


def suppress_duplicates(record: Record, values: Sequence[str], iou: float) -> Record:
    """Of boxes that several labels of one value have on the same object, the best alone."""
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
        with _logged(), service.queue.places(1):
            return json_response(await backend.setup(await _read(request, SetupBody)))

    @app.post("/predict", openapi_extra=_body_of(PredictBody))
    async def predict(request: Request) -> Response:
        """Label Studio asks for predictions of tasks."""
        with _logged(), service.queue.places(1):
            return json_response(await backend.predict(request, await _read(request, PredictBody)))

    @app.post("/webhook")
    async def webhook(request: Request) -> Response:
        """Label Studio reports what happens in it; nothing is done with it."""
        with _logged():
            if (await _read(request, WebhookBody)).action == "START_TRAINING":
                raise RequestError(501, "this server does not train; export the annotations as COCO for glip finetune")
            return json_response({})

    @app.get("/versions")
    async def versions() -> Response:
        """The one model version that Label Studio can choose."""
        return json_response({"versions": [service.detector.name]})


async def _read(request: Request, kind: type[Body]) -> Body:
    body = validated(kind, await request.body(), strict_json=True)
    assert isinstance(body, kind)
    return body


def _body_of(kind: type[BaseModel]) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {JSON: {"schema": kind.model_json_schema()}}}}


@contextmanager
def _logged() -> Iterator[None]:
    try:
        yield
    except RequestError as error:
        _log.warning("glip serve: Label Studio: %s", error)
        raise
