"""What tuning leaves, and what `Detector.load`, `glip detect`, `glip eval` and `glip weights` make of it."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from typer.testing import CliRunner, Result

from glip_cli import Detector
from glip_cli.checkpoints import cache, registry
from glip_cli.checkpoints.adapters import load_adapter, merge_lora
from glip_cli.checkpoints.empty_init import init_empty
from glip_cli.checkpoints.finetuned import TENSORS, RunConfig, read_run_config
from glip_cli.checkpoints.load import Loaded, load
from glip_cli.checkpoints.parts import load_source
from glip_cli.cli.app import app
from glip_cli.data.synthetic import draw_scene
from glip_cli.errors import CheckpointError, GlipError, OutputError, PromptError
from glip_cli.model.config import ARCHITECTURES
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput
from glip_cli.options import DetectOptions
from glip_cli.prompts.compile import to_prompt
from glip_cli.training.assign import match
from glip_cli.training.config import TrainConfig
from glip_cli.training.init_model import InitSource, load_image_side
from glip_cli.training.loss import Target, grounding_loss
from glip_cli.training.tuning import Tuning, save_tuned, select, used_rows
from glip_cli.types import Detections
from tests import forked

MINI = registry.find("glip-mini")
ADDED = ["head", "prompt", "lora"]
MODES = ["full", *ADDED]
LABELS = ("circle", "red square", "star")
PROMPT = "circle . red square . star ."
STEPS = 3


def card(mode: str, base: Loaded, name: str = "blood") -> RunConfig:
    return RunConfig(mode, name, base.architecture, base.id, base.sha256, "glip-mini", LABELS, {"lr": 0.01})


def answer(model: Glip) -> RawOutput:
    torch.manual_seed(1)
    ids = torch.tensor([[2, 10, 11, 12, 13, 3, 0, 0]])
    with torch.no_grad():
        return model(torch.randn(1, 3, 96, 128), ids, ids > 0)


def train(model: Glip, tuning: Tuning) -> Glip:
    """A few real steps; in evaluation mode afterwards."""
    optimizer = torch.optim.AdamW(tuning.groups)
    ids = torch.tensor([[2, 10, 11, 12, 13, 3, 0, 0]])
    boxes, tokens = torch.tensor([[8.0, 8.0, 55.0, 50.0]]), torch.zeros(1, 8, dtype=torch.bool)
    tokens[0, 2] = True
    torch.manual_seed(2)
    tuning.train(model)
    for _ in range(STEPS):
        optimizer.zero_grad()
        raw = model(torch.randn(1, 3, 96, 128), ids, ids > 0)
        grounding_loss(raw, ids > 0, [Target(boxes, tokens)], [match(raw.sizes, boxes)]).total.backward()
        optimizer.step()
    return model.eval()


@pytest.fixture(scope="module")
def base() -> Loaded:
    return load(MINI)


@pytest.fixture(scope="module")
def models() -> dict[str, Glip]:
    """Tuned in memory, as the loop holds them."""
    rates = {"prompt": {"lr": 0.05, "weight_decay": 0.25}, "lora": {"lr": 1e-2, "language_lr": 1e-2}}
    tuned = {mode: load(MINI).model for mode in MODES}
    torch.manual_seed(0)  # of LoRA's factors
    return {
        mode: train(model, select(model, TrainConfig(mode=mode, **rates.get(mode, {}))))
        for mode, model in tuned.items()
    }


@pytest.fixture(scope="module")
def folders(models: dict[str, Glip], base: Loaded, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("tuned")
    return {mode: save_tuned(root / mode, model, card(mode, base, mode)) for mode, model in models.items()}


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    return draw_scene(np.random.default_rng(0)).image


def detect(detector: Detector, scene: Image.Image) -> Detections:
    return detector(scene, PROMPT, threshold=0.01)


def identical(a: Detections, b: Detections) -> None:
    assert len(a)
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(a.boxes, b.boxes)
    assert a.names == b.names


def test_the_whole_network_is_saved_bit_for_bit(models: dict[str, Glip], folders: dict[str, Path]) -> None:
    saved, trained = load(folders["full"]).model.state_dict(), models["full"].state_dict()
    assert saved.keys() == trained.keys()
    assert all(torch.equal(saved[name], trained[name]) for name in saved)


@pytest.mark.parametrize("mode", ["head", "prompt"])
def test_what_was_saved_is_what_was_trained(mode: str, models: dict[str, Glip], folders: dict[str, Path]) -> None:
    loaded = load(MINI)
    untouched = answer(loaded.model)
    load_adapter(loaded, folders[mode])
    again, trained = answer(loaded.model), answer(models[mode])
    for part in ("logits", "deltas", "centerness"):
        assert torch.equal(getattr(again, part), getattr(trained, part))
    assert (again.logits - untouched.logits).abs().max() > 1e-3


def test_merged_lora_is_the_lora_that_was_trained(models: dict[str, Glip], folders: dict[str, Path]) -> None:
    """Within 1e-5 of the largest logit: (W + s B A) x and W x + s B (A x) are rounded differently."""
    loaded = load(MINI)
    untouched = answer(loaded.model)
    load_adapter(loaded, folders["lora"])
    again, trained = answer(loaded.model), answer(models["lora"])
    assert loaded.model.state_dict().keys() == load(MINI).model.state_dict().keys()
    assert (again.logits - untouched.logits).abs().max() > 1e-2
    for part in ("logits", "deltas", "centerness"):
        mine, theirs = getattr(again, part), getattr(trained, part)
        assert (mine - theirs).abs().max() < 1e-5 * theirs.abs().max()


def test_peft_reads_the_file_and_merges_to_the_same_weights(folders: dict[str, Path]) -> None:
    from peft import PeftModel

    ours = load(MINI)
    load_adapter(ours, folders["lora"])
    theirs = PeftModel.from_pretrained(load(MINI).model, folders["lora"]).merge_and_unload()
    mine = ours.model.state_dict()
    assert theirs.state_dict().keys() == mine.keys()
    for name, tensor in theirs.state_dict().items():
        torch.testing.assert_close(tensor, mine[name], rtol=0, atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_detections_are_those_of_the_trained_model(
    mode: str, models: dict[str, Glip], folders: dict[str, Path], scene: Image.Image
) -> None:
    held = Detector.load("glip-mini", device="cpu")
    before = detect(held, scene)
    trained = detect(Detector(models[mode], held.tokenizer, "trained", "cpu"), scene)
    loaded = Detector.load(str(folders[mode]), device="cpu")
    found = detect(loaded, scene)
    if mode in ("head", "prompt"):
        identical(found, trained)
    else:  # other products (lora), other alignment of a file's tensors in memory (full): other rounding
        assert found.names == trained.names
        np.testing.assert_allclose(found.scores, trained.scores, atol=1e-5)
        np.testing.assert_allclose(found.boxes, trained.boxes, atol=1e-2)
    assert len(before) != len(found) or not np.array_equal(before.scores, found.scores)
    if mode != "full":
        identical(detect(Detector.load("glip-mini", adapter=folders[mode], device="cpu"), scene), found)
        identical(detect(Detector.load(weights=folders[mode], device="cpu"), scene), found)
        identical(detect(Detector.load(adapter=folders[mode], device="cpu"), scene), found)


def test_names_tell_the_base_and_the_adapter(folders: dict[str, Path], base: Loaded) -> None:
    from glip_cli.checkpoints.cache import sha256

    hash = sha256(folders["lora"] / "adapter_model.safetensors")[:8]
    assert Detector.load("glip-mini", adapter=folders["lora"], device="cpu").name == f"{base.id}+lora@{hash}"
    hash = sha256(folders["full"] / "model.safetensors")[:8]
    assert Detector.load(str(folders["full"]), device="cpu").name == f"full@{hash}"


def test_two_adapters_in_one_process_share_no_texts(folders: dict[str, Path], scene: Image.Image) -> None:
    plain, tuned = (Detector.load("glip-mini", adapter=adapter, device="cpu") for adapter in (None, folders["prompt"]))
    first = detect(plain, scene)
    assert not np.array_equal(detect(tuned, scene).scores[:1], first.scores[:1])
    identical(detect(plain, scene), first)


def test_the_offset_is_added_in_every_chunk(folders: dict[str, Path], scene: Image.Image) -> None:
    tuned = Detector.load("glip-mini", adapter=folders["prompt"], device="cpu")
    chunked = tuned(scene, PROMPT, threshold=0.01, chunked_size=2)
    alone = tuned(scene, ["star"], threshold=0.01)
    np.testing.assert_array_equal(chunked.scores[chunked.label_ids == 2], alone.scores)


def test_another_prompt_than_the_one_it_was_tuned_for_is_said(folders: dict[str, Path]) -> None:
    tuned = Detector.load("glip-mini", adapter=folders["prompt"], device="cpu")
    assert not any("tuned" in note for note in tuned.compile_prompt(to_prompt(PROMPT), DetectOptions()).notes)
    (note,) = tuned.compile_prompt(to_prompt("star . circle ."), DetectOptions()).notes
    assert "'circle', 'red square', 'star'" in note
    other = Detector.load("glip-mini", adapter=folders["lora"], device="cpu")
    assert not other.compile_prompt(to_prompt("star . circle ."), DetectOptions()).notes


def test_sizes_on_disk(folders: dict[str, Path]) -> None:
    whole = (folders["full"] / "model.safetensors").stat().st_size
    sizes = {mode: (folders[mode] / "adapter_model.safetensors").stat().st_size for mode in ADDED}
    assert sizes["prompt"] < 8_000  # six tokens of 128
    assert sizes["head"] < 70_000
    assert sizes["lora"] < 350_000 < whole / 20


def test_an_offset_for_20_tokens_of_glip_t_is_under_100_kb(tmp_path: Path) -> None:
    model = init_empty(lambda: Glip(ARCHITECTURES["glip-t"]))
    offset = torch.zeros(256, 768)
    offset[:20] = torch.randn(20, 768)
    model.text.offset = torch.nn.Parameter(offset)
    about = RunConfig("prompt", "small", "glip-t", "glip-t@c24ce662", "c24ce662", "glip-t", LABELS)
    save_tuned(tmp_path, model, about)
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 100_000
    assert torch.equal(load_file(tmp_path / "adapter_model.safetensors")["text.offset"], offset[:20])


def test_rows_that_no_prompt_used_are_left_out() -> None:
    offset = torch.zeros(9, 4)
    offset[1, 2] = offset[4, 0] = 1.0
    assert torch.equal(used_rows(offset), offset[:5])
    assert used_rows(torch.zeros(9, 4)).shape == (1, 4)


def test_glip_t_a_has_an_offset_too() -> None:
    """Its head reads the text without fusion."""
    config = replace(ARCHITECTURES["glip-mini"], fusion=None)
    torch.manual_seed(0)
    model = Glip(config).eval()
    before = answer(model)
    train(model, select(model, TrainConfig(mode="prompt", lr=0.05)))
    assert (answer(model).logits - before.logits).abs().max() > 1e-3
    assert torch.equal(answer(model).deltas, before.deltas)


def count_without_peft() -> None:
    """How many things the adapter and the image of the command line give, where peft cannot be imported."""
    assert "peft" not in sys.modules
    sys.modules["peft"] = None  # type: ignore[assignment]
    detector = Detector.load("glip-mini", adapter=sys.argv[1], device="cpu")
    print(len(detector(sys.argv[2], PROMPT, threshold=0.01)))


def test_no_adapter_needs_peft(folders: dict[str, Path], scene: Image.Image, tmp_path: Path) -> None:
    scene.save(tmp_path / "scene.png")
    done = forked.run([folders["lora"], tmp_path / "scene.png"], count_without_peft)
    assert done.returncode == 0, done.stderr
    detector = Detector.load("glip-mini", adapter=folders["lora"], device="cpu")
    assert int(done.stdout) == len(detect(detector, scene)) > 0


def test_the_folder_of_a_run_stands_for_its_best(folders: dict[str, Path], tmp_path: Path) -> None:
    for mode in ("full", "lora"):
        run = tmp_path / mode
        run.mkdir()
        (run / "best").symlink_to(folders[mode])
        assert Detector.load(str(run), device="cpu").name == Detector.load(str(folders[mode]), device="cpu").name


def test_an_adapter_for_a_file_finds_it_again(tmp_path: Path, models: dict[str, Glip]) -> None:
    """`source` is a path where the network has no name; once it is gone, both must be named."""
    (tmp_path / "other").mkdir()
    moved = tmp_path / "own.safetensors"
    moved.write_bytes(MINI.embedded.read_bytes())
    own = load(moved)
    about = replace(card("head", own), source=str(moved))
    folder = save_tuned(tmp_path / "head", models["head"], about)
    assert Detector.load(str(folder), device="cpu").name.startswith(f"{own.id}+blood@")
    moved.rename(tmp_path / "other" / "own.safetensors")
    with pytest.raises(CheckpointError, match=r"no longer at .*own.safetensors: name it with --model"):
        Detector.load(str(folder), device="cpu")
    there = Detector.load(str(tmp_path / "other" / "own.safetensors"), adapter=folder, device="cpu")
    assert there.name.startswith(own.id)


def rewrite(folder: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = folder / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


BROKEN: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "no card": ("head", lambda f: (f / "config.json").unlink(), "cannot read .*config.json"),
    "half a card": ("head", lambda f: cut(f / "config.json"), "config.json is truncated or damaged"),
    "a list": ("head", lambda f: (f / "config.json").write_text("[]"), "config.json is truncated or damaged"),
    "binary": ("head", lambda f: (f / "config.json").write_bytes(b"\xff\xfe"), "truncated or damaged"),
    "another's": ("head", lambda f: edit(f / "config.json", format="glip-tuned/9"), "of another format"),
    "strange key": ("head", lambda f: edit(f / "config.json", rank=4), "rank"),
    "strange mode": ("head", lambda f: edit(f / "config.json", mode="all"), "no mode is called 'all'"),
    "strange name": ("head", lambda f: edit(f / "config.json", name=3), "config.json is not what"),
    "strange labels": ("head", lambda f: edit(f / "config.json", labels=3), "config.json is not what"),
    "no base": ("head", lambda f: edit(f / "config.json", base_sha256=""), "without the network"),
    "other architecture": ("head", lambda f: edit(f / "config.json", architecture="glip-t"), "give --model glip-mini"),
    "other checkpoint": ("head", lambda f: edit(f / "config.json", base_sha256="00"), "give --model glip-mini"),
    "no tensors": ("head", lambda f: (f / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
    "a pickle": (
        "head",
        lambda f: (f / "adapter_model.safetensors").rename(f / "adapter_model.bin"),
        "has no adapter_model.safetensors",
    ),
    "half the tensors": ("head", lambda f: cut(f / "adapter_model.safetensors"), "truncated, damaged"),
    "a tensor less": ("head", lambda f: rewrite(f, lambda t: {"head.bias0": t["head.bias0"]}), "the 9 tensors"),
    "a tensor more": ("head", lambda f: rewrite(f, lambda t: t | {"x": torch.ones(1)}), "the 9 tensors"),
    "wrong sizes": ("head", lambda f: rewrite(f, lambda t: t | {"head.bias0": torch.ones(2)}), "the 9 tensors"),
    "head for prompt": ("head", lambda f: edit(f / "config.json", mode="prompt"), "must hold text.offset"),
    "head for lora": ("head", lambda f: edit(f / "config.json", mode="lora"), "cannot read .*adapter_config.json"),
    "too many rows": ("prompt", lambda f: rewrite(f, lambda t: {"text.offset": torch.ones(257, 128)}), "up to 256"),
    "narrow rows": ("prompt", lambda f: rewrite(f, lambda t: {"text.offset": torch.ones(2, 127)}), "rows of 128"),
    "no rows": ("prompt", lambda f: rewrite(f, lambda t: {"text.offset": torch.ones(0, 128)}), "up to 256"),
    "more than rows": ("prompt", lambda f: rewrite(f, lambda t: t | {"x": torch.ones(1)}), "must hold text.offset"),
    "no peft card": ("lora", lambda f: (f / "adapter_config.json").unlink(), "cannot read .*adapter_config.json"),
    "dora": ("lora", lambda f: edit(f / "adapter_config.json", use_dora=True), "use_dora True"),
    "no rank": ("lora", lambda f: edit(f / "adapter_config.json", r=0), "no usable r"),
    "strange alpha": ("lora", lambda f: edit(f / "adapter_config.json", lora_alpha="8"), "no usable r"),
    "half a factor": ("lora", lambda f: rewrite(f, lambda t: dict(list(t.items())[1:])), "two factors"),
    "no factor": ("lora", lambda f: rewrite(f, lambda t: {}), "two factors"),
    "stranger": (
        "lora",
        lambda f: rewrite(f, lambda t: {f"x.lora_{c}.weight": torch.ones(2, 2) for c in "AB"}),
        "factors for x do not fit",
    ),
    "wrong rank": (
        "lora",
        lambda f: rewrite(f, lambda t: {k: x[:3] if "lora_A" in k else x for k, x in t.items()}),
        "do not fit the model",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_wrong_is_said_in_one_line(case: str, folders: dict[str, Path], tmp_path: Path) -> None:
    mode, damage, said = BROKEN[case]
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in folders[mode].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    damage(copy)
    with pytest.raises(CheckpointError, match=said) as caught:
        Detector.load("glip-mini", adapter=copy, device="cpu")
    assert "\n" not in str(caught.value)
    assert "copy" in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"adapter": "none"}, "there is no folder none"),
        ({"adapter": "full"}, "holds a whole model, no adapter: give it to --model"),
        ({"model": "head", "adapter": "lora"}, "holds an adapter already"),
    ],
)
def test_adapters_that_cannot_be_meant(arguments: dict, said: str, folders: dict[str, Path]) -> None:
    given = {"model": "glip-mini"} | {key: str(folders.get(name, name)) for key, name in arguments.items()}
    with pytest.raises(GlipError, match=said):
        Detector.load(**given, device="cpu")


def test_a_place_that_cannot_be_written(models: dict[str, Glip], base: Loaded, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write to .*file"):
        save_tuned(tmp_path / "file", models["head"], card("head", base))


def test_a_folder_holds_nothing_but_what_it_says(folders: dict[str, Path]) -> None:
    files = {mode: sorted(file.name for file in folder.iterdir()) for mode, folder in folders.items()}
    assert files == {
        "full": ["config.json", "model.safetensors"],
        "head": ["adapter_model.safetensors", "config.json"],
        "prompt": ["adapter_model.safetensors", "config.json"],
        "lora": ["adapter_config.json", "adapter_model.safetensors", "config.json"],
    }


def test_a_card_comes_back_as_it_was(folders: dict[str, Path], base: Loaded) -> None:
    assert read_run_config(folders["prompt"]) == card("prompt", base, "prompt")


# As a person runs it.


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scene: Image.Image) -> Path:
    monkeypatch.chdir(tmp_path)
    scene.save("scene.png")
    return tmp_path


def glip(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def records(result: Result) -> list[dict]:
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def detected(*arguments: str | Path) -> dict:
    shown = ("-t", PROMPT, "--threshold", "0.01", "--json", "--device", "cpu", "--no-save-vis", "--no-save-pred")
    (record,) = records(glip("detect", "scene.png", *shown, *arguments))
    return record


def alike(a: dict, b: dict) -> None:
    """But for rounding: the tensors of a file may lie otherwise in memory."""
    ours, theirs = a["detections"], b["detections"]
    assert [found["label"] for found in ours] == [found["label"] for found in theirs] != []
    for mine, other in zip(ours, theirs, strict=True):
        assert mine["score"] == pytest.approx(other["score"], abs=2e-4)
        assert mine["box"] == pytest.approx(other["box"], abs=0.1)


@pytest.mark.parametrize("mode", ADDED)
def test_detect_with_an_adapter(mode: str, folders: dict[str, Path], here: Path) -> None:
    plain = detected("-m", "glip-mini")
    tuned = detected("-m", "glip-mini", "--adapter", folders[mode])
    assert tuned["model"].startswith(f"{plain['model']}+{mode}@")
    assert tuned["detections"] != plain["detections"]
    assert detected("-m", folders[mode]) == tuned


@pytest.mark.parametrize("mode", ADDED)
def test_convert_merges(mode: str, folders: dict[str, Path], here: Path, base: Loaded) -> None:
    for number, source in enumerate(["glip-mini", MINI.embedded]):
        result = glip("weights", "convert", source, f"{number}.safetensors", "--adapter", folders[mode])
        assert result.exit_code == 0, result.output
        assert result.stdout.strip() == f"{number}.safetensors"
        merged, tuned = detected("--weights", f"{number}.safetensors"), detected("-m", folders[mode])
        alike(merged, tuned)
        assert merged["model"].startswith(f"glip-mini+{mode}@")
        assert base.sha256[:8] not in merged["model"]
    assert glip("weights", "convert", folders[mode], "alone.safetensors").exit_code == 0
    alike(detected("--weights", "alone.safetensors"), tuned)
    facts = json.loads(glip("weights", "info", "alone.safetensors", "--json").stdout)
    assert (facts["dialect"], facts["architecture"]) == ("native", "glip-mini")
    # what was made for the base does not fit the merged one
    assert (
        glip("detect", "scene.png", "-t", "star", "-m", "alone.safetensors", "--adapter", folders[mode]).exit_code == 2
    )


def run_of(folder: Path, best: Path) -> Path:
    """A run folder as `glip finetune` leaves it."""
    folder.mkdir()
    (folder / "run.json").write_text("{}")
    shutil.copytree(best, folder / "best")
    return folder


@pytest.mark.parametrize("mode", MODES)
def test_a_run_is_its_best_state_in_every_command(mode: str, folders: dict[str, Path], here: Path) -> None:
    run = run_of(here / "run", folders[mode])
    assert detected("-m", run) == detected("-m", folders[mode])
    facts = json.loads(glip("weights", "info", run, "--json").stdout)
    assert (facts["dialect"], facts["architecture"]) == (
        "native" if mode == "full" else f"adapter, {mode}",
        "glip-mini",
    )
    assert Path(facts["file"]).parent == run / "best"
    assert glip("weights", "convert", run, "x.safetensors").exit_code == 0
    alike(detected("--weights", "x.safetensors"), detected("-m", run))
    start = InitSource(str(run)).load("full", 0)
    assert start.name == Detector.load(str(run), device="cpu").name
    image_side = load_image_side(str(run), "glip-mini")
    assert torch.equal(image_side["fpn.laterals.0.weight"], start.model.state_dict()["fpn.laterals.0.weight"])


def test_a_run_without_a_best_state_says_how_to_get_one(here: Path) -> None:
    (here / "run").mkdir()
    (here / "run" / "run.json").write_text("{}")
    for words in (["weights", "info", "run"], ["weights", "convert", "run", "x.safetensors"],
                  ["detect", "scene.png", "-t", "star", "-m", "run"]):  # fmt: skip
        result = glip(*words)
        assert result.exit_code == 2
        assert "has no best/ yet: `glip finetune --resume` resumes it" in result.stderr


def test_an_adapter_on_top_of_an_adapter(folders: dict[str, Path], models: dict[str, Glip], here: Path) -> None:
    """Trained from the run of another: both are put in, one after the other."""
    first = run_of(here / "first", folders["head"])
    start = InitSource(str(first)).load("full", 0)
    card = RunConfig("lora", "second", start.architecture, start.name, start.sha256, start.source)
    second = save_tuned(here / "second", models["lora"], card)
    name = Detector.load(str(second), device="cpu").name
    assert name == f"{start.name}+second@{cache.sha256(second / TENSORS)[:8]}"
    wanted = InitSource(str(first)).load("full", 0)
    load_adapter_into(wanted.model, second)
    loaded = Detector.load(str(second), device="cpu").model.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in wanted.model.state_dict().items())
    shutil.rmtree(first)
    run_of(first, folders["prompt"])
    with pytest.raises(CheckpointError, match=r"was made for .*head@"):
        Detector.load(str(second), device="cpu")
    edit(second / "config.json", source=str(second))
    with pytest.raises(CheckpointError, match="made for itself"):
        Detector.load(str(second), device="cpu")


def load_adapter_into(model: Glip, folder: Path) -> None:
    merge_lora(model, load_file(folder / "adapter_model.safetensors"), folder)


def test_a_merged_offset_still_says_what_it_was_tuned_for(folders: dict[str, Path], here: Path) -> None:
    glip("weights", "convert", folders["prompt"], "merged.safetensors")
    notes = glip("detect", "scene.png", "-t", "star", "--weights", "merged.safetensors", "--device", "cpu").stderr
    assert "tuned for the prompt of 'circle', 'red square', 'star'" in notes


@pytest.mark.parametrize("mode", MODES)
def test_without_a_prompt_it_is_what_was_tuned_for(
    mode: str, folders: dict[str, Path], here: Path, scene: Image.Image
) -> None:
    """`glip detect photo.jpg --model RUN`, as finetune recommends at its end."""
    shown = ("scene.png", "--threshold", "0.01", "--device", "cpu", "--no-save-vis", "--no-save-pred")
    result = glip("detect", *shown, "--json", "-m", folders[mode])
    (record,) = records(result)
    assert record["labels"] == list(LABELS)
    assert "labels of the model: 'circle', 'red square', 'star'\n" in result.stderr
    detector = Detector.load(folders[mode], device="cpu")
    assert detector.labels == LABELS
    identical(detector(scene, threshold=0.01), detector(scene, list(LABELS), threshold=0.01))


def test_a_merged_file_knows_what_it_was_tuned_for(folders: dict[str, Path], here: Path) -> None:
    shown = ("scene.png", "--device", "cpu", "-o", "run")
    for mode in ("lora", "full"):
        glip("weights", "convert", folders[mode], f"{mode}.safetensors")
        result = glip("batch", *shown, "--weights", f"{mode}.safetensors", "--overwrite")
        assert "labels of the model: 'circle', 'red square', 'star'" in result.stderr
    shown = ("scene.png", "--device", "cpu", "-m", folders["lora"], "--overwrite")
    assert "labels of the model" in glip("features", *shown, "--which", "fpn,similarity").stderr
    assert "labels" not in glip("features", *shown, "--which", "fpn").stderr
    assert "labels: 'heart'" in glip("detect", "scene.png", "-t", "heart", "-m", folders["lora"]).stderr


def test_a_model_that_was_tuned_for_nothing_needs_a_prompt(scene: Image.Image, here: Path) -> None:
    with pytest.raises(PromptError, match=r"no prompt: give labels, as in \['cat', 'remote'\]"):
        Detector.load("glip-mini", device="cpu")(scene)
    result = glip("detect", "scene.png", "-m", "glip-mini")
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "say what to find with --texts" in result.stderr


def test_a_merged_offset_of_wrong_shape_is_refused(folders: dict[str, Path], here: Path) -> None:
    glip("weights", "convert", folders["prompt"], "merged.safetensors")
    state = load_file("merged.safetensors")
    save_file(state | {"text.offset": torch.ones(3, 3)}, "merged.safetensors")
    with pytest.raises(CheckpointError, match=r"text.offset is \[3, 3\], not up to 256 rows of 128"):
        load("merged.safetensors")


def test_eval_with_an_adapter(folders: dict[str, Path], here: Path) -> None:
    shown = ("--limit", "2", "--no-report", "--device", "cpu", "-m", "glip-mini")
    assert glip("eval", "scenes", *shown, "-o", "plain").exit_code == 0
    result = glip("eval", "scenes", *shown, "-o", "tuned", "--adapter", folders["head"])
    assert result.exit_code == 0, result.output
    plain, tuned = (json.loads(Path(name, "metrics.json").read_text()) for name in ("plain", "tuned"))
    assert tuned["model"].startswith(f"{plain['model']}+head@")
    # the same folder with another model is refused, not mixed
    assert glip("eval", "scenes", *shown, "-o", "plain", "--adapter", folders["head"]).exit_code == 2


def test_explain_needs_only_the_tokenizer_of_a_tuned_folder(folders: dict[str, Path], here: Path) -> None:
    for flag in ("-m", "--adapter"):
        result = glip("detect", "-t", PROMPT, "--explain", "--offline", flag, folders["lora"])
        assert result.exit_code == 0, result.output
        assert "red square" in result.output


def test_errors_are_one_line(folders: dict[str, Path], here: Path) -> None:
    for arguments in (["-m", "glip-mini", "--adapter", "none"], ["-m", "glip-mini", "--adapter", folders["full"]]):
        result = glip("detect", "scene.png", "-t", "star", *arguments)
        assert result.exit_code == 2
        said = result.stderr.splitlines()
        assert [line.startswith("glip: error: ") for line in said] == [False, True]
        assert said[0] == "labels: 'star'"
    for more, said in ((["-t", "star"], "--texts"), (["--bert", here], "--bert")):
        result = glip("export", "-m", "glip-mini", "-o", "x.safetensors", *more)
        assert (result.exit_code, f"x.safetensors holds weights alone: {said} is for" in result.stderr) == (2, True)


@pytest.mark.parametrize("mode", MODES)
def test_a_run_becomes_one_file(mode: str, folders: dict[str, Path], here: Path) -> None:
    """That is the same network on another machine, where the folder is not."""
    run = run_of(here / "run", folders[mode])
    words = {} if mode == "full" else {"star": "glyph"}  # which the file of a whole network has itself
    edit(run / "best" / "config.json", words=words)
    wanted = Detector.load(run, device="cpu")
    result = glip("export", "-m", run, "-o", "cells.safetensors")
    assert result.stdout == "cells.safetensors\n"
    assert "MB; to use it: glip detect photo.jpg --model cells.safetensors" in result.stderr
    shutil.rmtree(run)
    found = Detector.load("cells.safetensors", device="cpu", offline=True)
    assert (found.labels, found.words) == (wanted.labels, wanted.words) == (LABELS, words)
    weights = found.model.state_dict()
    assert all(torch.equal(weights[key], tensor) for key, tensor in wanted.model.state_dict().items())
    assert mode != "full" or found.name == wanted.name


def test_a_whole_network_from_a_tuned_prompt_says_so(folders: dict[str, Path], here: Path) -> None:
    """Its offset is still there, and other prompts get it too."""
    start = InitSource(str(folders["prompt"])).load("full", 0)
    assert start.prompt_tuned_labels == LABELS
    card = RunConfig("full", "full", start.architecture, start.name, start.sha256, start.source)
    save_tuned(here / "full", start.model, replace(card, labels=("heart", "star"), words={"star": "glyph"}))
    notes = glip("detect", "scene.png", "-t", "heart", "-m", here / "full", "--device", "cpu").stderr
    assert "tuned for the prompt of 'heart', 'glyph', in this order" in notes
    assert "tuned for" not in glip("detect", "scene.png", "-m", here / "full", "--device", "cpu").stderr


def test_a_released_model_as_one_file_is_itself(folders: dict[str, Path], here: Path) -> None:
    """Adapters for it fit the file too."""
    glip("export", "-m", "glip-mini", "-o", "mini.safetensors")
    assert load_source("mini.safetensors").id == load_source("glip-mini").id
    assert glip("detect", "scene.png", "-m", "mini.safetensors", "--adapter", folders["head"]).exit_code == 0


def test_training_goes_on_from_the_file_of_an_adapter(folders: dict[str, Path]) -> None:
    start = InitSource(str(folders["lora"] / TENSORS)).load("full", 0)
    assert start.sha256 == InitSource(str(folders["lora"])).load("full", 0).sha256
