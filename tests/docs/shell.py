"""A command line of a page, run: `glip` in this process, as its console script does, a few harmless programs in theirs.

The released weights cannot be had in a test. `glip-mini` answers in their place, and trainings are cut to one epoch: by
the variables below where a page leaves them open, and by another word where it names a released model.
"""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import nltk.data

from glip_cli.checkpoints import registry
from glip_cli.cli.app import run
from glip_cli.evaluation import compare
from glip_cli.evaluation.compare import compare_scores
from tests.docs.pages import Command
from tests.shared import SHARED

HARMLESS = {"cat", "find", "head", "ls"}
MINI = "glip-mini"
SETTINGS = {
    "COLUMNS": "132",
    "GLIP_DEVICE": "cpu",
    "GLIP_MODEL": MINI,
    "HF_HUB_OFFLINE": "1",
    "LC_ALL": "C",
}
SHORT_TRAINING = {"GLIP_EPOCHS": "1", "GLIP_WORKERS": "0", "GLIP_KEEP_CHECK": "none"}
FEW_IMAGES = {"GLIP_LIMIT": "4"}


@dataclass(frozen=True)
class Ran:
    """How a command line ended, and what it printed: standard output and standard error, as they came."""

    code: int
    printed: str


def run_line(command: Command) -> Ran:
    """Run it in the current folder; several programs joined by | one after the other."""
    variables, stages = take_apart(command.words)
    if not command.output:  # else the page shows the numbers of all
        variables = FEW_IMAGES | variables
    said, given = "", ""
    for i, words in enumerate(stages):
        result = _run_stage(words, variables, given, last=i + 1 == len(stages))
        said, given = said + result.printed, result.piped
    return Ran(result.code, said)


def take_apart(words: Sequence[str]) -> tuple[dict[str, str], list[list[str]]]:
    """Variables in front (NAME=value), and the words of each program between the |."""
    own = next(i for i, word in enumerate(words) if not word.partition("=")[0].isupper())
    variables = {name: value for name, _, value in (word.partition("=") for word in words[:own])}
    stages: list[list[str]] = [[]]
    for word in words[own:]:
        if word == "|":
            stages.append([])
        else:
            stages[-1].append(word)
    return variables, stages


@dataclass(frozen=True)
class _Stage:
    code: int
    printed: str
    piped: str


def _run_stage(words: Sequence[str], variables: Mapping[str, str], given: str, last: bool) -> _Stage:
    if words[0] == "glip":
        return _glip(words[1:], variables, given, last)
    assert words[0] in HARMLESS, f"{words[0]}: a page's command is run only if it is glip, or one of {HARMLESS}"
    environment = os.environ | SETTINGS
    done = subprocess.run(words, input=given, capture_output=True, text=True, check=False, env=environment)
    return _Stage(done.returncode, done.stderr + (done.stdout if last else ""), done.stdout)


def _glip(words: Sequence[str], variables: Mapping[str, str], given: str, last: bool) -> _Stage:
    printed = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    piped = printed if last else io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    stdin = mock.patch.object(sys, "stdin", io.TextIOWrapper(io.BytesIO(given.encode())))
    resamplings = mock.patch.object(
        compare, "compare_scores", partial(compare_scores, samples=20)
    )  # not seconds of them
    with settings(words, variables), stdin, resamplings, redirect_stdout(piped), redirect_stderr(printed):
        code = run(words if words[0] == "weights" else [with_mini(word) for word in words])
    return _Stage(code, _content(printed), _content(piped))


@contextmanager
def settings(words: Sequence[str], variables: Mapping[str, str]) -> Iterator[None]:
    """The environment of a command; --offline stands for a machine to which nothing was brought."""
    chosen = SETTINGS | {"GLIP_CACHE": str(Path.cwd() / ".cache" / "glip")}
    if words[:1] == ["finetune"]:
        chosen |= SHORT_TRAINING
    taggers = [] if "--offline" in words else [str(SHARED / "nltk_data")]
    own = {key: value for key, value in os.environ.items() if not key.startswith("GLIP_")}
    environment = mock.patch.dict(os.environ, own | chosen | dict(variables), clear=True)
    with environment, mock.patch.object(nltk.data, "path", taggers):
        yield


def with_mini(word: str) -> str:
    """glip-mini in the place of a released model."""
    return MINI if word in registry.names() and not registry.find(word).embedded else word


def _content(stream: io.TextIOWrapper) -> str:
    buffer = stream.buffer
    assert isinstance(buffer, io.BytesIO)
    return buffer.getvalue().decode()


def line(text: str) -> Ran:
    """A command line that no page shows."""
    return run_line(Command(text, ()))
