import json
import os
import shutil
import threading
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from glip_cli.checkpoints import cache, registry, safetensors_io
from glip_cli.checkpoints.empty_init import init_empty
from glip_cli.checkpoints.load import Origin, convert, info, load, open_checkpoint
from glip_cli.checkpoints.parts import load_detector_parts
from glip_cli.checkpoints.registry import Checkpoint
from glip_cli.checkpoints.resolve import load_tokenizer_folder, tokenizer_folder
from glip_cli.errors import CheckpointError, FetchError, OutputError, UnknownModelError, UsageError
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip
from glip_cli.model.swin import Backbone
from tests.checkpoints.support import SMALL, foreign, small_state

STATE = small_state()
PARALLEL = "module."


def wrapped(kind: str) -> object:
    mmdet, official = foreign(STATE, "mmdet"), foreign(STATE, "official")
    parallel = {PARALLEL + key: tensor for key, tensor in official.items()}
    other = {key: torch.zeros(1) for key in mmdet}
    return {
        "mmdet flat": mmdet,
        "mmdet state_dict": {"state_dict": mmdet, "ema_state_dict": other, "meta": {"epoch": 3}, "optimizer": other},
        "mmdet state_dict+module": {"state_dict": {PARALLEL + key: tensor for key, tensor in mmdet.items()}},
        "official flat": official,
        "official flat+module": parallel,
        "official model": {"model": official, "iteration": 5},
        "official model+module": {"model": parallel, "model_ema": other, "optimizer": {"state": {}}, "scheduler": {}},
        "native flat": STATE,
    }[kind]


def same(model: Glip, state: dict[str, torch.Tensor]) -> bool:
    mine = model.state_dict()
    return mine.keys() == state.keys() and all(torch.equal(mine[key], state[key]) for key in state)


@pytest.fixture
def pth(tmp_path) -> Path:
    torch.save(wrapped("mmdet state_dict"), tmp_path / "tuned.pth")
    return tmp_path / "tuned.pth"


KINDS = ["mmdet flat", "mmdet state_dict", "mmdet state_dict+module", "official flat", "official flat+module",
         "official model", "official model+module", "native flat"]  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_every_dialect_and_wrapping_gives_the_same_network(tmp_path, kind, zipped):
    torch.save(wrapped(kind), tmp_path / "x.pth", _use_new_zipfile_serialization=zipped)
    loaded = load(tmp_path / "x.pth", cache_dir=tmp_path / "cache")
    assert same(loaded.model, STATE)
    assert loaded.architecture == "glip-mini"
    told = info(tmp_path / "x.pth")
    assert f"{told.dialect} {told.wrapping}" == kind
    assert told.architecture == "glip-mini"
    assert told.parameters == sum(t.numel() for t in STATE.values())
    assert told.dtypes == ("float32",)
    assert loaded.id == f"x@{told.sha256[:8]}"


def test_foreign_safetensors_too(tmp_path):
    save_file(foreign(STATE, "official"), tmp_path / "x.safetensors", {"format": "pt"})
    first = load(tmp_path / "x.safetensors", cache_dir=tmp_path / "cache")
    assert same(first.model, STATE)
    written = first.path.stat().st_mtime_ns
    assert load(tmp_path / "x.safetensors", cache_dir=tmp_path / "cache").path.stat().st_mtime_ns == written


@pytest.mark.parametrize("name", ["glip-mini", "glip-t-a", pytest.param("glip-l", marks=pytest.mark.long)])
def test_an_empty_network_has_the_parameters_of_an_ordinary_one(name):
    """A checkpoint holds all that a network has: there are no buffers."""
    config = ARCHITECTURES[name]
    ordinary, empty = Glip(config), init_empty(lambda: Glip(config))
    assert all(parameter.is_meta for parameter in empty.parameters())
    assert not [*empty.buffers(), *ordinary.buffers()]
    assert [(k, p.shape, p.requires_grad) for k, p in empty.named_parameters()] == [
        (k, p.shape, p.requires_grad) for k, p in ordinary.named_parameters()
    ]


def test_networks_built_meanwhile_in_other_threads_stay_real():
    built = []

    def build() -> torch.nn.Module:
        thread = threading.Thread(target=lambda: built.append(torch.nn.Linear(2, 2)))
        thread.start()
        thread.join()
        return torch.nn.Linear(2, 2)

    assert init_empty(build).weight.is_meta
    assert not built[0].weight.is_meta
    assert not torch.nn.Linear(2, 2).weight.is_meta


def test_answers_are_those_of_an_ordinary_network(pth, tmp_path):
    ordinary = Glip(SMALL).eval()
    ordinary.load_state_dict(STATE)
    loaded = load(pth, cache_dir=tmp_path / "cache").model
    assert not loaded.training
    pixels, ids = torch.randn(1, 3, 64, 96), torch.tensor([[1, 5, 6, 7, 2, 0, 0, 0]])
    with torch.inference_mode():
        one, two = ordinary(pixels, ids, ids > 0), loaded(pixels, ids, ids > 0)
    # the maths library may take another path for tensors that are not aligned in memory
    torch.testing.assert_close(one.logits, two.logits, rtol=1e-4, atol=1e-3)


def test_the_second_start_does_not_read_the_original(pth, tmp_path):
    first = load(pth, cache_dir=tmp_path / "cache")
    written, stat = first.path.stat().st_mtime_ns, pth.stat()
    pth.write_bytes(b"\0" * stat.st_size)
    os.utime(pth, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    second = load(pth, cache_dir=tmp_path / "cache")
    assert second.path == first.path
    assert second.path.stat().st_mtime_ns == written
    assert second.id == first.id
    assert same(second.model, STATE)


def test_a_changed_original_is_converted_again(pth, tmp_path):
    load(pth, cache_dir=tmp_path / "cache")
    torch.save(foreign(small_state(seed=1), "official"), pth)
    assert same(load(pth, cache_dir=tmp_path / "cache").model, small_state(seed=1))


def test_a_touched_original_leaves_no_second_conversion(pth, tmp_path):
    first = load(pth, cache_dir=tmp_path / "cache")
    os.utime(pth, (1, 1))
    second = load(pth, cache_dir=tmp_path / "cache")
    moved = pth.rename(tmp_path / "moved.pth")
    third = load(moved, cache_dir=tmp_path / "cache")
    assert (second.path, second.id, third.sha256) == (first.path, first.id, first.sha256)
    assert [path.name for path in conversions(tmp_path)] == [f"moved-{first.sha256[:8]}.safetensors"]


def test_conversions_of_what_was_changed_or_removed_are_removed(pth, tmp_path):
    other = Path(shutil.copy(pth, tmp_path / "other.pth"))
    old, kept = (load(path, cache_dir=tmp_path / "cache").path for path in (pth, other))
    torch.save(foreign(small_state(seed=1), "official"), pth)
    new = load(pth, cache_dir=tmp_path / "cache").path
    assert old != new
    assert conversions(tmp_path) == sorted([kept, new])
    other.unlink()
    torch.save(foreign(small_state(seed=2), "official"), pth)
    newest = load(pth, cache_dir=tmp_path / "cache").path
    assert conversions(tmp_path) == [newest]


def test_a_file_is_hashed_once(pth, tmp_path, monkeypatch):
    first = cache.known_sha256(pth, tmp_path)
    monkeypatch.setattr(cache, "sha256", lambda path: pytest.fail("read again"))
    assert cache.known_sha256(pth, tmp_path) == first
    (record,) = (tmp_path / "hashes").iterdir()
    monkeypatch.undo()
    for damaged in (b"", b"[]", b'{"state": 1}', record.read_bytes()[:-3]):
        record.write_bytes(damaged)
        assert cache.known_sha256(pth, tmp_path) == first


def conversions(tmp_path):
    return sorted((tmp_path / "cache" / "converted").iterdir())


def test_a_damaged_conversion_is_made_again(pth, tmp_path):
    kept = load(pth, cache_dir=tmp_path / "cache").path
    kept.write_bytes(kept.read_bytes()[:1000])
    assert same(load(pth, cache_dir=tmp_path / "cache").model, STATE)
    assert kept.stat().st_size > 1000


def test_training_does_not_write_to_the_cache(pth, tmp_path):
    loaded = load(pth, cache_dir=tmp_path / "cache")
    before = loaded.path.read_bytes()
    assert all(parameter.requires_grad and parameter.is_contiguous() for parameter in loaded.model.parameters())
    optimizer = torch.optim.SGD(loaded.model.parameters(), lr=0.1)
    sum(parameter.sum() for parameter in loaded.model.parameters()).backward()
    optimizer.step()
    assert not same(loaded.model, STATE)
    assert loaded.path.read_bytes() == before
    assert same(load(pth, cache_dir=tmp_path / "cache").model, STATE)


def test_no_cache_costs_time_only(pth, tmp_path):
    (tmp_path / "cache").write_text("a file where a folder should be")
    loaded = load(pth, cache_dir=tmp_path / "cache")
    assert same(loaded.model, STATE)
    assert loaded.path == pth


def test_convert_round_trip(pth, tmp_path):
    out = convert(pth, tmp_path / "out.safetensors")
    told = info(out)
    assert (told.dialect, told.architecture) == ("native", "glip-mini")
    assert told.metadata["source_sha256"] == cache.sha256(pth)
    loaded = load(out, cache_dir=tmp_path / "cache")
    assert loaded.path == out
    assert loaded.id == f"tuned@{cache.sha256(pth)[:8]}"
    assert same(loaded.model, STATE)
    assert not (tmp_path / "cache").exists()


def test_convert_where_nothing_can_be_written(pth, tmp_path):
    with pytest.raises(OutputError, match="cannot write"):
        convert(pth, tmp_path / "missing" / "out.safetensors")


def test_a_folder_that_finetune_left(tmp_path):
    run = tmp_path / "best"
    run.mkdir()
    with pytest.raises(CheckpointError, match="exactly one safetensors file, it has none"):
        load(run)
    safetensors_io.write(run / "best.safetensors", STATE, {"architecture": "glip-mini", "name": "my-run"})
    loaded = load(run)
    assert same(loaded.model, STATE)
    assert loaded.id == f"my-run@{cache.sha256(run / 'best.safetensors')[:8]}"
    shutil.copy(run / "best.safetensors", run / "last.safetensors")
    with pytest.raises(CheckpointError, match=r"'best.safetensors', 'last.safetensors'"):
        load(run)


def test_equal_weights_are_equal_bytes_for_whoever_may_read(tmp_path):
    umask = os.umask(0o022)
    try:
        for number in range(8):  # safetensors' own order changes from one process, and one dict, to the next
            metadata = {"architecture": "glip-mini", "name": 'sé "\x07', "base": "", "more": str(umask)}
            safetensors_io.write(
                tmp_path / f"{number}.safetensors", {"b": torch.ones(2), "a": torch.ones(3, 3)}, metadata
            )
    finally:
        os.umask(umask)
    contents = {path.read_bytes() for path in tmp_path.glob("*.safetensors")}
    assert len(contents) == 1
    assert safetensors_io.read(tmp_path / "0.safetensors").metadata == metadata | {
        "format": "glip/1",
        "dialect": "native",
    }
    assert (tmp_path / "0.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_plain_state_dict_in_safetensors(tmp_path):
    save_file(STATE, tmp_path / "plain.safetensors", {"format": "pt"})
    loaded = load(tmp_path / "plain.safetensors", cache_dir=tmp_path / "cache")
    assert (loaded.name, loaded.path) == ("plain", tmp_path / "plain.safetensors")


def test_native_files_are_strict_too(tmp_path):
    state = dict(STATE)
    del state["head.bias0"]
    save_file(
        state, tmp_path / "x.safetensors", {"format": safetensors_io.FORMAT, "architecture": "glip-mini", "name": "x"}
    )
    with pytest.raises(CheckpointError, match=r"1 keys are missing \('head.bias0'\)"):
        load(tmp_path / "x.safetensors")


def test_insisting_on_an_architecture(pth, tmp_path):
    assert load(pth, architecture="glip-mini", cache_dir=tmp_path).architecture == "glip-mini"
    for _ in range(2):  # the second time from the cache
        with pytest.raises(CheckpointError, match="is of architecture glip-mini, not glip-l"):
            load(pth, architecture="glip-l", cache_dir=tmp_path)
    with pytest.raises(UsageError, match="no architecture is called 'glip-x'"):
        load(pth, architecture="glip-x", cache_dir=tmp_path)


def test_no_such_file(tmp_path):
    with pytest.raises(CheckpointError, match="there is no file"):
        load(tmp_path / "missing.pth")


@pytest.mark.parametrize("dialect", ["mmpretrain", "native"])
def test_backbones(tmp_path, dialect):
    whole = {key: tensor for key, tensor in STATE.items() if key.startswith("backbone.")}
    torch.save(foreign(STATE, dialect) if dialect == "mmpretrain" else whole, tmp_path / "swin.pth")
    backbone = open_checkpoint(tmp_path / "swin.pth", cache_dir=tmp_path).load_backbone().backbone
    assert isinstance(backbone, Backbone)
    assert all(torch.equal(tensor, STATE[f"backbone.{key}"]) for key, tensor in backbone.state_dict().items())
    with pytest.raises(CheckpointError, match="without a head"):
        load(tmp_path / "swin.pth", cache_dir=tmp_path)
    out = convert(tmp_path / "swin.pth", tmp_path / "swin.safetensors")
    assert load_file(out).keys() == whole.keys()
    assert open_checkpoint(out).load_backbone().backbone.state_dict().keys() == backbone.state_dict().keys()


def test_the_backbone_of_a_whole_model(pth, tmp_path):
    backbone = open_checkpoint(pth, cache_dir=tmp_path / "cache").load_backbone().backbone
    assert torch.equal(backbone.norms[2].weight, STATE["backbone.norms.2.weight"])


def test_a_named_checkpoint_needs_its_conversion_only(pth, tmp_path):
    hash = cache.sha256(pth)
    named = Checkpoint("small", "glip-mini", "mmdet", "MIT", urls=("https://nowhere.invalid/tuned.pth",), sha256=hash)
    with pytest.raises(FetchError, match="not in the cache"):
        load(named, cache_dir=tmp_path / "cache", offline=True)
    downloads = cache.subfolder(tmp_path / "cache", "downloads")
    shutil.move(pth, downloads / "tuned.pth")
    loaded = load(named, cache_dir=tmp_path / "cache", offline=True)
    assert loaded.id == f"small@{hash[:8]}"
    assert loaded.path.name == f"small-{hash[:8]}.safetensors"
    (downloads / "tuned.pth").unlink()
    assert same(load(named, cache_dir=tmp_path / "cache", offline=True).model, STATE)


def test_a_model_that_reads_by_a_lexicon_takes_no_other_tokenizer(tmp_path):
    message = "--bert other: glip-nano reads labels by a lexicon of its own; leave it out"
    with pytest.raises(UsageError, match=message):
        load_tokenizer_folder("glip-nano", bert="other")
    with pytest.raises(UsageError, match=message):
        tokenizer_folder(Origin("glip-nano", "any", tmp_path / "any.safetensors", {}), "other")


def test_the_tokenizer_beside_the_weights_else_that_of_the_architecture(tmp_path):
    def origin(architecture):
        return Origin(architecture, "any", tmp_path / "any.safetensors", {})

    assert tokenizer_folder(origin("glip-l")) == load_tokenizer_folder("glip-l") == registry.BERT
    assert load_tokenizer_folder() == registry.BERT
    assert tokenizer_folder(origin("glip-mini")) == load_tokenizer_folder("glip-mini") == registry.ASSETS / "glip-mini"
    assert load_tokenizer_folder("glip-l", bert="other") == Path("other")
    (tmp_path / "tokenizer.json").touch()
    assert tokenizer_folder(origin("glip-l")) == tmp_path


def test_the_tokenizer_of_a_file(pth, tmp_path, monkeypatch):
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / "cache"))
    assert load_tokenizer_folder(weights=pth) == load_tokenizer_folder(str(pth)) == registry.ASSETS / "glip-mini"


def test_parts_of_a_detector(pth, tmp_path):
    (tmp_path / "bert").mkdir()
    parts = load_detector_parts(weights=pth, bert=tmp_path / "bert", cache_dir=tmp_path / "cache")
    assert same(parts.model, STATE)
    assert parts.name == f"tuned@{cache.sha256(pth)[:8]}"
    assert parts.tokenizer == tmp_path / "bert"
    assert load_detector_parts(str(pth), cache_dir=tmp_path / "cache").tokenizer.name == "glip-mini"
    (tmp_path / "vocab.txt").touch()
    convert(pth, tmp_path / "run.safetensors")
    beside = load_detector_parts(weights=tmp_path / "run.safetensors", model="glip-mini", cache_dir=tmp_path / "cache")
    assert beside.tokenizer == tmp_path
    with pytest.raises(CheckpointError, match="not glip-l"):
        load_detector_parts("glip-l-coco", weights=pth, cache_dir=tmp_path / "cache")
    with pytest.raises(UnknownModelError):
        load_detector_parts("no-such-model", cache_dir=tmp_path / "cache")
    with pytest.raises(FetchError, match=r"-m glip-nano works now .* --weights FILE"):
        load_detector_parts(cache_dir=tmp_path / "empty", offline=True)


@pytest.mark.parametrize("name", ["short", "a name that is longer"])
def test_tensors_are_aligned(name: str, tmp_path: Path) -> None:
    """Some kernels give other last digits where they are not: an answer would depend on the file's metadata."""
    state = {
        "odd": torch.rand(169, 3), "scalar": torch.tensor(2.5), "none": torch.empty(0, 4), "whole": torch.rand(16, 5),
        "half": torch.rand(7).half(), "ids": torch.arange(3), "bf16": torch.rand(5).bfloat16(),
        "mask": torch.eye(3) > 0,
    }  # fmt: skip
    ours = safetensors_io.write(tmp_path / "ours.safetensors", state, {"architecture": "glip-mini", "name": name})
    save_file(state, tmp_path / "theirs.safetensors", {"name": name})
    for path in (ours, tmp_path / "theirs.safetensors"):
        read = safetensors_io.read(path).state
        assert {key: tensor.data_ptr() % 64 for key, tensor in read.items()} == dict.fromkeys(state, 0)
        assert all(torch.equal(read[key], state[key]) and read[key].dtype == state[key].dtype for key in state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in load_file(ours).items())
    data = ours.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert (8 + int.from_bytes(data[:8], "little")) % 64 == 0
    assert header["whole"]["data_offsets"] == [0, 320]
