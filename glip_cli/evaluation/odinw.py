"""ODinW, Object Detection in the Wild: its data sets, their prompts, and published results.

The facts are in glip_cli/names/odinw.toml, which says where they come from. The two benchmarks differ in more than
their length: the configs of the 13 ask for the bare class names, those of the 35 use the paper's manual prompts
(Aquarium, EgoHands, Packages, Pothole) and names (Rabbits, Mushrooms).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

from glip_cli.errors import UsageError
from glip_cli.evaluation.boxes import CategoryPrompt
from glip_cli.prompts.prompt import join_names, label_prompt
from glip_cli.types import Prompt
from glip_cli.utils.json import JsonObject

BENCHMARKS = (13, 35)
SPLITS = ("test", "val", "minival")
_MICROSOFT_FILE = "-official"  # ends the names in weights.toml of the same weights in Microsoft's own files
_FOLDER = "odinw/"


@dataclass(frozen=True)
class OdinwSet:
    """One data set.

    Attributes:
        name: of its config, unique; the leaderboard's name.
        title: short name for tables, unique; the paper's where the paper has the set.
        labels: class names in the order of the prompt; not all can be prompted (ChessPieces has one of two blanks).
        category_ids: the COCO category of each label.
        caption_prompt: (prefix, name, suffix) of each class, or nothing where the names stand for themselves.
        annotation: COCO json of the test split, relative to the folder that holds `odinw/`; images lie beside it.
        val, minival: the same for the other splits; `minival` is None where the set has none. The zero-shot command of
            microsoft/GLIP measures `minival`, or else `val`; mmdetection measures `val`.
    """

    name: str
    title: str
    labels: tuple[str, ...]
    category_ids: tuple[int, ...]
    caption_prompt: tuple[tuple[str, str, str], ...]
    annotation: str
    val: str
    minival: str | None = None

    @property
    def names(self) -> dict[int, str]:
        """Category id -> label: what replaces the names in the json."""
        return dict(zip(self.category_ids, self.labels, strict=True))

    def file(self, split: str = "test") -> str:
        """The annotation file of a split, relative; "official" is the one that the zero-shot command measures.

        Raises UsageError for a split that the set does not have.
        """
        official = self.minival or self.val
        files = {"test": self.annotation, "val": self.val, "minival": self.minival, "official": official}
        path = files.get(split)
        if path is None:
            have = [name for name in SPLITS if name != "minival" or self.minival]
            raise UsageError(f"{self.name} has no split {split!r}; there are {', '.join(have)}")
        return path


@dataclass(frozen=True)
class PublishedAP:
    """A published AP in percent, of a set or of the average of a benchmark.

    `prompts` is "names" (class names alone, as `odinw_sets(13)`) or "manual" (as `odinw_sets(35)`); `source` is
    "paper", "microsoft", "mmdetection" or "official code" (see odinw.toml).
    """

    value: float
    source: str
    prompts: str


def odinw_sets(which: int) -> tuple[OdinwSet, ...]:
    """The sets of ODinW-13 (bare names) or ODinW-35 (manual prompts), in the order of the official list.

    Raises UsageError for another number.
    """
    if which not in BENCHMARKS:
        raise UsageError(f"there is no ODinW-{which}; there are ODinW-13 and ODinW-35")
    return tuple(_odinw_set(row, which) for row in _toml()["set"] if which in row["benchmarks"])


def locate(dataset: OdinwSet, root: Path, split: str = "test") -> Path | None:
    """The annotation file of a split below `root`, or None; the images are in its folder.

    `root` is the folder that holds `odinw/`, or that folder itself, whatever it is called.
    """
    relative = dataset.file(split)
    candidates = (root / relative, root / relative.removeprefix(_FOLDER))
    return next((path for path in candidates if path.is_file()), None)


def odinw_prompt(dataset: OdinwSet) -> CategoryPrompt:
    """The prompt of a set: a label for each class but those whose name is blank.

    With a caption prompt it is microsoft/GLIP's (engine/inference.py:178-282): prefix + name + suffix of each class,
    as they stand, joined by ". ". The span of a label is that of the name only ("holes"); the label stays the class
    name ("pothole"). Such a text is one caption: it is never spread over several texts.

    Raises PromptError where no class can be prompted.
    """
    kept = [index for index, label in enumerate(dataset.labels) if label.strip()]
    labels = tuple(dataset.labels[index] for index in kept)
    category_ids = tuple(dataset.category_ids[index] for index in kept)
    if not dataset.caption_prompt:
        return CategoryPrompt(label_prompt(labels), category_ids)
    parts = [dataset.caption_prompt[index] for index in kept]
    text, begins = join_names(["".join(part) for part in parts])
    spans = tuple(
        ((begin + len(prefix), begin + len(prefix) + len(name)),)
        for begin, (prefix, name, _) in zip(begins, parts, strict=True)
    )
    return CategoryPrompt(Prompt(text, labels, spans, is_caption=True), category_ids)


def evalai_json(results_by_set: Mapping[str, Sequence[Mapping[str, object]]]) -> dict[str, list[JsonObject]]:
    """The leaderboard's format (README of microsoft/GLIP, zero-shot and full-shot): set name -> COCO results.

    Entries keep `image_id`, `category_id`, `bbox` ([x, y, width, height], pixels) and `score`, nothing else.
    """
    keys = ("image_id", "category_id", "bbox", "score")
    return {
        one.name: [{key: result[key] for key in keys} for result in results_by_set[one.name]]
        for one in odinw_sets(35)
        if one.name in results_by_set
    }


def published(model: str, which: int, name: str = "average") -> tuple[PublishedAP, ...]:
    """Published zero-shot results of `model` (a name in weights.toml) on a set (by its name), or on average.

    Those that used the prompts of `odinw_sets(which)` come first. Empty where nothing was published.
    """
    title = next((one.title for one in odinw_sets(which) if one.name == name), name)
    model = model.removesuffix(_MICROSOFT_FILE)
    tables = [table for table in _toml()["published"] if table["benchmark"] == which and model in table["models"]]
    found = [
        PublishedAP(table["AP"][title][table["models"].index(model)], table["source"], table["prompts"])
        for table in tables
        if title in table["AP"]
    ]
    ours = "names" if which == 13 else "manual"
    return tuple(sorted(found, key=lambda one: one.prompts != ours))


def _odinw_set(row: JsonObject, which: int) -> OdinwSet:
    labels = tuple(row["names_13"] if which == 13 and "names_13" in row else row["names"])
    parts = tuple((prefix, name, suffix) for prefix, name, suffix in row.get("caption_prompt", ()))
    return OdinwSet(
        name=row["name"],
        title=row["title"],
        labels=labels,
        category_ids=tuple(range(1, len(labels) + 1)),
        caption_prompt=parts if which == 35 else (),
        annotation=row["test"],
        val=row["val"],
        minival=row.get("minival"),
    )


@cache
def _toml() -> JsonObject:
    return tomllib.loads(files("glip_cli").joinpath("names", "odinw.toml").read_text(encoding="utf-8"))
