"""Texts to prompts to tokens: properties first, then goldens of microsoft/GLIP (tests/golden/text-goldens.json).

The goldens need no vocabulary: the file holds the pieces that its texts use, and greedy longest match among them is
greedy longest match in the whole vocabulary, for these texts.
"""

from __future__ import annotations

import json
import time
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from glip_cli.checkpoints import registry
from glip_cli.errors import PromptError
from glip_cli.prompts.chunking import chunk, explain, gather_notes, tokenize, vocabulary_notes
from glip_cli.prompts.labels import ambiguity_notes, parse_texts, sentence_of
from glip_cli.prompts.prompt import caption_prompt, clean_name, display_text, label_prompt, texts_prompt, with_negatives
from glip_cli.prompts.spans import parse_tokens_positive, read_brackets
from glip_cli.prompts.tokenizer import Tokenizer
from glip_cli.types import Prompt
from tests.shared import SHARED

GOLDENS = json.loads((Path(__file__).parents[1] / "golden" / "text-goldens.json").read_text(encoding="utf-8"))
BRACKETS_ONLY = "(all in brackets)"
ODD_LABELS = [
    *("Cow/ox", "french fries (food)", "container", "containernumber", "cat", "CAT", "cat", "café", "naïve façade"),
    *("Cigar/Cigarette ", "Formula 1 ", "o ", "o", "Q", "q", "t\\", "cat-British_Shorthair", "U.S. flag", "c++ book"),
    *("bow_(weapon)", "bow_(decorative_ribbons)", BRACKETS_ONLY, "st. bernard", ". . .", "a, b", "new\nline", "50%"),
    *("{0} %s {label}", "[a-z]+", "emoji 😀", "猫", "한국", "[SEP]", "İstanbul", "half_eaten_apple", "()", "_"),
]


def cases(kind: str) -> Any:
    chosen = [case for case in GOLDENS["cases"] if case["kind"] == kind]
    return pytest.mark.parametrize("case", chosen, ids=[case["id"] for case in chosen])


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.from_dir(registry.BERT)


def positive_tokens(case: dict[str, Any]) -> list[tuple[int, ...]]:
    """The golden's token places per label, in the order of the labels (its keys count from 1)."""
    return [tuple(case["positive_tokens"].get(str(label), ())) for label in range(1, len(case["spans"]) + 1)]


def texts_of(prompt: Prompt) -> list[str]:
    return [" ".join(prompt.text[begin:end] for begin, end in spans) for spans in prompt.spans]


# ---------------------------------------------------------------------------------------- what was typed -> labels


@pytest.mark.parametrize(
    ("texts", "labels"),
    [
        (["cat . remote ."], ("cat", "remote")),
        (["cat. remote"], ("cat", "remote")),
        (["cat, remote"], ("cat", "remote")),
        (["cat,,remote ,"], ("cat", "remote")),
        (["cat . . remote . "], ("cat", "remote")),
        (["cat .\nremote ."], ("cat", "remote")),
        (["cat."], ("cat",)),
        (["cat"], ("cat",)),
        (["a.b, c"], ("a.b", "c")),
        (["1,000 bill . cat"], ("1,000 bill", "cat")),
        (["hat (red, blue), cat"], ("hat (red, blue)", "cat")),
        (["bow (St. Paul) . cat ."], ("bow (St. Paul)", "cat")),
        (["smile :(, cat"], ("smile :(", "cat")),
        (["Cat , cat, CAFÉ"], ("Cat", "cat", "CAFÉ")),
        (["cat . remote .", " st. bernard "], ("cat . remote .", "st. bernard")),
        ("cat, remote", ("cat", "remote")),
        (["red square, yellow moon, green ring."], ("red square", "yellow moon", "green ring")),
        (["a.b.c."], ("a", "b", "c")),
        (["cat.remote control."], ("cat", "remote control")),
        (["a; b"], ("a", "b")),
        (["red square, big; moon"], ("red square, big", "moon")),
        (["cat | remote"], ("cat", "remote")),
        (["cat\tremote"], ("cat", "remote")),
        (["cat,\r\nst. bernard\n\n"], ("cat", "st. bernard")),
        (["猫，狗、鸟。"], ("猫", "狗", "鸟")),
        (["猫，大的；狗"], ("猫，大的", "狗")),
        (["猫。狗。"], ("猫", "狗")),
        (["قطة، كلب"], ("قطة", "كلب")),
        (["بلی۔ کتا۔"], ("بلی", "کتا")),
        (["बिल्ली। कुत्ता।"], ("बिल्ली", "कुत्ता")),
        (["Dr. Pepper can, red square"], ("Dr. Pepper can", "red square")),
        (["St. Bernard"], ("St. Bernard",)),
        (["U.S. flag . cat ."], ("U.S. flag", "cat")),
        (["dog, e.g. a poodle"], ("dog", "e.g. a poodle")),
        (["cat . st . dog ."], ("cat", "st", "dog")),
        (["2.5 mm screw."], ("2.5 mm screw",)),
        (["2.5 mm screw, v1.2 board."], ("2.5 mm screw", "v1.2 board")),
        (["node.js"], ("node.js",)),
    ],
)
def test_texts_are_read_as_labels(texts: list[str], labels: tuple[str, ...]) -> None:
    assert parse_texts(texts) == labels


def noted(texts: list[str]) -> tuple[str, ...]:
    return ambiguity_notes(texts, parse_texts(texts))


def test_one_label_that_looks_like_several_is_noted() -> None:
    several = "taken as one label, though it looks like several: "
    assert noted(["red square, moon. star ."]) == (f"{several}'red square, moon'",)
    assert noted(["a, b", "cat", "c; d"]) == (f"{several}'a, b', 'c; d'",)
    assert noted(["cat.dog"]) == (f"{several}'cat.dog'",)
    assert noted(["[cat, dog]"]) == (f"{several}'[cat, dog]'",)
    for texts in (
        ["cat, dog."],
        ["(a) b, (c)"],
        ["[red] cat"],
        ["St. Bernard", "1,000 bill", "2.5 mm screw"],
        ["hat (red, blue)"],
        ["$: lvis"],
    ):
        assert noted(texts) == ()


def test_one_label_that_is_the_name_of_a_file_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("labels.txt").write_text("cat, dog")
    Path("cat").mkdir()
    (note,) = noted(["labels.txt"])
    assert note.startswith("'labels.txt' is taken as a label, and is also a file here: write @ before it")
    assert noted(["cat"]) == ()
    assert noted(["x" * 5000]) == ()
    Path("line.txt").write_text("cat; dog")
    assert "looks like several: 'cat; dog'" in noted(["@line.txt"])[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_a_file_of_labels_in_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "labels.txt"
    mark = "\ufeff" if encoding == "utf-16-le" else ""
    file.write_bytes(f"{mark}# Möbel\r\ncafé\r\n猫\r\n".encode(encoding))
    assert parse_texts([f"@{file}"]) == ("café", "猫")


def test_a_file_of_labels_in_another_encoding_is_one_error(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("café\n".encode("cp1252"))
    with pytest.raises(PromptError, match=r"labels.txt': its text is neither UTF-8 nor UTF-16; save it as UTF-8"):
        parse_texts([f"@{file}"])


def test_a_file_holds_one_label_per_line(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_bytes("\ufeff# comment\r\ncat, tabby\r\n\r\n  st. bernard  \ncafé\u2028bar".encode())
    assert parse_texts([f"@{file}"]) == ("cat, tabby", "st. bernard", "café\u2028bar")
    assert parse_texts(["dog", f"@{file}"])[:2] == ("dog", "cat, tabby")


@pytest.mark.parametrize(("name", "count"), [("coco", 80), ("lvis", 1203), ("objects365", 365)])
def test_class_lists_come_with_the_package(name: str, count: int) -> None:
    labels = parse_texts([f"$: {name}"])
    assert (len(labels), len(set(labels))) == (count, count)
    assert parse_texts(["unicorn", f"$:{name}"]) == ("unicorn", *labels)


def test_class_lists_keep_trailing_blanks() -> None:
    odd = [label for label in parse_texts(["$: objects365"]) if label != label.strip()]
    assert odd == ["Cigar/Cigarette ", "Formula 1 ", "Table Tennis "]


@pytest.mark.parametrize(("name", "source"), [("coco", "coco80"), ("lvis", "lvis_v1"), ("objects365", "objects365_v2")])
def test_class_lists_are_their_source(name: str, source: str) -> None:
    file = SHARED / "data" / "names" / f"{source}.json"
    if not file.is_file():
        pytest.skip(f"the source of the list is not at {file}")
    written = files("glip_cli").joinpath("names", f"{name}.txt").read_bytes()
    assert written == "".join(f"{label}\n" for label in json.loads(file.read_text(encoding="utf-8"))).encode()


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "no label in --texts; write them like"),
        ([""], "no label in ''"),
        ([" . "], "no label in ' . '"),
        ([",,"], "no label in ',,'"),
        (["cat", " "], "text 2 is empty"),
        (["$: imagenet"], "no class list 'imagenet'; there are coco, lvis, objects365"),
        (["$: ../coco"], "no class list"),
        (["@/nowhere/labels.txt"], "cannot read labels from '/nowhere/labels.txt': No such file"),
        (["@."], "cannot read labels from '.'"),
        (["@"], "cannot read labels"),
        (["@a\x00b"], "cannot read labels"),
        (["\udcff"], "not valid Unicode"),
        ([3], "text 1 is not a text but int"),
    ],
)
def test_unreadable_texts_are_one_clear_line(texts: list[Any], message: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse_texts(texts)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_end_is_left() -> None:
    if not Path("/dev/zero").exists():
        pytest.skip("there is no /dev/zero")
    with pytest.raises(PromptError, match="'/dev/zero' is no list of labels: it has more than 16,000,000 characters"):
        parse_texts(["@/dev/zero"])


@pytest.mark.parametrize("content", [b"", b"# only\n\n", b"\xff\xfe\x00"])
def test_a_file_without_labels(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "labels.txt").write_bytes(content)
    with pytest.raises(PromptError, match=r"labels\.txt"):
        parse_texts([f"@{tmp_path / 'labels.txt'}"])


COCO = {"images": [], "categories": [{"id": 1, "name": "cat"}, {"id": 9, "name": "big dog, brown"}]}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", '["cat", "big dog, brown"]'),
        ("a.json", '{"names": ["cat", "big dog, brown"]}'),
        ("a.json", json.dumps(COCO)),
        ("a.txt", '[\n  "cat",\n  "big dog, brown"\n]\n'),
        ("a.yaml", "- cat\n- big dog, brown\n"),
        ("a.yml", "path: x\nnames:\n  0: cat\n  1: big dog, brown\n"),
        ("a.YAML", "names: [cat, 'big dog, brown']\nnc: 2\n"),
        ("a.toml", 'names = ["cat", "big dog, brown"]\n'),
        ("a.csv", 'cat\n"big dog, brown"\n'),
        ("a.csv", 'Label\r\ncat\r\n"big dog, brown"\r\n'),
        ("a.csv", 'id,name\n1,cat\n2,"big dog, brown"\n'),
        ("a.csv", "image;label;x1\na.jpg;cat;1\na.jpg;big dog, brown;2\nb.jpg;cat;3\n"),
        ("a.tsv", "name\tid\ncat\t1\nbig dog, brown\t2\n"),
        ("a", "# a comment\ncat\n\n big dog, brown\n"),
    ],
)
def test_files_of_labels(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, newline="")
    assert parse_texts([f"@{tmp_path / name}"]) == ("cat", "big dog, brown")
    assert parse_texts(["bird", f"@{tmp_path / name}"])[0] == "bird"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "names:\n  10: star\n  2: dog\n  0: cat\n  1: on\n"),
        ("a.json", '{"names": {"2": "dog", "10": "star", "1": "on", "0": "cat"}}'),
        ("a.toml", '[names]\n1 = "on"\n0 = "cat"\n10 = "star"\n2 = "dog"\n'),
    ],
)
def test_classes_of_a_file_come_by_their_numbers_and_a_gap_is_noted(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    prompt = texts_prompt([f"@{path}"])
    assert prompt.labels == ("cat", "on", "dog", "star")
    (note,) = prompt.notes
    assert note.startswith("'star' has number 10 in ")
    assert note.endswith(", and 3 in results, which number labels from 0 without gaps")
    path.write_text(content.replace("10", "3"))
    assert texts_prompt([f"@{path}"]).notes == ()
    assert "'cat' has number 0" in texts_prompt(["bird", f"@{path}"]).notes[0]


def test_a_class_without_a_name_has_a_number(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("names: [cat, '', dog, star]\n")
    prompt = texts_prompt([f"@{tmp_path / 'a.yaml'}"])
    assert prompt.labels == ("cat", "dog", "star")
    assert prompt.notes[0].startswith("'dog' has number 2 in ")
    assert prompt.notes[0].endswith("(and 1 more such labels)")


def test_a_label_in_yaml_is_what_is_typed(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("names:\n- no\n- 007\n- 2020-01-01\n- mug = SKU-0417\n")
    assert parse_texts([f"@{tmp_path / 'a.yaml'}"]) == ("no", "007", "2020-01-01", "mug = SKU-0417")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '["cat"', "a.json': Expecting ',' delimiter"),
        ("a.json", '{"cat": "small cat"}', "no list of labels; write a list of texts, or names: as in YOLO's"),
        ("a.json", '["cat", 3]', "no list of labels"),
        ("a.json", "[" * 100_000, "correct it"),
        ("a.yaml", "names: {cat: 0, dog: 1}", "no list of labels"),
        ("a.yaml", "cat: small cat\n", "no list of labels"),
        ("a.yaml", "cat", "no list of labels"),
        ("a.yaml", "names: [cat", "correct it"),
        ("a.json", json.dumps({"names": {"9" * 5000: "cat"}}), "no list of labels"),
        ("a.yaml", "a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\n", "no list of labels"),
        ("a.toml", "names = ", "correct it"),
        ("a.csv", "/m/011k07,Tortoise\n/m/012074,Magpie\n", "several columns, and its first line calls none name or"),
        ("a.csv", "cat\ndog, brown\n", "several columns"),
        ("a.csv", 'name\n"cat\n', "check its quotes"),
        ("a.csv", "name\n", "no label in the file"),
        ("a.csv", "", "no label in the file"),
        ("a.jsonl", '{"name": "cat"}\n', "labels are not read from jsonl; write one per line into a .txt"),
        ("a.pbtxt", "item {\n  name: 'cat'\n}\n", "labels are not read from pbtxt"),
    ],
)
def test_a_file_of_labels_in_another_way_is_refused(tmp_path: Path, name: str, content: str, said: str) -> None:
    """Its lines would be labels such as "names:"."""
    (tmp_path / name).write_text(content)
    with pytest.raises(PromptError) as caught:
        parse_texts([f"@{tmp_path / name}"])
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.lists(st.text(st.characters(codec=None), max_size=30), max_size=3))
def test_arbitrary_texts_give_labels_or_a_prompt_error(texts: list[str]) -> None:
    try:
        labels = parse_texts(texts)
    except PromptError:
        return
    assert labels
    assert all(label.strip() for label in labels)


# ------------------------------------------------------------------------------------------- labels -> text, spans

readable = st.text(st.characters(codec="utf-8"), max_size=40).filter(str.strip)
label_lists = st.lists(readable | st.sampled_from(ODD_LABELS), min_size=1, max_size=30)


@given(label_lists)
def test_labels_come_back_as_typed_and_spans_hold_their_names(labels: list[str]) -> None:
    prompt = label_prompt(labels)
    assert prompt.labels == tuple(labels)
    assert prompt.text == ". ".join(texts_of(prompt))
    for label, text in zip(labels, texts_of(prompt), strict=True):
        assert text == clean_name(label) or not clean_name(label).strip()


@given(label_lists)
def test_labels_are_shown_as_typed(labels: list[str]) -> None:
    text, spans = display_text(label_prompt(labels))
    assert text == " . ".join(labels) + " ."
    assert [text[begin:end] for begin, end in spans] == labels


@given(label_lists, st.none() | st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_chunks_hold_every_label_once_and_fit(tokenizer: Tokenizer, labels: list[str], size: int | None) -> None:
    prompt = label_prompt(labels)
    try:
        chunks = chunk(prompt, tokenizer, limit=40, size=size)
    except PromptError:  # a label of more than 38 tokens, or of none
        return
    assert [i for part in chunks for i in part.label_ids] == list(range(len(labels)))
    for part in chunks:
        assert part.prompt.labels == tuple(labels[i] for i in part.label_ids)
        assert part.prompt.text == ". ".join(texts_of(part.prompt))
        assert len(part.tokens.ids) == len(part.tokens.tokens) <= 40
        assert part.tokens.ids == tokenizer.encode(part.prompt.text).ids
        assert size is None or len(part.label_ids) <= size


@pytest.mark.parametrize("label", ODD_LABELS)
def test_the_tokens_of_an_odd_label_are_its_own(tokenizer: Tokenizer, label: str) -> None:
    """What a label is read as does not depend on its neighbours."""
    alone = tokenize(label_prompt([label]), tokenizer)
    among = tokenize(label_prompt(["cat", label, "dog"]), tokenizer)
    pieces = [among.tokens[i] for i in among.label_tokens[1]]
    assert pieces == [alone.tokens[i] for i in alone.label_tokens[0]]
    # The reference ends a span at the first piece of its last character: a Hangul syllable loses its other pieces.
    assert pieces == list(alone.tokens[1:-1]) or label == "한국"


def test_blanks_around_a_name_do_not_lose_it(tokenizer: Tokenizer) -> None:
    """The reference gives up after three of them, and the label is never found."""
    tokens = tokenize(label_prompt([" " * 9 + "cat" + " " * 9, "dog"]), tokenizer)
    assert [tokens.tokens[i] for (i,) in tokens.label_tokens] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (BRACKETS_ONLY, "all in brackets"),
        ("(traffic_light)", "traffic light"),
        ("()", "()"),
        ("___", "___"),
        ("a (b) c (d) e", "a e"),
        ("bow_(weapon)", "bow "),
        ("a    b", "a  b"),
        ("Cow/ox", "Cow/ox"),
    ],
)
def test_names_are_cleaned_as_in_training_but_never_to_nothing(label: str, text: str) -> None:
    prompt = label_prompt([label])
    assert prompt.text == text
    assert bool(prompt.notes) == (not clean_name(label).strip())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "no label"),
        (["cat", ""], "label 2 of 2 is blank: ''"),
        (["  ", "black king"], "label 1 of 2 is blank: '  '"),
        (["cat", None], "label 2 is not a text but NoneType"),
        (["cat", "\ud800"], "label 2 is not valid Unicode"),
        ("cat", "labels come as a list, not as one text: ['cat']"),
    ],
)
def test_labels_that_cannot_be_meant(labels: Any, message: str) -> None:
    with pytest.raises(PromptError) as caught:
        label_prompt(labels)
    assert message in str(caught.value)


def test_notes_say_what_is_odd_in_labels() -> None:
    notes = label_prompt(["cat", "Q", "cat", "dog", "dog", "dog", "a\x07b"]).notes
    assert notes == (
        "label 'a\\x07b' holds control characters, which the model does not read",
        "label 'cat' is given 2 times; each keeps an id of its own (and 1 more such labels)",
    )


def test_notes_say_what_is_odd_in_negatives() -> None:
    """They have no ids; the notes on the labels stay."""
    prompt = texts_prompt(["dog . cat . dog"])
    assert with_negatives(prompt, ["cat", "cat", "bird", "a\x07b"]).notes == (
        "label 'dog' is given 2 times; each keeps an id of its own",
        "'cat' is both a label and a negative, which compete for the same boxes; take out one of them",
        "label 'a\\x07b' holds control characters, which the model does not read",
    )
    several = texts_prompt(["a; b", "cat"])
    assert with_negatives(several, ["dog"]).notes == ("taken as one label, though it looks like several: 'a; b'",)


def test_notes_say_what_the_model_cannot_tell_apart(tokenizer: Tokenizer) -> None:
    """By its tokens, of which some vocabularies have none for a script: then all its words are alike."""
    prompt = label_prompt(["cat", "cat", "Cat", "bow", "bow_(weapon)", "dog"])
    assert vocabulary_notes(prompt, tokenizer) == (
        "the model cannot tell these labels apart: 'cat', 'Cat' (and 1 more such groups)",
    )
    assert vocabulary_notes(label_prompt(["裂纹", "划痕", "cat"]), tokenizer) == (
        "the model's vocabulary knows nothing of '裂纹', '划痕': it reads [UNK] instead",
        "the model cannot tell these labels apart: '裂纹', '划痕'",
    )
    assert vocabulary_notes(label_prompt(["裂纹", "划"]), tokenizer)[1:] == ()
    assert vocabulary_notes(caption_prompt("猫 or 狗", phrases=["猫", "狗"]), tokenizer)[1:] == ()
    many = label_prompt([f"{character}" * 20 for character in map(chr, range(0x4E00, 0x5200))])
    assert all(len(note) <= 300 for note in vocabulary_notes(many, tokenizer))


@pytest.mark.parametrize(
    "text",
    [
        "There is a cat and a remote in the image",
        " two cats on a couch. ",
        "The Cat",
        'a "cat"',
        "cat and remote",
        "a man (left) with a dog",
    ],
)
def test_a_sentence_is_told_from_labels(text: str) -> None:
    assert sentence_of([text]) == text.strip()


@pytest.mark.parametrize(
    "texts",
    [
        ["cat"],
        ["the"],
        ["traffic light"],
        ["glass of wine"],
        ["running man"],
        ["a cat . a remote"],
        ["a cat, a remote"],
        ["a cat", "the remote"],
        ["railcar_(part_of_a_train)"],
        ["knocker (on a door)"],
        ["@a file of labels"],
        ["$: the coco"],
        ["   "],
    ],
)
def test_labels_are_no_sentence(texts: list[str]) -> None:
    assert sentence_of(texts) is None


@pytest.mark.parametrize("name", ["coco", "lvis", "objects365"])
def test_class_names_are_no_sentences(name: str) -> None:
    """Given alone; of all 1,596 names one reads otherwise, which a person is told."""
    odd = [label for label in parse_texts([f"$: {name}"]) if sentence_of([label]) is not None]
    assert set(odd) <= {"Skating and Skiing shoes"}


# ------------------------------------------------------------------------------------------------------- captions

CAPTION = "There is two cat and a remote in the picture"


def test_spans_of_a_caption_are_its_labels(tokenizer: Tokenizer) -> None:
    """As parity golden `*-caption` (mmdetection 3.3.0): ". " is put after the text."""
    prompt = caption_prompt(CAPTION, spans=[[(13, 16)], [(23, 29)]])
    tokens = tokenize(prompt, tokenizer)
    assert (prompt.text, prompt.labels, prompt.is_caption) == (CAPTION + ". ", ("cat", "remote"), True)
    assert tokens.ids == (101, 2045, 2003, 2048, 4937, 1998, 1037, 6556, 1999, 1996, 3861, 1012, 102)
    assert tokens.label_tokens == ((4,), (7,))
    assert display_text(prompt) == (CAPTION, ((13, 16), (23, 29)))


def test_a_caption_that_ends_with_a_full_stop_stays_as_it_is() -> None:
    prompt = caption_prompt("A cat.", phrases=["cat"])
    assert prompt.text == display_text(prompt)[0] == "A cat."


def test_several_spans_are_one_label_in_reading_order() -> None:
    prompt = caption_prompt(CAPTION, spans=[[(33, 44), (9, 12), (9, 12)]])
    assert prompt.labels == ("two the picture",)
    assert prompt.spans == (((9, 12), (33, 44)),)


@pytest.mark.parametrize(
    ("caption", "phrase", "spans"),
    [
        ("cat, another cat, and the cats", "cat", ((0, 3), (13, 16))),
        ("container . door . containernumber", "container", ((0, 9),)),
        ("hotdog, dog", "DOG", ((8, 11),)),
        ("An old photo of St. Mark's", " st. mark's ", ((16, 26),)),
        ("c++ book (used)", "c++", ((0, 3),)),
        ("a.c abc a.c", "a.c", ((0, 3), (8, 11))),
        ("İİ the Cat", "cat", ((7, 10),)),
        ("STRASSE, straße", "Straße", ((0, 7), (9, 15))),
        ("die Straße", "stras", ()),
        ("cafe\u0301", "cafe", ()),
        ("a cat", "dog", ()),
        ("a cat", " ", ()),
    ],
)
def test_phrases_are_found_as_whole_words(caption: str, phrase: str, spans: tuple[Any, ...]) -> None:
    if spans:
        prompt = caption_prompt(caption, phrases=[phrase])
        assert (prompt.labels, prompt.spans) == ((phrase,), (spans,))
    else:
        with pytest.raises(PromptError, match="phrase"):
            caption_prompt(caption, phrases=[phrase])


@given(st.text(max_size=20), st.text(max_size=3))
def test_a_phrase_is_found_in_the_captions_own_characters(caption: str, phrase: str) -> None:
    try:
        prompt = caption_prompt(caption, phrases=[phrase])
    except PromptError:
        return
    for begin, end in prompt.spans[0]:
        assert caption[begin:end].casefold() == phrase.strip().casefold()


def test_a_phrase_that_comes_back_is_one_label_with_all_its_places(tokenizer: Tokenizer) -> None:
    text = "A cat, a  CAT, the cat and a cat"
    prompt = caption_prompt(text, parts=[(7, 13), (0, 5), (15, 22), (27, 32)])
    assert prompt.labels == ("A cat", "the cat")
    assert prompt.spans == (((0, 5), (7, 13), (27, 32)), ((15, 22),))
    assert prompt.notes == ()
    assert len(tokenize(prompt, tokenizer).label_tokens[0]) == 6


@pytest.mark.parametrize("part", [(3, 3), (-1, 2), (5, 99), (5, 6)])
def test_parts_that_are_no_parts(part: tuple[int, int]) -> None:
    with pytest.raises(PromptError, match="span"):
        caption_prompt(CAPTION, parts=[(9, 12), part])


@pytest.mark.parametrize(
    ("caption", "text", "words"),
    [
        ("two [cats] and a [remote]", "two cats and a remote", ["cats", "remote"]),
        ("[a][b c]", "ab c", ["a", "b c"]),
        ("the [ red  cat ]!", "the  red  cat !", ["red  cat"]),
        ("a [\nline]", "a \nline", ["line"]),
        ("[İ(x)] {y}", "İ(x) {y}", ["İ(x)"]),
        ("[the] cat's [tail]", "the cat's tail", ["the", "tail"]),
    ],
)
def test_bracketed_words_are_spans_of_the_text_without_brackets(caption: str, text: str, words: list[str]) -> None:
    read, spans = read_brackets(caption)
    assert read == text
    assert [text[begin:end] for begin, end in spans] == words


@pytest.mark.parametrize(
    ("caption", "message"),
    [
        ("a [cat", "'[' at character 2"),
        ("a cat]", "']' too many at character 5"),
        ("[a [cat] b]", "'[' too many at character 3"),
        ("][", "']' too many at character 0"),
        ("a [] b", "empty"),
        ("a [ \t] b", "empty"),
        ("a cat", "no brackets"),
    ],
)
def test_brackets_that_cannot_be_meant(caption: str, message: str) -> None:
    with pytest.raises(PromptError) as caught:
        read_brackets(caption)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.lists(st.tuples(st.text("ab é.[]"), st.booleans()), max_size=6))
def test_brackets_lose_nothing(parts: list[tuple[str, bool]]) -> None:
    """What is put in brackets comes back as spans, in order, and the text is what it would be without them."""
    pieces = [(text.replace("[", "").replace("]", ""), marked) for text, marked in parts]
    pieces = [(text, marked and bool(text.strip())) for text, marked in pieces]
    if not any(marked for _, marked in pieces):
        return
    read, spans = read_brackets("".join(f"[{text}]" if marked else text for text, marked in pieces))
    assert read == "".join(text for text, _ in pieces)
    assert [read[begin:end] for begin, end in spans] == [text.strip() for text, marked in pieces if marked]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "name them with --phrases or --tokens-positive"),
        ({"spans": [[(0, 1)]], "phrases": ["cat"]}, "not both"),
        ({"spans": [[(0, 1)]], "parts": [(0, 1)]}, "not both"),
        ({"spans": []}, "no part of the caption"),
        ({"parts": []}, "no part of the caption"),
        ({"spans": [[]]}, "no span in []"),
        ({"spans": [3]}, "no span in 3"),
        ({"spans": [[(40, 45)]]}, "span [40, 45) ends past the caption, which has 44 characters"),
        ({"spans": [[(3, 3)]]}, "empty, reversed or negative"),
        ({"spans": [[(5, 2)]]}, "empty, reversed or negative"),
        ({"spans": [[(-3, 2)]]}, "empty, reversed or negative"),
        ({"spans": [[(5, 6)]]}, "nothing but blanks"),
        ({"spans": [[(True, 2)]]}, "not a span"),
        ({"spans": [[(1, 2, 3)]]}, "not a span"),
        ({"phrases": []}, "no phrase"),
        ({"phrases": ["cat", "dog"]}, "phrase 'dog' is not in the caption"),
    ],
)
def test_captions_that_cannot_be_meant(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(PromptError) as caught:
        caption_prompt(CAPTION, **arguments)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("caption", ["", " \n", "\ud800", 3])
def test_a_caption_needs_words(caption: Any) -> None:
    with pytest.raises(PromptError, match="the caption"):
        caption_prompt(caption, phrases=["cat"])


@pytest.mark.parametrize(
    ("literal", "spans"),
    [
        ("[[[0,5]]]", (((0, 5),),)),
        ("[[0,5],[7,9]]", (((0, 5),), ((7, 9),))),
        ("[[[0, 5], [7, 9]], [[1, 2]]]", (((0, 5), (7, 9)), ((1, 2),))),
        ("[[(0, 5)], (7, 9)]", (((0, 5),), ((7, 9),))),
    ],
)
def test_character_spans_are_read_as_data(literal: str, spans: Any) -> None:
    assert parse_tokens_positive(literal) == spans


@pytest.mark.parametrize(
    "literal",
    [
        *("", "x", "[]", "[[]]", "[0,5]", "[[5,0]]", "[[1,1]]", "[[-1,3]]", "[[0,1.5]]", "[[[0,5],7]]", "{}", "-1"),
        *("null", "__import__('os').getcwd()", "[" * 100_000, "[[NaN,1]]", "[[true,2]]", "[[1,2,3]]"),
    ],
)
def test_spans_that_cannot_be_meant_are_one_clear_line(literal: str) -> None:
    with pytest.raises(PromptError) as caught:
        parse_tokens_positive(literal)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 250


@given(st.text(max_size=30) | st.text("[](),0123456789-", max_size=30))
def test_arbitrary_spans_are_read_or_refused(literal: str) -> None:
    try:
        spans = parse_tokens_positive(literal)
    except PromptError:
        return
    assert all(begin < end for label in spans for begin, end in label)


# ------------------------------------------------------------------------------------------------ tokens and chunks


def test_a_long_caption_is_cut_only_behind_its_labels(tokenizer: Tokenizer) -> None:
    text = "a cat" + " and" * 300 + " dog"
    tokens = tokenize(caption_prompt(text, phrases=["cat"]), tokenizer)
    assert (len(tokens.ids), tokens.ids[-1], tokens.label_tokens) == (256, 102, ((2,),))
    assert "of which the model reads 256" in tokens.notes[0]
    with pytest.raises(PromptError, match="label 'dog' stands past the 256 tokens"):
        tokenize(caption_prompt(text, phrases=["dog"]), tokenizer)


def test_the_last_place_belongs_to_sep(tokenizer: Tokenizer) -> None:
    """254 tokens fit beside [CLS] and [SEP], 255 do not: the reference reads [SEP] for the last of them."""
    assert len(chunk(label_prompt(["cat " * 254]), tokenizer)[0].tokens.ids) == 256
    with pytest.raises(PromptError, match="alone has 255 tokens; the model reads at most 254"):
        chunk(label_prompt(["dog", "cat " * 255]), tokenizer)
    with pytest.raises(PromptError, match="stands past"):
        tokenize(label_prompt(["cat " * 255]), tokenizer)


def test_a_label_that_the_tokenizer_drops_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(PromptError, match=r"label '\\u200b' has no character that the model reads"):
        chunk(label_prompt(["cat", "\u200b"]), tokenizer)


def test_unknown_characters_are_noted(tokenizer: Tokenizer) -> None:
    prompt = label_prompt(["cat", "猫", "emoji 😀"])
    assert vocabulary_notes(prompt, tokenizer) == (
        "the model's vocabulary knows nothing of '猫': it reads [UNK] instead",
        "the model's vocabulary knows not all of 'emoji 😀': it reads [UNK] instead",
    )


def test_a_size_that_does_not_fit_is_split_further_and_noted(tokenizer: Tokenizer) -> None:
    prompt = label_prompt(["traffic light"] * 5)
    chunks = chunk(prompt, tokenizer, limit=7, size=3)
    assert [part.label_ids for part in chunks] == [(0, 1), (2,), (3, 4)]
    assert "3 labels do not always fit the 7 tokens" in gather_notes(prompt, chunks)[-1]
    assert gather_notes(prompt, chunk(prompt, tokenizer, size=3)) == prompt.notes
    with pytest.raises(PromptError, match="--chunked-size must be at least 1"):
        chunk(prompt, tokenizer, size=0)


def test_a_prompt_that_fits_is_one_chunk_untouched(tokenizer: Tokenizer) -> None:
    for prompt in (label_prompt(["cat", "remote"]), caption_prompt(CAPTION, phrases=["cat", "remote"])):
        (only,) = chunk(prompt, tokenizer)
        assert only.prompt is prompt
        assert only.label_ids == (0, 1)
        assert only.tokens == tokenize(prompt, tokenizer)
    assert len(chunk(caption_prompt(CAPTION, phrases=["cat", "remote"]), tokenizer, size=1)) == 1


def test_explain_has_a_row_per_label(tokenizer: Tokenizer) -> None:
    rows = explain(chunk(label_prompt(["cat", "Cow/ox", "hair_drier"]), tokenizer, size=2))
    assert [(row.label, row.label_id, row.chunk, row.spans, row.text) for row in rows] == [
        ("cat", 0, 0, ((0, 3),), "cat"),
        ("Cow/ox", 1, 0, ((5, 11),), "Cow/ox"),
        ("hair_drier", 2, 1, ((0, 10),), "hair drier"),
    ]
    assert rows[1].tokens == ((3, "cow"), (4, "/"), (5, "ox"))


def test_many_labels_are_quick(tokenizer: Tokenizer) -> None:
    """1203 labels take 0.015 s; the bound allows for a busy machine and still fails for a quadratic way."""
    begin = time.process_time()
    chunk(label_prompt(parse_texts(["$: lvis"])), tokenizer)
    assert time.process_time() - begin < 1


# --------------------------------------------------------------------------------------------------------- goldens


@cases("classes")
def test_labels_agree_with_the_reference(tokenizer: Tokenizer, case: dict[str, Any]) -> None:
    labels = case["input"]
    blank = [label for label in labels if not label.strip()]
    if blank:  # defect: the reference reads on, and never finds the label
        with pytest.raises(PromptError, match="is blank"):
            label_prompt(labels)
        return
    prompt = label_prompt(labels)
    tokens = tokenize(prompt, tokenizer)
    assert prompt.labels == tuple(labels)
    if BRACKETS_ONLY in labels:  # defect: the reference crashes, or never finds the label
        assert_others_agree(prompt, tokens.label_tokens, case)
        return
    assert prompt.text == case["prompt"]
    assert [list(span) for ((span),) in prompt.spans] == case["spans"]
    assert list(tokens.ids) == case["input_ids"]
    assert list(tokens.label_tokens) == positive_tokens(case)


def assert_others_agree(prompt: Prompt, label_tokens: tuple[tuple[int, ...], ...], case: dict[str, Any]) -> None:
    """Every label has tokens; those after `BRACKETS_ONLY` stand three places later than in the reference."""
    place = prompt.labels.index(BRACKETS_ONLY)
    assert texts_of(prompt)[place] == "all in brackets"
    assert len(label_tokens[place]) == 3
    if not case.get("official_error"):
        golden = positive_tokens(case)
        assert list(label_tokens[:place]) == golden[:place]
        assert [tuple(i - 3 for i in tokens) for tokens in label_tokens[place + 1 :]] == golden[place + 1 :]


@cases("chunked")
def test_chunks_agree_with_the_reference(tokenizer: Tokenizer, case: dict[str, Any]) -> None:
    prompt = label_prompt(case["input"] if "input" in case else parse_texts(["$: lvis"]))
    by_tokens, by_count = chunk(prompt, tokenizer), chunk(prompt, tokenizer, size=40)
    for parts, golden in ((by_tokens, case["by_256_tokens"]), (by_count, case["by_40"])):
        assert [[part.label_ids[0] + 1, part.label_ids[-1] + 1] for part in parts] == [c["labels"] for c in golden]
    assert [list(part.tokens.ids) for part in by_count] == [c["input_ids"] for c in case["by_40"]]
    assert [part.prompt.text for part in by_tokens] == [c["prompt"] for c in case["by_256_tokens"]]
    assert [len(part.tokens.ids) for part in by_tokens] == [c["n_tokens"] for c in case["by_256_tokens"]]


@cases("span")
def test_spans_agree_with_the_reference(tokenizer: Tokenizer, case: dict[str, Any]) -> None:
    """Through a bare Prompt: what no one can type (a blank span, one past the text) is refused earlier."""
    ((begin, end),) = case["spans"]
    if not begin < end <= len(case["prompt"]):
        with pytest.raises(PromptError):
            caption_prompt(case["prompt"], spans=case["spans"])
        return
    prompt = Prompt(case["prompt"], ("label",), (((begin, end),),), is_caption=True)
    better = {"fallback:begin two blanks": (2,), "fallback:begin three blanks": (2,), "fallback:end three blanks": (2,)}
    expected = better.get(case["id"], *positive_tokens(case))
    if expected:
        assert tokenize(prompt, tokenizer).label_tokens == (expected,)
    else:
        with pytest.raises(PromptError, match="has no character that the model reads"):
            tokenize(prompt, tokenizer)


@cases("caption")
def test_caption_spans_agree_with_the_reference(tokenizer: Tokenizer, case: dict[str, Any]) -> None:
    """The tokens, everywhere; the label is the caption's own text where the reference shifts its labels."""
    prompt = caption_prompt(case["input"], spans=[[tuple(span)] for span in case["spans"]])
    tokens = tokenize(prompt, tokenizer)
    assert list(tokens.label_tokens) == positive_tokens(case)
    body = case["input_ids"][:-1]
    assert list(tokens.ids) == ([*body, 102] if case["input"].endswith(".") else [*body, 1012, 102])
    assert list(prompt.labels) == [case["input"][begin:end] for begin, end in case["spans"]]
    if not case["label_mismatch"] and len(case["entities"]) == len(prompt.labels):
        squeeze = str.maketrans("", "", " '?.,()!:\"")
        ours = [label.lower().translate(squeeze) for label in prompt.labels]
        assert ours == [entity.lower().translate(squeeze) for entity in case["entities"]]
