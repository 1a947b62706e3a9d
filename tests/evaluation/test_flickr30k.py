"""Flickr30k Entities: the files with their oddities, and recall@k by hand and against the plain definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_cli.errors import DataError
from glip_cli.evaluation.flickr30k import ScoredPhrase, ScoredSentence, boxes_of, flickr_items, item_prompt, recall
from glip_cli.evaluation.flickr30k_text import Box, MarkedPhrase, read_boxes, read_sentences
from glip_cli.outputs.records import record
from glip_cli.types import Detections
from tests.shared import shared

XML = """<annotation><filename>1.jpg</filename><size><width>40</width><height>30</height><depth>3</depth></size>
<object><name>1</name><bndbox><xmin>0</xmin><ymin>0</ymin><xmax>10</xmax><ymax>10</ymax></bndbox></object>
<!-- a comment between two objects -->
<object><name>1</name><name>2</name>
<bndbox><xmin>20</xmin><ymin>10</ymin><xmax>30</xmax><ymax>20</ymax></bndbox></object>
<object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>
<object><name>4</name><scene>0</scene><nobndbox>1</nobndbox></object>
</annotation>"""
SENTENCES = """[/EN#1/people Two men] with [/EN#2/clothing/other a red hat] in [/EN#3/scene the yard] .
He sees [/EN#0/notvisual it] .

A dog follows [/EN#1/people The men] .
"""


def dataset(root: Path, names: tuple[str, ...] = ("1",), sentences: str = SENTENCES, xml: str = XML) -> Path:
    """A data set as microsoft/GLIP has it, of images that share sentences and boxes."""
    entities, images = root / "flickr30k", root / "flickr30k_images" / "val"
    for folder in (entities / "Sentences", entities / "Annotations", images):
        folder.mkdir(parents=True)
    (entities / "val.txt").write_text("".join(f"{name}\n" for name in names))
    for name in names:
        (entities / "Sentences" / f"{name}.txt").write_text(sentences, encoding="utf-8")
        (entities / "Annotations" / f"{name}.xml").write_text(xml)
        (images / f"{name}.jpg").touch()
    return root


def sentence_file(folder: Path, text: str) -> Path:
    path = folder / "sentences.txt"
    path.write_text(text, encoding="utf-8")
    return path


# --- sentences


def test_a_sentence_without_its_markup(tmp_path: Path) -> None:
    first, second, third = read_sentences(sentence_file(tmp_path, SENTENCES))
    assert first.text == "Two men with a red hat in the yard ."
    assert first.phrases == (
        MarkedPhrase("Two men", (0, 7), "1", ("people",)),
        MarkedPhrase("a red hat", (13, 22), "2", ("clothing", "other")),
        MarkedPhrase("the yard", (26, 34), "3", ("scene",)),
    )
    assert second.text == "He sees it ."
    assert second.phrases == (MarkedPhrase("it", (8, 10), "0", ("notvisual",)),)
    assert third.phrases[0].text == "The men"


def test_blanks_are_one_and_an_empty_phrase_is_none(tmp_path: Path) -> None:
    text = "A\u00a0 [/EN#5/animals  big   dog] \t runs [/EN#6/other ] off [/EN#7/other]\r\n"
    (sentence,) = read_sentences(sentence_file(tmp_path, text))
    assert sentence.text == "A big dog runs off"
    assert sentence.phrases == (MarkedPhrase("big dog", (2, 9), "5", ("animals",)),)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("A [/EN#1/people man", "line 1: a phrase is not closed"),
        ("A [/EN#1/people man in [/EN#2/clothing a hat]", "line 1: a phrase begins inside another"),
        ("A [man] runs", r"line 1: '\[man\]' opens no phrase"),
        ("A [/EN#1 man]", "opens no phrase"),
        ("A [/EN#/people man]", "opens no phrase"),
        ("A [/EN#1/people/ man]", "opens no phrase"),
        ("A man .\n\nA [/EN#1/people man", "line 3: a phrase is not closed"),
    ],
)
def test_broken_markup_is_named(tmp_path: Path, line: str, complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as caught:
        read_sentences(sentence_file(tmp_path, line))
    assert "\n" not in str(caught.value)


def test_the_shared_sentences() -> None:
    folder = shared("data/eval/flickr30k/Sentences")
    found = {path.stem: read_sentences(path) for path in sorted(folder.glob("*.txt"))}
    assert {name: len(sentences) for name, sentences in found.items()} == {
        "1000092795": 5,
        "4945942737": 5,
        "6338542128": 5,
    }
    assert found["1000092795"][1].text == "Two young , White males are outside near many bushes ."
    assert found["1000092795"][1].phrases[0] == MarkedPhrase("Two young , White males", (0, 23), "1", ("people",))
    football = found["6338542128"]
    assert football[4].text.startswith("# 8 for Iowa State stiff arms a Texas AM player")
    assert football[4].phrases[0] == MarkedPhrase("# 8", (0, 3), "253073", ("other",))
    assert football[4].phrases[-1].chain == "0"
    assert football[4].phrases[-1].types == ("notvisual",)
    for sentences in found.values():
        for sentence in sentences:
            assert "[" not in sentence.text
            assert all(sentence.text[begin:end] == p.text for p in sentence.phrases for begin, end in [p.span])


_WORD = st.text(st.characters(codec="utf-8", exclude_characters="[]"), min_size=1, max_size=6).filter(
    lambda word: word.split() == [word]
)
_PIECE = st.tuples(st.lists(_WORD, min_size=1, max_size=3), st.booleans())


@given(st.lists(_PIECE, min_size=1, max_size=6))
def test_spans_are_right_whatever_the_words(tmp_path_factory: pytest.TempPathFactory, pieces: list) -> None:  # type: ignore[type-arg]
    marked = [
        f"[/EN#{i}/people/other {' '.join(w)}]" if is_phrase else " ".join(w) for i, (w, is_phrase) in enumerate(pieces)
    ]
    path = sentence_file(tmp_path_factory.getbasetemp(), " ".join(marked))
    (sentence,) = read_sentences(path)
    assert sentence.text == " ".join(" ".join(w) for w, _ in pieces)
    wanted = [(str(i), " ".join(w)) for i, (w, is_phrase) in enumerate(pieces) if is_phrase]
    assert [(phrase.chain, phrase.text) for phrase in sentence.phrases] == wanted
    assert [sentence.text[slice(*phrase.span)] for phrase in sentence.phrases] == [text for _, text in wanted]


# --- boxes


def test_boxes_by_chain(tmp_path: Path) -> None:
    path = tmp_path / "1.xml"
    path.write_text(XML)
    found = read_boxes(path)
    assert found == {"1": ((0, 0, 10, 10), (20, 10, 30, 20)), "2": ((20, 10, 30, 20),)}


def test_the_shared_boxes() -> None:
    """One object of two names, one chain of two boxes, one without a box, a comment."""
    found = read_boxes(shared("data/eval/flickr30k/Annotations/1000092795.xml"))
    assert found == {
        "1": ((159, 125, 219, 335), (197, 110, 261, 373)),
        "4": ((1, 220, 211, 473), (276, 215, 332, 337)),
        "6": ((197, 110, 261, 373),),
    }


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("</annotation>", "", "not a whole xml file"),
        ("<xmin>20</xmin>", "", "<xmin> is None, not a whole number"),
        ("<xmax>10</xmax>", "<xmax>ten</xmax>", "<xmax> is 'ten'"),
        ("<xmax>10</xmax>", "<xmax></xmax>", "<xmax> is ''"),
    ],
)
def test_broken_boxes_are_named(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    path = tmp_path / "1.xml"
    path.write_text(XML.replace(old, new))
    with pytest.raises(DataError, match=complaint) as caught:
        read_boxes(path)
    assert str(path) in str(caught.value)


def test_files_that_are_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"7\.txt: cannot be read \(No such file"):
        read_sentences(tmp_path / "7.txt")
    (tmp_path / "8.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="not UTF-8"):
        read_sentences(tmp_path / "8.txt")


# --- items


def test_items_hold_what_is_scored(tmp_path: Path) -> None:
    """`the yard` has no box, `it` no chain; the sentence that has nothing else is left out."""
    first, second = flickr_items(dataset(tmp_path), "val")
    assert first.image == tmp_path / "flickr30k_images" / "val" / "1.jpg"
    assert (first.image_id, first.sentence, second.sentence) == ("1", 0, 2)
    assert [one.phrase.text for one in first.phrases] == ["Two men", "a red hat"]
    assert first.phrases[0].boxes == ((0, 0, 10, 10), (20, 10, 30, 20))
    assert first.phrases[1].boxes == ((20, 10, 30, 20),)


def test_the_prompt_is_the_sentence(tmp_path: Path) -> None:
    first, second = (item_prompt(item) for item in flickr_items(dataset(tmp_path), "val"))
    assert first.text == "Two men with a red hat in the yard ."
    assert first.labels == ("Two men", "a red hat")
    assert first.spans == (((0, 7),), ((13, 22),))
    assert second.labels == ("The men",)  # upper case stays


def test_the_order_is_that_of_the_split(tmp_path: Path) -> None:
    root = dataset(tmp_path, ("9", "10", "8"))
    assert [item.image_id for item in flickr_items(root, "val")] == ["9", "9", "10", "10", "8", "8"]


def test_the_inner_folder_and_named_images_will_do(tmp_path: Path) -> None:
    root = dataset(tmp_path / "data")
    assert len(list(flickr_items(root / "flickr30k", "val"))) == 2
    (root / "flickr30k_images").rename(tmp_path / "elsewhere")
    items = list(flickr_items(root, "val", images=tmp_path / "elsewhere"))
    assert items[0].image == tmp_path / "elsewhere" / "val" / "1.jpg"
    items = list(flickr_items(root, "val", images=tmp_path / "elsewhere" / "val"))
    assert items[0].image == tmp_path / "elsewhere" / "val" / "1.jpg"


def test_what_is_missing_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no Flickr30k Entities here"):
        flickr_items(tmp_path, "val")
    root = dataset(tmp_path)
    with pytest.raises(DataError, match=r"there is no test\.txt; splits there: 'val'"):
        flickr_items(root, "test")
    with pytest.raises(DataError, match=r"no image 1\.jpg there"):
        flickr_items(root, "val", images=tmp_path)
    (root / "flickr30k" / "val.txt").write_text("1\n../../secret\n")
    with pytest.raises(DataError, match=r'val\.txt: "\.\./\.\./secret" leads out of the folder'):
        flickr_items(root, "val")
    (root / "flickr30k" / "val.txt").write_text("\n")
    with pytest.raises(DataError, match="names no image"):
        flickr_items(root, "val")


def test_the_shared_folder(tmp_path: Path) -> None:
    """Its one image with both files, by a split of its own; the chains 1, 4 and 6 have boxes."""
    source = shared("data/eval/flickr30k")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1000092795.jpg").touch()
    for name in ("Sentences", "Annotations"):
        (tmp_path / name).symlink_to(source / name)
    (tmp_path / "one.txt").write_text("1000092795")
    items = list(flickr_items(tmp_path, "one"))
    assert [[one.phrase.text for one in item.phrases] for item in items] == [
        ["Two young guys"],
        ["Two young , White males", "many bushes"],
        ["Two men"],
        ["A man"],
        ["Two friends"],
    ]


# --- recall

SQUARE: Box = (0, 0, 10, 10)
FAR: Box = (50, 50, 60, 60)
HALF: Box = (0, 0, 10, 5)  # IoU with SQUARE: 50 / 100
LESS: Box = (0, 0, 10, 4.99)


def item(*phrases: tuple[str, tuple[Box, ...]]) -> ScoredSentence:
    """An item from (types joined by /, boxes) of its phrases."""
    made = (ScoredPhrase(MarkedPhrase("x", (0, 1), "1", tuple(kinds.split("/"))), boxes) for kinds, boxes in phrases)
    return ScoredSentence(Path("1.jpg"), "1", 0, "x", tuple(made))


def test_recall_by_hand() -> None:
    """Four phrases: hit at rank 1, at rank 3, at rank 11, and without any box."""
    items = [
        item(("people", (SQUARE,)), ("people/other", (SQUARE, FAR))),
        item(("scene", (SQUARE,)), ("other", (FAR,))),
    ]
    predictions = [[[SQUARE, FAR], [LESS, LESS, FAR]], [[FAR] * 10 + [SQUARE], []]]
    table = recall(predictions, items)
    assert table.protocol == "any"
    assert table.phrases == {"all": 4, "other": 2, "people": 2, "scene": 1}
    assert table.recall == {
        "Recall@1_all": 1 / 4,
        "Recall@1_other": 0.0,
        "Recall@1_people": 1 / 2,
        "Recall@1_scene": 0.0,
        "Recall@5_all": 2 / 4,
        "Recall@5_other": 1 / 2,
        "Recall@5_people": 1.0,
        "Recall@5_scene": 0.0,
        "Recall@10_all": 2 / 4,
        "Recall@10_other": 1 / 2,
        "Recall@10_people": 1.0,
        "Recall@10_scene": 0.0,
        "Upper_bound_all": 3 / 4,
        "Upper_bound_other": 1 / 2,
        "Upper_bound_people": 1.0,
        "Upper_bound_scene": 1.0,
    }


@pytest.mark.parametrize(("box", "found"), [(HALF, 1.0), (LESS, 0.0), ((0, 0, 0, 0), 0.0), (SQUARE, 1.0)])
def test_half_is_enough_and_pixels_are_not_counted_inclusively(box: Box, found: float) -> None:
    """With the +1 of GLIP's own boxes LESS would count: 11 x 5.99 of 11 x 11 is 0.54."""
    assert recall([[[box]]], [item(("people", (SQUARE,)))]).recall["Recall@1_all"] == found


def test_two_points_do_not_overlap() -> None:
    """Nothing divided by nothing is no hit, and no warning."""
    point: Box = (3, 3, 3, 3)
    assert recall([[[point]]], [item(("people", (point,)))]).recall["Upper_bound_all"] == 0


def test_rank_ten_is_within_ten_and_eleven_is_not() -> None:
    for rank, shares in [
        (1, (1, 1, 1)),
        (2, (0, 1, 1)),
        (5, (0, 1, 1)),
        (6, (0, 0, 1)),
        (10, (0, 0, 1)),
        (11, (0, 0, 0)),
    ]:
        table = recall([[[FAR] * (rank - 1) + [SQUARE]]], [item(("people", (SQUARE,)))])
        assert tuple(table.recall[f"Recall@{k}_all"] for k in (1, 5, 10)) == shares
        assert table.recall["Upper_bound_all"] == 1


def test_protocols_differ_where_a_chain_has_two_boxes() -> None:
    """A box that is half of the hull answers both; one that is less answers its own, and the hull none of the parts."""
    left: Box = (0, 0, 10, 10)
    touching: tuple[Box, ...] = (left, (10, 0, 20, 10))
    apart: tuple[Box, ...] = ((0, 40, 10, 50), (40, 0, 50, 10))
    hull: Box = (0, 0, 50, 50)

    def share(box: Box, boxes: tuple[Box, ...], protocol: str) -> float:
        return recall([[[box]]], [item(("people", boxes))], protocol).recall["Recall@1_all"]

    assert [share(left, touching, protocol) for protocol in ("any", "merged")] == [1, 1]
    assert [share(apart[0], apart, protocol) for protocol in ("any", "merged")] == [1, 0]
    assert [share(hull, apart, protocol) for protocol in ("any", "merged")] == [0, 1]


def test_what_cannot_be_scored() -> None:
    with pytest.raises(DataError, match="no protocol 'all'; there are any and merged"):
        recall([], [], "all")
    with pytest.raises(DataError, match="nothing to score"):
        recall([], [])
    one = item(("people", (SQUARE,)))
    with pytest.raises(ValueError, match="zip"):
        recall([], [one])
    with pytest.raises(ValueError, match="zip"):
        recall([[[SQUARE], [SQUARE]]], [one])


_SIDE = st.integers(1, 6)
_BOX = st.tuples(st.integers(0, 6), st.integers(0, 6), _SIDE, _SIDE).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
_KINDS = st.sampled_from(["people", "scene", "people/other", "animals"])
_PHRASE = st.tuples(_KINDS, st.lists(_BOX, min_size=1, max_size=3).map(tuple), st.lists(_BOX, max_size=14))


def cells(box: Box) -> set[tuple[int, int]]:
    """The pixels of a box with whole corners."""
    x1, y1, x2, y2 = map(int, box)
    return {(x, y) for x in range(x1, x2) for y in range(y1, y2)}


def overlaps(a: Box, b: Box) -> bool:
    """IoU >= 1/2 by counting."""
    return 2 * len(cells(a) & cells(b)) >= len(cells(a) | cells(b))


@given(st.lists(st.lists(_PHRASE, min_size=1, max_size=3), min_size=1, max_size=4))
def test_recall_is_its_definition(sentences: list[list[tuple[str, tuple[Box, ...], list[Box]]]]) -> None:
    items = [item(*((kinds, boxes) for kinds, boxes, _ in sentence)) for sentence in sentences]
    table = recall([[found for *_, found in sentence] for sentence in sentences], items)
    flat = [phrase for sentence in sentences for phrase in sentence]
    assert table.phrases["all"] == len(flat)
    for kind in table.phrases:
        of_kind = [(boxes, found) for kinds, boxes, found in flat if kind == "all" or kind in kinds.split("/")]
        assert table.phrases[kind] == len(of_kind)
        for name, k in [("Recall@1", 1), ("Recall@5", 5), ("Recall@10", 10), ("Upper_bound", 99)]:
            hits = sum(any(overlaps(box, wanted) for box in found[:k] for wanted in boxes) for boxes, found in of_kind)
            assert table.recall[f"{name}_{kind}"] == hits / len(of_kind)
        ladder = [table.recall[f"{name}_{kind}"] for name in ("Recall@1", "Recall@5", "Recall@10", "Upper_bound")]
        assert ladder == sorted(ladder)


@given(st.lists(_PHRASE, min_size=1, max_size=4))
def test_one_box_per_chain_makes_the_protocols_one(phrases: list[tuple[str, tuple[Box, ...], list[Box]]]) -> None:
    one = item(*((kinds, boxes[:1]) for kinds, boxes, _ in phrases))
    found = [[boxes for *_, boxes in phrases]]
    assert recall(found, [one], "any").recall == recall(found, [one], "merged").recall


def test_boxes_of_detections_go_to_their_phrases() -> None:
    detections = Detections(
        boxes=np.array([SQUARE, FAR, HALF], np.float32),
        scores=np.array([0.9, 0.8, 0.7], np.float32),
        label_ids=np.array([2, 0, 2]),
        labels=("a", "b", "c"),
        spans=((0, 1), (2, 3), (4, 5)),
        text="a b c",
        size=(100, 100),
    )
    a, b, c = boxes_of(record("a.jpg", detections, "glip"), 3)
    assert (a.tolist(), b.shape, c.tolist()) == ([[*FAR]], (0, 4), [[*SQUARE], [*HALF]])
    table = recall([(a, b, c)], [item(("people", (FAR,)), ("scene", (FAR,)), ("other", (HALF,)))])
    assert [table.recall[f"Recall@1_{kind}"] for kind in ("people", "scene", "other")] == [1, 0, 1]
