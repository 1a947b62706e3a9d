"""Images, each with a prompt of its own: the file of `glip batch --prompts`.

    x.jsonl   {"image": "a.jpg", "prompt": "cat . remote ."} per line
    x.csv     with the columns image and prompt

A prompt is what `--texts` takes: "prompt", or "texts", in jsonl also a list, which is the flag several times. "caption"
in its place is what `--caption` takes. An image may stand in any number of rows. Other columns are passed over.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

from glip_cli.data.archives import SUFFIXES, is_archive
from glip_cli.data.frame_inputs import is_video
from glip_cli.data.image_files_below import VIDEO_SUFFIXES
from glip_cli.data.image_input import is_url
from glip_cli.data.sources import ImageInput, image_in_list, resolved
from glip_cli.data.values import Row, image_of, read_rows
from glip_cli.errors import DataError, UsageError
from glip_cli.options import PromptRequest
from glip_cli.prompts.request import GetTagger, ReadPrompt, read_request
from glip_cli.types import Prompt
from glip_cli.utils.frames import split_frame
from glip_cli.utils.text_format import quoted

KEPT_PROMPTS = 1024
"""Of the last images: a prompt that comes back among them is read, and made ready for the model, once."""
MOST_NOTES = 5
"""Of a file that are shown."""

_WAYS = ("prompt", "texts", "caption")
_WRITE = 'each row has an image and a prompt, as {"image": "a.jpg", "prompt": "cat . remote ."}'
_HOLDER = re.compile(rf"(?:{'|'.join(map(re.escape, (*SUFFIXES, *VIDEO_SUFFIXES)))})(?=[/\\]|$)", re.IGNORECASE)

Check = Callable[[Prompt], tuple[str, ...]]
"""Gives a model's notes on a prompt. Raises UsageError for one that it cannot read."""


@dataclass(frozen=True)
class PromptedImage(ImageInput):
    """An image and what to find in it."""

    prompt: Prompt = field(kw_only=True)


def own_prompt(source: ImageInput) -> Prompt | None:
    """The image's own prompt, if it has one."""
    return source.prompt if isinstance(source, PromptedImage) else None


class PromptRow(NamedTuple):
    """A row of the file: its line, the name of the image, and the prompt."""

    where: str
    image: str
    request: PromptRequest


@dataclass(frozen=True)
class PromptsSummary:
    """Counts of a whole file.

    Attributes:
        images: how many, each as often as it stands there.
        prompts: how many different ones.
        labels: of all prompts, each once, in the order in which they come.
        notes: for the user, each once, with the place of the first row that it is about; the first few.
        digest: of every image's name and prompt, in order.
    """

    images: int
    prompts: int
    labels: tuple[str, ...]
    notes: tuple[str, ...]
    digest: str


class PromptFile:
    """The images of such a file; memory does not grow with their number."""

    def __init__(
        self, path: Path, get_tagger: GetTagger, *, custom_entities: bool = False, offline: bool = False
    ) -> None:
        """Go through all rows, but not yet through what the prompts say.

        Args:
            get_tagger: finds noun phrases; called where a prompt needs them.
            custom_entities: as in `PromptRequest`, for every row.
            offline: images given as URLs then fail when they are opened.

        Raises DataError for a row that cannot be read, with its place, and where there is none.
        """
        self.path, self._offline = path, offline
        self._custom_entities = custom_entities
        # a file comes from anywhere: its prompts name no other file
        self._read = lru_cache(maxsize=KEPT_PROMPTS)(partial(read_request, get_tagger=get_tagger, files=False))
        if str(path) == "-" or (path.exists() and not path.is_file()):
            raise DataError(f"{path}: is read several times, so it must be a file; save it as one")
        self.images = sum(1 for _ in self._rows_with_prompts())
        if not self.images:
            raise DataError(f"{path}: names no image; {_WRITE}")

    def summary(self, check: Check) -> PromptsSummary:
        """Read every prompt, and check each once. Raises UsageError, with the place, FetchError."""
        labels, notes, said = dict[str, None](), set[int](), list[str]()
        prompts, digest = set[int](), hashlib.blake2b(digest_size=16)
        for one in self._rows_with_prompts():
            digest.update(json.dumps([one.image, vars(one.request)]).encode())
            if (key := hash(one.request)) in prompts:
                continue
            prompts.add(key)
            read = self._prompt(one)
            labels |= dict.fromkeys(read.prompt.labels)
            with _at(one.where):
                checked = check(read.prompt)
            for note in (*filter(None, [read.warning]), *checked):
                if hash(note) not in notes and len(said) < MOST_NOTES:
                    said.append(f"{one.where}: {note}")
                notes.add(hash(note))
        if len(notes) > MOST_NOTES:
            said.append(f"{self.path}: and {len(notes) - MOST_NOTES} more notes on prompts")
        return PromptsSummary(self.images, len(prompts), tuple(labels), tuple(said), digest.hexdigest())

    def __iter__(self) -> Iterator[PromptedImage]:
        """Raises as the two above, where the file has changed since."""
        for one in self._rows_with_prompts():
            source = image_in_list(one.image, self.path.parent, self._offline)
            yield PromptedImage(source.name, source.location, source.offline, prompt=self._prompt(one).prompt)

    def _rows_with_prompts(self) -> Iterator[PromptRow]:
        for row in read_rows(self.path, ("image",), _WRITE):
            image = image_of(row, _WRITE)
            if _is_of_several(image, self.path.parent):
                raise DataError(f"{row[0]}: 'image' is {quoted(image)}: videos, and files that hold several images, "
                                "are not read here; save each image as a file of its own")  # fmt: skip
            yield PromptRow(row[0], image, _request_of(row, self._custom_entities))

    def _prompt(self, one: PromptRow) -> ReadPrompt:
        with _at(one.where):
            return self._read(one.request)


def _is_of_several(image: str, folder: Path) -> bool:
    """Whether it is called as a video or a file of many images, or as one image or frame of it, as records have it."""
    file, frame = split_frame(image)
    if is_url(file):
        path = file.split("?")[0]
        return is_archive(path) or is_video(path)
    if frame is not None and not os.path.exists(resolved(image, folder)):
        return True
    holders = (file[: match.end()] for match in _HOLDER.finditer(file))
    return any(not os.path.isdir(resolved(holder, folder)) for holder in holders)


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Names the place in an error of it."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def _request_of(row: Row, custom_entities: bool) -> PromptRequest:
    """Raises DataError."""
    where, values = row
    given = [name for name in _WAYS if values.get(name) not in (None, "")]
    if len(given) != 1:
        what = f"both '{given[0]}' and '{given[1]}'" if given else "no 'prompt'"
        raise DataError(f"{where}: has {what}; {_WRITE}")
    (name,) = given
    value = values[name]
    texts = tuple(value) if isinstance(value, list) and name != "caption" else (value,)
    if not texts or not all(isinstance(text, str) for text in texts):
        raise DataError(f"{where}: '{name}' is {quoted(value)}, not a text; {_WRITE}")
    if name == "caption":
        return PromptRequest(caption=texts[0])
    return PromptRequest(texts=texts, custom_entities=custom_entities)
