"""What is asked, out of Label Studio's requests: the labelling configuration, what an annotator writes, options."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from glip_cli.server.errors import RequestError
from glip_cli.server.request import OPTIONS, Question, validated
from glip_cli.utils.text_format import listed, message, one_line, quoted

_KEY = re.compile(r"\$([\w.-]+)")


@dataclass(frozen=True)
class LabelConfig:
    """What a labelling configuration asks for.

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
        """Of the Labels that they stand for, upper and lower case alike; a label without one is its own value."""
        folded = {value.casefold(): value for value in self.values.values()}
        folded |= {word.casefold(): value for word, value in self.values.items()}
        return [self.values.get(label) or folded.get(label.casefold(), label) for label in labels]


def parse_label_config(config: str) -> LabelConfig:
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
    return LabelConfig(from_name, to_name, key[1], values)


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


def parse_extra_params(given: object) -> dict[str, Any]:
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
    validated(Question, extra, "extra_params: ")
    return extra


def prompt_texts(context: object) -> list[str]:
    """What the annotator wrote in TextAreas, out of the context of an interactive request."""
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
