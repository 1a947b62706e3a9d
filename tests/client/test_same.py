"""`--server URL` leaves what the local command leaves, byte for byte: files, stdout, stderr and the exit code."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.asking import both, glip
from tests.data.clips import make_clip
from tests.shared import shared

PROMPT = "circle . red square . star ."
FORMATS = "jsonl,coco,coco-results,mmdet,yolo,voc,cvat,labelstudio,csv,parquet"
ASKED = [
    ["photos", "-t", PROMPT, "--threshold", "0.05"],
    ["photos", "-t", PROMPT, "--threshold", "0.05", "--format", FORMATS, "--save-crop", "--json"],
    ["photos/1.png", "photos/1.png", "--caption", "a [red square] by a [star], a [star]", "--threshold", "0.02"],
    ["photos/2.png", "-t", "circle, circle, zzz, 犬", "--negative", "blob", "--threshold", "0.04", "--explain"],
    ["photos/0.png", "-t", "red square = box, star", "--negative", "box", "--threshold", "0.02", "--explain"],
    ["photos/0.png", "--caption", "a star", "--phrases", "star", "--palette", "red", "--save-crop", "--no-save-pred"],
    ["photos/3.png", "-t", "cat.dog", "--tile", "96", "--overlap", "0.1", "--size", "96,128", "--nms-iou", "0.9",
     "--agnostic-nms", "--top-k", "3", "--class-threshold", "cat.dog=0.01", "-s", "1", "--no-save-vis", "-q", "--json"],
    ["photos/4.png", "-t", f"star . {'triangle . ' * 40}", "--threshold", "0", "--no-save-vis"],
]  # fmt: skip


@pytest.mark.parametrize("words", ASKED, ids=range(len(ASKED)))
def test_detect(url: str, folder: Path, words: list[str]) -> None:
    here, there = both(url, "detect", *words)
    assert here == there
    assert here.code == (3 if words[0] == "photos" else 0)
    assert here.files
    if "--json" not in words:
        assert "found" in here.stdout


def test_batch(url: str, folder: Path) -> None:
    words = ["batch", "photos", "-t", PROMPT, "--threshold", "0.05", "--save-vis", "--save-crop", "--format", FORMATS]
    here, there = both(url, *words)
    assert here == there
    assert here.code == 3
    assert {"run.json", "results.jsonl", "coco.json", "vis/photos/0.jpg"} <= {
        name.replace("vis/0", "vis/photos/0") for name in here.files
    }
    again = glip(*words, "--server", url)
    assert "going on after 7 images" in again.stderr
    assert again.files == here.files


def test_frames(url: str, folder: Path) -> None:
    make_clip(folder / "clip.mp4", 5)
    words = ["batch", "clip.mp4", "-t", PROMPT, "--threshold", "0.05", "--every", "2"]
    here, there = both(url, *words)
    assert here == there
    assert here.code == 0
    assert b"clip.mp4#frame=4" in here.files["results.jsonl"]


def test_a_prompt_for_each_image(url: str, folder: Path) -> None:
    rows = ["image,prompt,caption", 'photos/0.png,"circle, 犬",', "photos/0.png,,a [star]", "photos/1.png,star,"]
    Path("p.csv").write_text("\n".join(rows))
    words = ["batch", "--prompts", "p.csv", "--threshold", "0.04", "--class-threshold", "star=0.1", "--format", FORMATS]
    here, there = both(url, *words)
    assert here == there
    assert here.code == 0
    assert here.stderr.count("犬") == 1, "what is said of a prompt is said once"


def test_a_run_begun_here_ends_there(url: str, folder: Path) -> None:
    words = ["batch", "photos", "-t", PROMPT, "--threshold", "0.05"]
    whole, _ = both(url, *words)
    journal = Path("outputs/results.jsonl")
    journal.write_bytes(b"".join(journal.read_bytes().splitlines(keepends=True)[:3]))
    rest = glip(*words, "--server", url)
    assert "going on after 3 images" in rest.stderr
    assert rest.files == whole.files


def test_what_a_run_may_do_besides(url: str, folder: Path) -> None:
    """--status, --retry-failed and --overwrite."""
    for name in ("0.png", "late.png"):
        (folder / name).symlink_to(Path("photos/0.png") if name == "0.png" else Path("nowhere.png"))
    words = ["batch", "0.png", "late.png", "-t", PROMPT, "--server", url]
    first = glip(*words)
    assert first.code == 3
    assert "glip: error: late.png: no such file; check the path" in first.stderr
    (folder / "late.png").unlink()
    (folder / "late.png").symlink_to("photos/1.png")
    assert "2 of 2 images done" in glip("batch", "--status").stdout
    assert glip(*words).code == 3
    again = glip(*words, "--retry-failed")
    assert (again.code, again.files["results.jsonl"].count(b'"error"')) == (0, 0)
    other = glip(*words, "--threshold", "0.05")
    assert "holds a run with threshold 0.3, not 0.05" in other.stderr
    assert glip(*words, "--threshold", "0.05", "--overwrite").code == 0


def test_explain_without_an_image(url: str, folder: Path) -> None:
    here, there = both(url, "detect", "--explain", "-t", "circle . 犬 . red square")
    assert here == there
    assert "text 0: 3 labels" in here.stderr


def test_a_sentence_has_its_nouns_found_here(url: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", str(shared("nltk_data")))
    here, there = both(url, "detect", "photos/0.png", "-t", "two stars on a red square", "--offline")
    assert here == there
    assert "a caption, with the parts: " in here.stderr


def test_no_torch(url: str, folder: Path) -> None:
    """In a process of its own: half a CPU second."""
    commands = [detect(url), detect(url, "batch")]
    code = "import sys; from glip_cli.cli.app import run; "
    code += f"print([(run(words), 'rich' in sys.modules) for words in {commands}]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *_, codes, modules = done.stdout.splitlines()
    assert codes == "[(0, False), (0, True)]", done.stderr
    heavy = {"torch", "torchvision", "timm", "transformers", "nltk", "tokenizers", "fastapi", "requests"}
    assert not set(modules.split()) & heavy


def detect(url: str, command: str = "detect") -> list[str]:
    return [command, "photos/0.png", "-t", PROMPT, "--server", url, "-o", command, "--save-crop", "--overwrite"]
