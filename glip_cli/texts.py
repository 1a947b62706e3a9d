"""What `--texts` means: typed values in, labels out, each exactly as typed.

    "cat . remote ."      one value with dots is split as mmdetection does
    "cat, remote"         one value with commas and no such dots is split at them
    "cat" "st. bernard"   several values: each is one label, whatever it holds
    @labels.txt           one label per line; blank lines and lines that begin with # are passed over
    $: coco               a class list of the package

Nothing inside (), [] or {} is split. One value that is a single label and holds a word of sentences, "two cats on a
couch", is rather a caption: `sentence_of` tells, and the command line asks it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from glip_cli.errors import PromptError

BRACKETED = re.compile(r"\(.*\)")
"""A remark as mmdetection takes it away: from the first "(" to the last ")"."""
NAMED_LISTS = ("coco", "lvis", "objects365")
_SENTENCE_WORDS = frozenset(
    "a an the this that these those there is are was were be being am has have and or with without in inside on onto "
    "at under over above below behind beside near next between from by to into while who which".split()
)
"""Articles, prepositions and the like: of the 1,596 names of the package's class lists one has any outside brackets."""
_PAIRS = {")": "(", "]": "[", "}": "{"}
_QUOTED_LENGTH = 60
_MOST_CHARACTERS = 16_000_000  # of a file of labels: a device, as /dev/zero, has no end


def parse_texts(texts: Sequence[str]) -> tuple[str, ...]:
    """The labels that the values of `--texts` stand for, in order, duplicates kept.

    Raises PromptError for a value that is no text, an unknown list, a file that cannot be read, or no label at all.
    """
    values = (texts,) if isinstance(texts, str) else tuple(texts)
    alone = len(values) == 1
    labels = tuple(label for place, value in enumerate(values, 1) for label in _expand(value, place, alone))
    if not labels:
        given = quoted(values[0]) if alone else "--texts"
        raise PromptError(f'no label in {given}; write them like "cat . remote ." or "cat, remote"')
    return labels


def sentence_of(texts: Sequence[str]) -> str | None:
    """The one value of `texts`, without outer blanks, where it reads like a caption; None where it is labels.

    "of" is no sign of a sentence (a glass of wine is a thing), nor are words in round brackets, which the model does
    not read. Values with separators, files and class lists are labels always. Raises as `parse_texts`.
    """
    text = check_text(texts[0], "text 1").strip() if len(texts) == 1 else ""
    if text.startswith(("@", "$:")) or not text:
        return None
    words = {word.strip(".,;:!?\"'").casefold() for word in BRACKETED.sub("", text).split()}
    return text if words & _SENTENCE_WORDS and len(words) > 1 and len(parse_texts(texts)) == 1 else None


def check_text(text: object, what: str) -> str:
    """Return `text` if it is a str of whole characters; `what` names it in the PromptError otherwise."""
    if not isinstance(text, str):
        raise PromptError(f"{what} is not a text but {type(text).__name__}: {quoted(text)}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(f"{what} is not valid Unicode: {quoted(text)}") from error
    return text


def quoted(value: object) -> str:
    """`value` for a one-line message: escaped, in quotes, shortened in the middle."""
    full = repr(value)
    if len(full) <= _QUOTED_LENGTH:
        return full
    half = _QUOTED_LENGTH // 2 - 2
    return f"{full[:half]}...{full[-half:]}"


def _expand(value: str, place: int, alone: bool) -> list[str]:
    text = check_text(value, f"text {place}").strip()
    if text.startswith("@"):
        return _file_labels(text[1:].strip())
    if text.startswith("$:"):
        return _named_labels(text[2:].strip())
    if alone:
        return _split(text)
    if not text:
        raise PromptError(f"text {place} is empty; leave it out or write a label")
    return [text]


def _file_labels(name: str) -> list[str]:
    try:
        with Path(name).expanduser().open(encoding="utf-8-sig") as file:
            content = file.read(_MOST_CHARACTERS + 1)
    except (OSError, RuntimeError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise PromptError(f"cannot read labels from {quoted(name)}: {reason}") from error
    if len(content) > _MOST_CHARACTERS:
        raise PromptError(f"{quoted(name)} is no list of labels: it has more than {_MOST_CHARACTERS:,} characters")
    # Not splitlines: a label may hold one of the rarer characters that it takes for line ends.
    labels = [line.strip() for line in content.split("\n")]
    labels = [label for label in labels if label and not label.startswith("#")]
    if not labels:
        raise PromptError(f"no label in the file {quoted(name)}; write one per line")
    return labels


def _named_labels(name: str) -> list[str]:
    if name not in NAMED_LISTS:
        raise PromptError(f"no class list {quoted(name)}; there are {', '.join(NAMED_LISTS)}")
    content = files("glip_cli").joinpath("names", f"{name}.txt").read_text(encoding="utf-8")
    # Nothing is stripped: some names of Objects365 end in a blank.
    return content.removesuffix("\n").split("\n")


def _split(text: str) -> list[str]:
    """Split at dots that a blank follows (mmdet/models/detectors/glip.py, custom_entities), or else at commas."""
    if text.endswith(".") or _full_stops(text):
        text = text.strip(". ")
        cuts = _full_stops(text)
    else:
        cuts = [i for i in _outside_brackets(text) if text[i] == ","]
    edges = zip([0, *(cut + 1 for cut in cuts)], [*cuts, len(text)], strict=True)
    parts = [text[begin:end].strip() for begin, end in edges]
    return [part for part in parts if part]


def _full_stops(text: str) -> list[int]:
    return [i for i in _outside_brackets(text) if text[i] == "." and text[i + 1 : i + 2].isspace()]


def _outside_brackets(text: str) -> list[int]:
    """The places of `text` that no bracket encloses: all of them where brackets do not match, as in ":( , :)"."""
    outside = []
    open_brackets: list[str] = []
    for i, char in enumerate(text):
        if char in _PAIRS.values():
            open_brackets.append(char)
        elif char in _PAIRS and (not open_brackets or open_brackets.pop() != _PAIRS[char]):
            return list(range(len(text)))
        elif not open_brackets:
            outside.append(i)
    return list(range(len(text))) if open_brackets else outside
