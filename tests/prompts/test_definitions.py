"""Definitions beside names: what is read, which text and tokens it becomes, and that scores are the official ones."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from glip_cli.checkpoints import registry, safetensors_io
from glip_cli.checkpoints.parts import load_detector_parts
from glip_cli.cli.app import run
from glip_cli.data.synthetic import draw_scene
from glip_cli.detector import Detector
from glip_cli.errors import PromptError, UsageError
from glip_cli.inference.postprocess import label_scores, postprocess, postprocess_options
from glip_cli.inference.preprocess import preprocess
from glip_cli.model.config import GLIP_MINI
from glip_cli.model.glip import Glip
from glip_cli.options import DetectOptions
from glip_cli.prompts.definitions import knowledge_chunks, read_knowledge
from glip_cli.prompts.prompt import caption_prompt, label_prompt

KNOWLEDGE = {"red star": "a star with five points that is red", "moon": "part of a circle, white or yellow"}
LABELS = ("red star", "square", "moon")


@pytest.fixture(scope="module")
def mini() -> Detector:
    return Detector.load("glip-mini", device="cpu")


def unfused(mini: Detector, name: str, use_cls: bool = False) -> Detector:
    """A small network of GLIP-T (A)'s kind, with random weights and scores that differ."""
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Glip(replace(GLIP_MINI, fusion=None))
        model.head.log_scale.fill_(-2.5)
        model.head.bias0.fill_(-1.0)
    return Detector(model, mini.tokenizer, name, device="cpu", use_cls=use_cls)


@pytest.fixture(scope="module")
def plain(mini: Detector) -> Detector:
    return unfused(mini, "small-a@0")


@pytest.fixture(scope="module")
def trained(mini: Detector) -> Detector:
    return unfused(mini, "any-name@0", use_cls=True)


# -------------------------------------------------------------------------------------------------------- checkpoint


def test_the_checkpoint_decides_what_reads_a_definition_and_no_file_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [name for name in registry.names() if registry.uses_cls(name)] == ["glip-t-a-knowledge"]
    named = replace(registry.find("glip-mini"), name="mini-knowledge", use_cls=True)
    table = {**registry._checkpoints(), named.name: named}
    monkeypatch.setattr(registry, "_checkpoints", lambda: table)
    published = tmp_path / "glip_a_tiny_o365_knowledge.safetensors"
    shutil.copy(registry.find("glip-mini").embedded or "", published)
    assert not load_detector_parts(weights=published).use_cls
    assert load_detector_parts("mini-knowledge").use_cls
    parts = load_detector_parts("mini-knowledge", weights=shutil.copy(published, tmp_path / "other.safetensors"))
    assert parts.use_cls
    metadata = {"architecture": "glip-mini", "name": "x", "use_cls": "true"}
    safetensors_io.write(tmp_path / "said.safetensors", parts.model.state_dict(), metadata)
    assert load_detector_parts(weights=tmp_path / "said.safetensors").use_cls


# ------------------------------------------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("k.json", '{"Cat": "a small\\n furry  animal", "St._Bernard (dog)": "big"}'),
        ("k.toml", 'Cat = """a small\n furry  animal"""\n"St._Bernard (dog)" = "big"\n'),
        ("k.jsonl", '{"label": "Cat", "definition": "a small\\n furry animal"}\n\n'
                    '{"label": "St._Bernard (dog)", "definition": "big"}\n'),
    ],
)  # fmt: skip
def test_every_form_says_the_same(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, "utf-8")
    assert read_knowledge(tmp_path / name) == {"cat": "a small furry animal", "st. bernard": "big"}


def test_microsofts_fields_are_joined_as_there(tmp_path: Path) -> None:
    """`gpt3_and_wiki` with GPT3_NUM 3: the definition, then three of five generated ones."""
    entry = '{"clean_name": "cat", "def_wiki": "W.", "def_wn": null, "gpt3": ["A.", "B.", "C.", "D.", "E."]}'
    (tmp_path / "k.json").write_text(f'{{"cat": {entry}}}')
    assert read_knowledge(tmp_path / "k.json") == {"cat": "W. A. B. C."}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("k.json", "{", "neither JSON nor TOML"),
        ("k.json", "[]", "must be an object of labels and definitions"),
        ("k.json", "{}", "defines no label"),
        ("k.json", '{"cat": 3}', "'cat' has no definition"),
        ("k.json", '{"cat": " "}', "'cat' has no definition"),
        ("k.json", '{"cat": {"def_wiki": null}}', "'cat' has no definition"),
        ("k.toml", "a = ", "neither JSON nor TOML"),
        ("k.jsonl", '{"label": "a", "definition": "b"}\n{"name": "c"}', "line 2: write"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError, match=rf"--knowledge .*{name}.*{message}") as raised:
        read_knowledge(tmp_path / name)
    assert "\n" not in str(raised.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_knowledge(tmp_path / "none.json")


# -------------------------------------------------------------------------------------------------------------- text


def test_each_label_is_a_text_of_its_own(mini: Detector) -> None:
    chunks = knowledge_chunks(label_prompt(["Red_Star", "square"]), KNOWLEDGE, mini.tokenizer)
    assert [part.prompt.text for part in chunks] == ["Red Star: a star with five points that is red", "square"]
    assert [part.label_ids for part in chunks] == [(0,), (1,)]
    assert [part.prompt.labels for part in chunks] == [("Red_Star",), ("square",)]
    named = [part.tokens.tokens[token] for part in chunks for token in part.tokens.label_tokens[0]]
    assert named == ["red", "star", "square"]
    assert chunks[0].tokens.notes[0] == "--knowledge says nothing of 'square': the name alone is read"


def test_the_trained_model_reads_the_first_token(mini: Detector) -> None:
    chunks = knowledge_chunks(label_prompt(LABELS), KNOWLEDGE, mini.tokenizer, use_cls=True)
    assert {part.tokens.label_tokens for part in chunks} == {((0,),)}
    assert {part.tokens.tokens[0] for part in chunks} == {"[CLS]"}


def test_a_long_definition_is_cut_and_its_name_stays(mini: Detector) -> None:
    long = {"moon": "white " * 400}
    (part,) = knowledge_chunks(label_prompt(["moon"]), long, mini.tokenizer)
    assert len(part.tokens.ids) == 256
    assert part.tokens.label_tokens == ((1,),)
    assert "its end is cut off" in part.tokens.notes[0]


def test_captions_have_no_definitions(plain: Detector) -> None:
    with pytest.raises(PromptError, match="--knowledge does not go with a caption"):
        plain.compile_prompt(caption_prompt("a moon", parts=[(2, 6)]), DetectOptions(knowledge=KNOWLEDGE))


def test_fusion_has_no_place_for_it(mini: Detector) -> None:
    with pytest.raises(UsageError, match="without fusion, such as glip-t-a, not for glip-mini@"):
        mini.compile_prompt(list(LABELS), DetectOptions(knowledge=KNOWLEDGE))


# ------------------------------------------------------------------------------------------------------------ scores


def test_without_a_definition_it_is_the_label_asked_alone(plain: Detector) -> None:
    image = draw_scene(np.random.default_rng(1)).image
    alone = plain(image, ["square"], threshold=0.0, top_k=20)
    known = plain(image, ["square"], threshold=0.0, top_k=20, knowledge=KNOWLEDGE)
    np.testing.assert_array_equal(alone.scores, known.scores)
    np.testing.assert_array_equal(alone.boxes, known.boxes)


def test_a_definition_counts_and_of_that_label_alone(plain: Detector) -> None:
    image = draw_scene(np.random.default_rng(1)).image

    def best(knowledge: dict[str, str]) -> list[float]:
        found = plain(image, list(LABELS), threshold=0.0, knowledge=knowledge)
        return [float(found.scores[found.label_ids == label].max()) for label in range(3)]

    none, one = best({}), best({"moon": KNOWLEDGE["moon"]})
    assert none[:2] == one[:2]
    assert none[2] != one[2]


@torch.inference_mode()
def test_the_oracle_is_the_official_arithmetic(trained: Detector) -> None:
    """The vectors of [CLS] side by side as the "tokens" of one text (LAN_FEATURE_AGG_TYPE first), one per class.

    Without fusion a token's logit depends on its own vector, so texts asked one after the other must say the same.
    """
    options = DetectOptions(threshold=0.0, knowledge=KNOWLEDGE)
    item = preprocess(draw_scene(np.random.default_rng(1)).image, 160, 320)
    compiled = trained.compile_prompt(list(LABELS), options)
    assert {part.tokens.label_tokens for part in compiled.chunks} == {((0,),)}
    seen = trained.encode_images([item])
    vectors = []
    for part in compiled.chunks:
        ids = torch.tensor([part.tokens.ids])
        vectors.append(trained.model.encode_text(ids, torch.ones_like(ids, dtype=torch.bool))[:, 0])
    hidden = torch.stack(vectors, dim=1)
    raw = trained.model.ground(seen.maps, hidden, torch.ones(1, len(LABELS), dtype=torch.bool))
    matrix = label_scores("mean", [(0,), (1,), (2,)], len(LABELS))
    (joint,) = postprocess(raw, [matrix], [item], postprocess_options(compiled, options))
    (ours,) = trained.detect_features(seen, compiled, options)
    count = len(joint.scores)
    assert count == options.per_text
    assert_close(torch.tensor(ours.scores[:count]), joint.scores, atol=1e-5, rtol=0)
    assert {*joint.labels.tolist()} == {*ours.label_ids[:count].tolist()}


# ----------------------------------------------------------------------------------------------------------- command


def test_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "k.json").write_text('{"moon": "part of a circle"}')
    flag = ["--knowledge", str(tmp_path / "k.json"), "-t", "moon . star ."]
    assert run(["detect", *flag, "-m", "glip-t-a", "--explain"]) == 0  # which need not be here
    assert "0:[CLS]" not in (explained := capsys.readouterr().err)
    assert "1:moon" in explained
    flag += ["-m", "glip-mini"]
    assert run(["detect", *flag, "--explain"]) == 2
    assert "--knowledge is for models without fusion, such as glip-t-a" in capsys.readouterr().err
    draw_scene(np.random.default_rng(1)).image.save(tmp_path / "a.png")
    for command in ("detect", "batch"):
        assert run([command, str(tmp_path / "a.png"), *flag, "-o", str(tmp_path / "out")]) == 2
        assert "--knowledge is for models without fusion, such as glip-t-a" in capsys.readouterr().err
    assert run(["eval", "flickr30k", "--knowledge", "k.json"]) == 2
