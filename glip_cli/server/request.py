"""The body of a request -> images, each with its prompt and options.

A JSON object is one image, a list of them several, each with fields of its own. multipart/form-data holds the files
themselves, and fields that are the same for all of them, their values as typed on the command line.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar, get_type_hints

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from glip_cli.errors import OptionError, PromptError, UsageError
from glip_cli.options import DetectOptions, PromptRequest, parse_class_thresholds, parse_size
from glip_cli.prompts.labels import parse_negatives, parse_texts
from glip_cli.prompts.prompt import label_prompt
from glip_cli.prompts.request import GetTagger, read_request
from glip_cli.server.errors import RequestError
from glip_cli.server.options import MAX_CHARACTERS, MAX_LABELS, MAX_NAME, MAX_SIZE_PIXELS, ServeOptions
from glip_cli.types import Prompt
from glip_cli.utils.json import JsonObject, parsed
from glip_cli.utils.text_format import message, one_line, quoted

JSON, MULTIPART = "application/json", "multipart/form-data"
MAX_FIELDS = 1000
Model = TypeVar("Model", bound=BaseModel)


class PromptBody(BaseModel):
    """The fields of a `Prompt`."""

    model_config = ConfigDict(extra="forbid", strict=True)
    text: str
    labels: list[str]
    spans: list[list[tuple[int, int]]]
    is_caption: bool = False
    notes: list[str] = []
    words: list[str] = []


class PromptFields(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    texts: str | list[str] | None = Field(None, description='"cat . remote .", "cat, remote", "$: coco"; or a list.')
    custom_entities: bool = Field(False, description="Read texts as labels even if they look like a caption.")
    labels: list[str] | dict[str, str] | None = Field(
        None,
        description='Labels, each exactly as it is; or label -> words to read: {"container": "shipping container"}.',
    )
    caption: str | None = Field(None, description="A sentence; its noun phrases or [bracketed] words are the labels.")
    phrases: list[str] | None = Field(None, description="Words of the caption that are a label each.")
    tokens_positive: list[list[list[int]]] | str | None = Field(
        None, description="For each label its character spans in the caption: [[[0, 5]], [[9, 15]]]."
    )
    prompt: PromptBody | None = Field(None, description="A prompt that was made before, in place of all the above.")


def _option_fields() -> JsonObject:
    """The fields of DetectOptions that a request may set, for pydantic."""
    types = get_type_hints(DetectOptions)
    chosen = [one for one in fields(DetectOptions) if "option" in one.metadata and one.name != "batch_size"]
    described = {
        one.name: (types[one.name], Field(getattr(DetectOptions(), one.name), description=one.metadata["option"].help))
        for one in chosen
    }
    return {**described, "per_text": (int, Field(DetectOptions.per_text, description="Boxes per text; LVIS: 300."))}


OPTIONS = _option_fields()
ExplainRequest: type[PromptFields] = create_model("ExplainRequest", __base__=PromptFields, **OPTIONS)
"""A prompt and options."""


class _ImageFields(BaseModel):
    image: str = Field(description="The file in base64; an http(s) URL where the server allows it.")
    name: str = Field("image", description="What the answer calls the image.")


class _ImagePromptFields(PromptFields, _ImageFields): ...


DetectRequest: type[_ImagePromptFields] = create_model("DetectRequest", __base__=_ImagePromptFields, **OPTIONS)
"""An image with its prompt and options."""


@dataclass(frozen=True)
class ImageRequest:
    """One image with its prompt and options.

    Attributes:
        image: the bytes of the file; a str is a URL; a function gives the bytes, or raises ImageError.
        fields: the fields of `ExplainRequest`.
    """

    image: bytes | str | Callable[[], bytes]
    name: str
    fields: PromptFields


@dataclass(frozen=True)
class Body:
    """Images in order; `single` where the answer is an object and not a list."""

    images: tuple[ImageRequest, ...]
    single: bool


async def read_body(request: Request, limits: ServeOptions) -> Body:
    """Raises RequestError."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == JSON:
        body = _of_json(await request.body(), limits)
    elif kind == MULTIPART:
        body = await _of_form(request, limits)
    else:
        raise RequestError(415, f"Content-Type {quoted(kind)}: send {JSON}, or {MULTIPART} with files")
    if not body.images:
        raise RequestError(400, "no image; send one at least")
    if len(body.images) > limits.max_images:
        raise RequestError(413, f"{len(body.images)} images; a request may have {limits.max_images}")
    for asked in body.images:
        if len(asked.name) > MAX_NAME:
            raise RequestError(400, f"name: {len(asked.name)} characters; at most {MAX_NAME}")
        if isinstance(asked.image, str) and not limits.allow_urls:
            raise RequestError(400, "image: it is a URL, which this server does not fetch; send the file in base64")
    return body


async def read_explain(request: Request) -> PromptFields:
    """The body of /explain. Raises RequestError."""
    return validated(ExplainRequest, await request.body())


def _of_json(data: bytes, limits: ServeOptions) -> Body:
    if data.lstrip()[:1] != b"[":
        return Body((_of_object(data),), True)
    try:
        items = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestError(400, f"the body is not JSON: {message(error)}") from None
    if len(items) > limits.max_images:
        raise RequestError(413, f"{len(items)} images; a request may have {limits.max_images}")
    return Body(tuple(_of_object(json.dumps(item).encode(), f"{place}: ") for place, item in enumerate(items)), False)


def _of_object(data: bytes, where: str = "") -> ImageRequest:
    fields = validated(DetectRequest, data, where)
    text = fields.image
    if text[:8].lower().startswith(("http://", "https://")):
        return ImageRequest(text, fields.name, fields)
    try:
        code = text.partition(",")[2] if text.startswith("data:") else text
        image = base64.b64decode("".join(code.split()), validate=True)  # many programs write it in lines
    except (binascii.Error, ValueError):
        raise RequestError(400, f"{where}image: no base64; send the bytes of the file in base64") from None
    return ImageRequest(image, fields.name, fields)


async def _of_form(request: Request, limits: ServeOptions) -> Body:
    try:
        async with request.form(
            max_files=limits.max_images, max_fields=MAX_FIELDS, max_part_size=limits.max_bytes
        ) as form:
            values: dict[str, list[str]] = {}
            files: list[tuple[str, bytes]] = []
            for name, value in form.multi_items():
                if isinstance(value, UploadFile):
                    if name != "image":
                        raise RequestError(400, f"{one_line(name)[:80]}: a file; files are sent as image")
                    files.append((value.filename or "image", await value.read()))
                else:
                    values.setdefault(name, []).append(value)
    except (MultiPartException, HTTPException) as error:
        text = error.message if isinstance(error, MultiPartException) else str(error.detail)
        raise RequestError(413 if text.startswith("Too many") else 400, f"multipart: {message(text)}") from None
    fields = validated(ExplainRequest, _typed(values))
    return Body(tuple(ImageRequest(data, name, fields) for name, data in files), len(files) == 1)


def _typed(values: Mapping[str, Sequence[str]]) -> JsonObject:
    """The fields of a form, of values as they are typed on the command line. Raises RequestError."""
    read: JsonObject = {}
    try:
        for name, given in values.items():
            match name:
                case "texts":
                    read[name] = list(given)
                case "labels":
                    read[name] = _labels(given)
                case "phrases" | "negatives" if (value := _json_of(given, list)) is not None:
                    read[name] = value
                case "phrases":
                    read[name] = list(given)
                case "negatives":
                    read[name] = parse_negatives(_without_files(given))
                case "class_thresholds":
                    value = _json_of(given, dict)
                    read[name] = parse_class_thresholds(list(given)) if value is None else value
                case _ if len(given) > 1:
                    raise RequestError(400, f"{one_line(name)[:80]}: given {len(given)} times; give it once")
                case "size":
                    read[name] = parse_size(given[0])
                case "prompt" | "knowledge":
                    read[name] = json.loads(given[0])
                case _:
                    read[name] = given[0]
    except (UsageError, ValueError, RecursionError) as error:
        raise RequestError(400, message(error)) from None
    return read


def _labels(given: Sequence[str]) -> object:
    """JSON; or several values, each one label; or one, split as that of texts. Raises UsageError."""
    if not any(text.lstrip().startswith(("[", "{")) for text in given):
        return list(given) if len(given) > 1 else parse_texts(_without_files(given))
    if (value := _json_of(given, (list, dict))) is None:
        one = next(text for text in given if text.lstrip().startswith(("[", "{")))
        raise UsageError(f'labels {quoted(one)}: begins as JSON and is none; give one list: ["cat", "remote"]')
    return value


def _json_of(given: Sequence[str], kind: type | tuple[type, ...]) -> object:
    """What a form says once and in JSON; None where it is not of the kind."""
    value = parsed(given[0]) if len(given) == 1 else None
    return value if isinstance(value, kind) else None


def _without_files(texts: Sequence[str]) -> Sequence[str]:
    if named := [text for text in texts if text.strip().startswith("@")]:
        raise UsageError(f"{quoted(named[0])}: files of labels are not read here; give the labels themselves")
    return texts


def validated(model: type[Model], data: bytes | JsonObject, where: str = "") -> Model:
    """Validate JSON, strictly, or values. Raises RequestError with the first fault."""
    try:
        return model.model_validate_json(data) if isinstance(data, bytes) else model.model_validate(data, strict=False)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(one_line(str(part))[:80] for part in first["loc"])
        raise RequestError(400, message(f"{where}{f'{place}: ' if place else ''}{first['msg']}")) from None


# ------------------------------------------------------------------------------------------------ prompt and options


def options_of(fields: PromptFields) -> DetectOptions:
    """Raises RequestError."""
    given = fields.model_dump(include=set(OPTIONS), exclude_unset=True)
    try:
        options = DetectOptions(**given)
    except OptionError as error:
        raise RequestError(400, message(error)) from None
    if isinstance(options.size, tuple) and (pixels := math.prod(options.size)) > MAX_SIZE_PIXELS:
        raise RequestError(413, f"size {options.size[0]},{options.size[1]}: {pixels / 1e6:.0f} million pixels; at most "
                                f"{MAX_SIZE_PIXELS / 1e6:.0f} are taken here; tile finds small things too")  # fmt: skip
    return options


def prompt_of(fields: PromptFields, options: DetectOptions, get_tagger: GetTagger, own: Prompt | None) -> Prompt:
    """The prompt of a request, else `own`, the model's. Raises RequestError, FetchError."""
    _check_length(fields, options)
    try:
        prompt = _read_prompt(fields, get_tagger, own)
    except UsageError as error:
        raise RequestError(400, message(error)) from None
    if len(prompt.labels) > MAX_LABELS:
        raise RequestError(413, f"{len(prompt.labels)} labels; a prompt may have {MAX_LABELS}")
    return prompt


def _read_prompt(fields: PromptFields, get_tagger: GetTagger, own: Prompt | None) -> Prompt:
    typed = {name: getattr(fields, name) for name in ("texts", "caption", "phrases", "tokens_positive")}
    ways = [name for name in ("labels", "prompt", "texts", "caption") if getattr(fields, name) is not None]
    if len(ways) > 1:
        raise UsageError(f"{ways[0]} and {ways[1]} are both given; give one of them")
    if fields.prompt is not None:
        return _given_prompt(fields.prompt)
    if fields.labels is not None:
        return label_prompt(fields.labels)
    if isinstance(typed["texts"], str):
        typed["texts"] = [typed["texts"]]
    if isinstance(typed["tokens_positive"], list):
        typed["tokens_positive"] = json.dumps(typed["tokens_positive"])
    asked = PromptRequest(**typed, custom_entities=fields.custom_entities)
    read = read_request(asked, get_tagger, own, files=False)
    notes = (read.warning,) if read.warning else ()
    return replace(read.prompt, notes=(*notes, *read.prompt.notes))


def _given_prompt(body: PromptBody) -> Prompt:
    try:
        spans, notes = tuple(map(tuple, body.spans)), tuple(body.notes)
        return Prompt(body.text, tuple(body.labels), spans, body.is_caption, notes, tuple(body.words))
    except ValueError as error:
        raise PromptError(f"prompt: {error}") from None


def _check_length(fields: PromptFields, options: DetectOptions) -> None:
    """Raises RequestError where the texts are too long to be read at all."""
    definitions = options.knowledge or {}
    texts = [
        *_listed(fields.texts), *_listed(fields.labels), *_listed(fields.caption), *_listed(fields.phrases),
        *_listed(options.negatives), *definitions, *definitions.values(),
        *(fields.labels.values() if isinstance(fields.labels, dict) else ()),
        *((fields.prompt.text, *fields.prompt.labels, *fields.prompt.words, *fields.prompt.notes)
          if fields.prompt else ()),
    ]  # fmt: skip
    if (length := sum(map(len, texts))) > MAX_CHARACTERS:
        raise RequestError(413, f"the texts have {length} characters; a prompt may have {MAX_CHARACTERS}")


def _listed(value: str | Iterable[str] | None) -> Iterable[str]:
    return [value] if isinstance(value, str) else value or ()
