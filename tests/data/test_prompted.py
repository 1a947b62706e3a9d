"""Images, each with a prompt: the same from csv and jsonl, refused with its place, in memory that does not grow."""

from __future__ import annotations

import csv
import json
import tracemalloc
from pathlib import Path

import pytest

from glip_cli.data import prompted
from glip_cli.data.prompted import MOST_NOTES, PromptFile
from glip_cli.errors import DataError, FetchError, UsageError
from glip_cli.options import PromptRequest
from glip_cli.prompts.request import read_request
from glip_cli.types import Prompt
from tests.fuzz.harnesses import EveryOther

ROWS = [
    ("a.jpg", "prompt", "cat . remote ."),
    ("b.jpg", "prompt", "shipping container = container, dog"),
    ("a.jpg", "caption", "a [red cup] on the [table]"),
    ("a.jpg", "texts", "cat . remote ."),
]


def no_tagger() -> EveryOther:
    raise FetchError("there is no tagger")


def no_notes(prompt: Prompt) -> tuple[str, ...]:
    return ()


def write(path: Path, lines: list[object]) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def as_jsonl(folder: Path) -> Path:
    return write(folder / "p.jsonl", [{"image": image, kind: text, "id": 7} for image, kind, text in ROWS])


def as_csv(folder: Path) -> Path:
    path = folder / "p.csv"
    with path.open("w", newline="") as stream:
        table = csv.DictWriter(stream, ("image", "prompt", "caption", "texts", "id"))
        table.writeheader()
        table.writerows({"image": image, kind: text, "id": 7} for image, kind, text in ROWS)
    return path


@pytest.mark.parametrize("form", [as_jsonl, as_csv])
def test_prompts_are_those_of_the_flags(tmp_path: Path, form: type) -> None:
    found = list(PromptFile(form(tmp_path), no_tagger))
    assert [one.name for one in found] == [image for image, _, _ in ROWS]
    for one, (_, kind, text) in zip(found, ROWS, strict=True):
        asked = PromptRequest(caption=text) if kind == "caption" else PromptRequest(texts=[text])
        assert one.prompt == read_request(asked, no_tagger).prompt


def test_both_forms_are_one_run(tmp_path: Path) -> None:
    one, other = (PromptFile(form(tmp_path), no_tagger).summary(no_notes) for form in (as_jsonl, as_csv))
    assert one == other
    assert (one.images, one.prompts) == (4, 3)
    assert one.labels == ("cat", "remote", "container", "dog", "red cup", "table")


def test_a_list_is_the_flag_several_times(tmp_path: Path) -> None:
    (one,) = PromptFile(write(tmp_path / "p.jsonl", [{"image": "a", "texts": ["cat", "st. bernard"]}]), no_tagger)
    assert one.prompt.labels == ("cat", "st. bernard")


def test_a_sentence_is_a_caption_and_c_makes_it_a_label(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", [{"image": "a", "prompt": "two cats on a couch"}])
    (read,) = PromptFile(path, EveryOther)
    assert read.prompt.is_caption
    (exact,) = PromptFile(path, no_tagger, custom_entities=True)
    assert exact.prompt.labels == ("two cats on a couch",)
    untold = PromptFile(path, no_tagger).summary(no_notes)
    assert untold.notes == (f"{path}, line 1: 'two cats on a couch' is taken as one label, because there is no tagger",)


def test_images_are_looked_up_from_here_and_beside_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "set").mkdir()
    (tmp_path / "here/a.jpg").touch()
    (tmp_path / "set/b.jpg").touch()
    monkeypatch.chdir(tmp_path / "here")
    names = ("a.jpg", "b.jpg", "c.jpg", "https://me:secret@host/d.jpg")
    path = write(tmp_path / "set/p.jsonl", [{"image": name, "prompt": "cat"} for name in names])
    a, b, c, d = PromptFile(path, no_tagger, offline=True)
    assert (a.location, c.location) == ("a.jpg", "c.jpg")
    assert Path(b.location).samefile(tmp_path / "set/b.jpg")
    assert (d.name, d.location, d.offline) == ("https://host/d.jpg", names[3], True)


def test_a_folder_may_be_called_as_a_file_of_many_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "0.tar").mkdir()
    names = ("0.tar/a.jpg", "old.tar.jpg", "s3://bucket/0.tar/a.jpg")
    path = write(tmp_path / "p.jsonl", [{"image": name, "prompt": "cat"} for name in names])
    assert [one.name for one in PromptFile(path, no_tagger, offline=True)] == list(names)


GOOD = {"image": "a.jpg", "prompt": "cat"}
WRONG = [
    ("no json", 'is "no json", no JSON object'),
    ({"image": 7, "prompt": "cat"}, "'image' is 7, not the name of an image"),
    ({"image": "a\0", "prompt": "cat"}, "not the name of an image"),
    *(
        (
            {"image": image, "prompt": "cat"},
            rf"'image' is '{image}': videos, and files that hold several images, are not",
        )
        for image in (
            "a.mp4",
            "x/0.TAR",
            "x/0.tar/a.jpg",
            "0.tar.gz",
            "0.parquet/7",
            "a.mp4#frame=2",
            "pages.tif#frame=0",
            "https://host/a.mp4",
        )
    ),
    ({"image": "a.jpg"}, "has no 'prompt'; each row has an image and a prompt"),
    ({"image": "a.jpg", "prompt": ""}, "has no 'prompt'"),
    ({"image": "a.jpg", "prompt": "cat", "caption": "a cat"}, "has both 'prompt' and 'caption'"),
    ({"image": "a.jpg", "prompt": 7}, "'prompt' is 7, not a text"),
    ({"image": "a.jpg", "texts": ["cat", 7]}, "not a text"),
    ({"image": "a.jpg", "texts": []}, "not a text"),
    ({"image": "a.jpg", "caption": ["a cat"]}, "not a text"),
]


@pytest.mark.parametrize(("row", "told"), WRONG)
def test_a_row_that_cannot_be_read_is_refused_at_once(tmp_path: Path, row: object, told: str) -> None:
    path = write(tmp_path / "p.jsonl", [GOOD, "", row])
    with pytest.raises(DataError, match=f"p.jsonl, line 3.*{told}"):
        PromptFile(path, no_tagger)


PROMPTS = [
    ({"prompt": " . "}, "no label in"),
    ({"prompt": "@labels.txt"}, "files of labels are not read here"),
    ({"texts": ["cat", "@labels.txt"]}, "files of labels are not read here"),
    ({"caption": " "}, "the caption is blank"),
    ({"prompt": "a = b = c"}, "write words = class"),
]


@pytest.mark.parametrize(("row", "told"), PROMPTS)
def test_a_prompt_that_cannot_be_read_is_refused_by_the_summary(tmp_path: Path, row: dict, told: str) -> None:
    file = PromptFile(write(tmp_path / "p.jsonl", [GOOD, {"image": "a.jpg"} | row]), no_tagger)
    with pytest.raises(UsageError, match=f"p.jsonl, line 2: .*{told}"):
        file.summary(no_notes)


def test_what_the_model_refuses_has_its_place(tmp_path: Path) -> None:
    def check(prompt: Prompt) -> tuple[str, ...]:
        raise UsageError("it is too long")

    with pytest.raises(UsageError, match=r"p\.jsonl, line 1: it is too long"):
        PromptFile(write(tmp_path / "p.jsonl", [GOOD]), no_tagger).summary(check)


def test_files_that_are_none(tmp_path: Path) -> None:
    for name, content, told in [
        ("e.jsonl", "\n", "names no image"),
        ("h.csv", "file,prompt\n", "has no column 'image'"),
        ("r.csv", "image,prompt\n", "names no image"),
        ("c.csv", "image,prompt\na.jpg,dog\na.jpg,dog,cat\n", "c.csv, line 3: has more cells .* text with commas"),
        ("q.csv", 'image,prompt\na.jpg,"dog\nb.jpg,cat\n', "q.csv, line 2: no CSV"),
    ]:
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match=told):
            PromptFile(tmp_path / name, no_tagger)
    with pytest.raises(DataError, match="cannot be read"):
        PromptFile(tmp_path / "none.csv", no_tagger)
    for path in (tmp_path, Path("-")):
        with pytest.raises(DataError, match="must be a file"):
            PromptFile(path, no_tagger)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_cells_may_be_divided_as_spreadsheets_do(tmp_path: Path, delimiter: str) -> None:
    rows = [["image", "prompt", ""], ["a.jpg", "cat, dog, cup", ""], ["b.jpg", "cup"], ["c.jpg", "cup", "", ""]]
    with (tmp_path / "p.csv").open("w", newline="", encoding="utf-8-sig") as stream:
        csv.writer(stream, delimiter=delimiter).writerows(rows)
    found = list(PromptFile(tmp_path / "p.csv", no_tagger))
    assert [one.prompt.labels for one in found] == [("cat", "dog", "cup"), ("cup",), ("cup",)]


def test_notes_are_said_once_and_counted(tmp_path: Path) -> None:
    rows = [{"image": "a.jpg", "prompt": f"cat{number}"} for number in range(9)] * 2
    file = PromptFile(write(tmp_path / "p.jsonl", rows), no_tagger)
    notes = file.summary(lambda prompt: ("all the same", f"odd: {prompt.labels[0]}")).notes
    assert len(notes) == MOST_NOTES + 1
    assert notes[0].endswith("p.jsonl, line 1: all the same")
    assert notes[-1].endswith(f"p.jsonl: and {10 - MOST_NOTES} more notes on prompts")


def test_a_prompt_that_comes_back_is_read_once(tmp_path: Path) -> None:
    rows = [{"image": f"{number}.jpg", "prompt": f"cat{number % 3}"} for number in range(30)]
    found = list(PromptFile(write(tmp_path / "p.jsonl", rows), no_tagger))
    assert len({id(one.prompt) for one in found}) == 3


def test_memory_does_not_grow_with_the_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of four times as many different ones no more are kept."""
    monkeypatch.setattr(prompted, "KEPT_PROMPTS", 64)
    peaks = []
    for count in (200, 800):
        rows = [{"image": "a.jpg", "prompt": f"cat {number} . dog {number} ."} for number in range(count)]
        path = write(tmp_path / "p.jsonl", rows)
        tracemalloc.start()
        assert sum(1 for _ in PromptFile(path, no_tagger)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
