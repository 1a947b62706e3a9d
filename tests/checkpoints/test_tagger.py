"""The tagger's data: verified wherever it comes from, fetched once, and nothing of an archive but the named files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import random
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nltk.data
import pytest

from glip_cli.checkpoints import tagger as module
from glip_cli.checkpoints.http import DownloadError
from glip_cli.checkpoints.tagger import TaggerData, TaggerFile, canonical, is_cached, load_tagger, tagger_data
from glip_cli.errors import FetchError
from tests.checkpoints.support import Server, serving
from tests.shared import shared

NAME = "small"
FILES = {
    "small.weights.json": json.dumps({"bias": {"NN": 0.5, "JJ": 0.25}, "i suffix red": {"JJ": 3.0}}).encode(),
    "small.tagdict.json": b'{"the": "DT", "on": "IN"}',
    "small.classes.json": b'["NN", "JJ", "DT", "IN"]',
}
TAGS = [("the", "DT"), ("red", "JJ"), ("cat", "NN"), ("on", "IN")]


def data(*urls: str, size: int | None = None) -> TaggerData:
    files = tuple(TaggerFile(n, hashlib.sha256(canonical(c)).hexdigest(), len(c)) for n, c in FILES.items())
    return TaggerData(NAME, urls, size, files)


def archive(files: dict[str, bytes], folder: str = "small/") -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in files.items():
            opened.writestr(folder + name, content)
    return made.getvalue()


def unpacked(folder: Path, files: dict[str, bytes] = FILES) -> Path:
    """As nltk's own downloader leaves it."""
    place = folder / "taggers" / NAME
    place.mkdir(parents=True)
    for name, content in files.items():
        (place / name).write_bytes(content)
    return folder


def tags(loaded: module.PerceptronTagger) -> list[tuple[str, str]]:
    return loaded.tag([word for word, _ in TAGS])


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without data of nltk and without settings."""
    monkeypatch.setattr("glip_cli.checkpoints.http.PAUSE", 0.01)
    monkeypatch.setattr(nltk.data, "path", [])
    for name in ("NLTK_DATA", "HF_HUB_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.files["small.zip"] = archive(FILES)
        yield server


class Heard:
    def __init__(self) -> None:
        self.starts: list[tuple[str, str, int | None]] = []
        self.count = self.finished = 0

    def started(self, name: str, url: str, total: int | None) -> None:
        self.starts.append((name, url, total))

    def advanced(self, count: int) -> None:
        self.count += count

    def done(self) -> None:
        self.finished += 1


# ------------------------------------------------------------------------------------------------------ fetching


def test_it_is_fetched_once_and_said(server: Server, tmp_path: Path) -> None:
    heard = Heard()
    size = len(server.files["small.zip"])
    assert tags(load_tagger(data(server.url("small.zip"), size=size), cache_dir=tmp_path, report=heard)) == TAGS
    assert heard.starts == [(NAME, server.url("small.zip"), size)]
    assert (heard.count, heard.finished) == (size, 1)
    assert tags(load_tagger(data(server.url("small.zip")), cache_dir=tmp_path, offline=True)) == TAGS
    assert len(server.asked) == 1
    left = sorted(path.name for path in (tmp_path / "taggers").rglob("*") if not path.name.endswith(".lock"))
    assert left == [NAME, *sorted(FILES)]


def test_a_cut_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cuts = [100, 50]
    assert tags(load_tagger(data(server.url("small.zip")), cache_dir=tmp_path)) == TAGS
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100-", "bytes=150-"]


def test_a_beginning_of_another_file_is_thrown_away(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taggers").mkdir()
    (tmp_path / "taggers" / "small.zip.part").write_bytes(b"x" * 60)
    heard = Heard()
    assert tags(load_tagger(data(server.url("small.zip")), cache_dir=tmp_path, report=heard)) == TAGS
    assert [wanted for _, wanted in server.asked] == ["bytes=60-", None]
    assert heard.count == len(server.files["small.zip"])


def test_a_mirror_helps(server: Server, tmp_path: Path) -> None:
    server.files["other.zip"] = b"<html>not here</html>"
    urls = [server.url(name) for name in ("none.zip", "other.zip", "small.zip")]
    assert tags(load_tagger(data(*urls), cache_dir=tmp_path)) == TAGS


def test_two_processes_fetch_it_once(server: Server, tmp_path: Path) -> None:
    server.gate = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(load_tagger, data(server.url("small.zip")), cache_dir=tmp_path) for _ in range(2)]
        server.gate.set()
        assert [tags(one.result()) for one in both] == [TAGS, TAGS]
    assert len(server.asked) == 1


def test_offline_names_the_ways_out(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(FetchError, match=r"not in the cache .* --phrases, .* \[bracketed\] words"):
        load_tagger(data(server.url("small.zip")), cache_dir=tmp_path, offline=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FetchError, match="not in the cache"):
        load_tagger(data(server.url("small.zip")), cache_dir=tmp_path)
    assert server.asked == []


def test_a_failure_names_every_address_and_the_ways_out(server: Server, tmp_path: Path) -> None:
    server.files["other.zip"] = archive({**FILES, "small.tagdict.json": b'{"the": "NN"}'})
    with pytest.raises(FetchError) as caught:
        load_tagger(data(server.url("none.zip"), server.url("other.zip")), cache_dir=tmp_path)
    message = str(caught.value)
    assert "none.zip: answered 404" in message
    assert "other.zip: sent another small.tagdict.json than the published one" in message
    assert "--phrases" in message
    assert "[bracketed] words" in message
    assert "\n" not in message


def test_a_folder_that_cannot_be_written_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "taggers").write_text("a file")
    with pytest.raises(FetchError, match="GLIP_CACHE"):
        load_tagger(data(server.url("small.zip")), cache_dir=tmp_path)


# ------------------------------------------------------------------------------------------------------ archives


@pytest.mark.parametrize("folder", ["", "small/", "../../../", "/", "C:\\x/", "a/b/c/"])
def test_paths_of_an_archive_are_not_followed(server: Server, tmp_path: Path, folder: str) -> None:
    files = {**FILES, "../evil.py": b"print()", "small.pickle": pickle.dumps(print)}
    server.files["small.zip"] = archive(files, folder)
    cache = tmp_path / "a" / "cache"
    assert tags(load_tagger(data(server.url("small.zip")), cache_dir=cache)) == TAGS
    found = {path.name for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")}
    assert found == set(FILES)


def without(name: str) -> dict[str, bytes]:
    return {key: content for key, content in FILES.items() if key != name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "no zip"),
        (b"PK\x03\x04" + bytes(100), "no zip"),
        (archive(FILES)[:-30], "no zip"),
        (archive(without("small.classes.json")), "without small.classes.json"),
        (archive({**FILES, "small.classes.json": bytes(50_000_000)}), "another small.classes.json"),
        (archive({**FILES, "small.classes.json": b"[" * 100}), "another small.classes.json"),
        (archive({**FILES, "small.classes.json": b""}), "another small.classes.json"),
    ],
    ids=["empty", "no zip", "cut", "lacking", "bomb", "deep", "void"],
)  # fmt: skip
def test_archives_that_are_refused(server: Server, tmp_path: Path, content: bytes, message: str) -> None:
    server.files["small.zip"] = content
    with pytest.raises(FetchError, match=message):
        load_tagger(data(server.url("small.zip")), cache_dir=tmp_path)
    assert not (tmp_path / "taggers" / "small.zip.part").exists()
    assert is_cached(data(), tmp_path) is None


def test_a_damaged_archive_is_whole_or_refused(tmp_path: Path) -> None:
    """Any byte of it changed: what is unpacked is what was published, or the download is an error."""
    draw, whole, path = random.Random(0), archive(FILES), tmp_path / "x.zip"
    expected = {name: canonical(content) for name, content in FILES.items()}
    refused = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([draw.randrange(256)]) + whole[place + 1 :])
        try:
            assert module._unpack(path, data()) == expected
        except DownloadError:
            refused += 1
    assert refused > len(whole) / 4


# -------------------------------------------------------------------------------------- what is here already


def test_the_data_of_nltk_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = unpacked(tmp_path / "other")
    monkeypatch.setenv("NLTK_DATA", os.pathsep.join(["/nowhere", str(other)]))
    assert tags(load_tagger(data(), cache_dir=tmp_path / "cache", offline=True)) == TAGS
    monkeypatch.delenv("NLTK_DATA")
    assert is_cached(data(), tmp_path / "cache"), "it is kept in the cache from then on"
    monkeypatch.setattr(nltk.data, "path", [str(other)])
    assert tags(load_tagger(data(), cache_dir=tmp_path / "another cache", offline=True)) == TAGS


def test_another_spelling_of_the_same_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of classes is written in any order: nltk's own zip has another one than copies made since."""
    spelled = {name: json.dumps(json.loads(content), indent=1).encode() for name, content in FILES.items()}
    spelled["small.classes.json"] = b'["IN", "DT", "JJ", "NN"]'
    monkeypatch.setattr(nltk.data, "path", [str(unpacked(tmp_path / "other", spelled))])
    assert tags(load_tagger(data(), cache_dir=tmp_path / "cache", offline=True)) == TAGS


@pytest.mark.parametrize("name", FILES)
def test_altered_data_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    altered = {**FILES, name: FILES[name].replace(b"NN", b"VB")}
    altered[name] = altered[name].replace(b"the", b"cat") if altered[name] == FILES[name] else altered[name]
    monkeypatch.setattr(nltk.data, "path", [str(unpacked(tmp_path / "other", altered))])
    with pytest.raises(FetchError):
        load_tagger(data(), cache_dir=tmp_path / "cache", offline=True)


def test_a_pickle_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "opened"),)

    folder = unpacked(tmp_path / "other", {f"{NAME}.pickle": pickle.dumps(Trap())})
    for name in FILES:
        (folder / "taggers" / NAME / name).write_bytes(pickle.dumps(Trap()))
    monkeypatch.setattr(nltk.data, "path", [str(folder)])
    with pytest.raises(FetchError):
        load_tagger(data(), cache_dir=tmp_path / "cache", offline=True)
    assert not (tmp_path / "opened").exists()


def test_a_damaged_cache_is_fetched_again(server: Server, tmp_path: Path) -> None:
    wanted = data(server.url("small.zip"))
    load_tagger(wanted, cache_dir=tmp_path)
    (tmp_path / "taggers" / NAME / "small.weights.json").write_bytes(b'{"bias": {}')
    assert tags(load_tagger(wanted, cache_dir=tmp_path)) == TAGS
    assert len(server.asked) == 2


# ------------------------------------------------------------------------------------------------ the real data


def test_the_table_is_whole() -> None:
    wanted = tagger_data()
    assert [part.file.removeprefix(wanted.name + ".") for part in wanted.files] == [
        module.WEIGHTS,
        module.TAGS,
        module.CLASSES,
    ]
    assert all(url.startswith("https://") and url.endswith(f"/{wanted.name}.zip") for url in wanted.urls)
    assert all(len(part.sha256) == 64 for part in wanted.files)
    # of the published zip: its files have 5,703,817 bytes
    assert sum(part.size for part in wanted.files) == 5_703_817


def test_the_real_tagger_is_the_one_in_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NLTK_DATA", str(shared("nltk_data")))
    loaded = load_tagger(cache_dir=tmp_path, offline=True)
    assert loaded.tag("there is two cat".split()) == [("there", "EX"), ("is", "VBZ"), ("two", "CD"), ("cat", "NN")]
    monkeypatch.delenv("NLTK_DATA")
    assert load_tagger(cache_dir=tmp_path, offline=True).model.weights == loaded.model.weights


def test_the_published_order_of_classes_is_taken() -> None:
    """As in nltk_data at 550b662 (the zip's own file), which is not the order of the copy in the reference material."""
    order = (
        ". ( ) : '' EX JJS WRB VBG VBP NN SYM VB UH NNPS NNP `` $ NNS JJR MD RP VBD DT POS RBR , VBZ PDT VBN WP$ WDT "
        "WP PRP$ CD IN # CC RB FW RBS PRP LS JJ TO"
    )
    content = json.dumps(order.split(" ")).encode()
    part = tagger_data().files[2]
    assert len(content) == part.size
    assert part.verified(content) is not None
    assert part.verified(content.replace(b"TO", b"TA")) is None
