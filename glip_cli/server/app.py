"""The routes: a request in, JSON out."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from glip_cli import __version__
from glip_cli.data.download import fetch
from glip_cli.data.image_io import read_image
from glip_cli.detector import Detector
from glip_cli.errors import FetchError, GlipError, ImageError, OutOfMemoryError, UsageError
from glip_cli.options import DetectOptions
from glip_cli.outputs.records import SCHEMA, AnyRecord, Record, error_record, record
from glip_cli.prompts.chunking import explain
from glip_cli.prompts.compile import CompiledPrompt
from glip_cli.prompts.noun_phrases import Tagger
from glip_cli.runs.runner import capped_note
from glip_cli.server import labelstudio
from glip_cli.server.errors import RequestError, in_fields, json_response
from glip_cli.server.guard import Guard
from glip_cli.server.metrics import CONTENT_TYPE, Metrics
from glip_cli.server.options import MAX_CHARACTERS, MAX_LABELS, ServeOptions
from glip_cli.server.pages import DETECT_BODY, ERRORS, EXPLAIN_BODY, api_page, page
from glip_cli.server.queue import DetectQueue
from glip_cli.server.request import (
    ImageRequest,
    PromptFields,
    options_of,
    prompt_of,
    read_body,
    read_explain,
)
from glip_cli.types import Prompt
from glip_cli.utils.lru_cache import LastUsed
from glip_cli.utils.option import in_flags
from glip_cli.utils.text_format import message, one_line, quoted

T = TypeVar("T")
COMPILED_PROMPTS = 64  # that are kept ready
NOTES = "Glip-Notes"
"""The header with what the command line would say in notes: a JSON list."""
MAX_NOTES = 8000  # bytes of it: Python's own client refuses 65,536, Apache as a proxy 8,190
GONE = "the client has gone"


class Service:
    """A detector and its queue, as the routes need them."""

    def __init__(self, detector: Detector, limits: ServeOptions, metrics: Metrics):
        self.detector, self.limits, self.metrics = detector, limits, metrics
        self.queue = DetectQueue(detector, limits.queue, metrics)
        self._compiled: LastUsed[tuple[Prompt, DetectOptions], CompiledPrompt] = LastUsed()

    async def answer(self, images: Sequence[ImageRequest]) -> list[tuple[AnyRecord, tuple[str, ...]]]:
        """A record and notes for each image; the request has one place already. Raises RequestError."""
        with self.queue.places(len(images) - 1):
            prompts = [await self.queue.read(self.compile, asked.fields) for asked in images]
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._detect(asked, *prompt))
                    for asked, prompt in zip(images, prompts, strict=True)
                ]
        return [task.result() for task in tasks]

    async def answer_request(
        self, request: Request, images: Sequence[ImageRequest]
    ) -> list[tuple[AnyRecord, tuple[str, ...]]]:
        """`answer`, within the time limit and while the client of `request` is there. Raises RequestError."""
        return await while_wanted(request, self.answer(images), self.limits.time_limit)

    async def _detect(
        self, asked: ImageRequest, options: DetectOptions, compiled: CompiledPrompt
    ) -> tuple[AnyRecord, tuple[str, ...]]:
        name, model = one_line(asked.name), self.detector.name
        try:
            data = asked.image
            if not isinstance(data, bytes):
                data = await self.queue.fetch(self._fetched, data)
            decode = partial(read_image, data, name, self.limits.max_pixels * 1e6)
            found, capped = await self.queue.detect(decode, compiled, options)
        except ImageError as error:
            self.metrics.images.labels("unreadable").inc()
            return error_record(name, message(error), model), ()
        except OutOfMemoryError as error:
            raise RequestError(507, message(error)) from None
        self.metrics.images.labels("detected").inc()
        notes = (*compiled.notes, *((capped_note(options),) if capped else ()))
        return record(name, found, model), notes

    def compile(self, fields: PromptFields) -> tuple[DetectOptions, CompiledPrompt]:
        """Raises RequestError."""
        options = options_of(fields)
        try:
            prompt = prompt_of(fields, options, self._tagger, self.detector.own_prompt)
            make = partial(self.detector.compile_prompt, prompt, options)
            return options, self._compiled.get((prompt, options), make, COMPILED_PROMPTS)
        except (UsageError, FetchError) as error:
            raise RequestError(400, message(in_flags(error))) from None

    def _tagger(self) -> Tagger:
        from glip_cli.checkpoints.tagger import load_tagger  # imports nltk

        return load_tagger(offline=self.detector.offline)

    def _fetched(self, source: str | Callable[[], bytes]) -> bytes:
        """Raises ImageError."""
        return fetch(source, self.limits.max_bytes, public=True) if isinstance(source, str) else source()


def create_app(detector: Detector, limits: ServeOptions | None = None) -> FastAPI:
    """The server of a detector, as an ASGI application; `limits` are the options of `glip serve`."""
    limits, metrics = limits or ServeOptions(), Metrics()
    service = Service(detector, limits, metrics)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.queue.close)

    app = FastAPI(title="glip", version=__version__, summary="Open-vocabulary detection with GLIP.",
                  lifespan=lifespan, docs_url=None, redoc_url=None, redirect_slashes=False)  # fmt: skip
    app.state.service = service
    add_routes(app, service)
    labelstudio.add_routes(app, service)
    app.add_exception_handler(RequestError, _request_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, lambda request, error: RequestError(499, GONE).response)
    app.add_exception_handler(GlipError, lambda request, error: RequestError(500, message(error)).response)
    app.add_exception_handler(RequestValidationError, lambda request, error: RequestError(400, "bad request").response)
    app.add_middleware(Guard, limits=limits, metrics=metrics, paths=frozenset(app.openapi()["paths"]) | {"/", "/docs"})
    if limits.allow_origin:  # outermost: a page may read what the guard says is wrong too
        app.add_middleware(CORSMiddleware, allow_origins=limits.allow_origin, allow_methods=["GET", "POST"],
                           allow_headers=["Authorization", "Content-Type"], expose_headers=[NOTES])  # fmt: skip
    return app


def add_routes(app: FastAPI, service: Service) -> None:
    detector, limits = service.detector, service.limits

    @app.post("/detect", openapi_extra=DETECT_BODY, response_model=Record | list[AnyRecord], responses=ERRORS)
    async def detect(request: Request) -> Response:
        """Detect in images. One image gives a glip/1 object, a list of them a list."""
        with service.queue.places(1):  # before its body fills the memory
            body = await read_body(request, limits)
            answers = await service.answer_request(request, body.images)
        notes = list(dict.fromkeys(in_fields(note, request) for _, said in answers for note in said))
        records = [made for made, _ in answers]
        status = 422 if body.single and "error" in records[0] else 200
        return json_response(records[0] if body.single else records, status, {NOTES: _notes_header(notes)})

    @app.post("/explain", openapi_extra=EXPLAIN_BODY)
    async def explain_prompt(request: Request) -> Response:
        """How the model reads each label: its text, its characters, its tokens."""
        with service.queue.places(1):
            fields = await read_explain(request)
            _, compiled = await service.queue.read(service.compile, fields)
        return json_response(explanation(compiled) | {"notes": [in_fields(note, request) for note in compiled.notes]})

    @app.get("/model")
    async def model() -> Response:
        """What is loaded, and what a request may bring."""
        size = detector.image_size()
        return json_response({
            "schema": SCHEMA, "name": detector.name, "labels": detector.labels, "words": detector.words,
            "version": __version__,
            "device": str(detector.device), "dtype": str(detector.dtype).removeprefix("torch."),
            "size": [size.shorter, size.longer], "default_threshold": DetectOptions.threshold,
            "limits": {"upload_bytes": limits.max_bytes, "pixels": int(limits.max_pixels * 1e6),
                       "images": limits.max_images, "labels": MAX_LABELS, "characters": MAX_CHARACTERS},
        })  # fmt: skip

    @app.get("/health")
    async def health() -> Response:
        """Answers while the server runs."""
        return json_response({"status": "UP", "model": detector.name})

    @app.get("/metrics")
    async def prometheus() -> Response:
        """Counts and times, for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)

    described = api_page(app.openapi())
    index = page()

    @app.get("/docs", include_in_schema=False)
    async def docs() -> Response:
        return described

    @app.get("/", include_in_schema=False)
    async def main_page() -> Response:
        return index


def explanation(compiled: CompiledPrompt) -> dict[str, object]:
    """The explanation of `--explain`, without its notes."""
    rows = [
        {"label": row.label, "words": row.words, "text": row.chunk, "spans": row.spans, "tokens": row.tokens}
        for row in explain(compiled.chunks)
    ]
    texts = [
        {"text": part.prompt.text, "labels": len(part.label_ids), "tokens": len(part.tokens.ids)}
        for part in compiled.chunks
    ]
    return {"prompt": compiled.text, "labels": compiled.labels, "rows": rows, "texts": texts}


def _notes_header(notes: Sequence[str]) -> str:
    """As many of the notes as MAX_NOTES bytes hold, and how many are left out."""
    room, kept = MAX_NOTES, list[str]()
    for place, note in enumerate(notes):
        room -= len(json.dumps(note)) + 2
        if room < 100:
            kept.append(f"notes left out: {len(notes) - place}")
            break
        kept.append(note)
    return json.dumps(kept)


async def while_wanted(request: Request, work: Awaitable[T], seconds: float) -> T:
    """The result of `work`, which is cancelled when the client goes away. Raises RequestError 504 after `seconds`.

    When it returns, the work has ended too: its images have left the queue before their places are free for others.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise RequestError(499, GONE)
        raise RequestError(504, f"not done within {seconds:g} s; send less at once, or try again when less is asked")
    except BaseExceptionGroup as group:  # of the images of a request
        raise group.exceptions[0] from None
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.wait((task, gone))


async def _gone(request: Request) -> None:
    """Returns when the client has closed its connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _request_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)
    return RequestError(error.status, in_fields(str(error), request), error.headers).response


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path, text = quoted(request.url.path), str(error.detail)
    if error.status_code == 404:
        text = f"there is no {path}; GET /docs lists what there is"
    elif error.status_code == 405 and error.headers:
        text = f"{path} is asked by {error.headers['Allow']}"
    return RequestError(error.status_code, text, error.headers).response
