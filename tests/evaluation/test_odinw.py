"""ODinW: the definitions against their source, the exact texts, the files, the tables."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_cli.cli.evaluate_datasets import failed_in
from glip_cli.errors import UsageError
from glip_cli.evaluation.ground_truth import read_ground_truth
from glip_cli.evaluation.odinw import OdinwSet, evalai_json, locate, odinw_prompt, odinw_sets, published
from glip_cli.evaluation.outputs import odinw_table, write_odinw
from glip_cli.evaluation.run import EvalResult
from glip_cli.evaluation.scores import coco_scores
from glip_cli.types import Span
from tests.evaluation.datasets import read, two_images
from tests.shared import shared

AQUARIUM = "Aquarium_Aquarium_Combined.v2-raw-1024.coco"
CHESS = "ChessPieces_Chess_Pieces.v23-raw.coco"
MUSHROOMS = "NorthAmericaMushrooms_North_American_Mushrooms.v1-416x416.coco"
BOTH = [pytest.param(one, id=f"{which}-{one.title}") for which in (13, 35) for one in odinw_sets(which)]


def named(name: str, which: int = 35) -> OdinwSet:
    return next(one for one in odinw_sets(which) if one.name == name)


def words(dataset: OdinwSet) -> list[str]:
    """What stands under each label's span."""
    prompt = odinw_prompt(dataset).prompt
    return [" ".join(prompt.text[begin:end] for begin, end in spans) for spans in prompt.spans]


# --- the definitions


@pytest.mark.parametrize("which", [13, 35])
def test_names_ids_and_prompts_are_those_of_the_configs(which: int) -> None:
    source = json.loads(shared(f"data/names/odinw_{which}.json").read_text(encoding="utf-8"))
    source.pop("plantdoc_100x100", None)  # has a config, but is not in _all.json
    assert {one.name for one in odinw_sets(which)} == set(source)
    for one in odinw_sets(which):
        wanted = source[one.name]
        assert list(one.labels) == wanted["names"]
        assert list(one.category_ids) == wanted["ids"]
        parts = [(part["prefix"], part["name"], part["suffix"]) for part in wanted.get("caption_prompt", [])]
        assert list(one.caption_prompt) == parts


@pytest.mark.parametrize("which", [13, 35])
def test_files_are_those_of_the_configs(which: int) -> None:
    """The tables of the reference: | yaml | names | prompt | DATASETS.TEST | NUM_CLASSES | test ann_file |"""
    text = shared("REFERENCE.md").read_text(encoding="utf-8").split(f"#### configs/odinw_{which}\n")[1].split("####")[0]
    rows = [[cell.strip() for cell in line.split("|")] for line in text.splitlines()]
    table = {row[1]: row for row in rows if len(row) == 8 and row[6].startswith("odinw/")}
    table.pop("plantdoc_100x100", None)
    assert {one.name: one.annotation for one in odinw_sets(which)} == {name: row[6] for name, row in table.items()}
    assert {one.name for one in odinw_sets(which) if one.minival} == {
        name for name, row in table.items() if row[4] == "minival"
    }


def test_the_13_are_among_the_35() -> None:
    assert [len(odinw_sets(which)) for which in (13, 35)] == [13, 35]
    assert {one.name for one in odinw_sets(13)} < {one.name for one in odinw_sets(35)}
    assert {one.annotation for one in odinw_sets(13)} < {one.annotation for one in odinw_sets(35)}


@pytest.mark.parametrize("which", [13, 35])
def test_what_must_tell_sets_apart_does(which: int) -> None:
    sets = odinw_sets(which)
    for values in ([one.name for one in sets], [one.title for one in sets], [one.annotation for one in sets]):
        assert len(set(values)) == which


@pytest.mark.parametrize("one", BOTH)
def test_a_set_is_whole(one: OdinwSet) -> None:
    assert len(one.labels) == len(one.category_ids) == len(set(one.category_ids)) > 0
    assert one.names[one.category_ids[-1]] == one.labels[-1]
    assert len(one.caption_prompt) in (0, len(one.labels))
    for path in (one.annotation, one.val, one.minival or one.val):
        assert path.startswith("odinw/")
        assert path.endswith("annotations_without_background.json")
    assert (one.val == one.annotation) == (one.title == "PascalVOC")  # which has no test split


def test_the_benchmarks_ask_differently() -> None:
    assert named("CottontailRabbits", 13).labels == ("Cottontail-Rabbit",)
    assert named("CottontailRabbits", 35).labels == ("rabbit",)
    assert named(MUSHROOMS, 13).labels == ("CoW", "chanterelle")
    assert named(MUSHROOMS, 35).labels == ("flat mushroom", "yellow mushroom")
    assert not any(one.caption_prompt for one in odinw_sets(13))
    with_prompt = {one.title for one in odinw_sets(35) if one.caption_prompt}
    assert with_prompt == {"Aquarium", "EgoHands", "Packages", "Pothole"}


@pytest.mark.parametrize("which", [0, 14, 36])
def test_no_other_benchmark(which: int) -> None:
    with pytest.raises(UsageError, match=f"no ODinW-{which}; there are ODinW-13 and ODinW-35"):
        odinw_sets(which)


# --- prompts


def test_the_text_of_aquarium() -> None:
    """Put together by hand from CAPTION_PROMPT: prefix + name + suffix, ". " between, nothing after the last."""
    asked = odinw_prompt(named(AQUARIUM))
    assert asked.prompt.text == (
        " fish. jellyfish. penguin , which is black and white. puffin with orange beaks . shark. starfish. "
        "stingray which is flat and round"
    )
    assert asked.prompt.labels == ("fish", "jellyfish", "penguin", "puffin", "shark", "starfish", "stingray")
    assert asked.prompt.spans[0] == ((1, 5),)
    assert asked.prompt.spans[2] == ((18, 25),)
    assert words(named(AQUARIUM)) == list(asked.prompt.labels)
    assert asked.category_ids == (1, 2, 3, 4, 5, 6, 7)
    assert asked.prompt.is_caption  # not to be cut into several texts


@pytest.mark.parametrize(
    ("name", "text", "span", "label"),
    [
        ("EgoHands_generic", " hand of a person", (1, 5), "hand"),
        ("Packages_Raw", "there is a package on the porch", (11, 18), "package"),
        ("pothole", "there are some holes on the road", (15, 20), "pothole"),
    ],
)
def test_the_other_manual_prompts(name: str, text: str, span: Span, label: str) -> None:
    prompt = odinw_prompt(named(name)).prompt
    assert (prompt.text, prompt.spans, prompt.labels) == (text, ((span,),), (label,))


def test_the_13_are_asked_by_name() -> None:
    prompt = odinw_prompt(named(AQUARIUM, 13)).prompt
    assert prompt.text == "fish. jellyfish. penguin. puffin. shark. starfish. stingray"
    assert not prompt.is_caption


def test_a_class_of_blanks_is_left_out() -> None:
    asked = odinw_prompt(named(CHESS))
    assert named(CHESS).labels[0] == "  "
    assert asked.prompt.text.startswith("black bishop. black king. ")
    assert len(asked.prompt.labels) == 12
    assert asked.category_ids == tuple(range(2, 14))


@pytest.mark.parametrize("one", BOTH)
def test_each_label_has_its_category(one: OdinwSet) -> None:
    asked = odinw_prompt(one)
    assert [one.names[category] for category in asked.category_ids] == list(asked.prompt.labels)
    assert set(asked.category_ids) == {number for number, name in one.names.items() if name.strip()}


@pytest.mark.parametrize("one", BOTH)
def test_the_ground_truth_agrees_with_the_prompt(one: OdinwSet, tmp_path: Path) -> None:
    """Under the names of the set, whatever the json calls its classes."""
    path = tmp_path / "annotations_without_background.json"
    categories = [{"id": category, "name": f"raw {category}"} for category in one.category_ids]
    images = [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 4}]
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": categories}))
    truth = read_ground_truth(path, names=one.names)
    asked = odinw_prompt(one)
    assert tuple(category.id for category in truth.promptable) == asked.category_ids
    assert truth.labels == asked.prompt.labels


_WORDS = st.text(st.characters(codec="utf-8"), max_size=8)
_PARTS = st.lists(st.tuples(_WORDS, _WORDS.filter(str.strip), _WORDS), min_size=1, max_size=6)


@given(_PARTS)
def test_spans_cover_the_names_and_nothing_is_lost(parts: list[tuple[str, str, str]]) -> None:
    labels = tuple(f"class {i}" for i in range(len(parts)))
    ids = tuple(range(10, 10 + len(parts)))
    one = OdinwSet("n", "t", labels, ids, tuple(parts), "odinw/a.json", "odinw/b.json")
    prompt = odinw_prompt(one).prompt
    assert words(one) == [name for _, name, _ in parts]
    assert prompt.labels == labels
    assert prompt.text == ". ".join(prefix + name + suffix for prefix, name, suffix in parts)


# --- files


def test_locate_takes_the_folder_above_and_the_folder_itself(tmp_path: Path) -> None:
    one = named(AQUARIUM)
    assert locate(one, tmp_path) is None
    file = tmp_path / "odinw" / "Aquarium" / "Aquarium Combined.v2-raw-1024.coco" / "test"
    file.mkdir(parents=True)
    assert locate(one, tmp_path) is None
    file = file / "annotations_without_background.json"
    file.touch()
    assert locate(one, tmp_path) == file
    assert locate(one, tmp_path / "odinw") == file
    assert locate(one, tmp_path, "val") is None
    assert locate(named("pothole"), tmp_path) is None


def test_splits() -> None:
    hands = named("EgoHands_generic")
    assert hands.file("test") == hands.annotation == "odinw/EgoHands/generic/test/annotations_without_background.json"
    assert hands.file("val") == "odinw/EgoHands/generic/valid/annotations_without_background.json"
    assert hands.file("minival") == "odinw/EgoHands/generic/mini_val/annotations_without_background.json"
    pistols = named("pistols_export")
    assert pistols.file("val") == "odinw/pistols/export/val_annotations_without_background.json"
    with pytest.raises(UsageError, match=r"pistols_export has no split 'minival'; there are test, val$"):
        locate(pistols, Path(), "minival")
    with pytest.raises(UsageError, match=r"has no split 'train'; there are test, val, minival$"):
        hands.file("train")


# --- tables


def test_the_mean_is_over_what_is_there() -> None:
    table = odinw_table({AQUARIUM: 0.2, "pothole": 0.1, "PascalVOC": -1.0}, odinw_sets(13), 13, "glip-mini")
    measured = {row.cells[0]: row.cells[1] for row in table.rows if row.cells[1] is not None}
    assert measured == {"Aquarium": 0.2, "Pothole": 0.1, "PascalVOC": "-", "average": pytest.approx(0.15)}
    assert len(table.rows) == 13 + 1
    assert table.note.startswith("average over 2 of 13 sets; absent: AerialDrone, Rabbits, ")


def test_a_mean_of_nothing_and_of_all() -> None:
    sets = odinw_sets(13)
    assert odinw_table({}, sets, 13, "glip-mini").rows[-1].cells[1] is None
    full = odinw_table({one.name: 0.25 for one in sets}, sets, 13, "glip-mini")
    assert (full.rows[-1].cells[1], full.note) == (0.25, "average over 13 of 13 sets")


def test_evalai() -> None:
    result = {"image_id": 3, "category_id": 1, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5, "area": 12.0}
    entry = {key: value for key, value in result.items() if key != "area"}
    made = evalai_json({"pothole": [result], "PascalVOC": []})
    assert made == {"PascalVOC": [], "pothole": [entry]}
    assert json.loads(json.dumps(made)) == made


# --- published values


def test_published_values_say_what_they_are() -> None:
    first, *_ = published("glip-t-c", 13)
    assert (first.value, first.source, first.prompts) == (39.2, "mmdetection", "names")
    paper = next(one for one in published("glip-t-c", 13, AQUARIUM) if one.source == "paper")
    assert (paper.value, paper.prompts) == (22.6, "manual")
    assert [one.prompts for one in published("glip-t-a", 35)] == ["manual", "manual"]
    assert published("glip-t-a-official", 13) == published("glip-t-a", 13)
    assert published("glip-mini", 13) == ()
    assert published("glip-l", 35) == ()
    assert published("glip-t-a", 13, "BCCD_BCCD.v3-raw.coco") == ()


@pytest.mark.parametrize("which", [13, 35])
@pytest.mark.parametrize("model", ["glip-t-a", "glip-t-b", "glip-t-c", "glip-t", "glip-l"])
def test_published_rows_give_the_published_average(which: int, model: str) -> None:
    """Rows have one digit; mmdetection's averages of the 35 are their sum divided by 36."""
    averages = {one.source: one.value for one in published(model, which)}
    for source in set(averages) - {"microsoft"}:
        rows = [one.value for s in odinw_sets(which) for one in published(model, which, s.name) if one.source == source]
        assert len(rows) == which
        assert sum(rows) / (which if which == 13 else 36) == pytest.approx(averages[source], abs=0.1)


def test_every_table_has_a_row_for_every_set() -> None:
    sources = {one.source for one in published("glip-t-a", 13)}
    assert sources == {"mmdetection", "official code", "paper", "microsoft"}
    for one in odinw_sets(13):
        assert {row.source for row in published("glip-t-a", 13, one.name)} == sources - {"microsoft"}


def test_a_set_without_a_box_is_a_dash_and_null(tmp_path: Path) -> None:
    """Of three sets one was measured, one has no box to be found, one is not there."""
    sets = odinw_sets(13)[:3]
    truth = read(tmp_path, two_images())
    scores = coco_scores(truth, [])
    facts = {"model": "glip-mini@0", "failed": "1 of 2 images, scored as nothing found: 1.jpg"}
    runs = {
        one.name: EvalResult(truth, [], scores, facts, {"AP": ap}) for one, ap in zip(sets, (0.5, -1.0), strict=False)
    }
    table = odinw_table({name: run.metrics["AP"] for name, run in runs.items()}, sets, 13, "glip-mini")
    assert [row.cells[1] for row in table.rows] == [0.5, "-", None, 0.5]
    write_odinw(tmp_path / "out", table, {"model": "glip-mini@0", **failed_in(runs)}, runs, report=True, evalai=False)
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == {
        f"AP {sets[0].title}": 0.5,
        f"AP {sets[1].title}": None,
        "average": 0.5,
        "model": "glip-mini@0",
        "failed": f"images of 2 sets, first {sets[0].name}: {facts['failed']}",
    }
