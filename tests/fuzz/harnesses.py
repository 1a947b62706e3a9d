"""One function per kind of input: bytes in, nothing out. Only classes of `glip_cli.errors` count as an answer.

An input of several parts has 0xFF between them, a byte that UTF-8 does not have.
"""

from __future__ import annotations

import io
import os
import re
import tempfile
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import typer
from PIL import Image

from glip_cli.checkpoints import adapters, files, finetuned, registry
from glip_cli.cli import config
from glip_cli.cli.app import app
from glip_cli.data import archives, captions, frame_inputs, image_io, prompted, sources
from glip_cli.errors import GlipError, OutputError
from glip_cli.evaluation import calibrate, ground_truth, results
from glip_cli.prompts import chunking, noun_phrases, prompt, spans, tokenizer, words
from glip_cli.prompts.labels import sentence_of
from glip_cli.runs import journal, status
from glip_cli.training.dataset import read_train_set
from glip_cli.types import Prompt

Harness = Callable[[bytes], None]

BETWEEN = b"\xff"
CANARY = "GLIP_CANARY"  # set by code of a file that was run
LIMIT = 32  # tokens: few, so that a short prompt needs several texts
MOST_PIXELS = 500_000  # an altered size may be an honest gigabyte, which is slow and no fault
MOST_SOURCES = 50


@contextmanager
def answering() -> Iterator[None]:
    """Lets an error of glip's own pass if it is one line that a terminal can show, and no other exception."""
    try:
        yield
    except GlipError as error:
        text = str(error)
        assert text, "an error without a word"
        assert is_line(text), f"an error that is not one line: {text!r}"


def is_line(text: str) -> bool:
    """Whether it can be printed, stays on its line, and tells a terminal nothing but its words."""
    return not any(unicodedata.category(char) in _NO_TEXT for char in text)


_NO_TEXT = frozenset(["Cc", "Cs", "Zl", "Zp"])  # control characters, half characters, ends of lines and paragraphs


def parts(data: bytes) -> list[str]:
    """The parts as a command line has its words: bytes that are not UTF-8 are half characters."""
    return [part.decode("utf-8", "surrogateescape") for part in data.split(BETWEEN)]


def file(name: str, data: bytes) -> Path:
    """`data` as a file of this process."""
    path = Path(_kept().name) / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # it may be mapped, and must not change then
    path.write_bytes(data)
    return path


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="glip-fuzz-")  # removed when the process ends


# -------------------------------------------------------------------------------------------------------- prompts


@cache
def _tokenizer() -> tokenizer.Tokenizer:
    return tokenizer.Tokenizer.from_dir(registry.PACKAGE / "assets" / "glip-mini")


def _asked(asked: Prompt) -> None:
    """As `detect --explain` goes through it: each label once, with tokens, in some text."""
    chunks = chunking.chunk(asked, _tokenizer(), limit=LIMIT)
    rows = chunking.explain(chunks)
    chunking.gather_notes(asked, chunks)
    _, places = prompt.display_text(asked)
    assert [row.label for row in rows] == list(asked.labels)
    assert all(row.tokens for row in rows)
    assert len(places) == len(asked.labels)


def texts(data: bytes) -> None:
    """--texts: the values. Values that name a file are left to `labels`."""
    values = [value for value in parts(data) if not value.strip().startswith("@")]
    with answering():
        sentence_of(values)
    with answering():
        _asked(prompt.texts_prompt(values, files=False))


def labels(data: bytes) -> None:
    """--texts @FILE: the file, of each kind."""
    for suffix in ("txt", "json", "yaml", "toml", "csv"):
        path = file(f"labels.{suffix}", data)
        with answering():
            _asked(prompt.texts_prompt([f"@{path}"]))


def worded(data: bytes) -> None:
    """--words FILE, in its three forms: all of its classes are asked for."""
    for name in ("words.json", "words.toml", "words.txt"):
        with answering():
            _asked(prompt.label_prompt(words.read_words(file(name, data))))


class EveryOther:
    """A tagger to whom words of odd length are nouns and the others adjectives."""

    def tag(self, tokens: Sequence[str]) -> list[tuple[str, str]]:
        return [(token, "NN" if len(token) % 2 else "JJ") for token in tokens]


def caption(data: bytes) -> None:
    """--caption, --tokens-positive, --phrases ...: its parts named in all four ways."""
    text, literal, *phrases = [*parts(data), ""]
    with answering():
        _asked(prompt.caption_prompt(text, spans=spans.parse_tokens_positive(literal)))
    with answering():
        _asked(prompt.caption_prompt(text, phrases=phrases))
    with answering():
        bare, found = spans.read_brackets(text)
        _asked(prompt.caption_prompt(bare, parts=found))
    with answering():
        _asked(prompt.caption_prompt(text, parts=noun_phrases.noun_phrases(text, EveryOther())))


# ---------------------------------------------------------------------------------------------------------- files


@contextmanager
def _small_images() -> Iterator[None]:
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, MOST_PIXELS
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def image(data: bytes) -> None:
    """An image, with a name that says nothing."""
    with answering(), _small_images():
        read = image_io.read_image(data, "x")
        assert read.mode == "RGB"
        assert min(read.size) > 0


def frames(data: bytes) -> None:
    """Every frame of an image."""
    with answering(), _small_images():
        for number, (place, read) in enumerate(islice(image_io.read_frames(data, "x"), MOST_SOURCES)):
            assert (place, read.mode) == (number, "RGB")


def clip(data: bytes) -> None:
    """A video."""
    path = file("clip.mp4", data)
    with answering(), mock.patch.object(frame_inputs, "_MOST_PIXELS", MOST_PIXELS):
        for frame in islice(frame_inputs.read_video(str(path), "x"), MOST_SOURCES):
            assert frame.image().mode == "RGB"


def checkpoint(data: bytes) -> None:
    """A checkpoint under both names; and nothing of it is run."""
    os.environ.pop(CANARY, None)
    for name in ("x.pth", "x.safetensors"):
        with answering():
            files.read(file(name, data))
        assert CANARY not in os.environ, "code of a checkpoint was run"


def card(data: bytes) -> None:
    """What a folder of glip finetune says of itself."""
    with answering():
        finetuned.read_run_config(file(f"tuned/{finetuned.CONFIG_FILE}", data).parent)
    with answering():
        adapters.find_adapter(file(f"tuned/{finetuned.CONFIG_FILE}", data).parent)


def coco(data: bytes) -> None:
    """Ground truth, read for scores and for training; behind 0xFF results, in both forms."""
    truth, _, found = data.partition(BETWEEN)
    path = file("truth.json", truth)
    with answering():
        read_train_set(path)
    with answering():
        read = ground_truth.read_ground_truth(path)
        read.to_coco()
        assert len(read.labels) == len(read.promptable)
        for name in ("dt.json", "dt.jsonl"):
            with answering():
                results.read_predictions(file(name, found), read)


_ANYWHERE = re.compile(rb"(^|[\s\"'\[{(,:=&*])[/\\~]|\.\.|\\[xuU]")
_SET_FILES = ("labelme/a.json", "hf/metadata.jsonl", "voc/a.xml", "yaml/data.yaml", "list/classes.txt", "dark/obj.data")


def annotated(data: bytes) -> None:
    """A file that describes a data set, of each kind, with an image beside it; behind 0xFF its YOLO labels."""
    described, _, lines = data.partition(BETWEEN)
    if _ANYWHERE.search(described):
        return  # it could search the whole disk
    for name in _SET_FILES:
        folder = file(f"{name.partition('/')[0]}/a.png", _png()).parent
        file(f"{folder.name}/a.txt", lines)
        file(f"{folder.name}/obj.names", b"a\nb\n")
        path = file(name, described)
        with answering():
            read = ground_truth.read_ground_truth(path if path.suffix == ".jsonl" else folder)
            read.to_coco()


@cache
def _png() -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (24, 16)).save(stream, "PNG")
    return stream.getvalue()


def thresholds(data: bytes) -> None:
    """--thresholds FILE."""
    with answering():
        calibrate.read_thresholds(file("x.toml", data))


@cache
def _commands() -> Any:
    return typer.main.get_command(app)


def settings(data: bytes) -> None:
    """--config FILE."""
    path = file("glip.toml", data)
    with answering():
        words = config.with_defaults(_commands(), ["detect", "a.jpg", "--config", str(path)], {})
        assert all(isinstance(word, str) for word in words)


def records(data: bytes) -> None:
    """A journal: read, opened, added to. Refused it stays as it is; mended it loses its end only.

    A note of hosts is read too.
    """
    for counts in status.read_notes(file(".hosts", data)).values():
        f"{counts.images} {(counts + counts).rate:.1f} {counts.kinds.most_common(3)}"
    path = file("results.jsonl", data)
    with answering():
        list(journal.read_records(path))
    with answering():
        try:
            opened = journal.Journal(path)
        except OutputError:
            assert path.read_bytes() == data
            raise
        assert data.startswith(path.read_bytes())
        before = opened.counts.images
        opened.add({"image": "new.png", "error": "none"})
        opened.close()
        found = list(journal.read_records(path))
        assert len(found) == before + 1
        assert found[-1]["image"] == "new.png"


_ELSEWHERE = re.compile(r"^[\s\ufeff]*[/\\~]|\.\.")


def listed(data: bytes) -> None:
    """@list.txt: what it names, opened and read. A list that leads out of its folder could search the whole disk."""
    text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8", "replace")
    if any(_ELSEWHERE.search(line) for line in text.splitlines()):
        return
    path = file("lists/list.txt", data)
    with answering(), _in(path.parent), _small_images():
        for source in islice(sources.expand([f"@{path}"], offline=True), MOST_SOURCES):
            assert is_line(source.name), f"a name that is not one line: {source.name!r}"
            with answering():
                image_io.read_image(source.open(), source.name)


@contextmanager
def _in(folder: Path) -> Iterator[None]:
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def each_prompt(data: bytes) -> None:
    """Batch --prompts FILE: as jsonl and as csv; every prompt is asked for."""
    for name in ("prompts.jsonl", "prompts.csv"):
        with answering():
            chosen = prompted.PromptFile(file(name, data), EveryOther, offline=True)
            held = chosen.summary(lambda prompt: (_asked(prompt) or str(prompt.notes),))
            found = list(chosen)
            assert len(found) == held.images
            assert all(is_line(one.name) and set(one.prompt.labels) <= set(held.labels) for one in found)


def captioned(data: bytes) -> None:
    """Annotate --captions FILE: as jsonl, as json, as csv, and as a tar."""
    for name in ("captions.jsonl", "captions.json", "captions.csv", "captions.tar"):
        path = file(name, data)
        with answering():
            for one in captions.read_captions(path, offline=True):
                assert is_line(one.name), f"a name that is not one line: {one.name!r}"
                assert one.caption.strip()
                one.caption.encode()


def archived(data: bytes) -> None:
    """Images inside a file, as a tar and as a Parquet table."""
    for name in ("archives/0.tar", "archives/0.parquet"):
        path = file(name, data)
        archives._images.cache_clear()
        with answering(), _small_images():
            for source in islice(sources.expand([str(path)]), MOST_SOURCES):
                assert is_line(source.name), f"a name that is not one line: {source.name!r}"
                with answering():
                    image_io.read_image(source.open(), source.name)


HARNESSES: dict[str, Harness] = {
    "texts": texts, "labels": labels, "caption": caption, "image": image, "frames": frames, "clip": clip,
    "checkpoint": checkpoint, "card": card,
    "coco": coco, "thresholds": thresholds, "settings": settings, "journal": records, "list": listed,
    "captions": captioned, "words": worded, "dataset": annotated, "prompts": each_prompt,
    "archive": archived,
}  # fmt: skip
