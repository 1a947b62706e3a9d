"""What names are read as: forms of a word, the noun that a phrase is about, and the words of the shipped lexicon."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glip_cli.errors import WeightsError
from glip_cli.prompts import lexicon
from glip_cli.prompts.lexicon import Lexicon, Meaning

FOLDER = Path(lexicon.__file__).parents[1]
WORDS = Lexicon.load(FOLDER / "assets" / "glip-nano" / "lexicon.txt")
NAMES = (FOLDER / "names" / "coco.txt").read_text(encoding="utf-8").split("\n")[:80]
SMALL = """# a comment
cat: cat, kitten
dog: dog, puppy
hot dog: hot dog, frankfurter
knife: knife
person: person, man, policeman
glass: wine glass
cat, dog: pet, animal
?cat: lynx, sea cat
?: door, slice, kennel
"""


def concepts(phrase: str) -> str:
    return ", ".join(WORDS.read(phrase).concepts)


@pytest.fixture
def small() -> Lexicon:
    return Lexicon(SMALL)


def test_the_first_words_of_single_names_are_the_names_in_their_order(small: Lexicon) -> None:
    assert small.names == ("cat", "dog", "hot dog", "knife", "person", "glass")


def test_a_meaning_says_what_was_looked_up(small: Lexicon) -> None:
    assert small.read("my two Kittens") == Meaning(("cat",), "kitten")
    assert small.read("animals") == Meaning(("cat", "dog"), "animal")
    assert small.read("a lynx") == Meaning((), "lynx", "cat")
    assert small.read("red door") == Meaning((), "door")
    assert small.read("stethoscope") == Meaning()


@pytest.mark.parametrize(
    ("phrase", "meant"),
    [
        ("hot-dogs", "hot dog"),
        ("HOT_DOG", "hot dog"),
        ("hotdog", "hot dog"),
        ("knives", "knife"),
        ("policemen", "person"),
        ("people", "person"),
        ("cat door", ""),
        ("sea cat", ""),
        ("big sea cats", ""),
        ("toy cat", "cat"),
        ("a slice of hot dog", "hot dog"),
        ("a photo of a dog", "dog"),
        ("door of the dog", ""),
        ("cat on the door", "cat"),
        ("man riding a dog", "person"),
        ("cats and dogs", "cat, dog"),
        ("door and dog", "dog"),
        ("dog 2", "dog"),
        ("the man's dog", "dog"),
        ("dog (large)", "dog"),
        ("Kätzchen", ""),
        ("kítten", "cat"),
        ("the", ""),
        ("", ""),
    ],
)
def test_the_thing_that_a_phrase_is_about(small: Lexicon, phrase: str, meant: str) -> None:
    assert ", ".join(small.read(phrase).concepts) == meant


@given(
    st.text() | st.lists(st.sampled_from("of and riding on slice the dog cat 2 ☃".split()), max_size=300).map(" ".join)
)
def test_every_text_is_read(phrase: str) -> None:
    meaning = WORDS.read(phrase)
    assert set(meaning.concepts) <= set(NAMES)
    assert list(meaning.concepts) == sorted(meaning.concepts, key=NAMES.index)
    assert not (meaning.concepts and meaning.nearest)


@given(st.sampled_from(NAMES), st.sampled_from(["{}", "a {}", "Red {}", "{} on the table", "photo of a {}"]))
def test_a_name_is_itself_in_every_phrase(name: str, phrase: str) -> None:
    plural = name if name.endswith("s") else name + "s"
    assert concepts(phrase.format(name)) == concepts(phrase.format(plural)) == name


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.txt"
    path.write_text("cat\n", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"lexicon.txt is no lexicon: no ': ' in 'cat'"):
        Lexicon.load(path)
    path.write_bytes(b"\xff")
    with pytest.raises(WeightsError, match="cannot read the lexicon"):
        Lexicon.load(path)
    with pytest.raises(WeightsError, match="cannot read the lexicon"):
        Lexicon.load(tmp_path / "none.txt")


def test_the_shipped_names_are_those_of_coco() -> None:
    assert list(WORDS.names) == NAMES


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("automobile", "car"),
        ("kitten", "cat"),
        ("puppy", "dog"),
        ("couch", "couch"),
        ("sofa", "couch"),
        ("tv", "tv"),
        ("television", "tv"),
        ("bike", "bicycle"),
        ("plane", "airplane"),
        ("motorbike", "motorcycle"),
        ("fridge", "refrigerator"),
        ("ship", "boat"),
        ("human", "person"),
        ("armchair", "chair"),
        ("plant", "potted plant"),
        ("table", "dining table"),
        ("mobile phone", "cell phone"),
    ],
)
def test_synonyms(word: str, name: str) -> None:
    assert concepts(word) == name


@pytest.mark.parametrize(
    ("word", "members"),
    [
        ("animal", "bird, cat, dog, horse, sheep, cow, elephant, bear, zebra, giraffe"),
        ("vehicle", "bicycle, car, motorcycle, airplane, bus, train, truck, boat"),
        ("furniture", "bench, chair, couch, bed, dining table"),
        ("food", "banana, apple, sandwich, orange, broccoli, carrot, hot dog, pizza, donut, cake"),
        ("fruit", "banana, apple, orange"),
        ("electronics", "tv, laptop, mouse, remote, keyboard, cell phone"),
    ],
)
def test_names_above_names(word: str, members: str) -> None:
    assert concepts(word) == members


@pytest.mark.parametrize(
    "word",
    ["stethoscope", "pangolin", "trombone", "lighthouse", "cactus", "microscope", "saxophone", "windmill", "helmet",
     "drone", "hangover", "washout", "dog house", "doghouse", "car park", "catfish", "seahorse", "sea horse",
     "bear trap", "car door"],
)  # fmt: skip
def test_unknown_words(word: str) -> None:
    assert concepts(word) == ""
