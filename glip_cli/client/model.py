"""The model of a server: what it is called, how it reads a prompt, and what it finds in images."""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from glip_cli.client.connection import Answer, Server, error_in
from glip_cli.data.image_io import read_image
from glip_cli.data.prompted import own_prompt
from glip_cli.data.sources import ImageInput
from glip_cli.errors import GlipError, ImageError, UnavailableError, UsageError, without_frames
from glip_cli.options import DetectOptions
from glip_cli.outputs.records import detections_of
from glip_cli.prompts.prompt import label_prompt
from glip_cli.runs.in_flight import InFlight
from glip_cli.runs.local import ImageResult
from glip_cli.runs.prefetch import in_order
from glip_cli.runs.read_image import ImageReader
from glip_cli.types import Detections, Prompt
from glip_cli.utils.json import JsonObject

if TYPE_CHECKING:
    from glip_cli.prompts.chunking import Explanation


@dataclass
class RemoteModel:
    """See `cli.model.Model`. Asked when it is needed. All of it raises UsageError and GlipError as `Server` does.

    Attributes:
        prompt_notes: on all prompts that it was asked to read.
    """

    server: Server
    prompt_notes: set[str] = field(default_factory=set)

    @cached_property
    def about(self) -> JsonObject:
        """The answer of GET /model."""
        about = self.server.get("/model")
        with self.server.understood():
            limits = {str(name): float(value) for name, value in about.get("limits", {}).items()}
            labels = tuple(map(str, about.get("labels", ())))
            words = {str(label): str(words) for label, words in about.get("words", {}).items()}
            return {**about, "name": str(about["name"]), "labels": labels, "words": words, "limits": limits}

    @property
    def dtype(self) -> str:
        """As a local run says it, which may go on where this one ends."""
        dtype = str(self.about.get("dtype", "float32"))
        return dtype if dtype != "float32" else "auto"

    def own_prompt(self) -> Prompt | None:
        labels, words = self.about["labels"], self.about["words"]
        return label_prompt(labels, words) if labels else None

    def batch_size(self, asked: int | None) -> int:
        return 1

    def check(self, prompt: Prompt, options: DetectOptions) -> tuple[str, ...]:
        notes: tuple[str, ...] = self.read_prompt(prompt, options)["notes"]
        return notes

    def explain(self, prompt: Prompt, options: DetectOptions) -> Explanation:
        with closing(self.server):
            return self.explanation(self.read_prompt(prompt, options))

    def runner(self, prompt: Prompt | None, options: DetectOptions, workers: int | None = None) -> RemoteRunner:
        return RemoteRunner(self, prompt, options, workers)

    def read_prompt(self, prompt: Prompt, options: DetectOptions) -> JsonObject:
        """The answer of POST /explain. Raises UsageError for a prompt that the model cannot read."""
        answer = self.server.post("/explain", request_fields(prompt, options))
        with self.server.understood():
            if answer.status != 200:
                raise UsageError(error_in(answer.value))
            notes = tuple(map(str, answer.value["notes"]))
        self.prompt_notes.update(notes)
        return {**answer.value, "notes": notes}

    def explanation(self, read: JsonObject) -> Explanation:
        """The explanation in an answer of `read_prompt`."""
        from glip_cli.prompts.chunking import Explanation, LabelRow  # imports tokenizers

        with self.server.understood():
            rows = [
                LabelRow(
                    label=str(row["label"]), label_id=number, chunk=int(row["text"]), text="", words=str(row["words"]),
                    spans=tuple((int(begin), int(end)) for begin, end in row["spans"]),
                    tokens=tuple((int(place), str(piece)) for place, piece in row["tokens"]),
                )
                for number, row in enumerate(read["rows"])
            ]  # fmt: skip
            texts = tuple((int(text["labels"]), int(text["tokens"])) for text in read["texts"])
        return Explanation(read["notes"], tuple(rows), texts)

    def detect(self, image: bytes, name: str, asked: Mapping[str, object]) -> tuple[Detections, list[str]]:
        """The detections in one image, and the notes on it. The image's name is not sent.

        Args:
            image: its file.
            name: what it is called here.
            asked: what `request_fields` makes of the prompt and the options.

        Raises:
            ImageError: it cannot be read, or is too large for the server.
            UnavailableError: it was not answered in time.
            GlipError: the server has another model now.
        """
        code, most = base64.b64encode(image).decode(), self.about["limits"].get("upload_bytes", math.inf)
        if len(code) > most:  # a connection that breaks while too much is sent may lose the answer which says so
            raise ImageError(f"{name}: {len(code) / 1e6:.1f} MB as it is sent, and the server takes {most / 1e6:g}; "
                             "shrink it, or raise --max-upload there")  # fmt: skip
        answer = self.server.post("/detect", {**asked, "image": code})
        with self.server.understood():
            if answer.status != 200:
                raise _image_error(answer, image, name)
            found = detections_of({**answer.value, "image": name})
            notes = list(map(str, json.loads(answer.headers.get("Glip-Notes", "[]"))))
        if found.model != self.about["name"]:
            raise GlipError(f"{self.server}: the model is {found.model} now and was {self.about['name']}; start that "
                            "one again, then run the same command again")  # fmt: skip
        return found, notes


def request_fields(prompt: Prompt, options: DetectOptions) -> JsonObject:
    """The fields of a request, but for its image. How many images go at once is the server's choice."""
    chosen = {name: value for name, value in vars(options).items() if value not in (None, (), {})}
    del chosen["batch_size"]
    return {"prompt": vars(prompt), **chosen}


def _image_error(answer: Answer, image: bytes, name: str) -> ImageError:
    """In the words of a local run, where that could not read it either."""
    words = error_in(answer.value)
    if answer.status == 422:
        try:
            read_image(image, name)
        except ImageError as error:
            return error
        words = words.removeprefix("image: ")
    kind = UnavailableError if answer.status in (408, 504) else ImageError
    return kind(f"{name}: {words}")


# --------------------------------------------------------------------------------------------------------------- runner
# Many images asked of a server, a few at once, each outcome in the order of the images.


WORKERS = 4
"""Requests on their way at once: one is answered while others travel, and are read and written here."""


@dataclass
class RemoteRunner:
    """See `runs.local.ImageRunner`. No answer depends on another image, so blocks have one.

    Attributes:
        prompt: of all images that have none of their own (`data.prompted.PromptedImage`).
    """

    remote: RemoteModel
    prompt: Prompt | None
    options: DetectOptions
    workers: int | None = None
    keep_images: bool = False
    flight: InFlight = field(default_factory=InFlight)

    block_size: ClassVar[int] = 1
    clock: ClassVar[None] = None
    effective_batch_size: ClassVar[None] = None

    def __post_init__(self) -> None:
        """Ask which model it is, and how it reads the prompt. Raises UsageError, GlipError."""
        self._asked = request_fields(self.prompt, self.options) if self.prompt else {}
        with closing(self.remote.server):
            self.model: str = self.remote.about["name"]
            self._read = self.remote.read_prompt(self.prompt, self.options) if self.prompt else {"notes": ()}
        self._files, self._alone = ImageReader(), threading.Lock()
        self._notes: dict[str, None] = {}  # in the order in which they came

    @property
    def stop(self) -> threading.Event:
        return self.remote.server.stop

    @property
    def prompt_notes(self) -> tuple[str, ...]:
        return tuple(self._read["notes"])

    def explain(self) -> Explanation:
        return self.remote.explanation(self._read)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(note for note in self._notes if note not in self.remote.prompt_notes)

    def __call__(self, sources: Iterable[ImageInput]) -> Iterator[ImageResult]:
        workers = self.workers or WORKERS
        with closing(self.remote.server), closing(
            in_order(self._one, sources, workers, 2 * workers, self.stop)) as outcomes:  # fmt: skip
            yield from outcomes

    def _detect(self, file: bytes, source: ImageInput) -> Detections:
        """Send several images at once; one after the other if a slow server does not answer in time."""
        prompt = own_prompt(source)
        asked = request_fields(prompt, self.options.for_labels(prompt.labels)) if prompt else self._asked
        try:
            found, notes = self.remote.detect(file, source.name, asked)
        except UnavailableError:
            with self._alone:
                found, notes = self.remote.detect(file, source.name, asked)
        self._notes |= dict.fromkeys(notes)
        return found

    def _one(self, source: ImageInput) -> ImageResult:
        try:
            self.flight.refuse(source.name)
            with self.flight.at(source.name):
                file = self._files.file(source)
            found = self._detect(file, source)
            with self.flight.at(source.name):
                image = read_image(file, source.name) if self.keep_images else None
        except ImageError as error:
            return ImageResult(source, error=without_frames(error))
        return ImageResult(source, image, detections=found)
