"""A flag beats GLIP_... variables, which beat the config file."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from glip_cli.cli.app import app
from glip_cli.cli.config import with_defaults
from glip_cli.errors import UsageError

ROOT = typer.main.get_command(app)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "glip.toml"
    path.write_text(
        'threshold = 0.4\ntexts = ["cat", "dog"]\nquiet = true\n[detect]\nthreshold = 0.5\nno-save-vis = false\n'
    )
    return str(path)


def run(*arguments: str, **environment: str) -> list[str]:
    return with_defaults(ROOT, ["detect", *arguments], environment)[1:]


def test_nothing_to_add() -> None:
    assert run("a.jpg", "-t", "cat") == ["a.jpg", "-t", "cat"]
    assert with_defaults(ROOT, ["--help"], {}) == ["--help"]
    assert with_defaults(ROOT, [], {"GLIP_TEXTS": "cat"}) == []


def test_the_table_of_the_command_beats_the_top_of_the_file(config: str) -> None:
    assert run("a.jpg", "--config", config) == [
        "--threshold=0.5", "--texts=cat", "--texts=dog", "--quiet", "a.jpg", "--config", config,
    ]  # fmt: skip


def test_the_environment_beats_the_file(config: str) -> None:
    words = run("a.jpg", "--config", config, GLIP_TEXTS="cat . remote .", GLIP_QUIET="0")
    assert words[:2] == ["--threshold=0.5", "--texts=cat . remote ."]
    assert "--quiet" not in words


@pytest.mark.parametrize("typed", [["-t", "bird"], ["--texts=bird"], ["--labels", "bird"], ["-tbird"]])
def test_a_flag_beats_both_and_replaces_lists(config: str, typed: list[str]) -> None:
    words = run(*typed, f"--config={config}", GLIP_TEXTS="cow")
    assert not [word for word in words if word.startswith("--texts=") and word != "--texts=bird"]


def test_a_config_named_by_the_environment(config: str) -> None:
    assert "--texts=dog" in run("a.jpg", GLIP_CONFIG=config)
    assert run("a.jpg", GLIP_CONFIG="") == ["a.jpg"]


def test_a_home_folder_that_no_shell_has_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every path of every command: `--out-dir=~/x` and variables reach it with their ~."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "glip.toml").write_text('texts = "cat"')
    assert "--texts=cat" in run("a.jpg", GLIP_CONFIG="~/glip.toml")
    assert "--texts=cat" in run("a.jpg", "--config=~/glip.toml")
    commands = ROOT.commands  # type: ignore[attr-defined]
    checked = set()
    for command in (below for one in commands.values() for below in getattr(one, "commands", {"": one}).values()):
        for param in command.params:
            if param.metavar in ("DIR", "FILE", "PATH", "OUT"):
                words = [f"{param.opts[0]}=~/x"] if param.opts[0].startswith("-") else ["~/x", "~/x"]
                value = command.make_context("glip", words, resilient_parsing=True).params[param.name]
                assert str(value[0] if param.multiple else value) == str(tmp_path / "x"), param.name
                checked.add(param.name)
    assert {"out_dir", "out", "train", "config", "knowledge", "adapter", "file"} <= checked


def test_aliases_are_the_flags_they_stand_for() -> None:
    assert run("--pred-score-thr", "0.5", "--iou=0.7") == ["--threshold", "0.5", "--nms-iou=0.7"]


def of(command: str, *arguments: str, **environment: str) -> list[str]:
    return with_defaults(ROOT, [command, *arguments], environment)[1:]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("false", ["--no-bf16", "--no-checkpointing"]),
        ('"off"', ["--no-bf16"]),
        ('"0"', ["--no-bf16"]),
        ("true", ["--bf16", "--checkpointing"]),
        ('"Yes"', ["--bf16", "--checkpointing"]),
    ],
)
def test_a_boolean_of_the_file_is_on_or_off(tmp_path: Path, value: str, words: list[str]) -> None:
    """What has no name for off is left off."""
    path = tmp_path / "glip.toml"
    path.write_text(f"bf16 = {value}\ncheckpointing = {value}\n")
    assert of("finetune", f"--config={path}")[:-1] == [word for word in words if word != "--no-checkpointing"]


def test_a_boolean_of_the_environment_is_on_or_off(tmp_path: Path) -> None:
    path = tmp_path / "glip.toml"
    path.write_text("bf16 = true\nquiet = true")
    config = f"--config={path}"
    assert of("finetune", config, GLIP_BF16="0", GLIP_QUIET="no") == ["--no-bf16", config]
    assert of("finetune", GLIP_NO_BF16="1") == ["--no-bf16"]
    assert of("finetune", "--bf16", GLIP_BF16="0") == ["--bf16"]
    assert of("finetune", "--no-bf16", config, GLIP_QUIET="") == ["--no-bf16", config]


def test_every_boolean_flag_can_be_false() -> None:
    for name, command in ROOT.commands.items():  # type: ignore[attr-defined]
        for param in getattr(command, "params", ()):
            if getattr(param, "is_flag", False) and param.name != "help":
                variable = f"GLIP_{param.opts[0].lstrip('-').replace('-', '_').upper()}"
                assert of(name, **{variable: "false"}) == list(param.secondary_opts[:1])


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("quiet = 1", "quiet is on or off: write true or false, not 1"),
        ("quiet = 'banana'", "quiet is on or off: write true or false, not 'banana'"),
        ("texts = ['cat', true]", "texts takes a text or a number, not True"),
        ("threshold = true", "threshold takes a text or a number, not True"),
        ("size = [800, 1333]", "size takes one value, not 2"),
        ("texts = [['cat']]", "texts takes a text or a number, not ['cat']"),
        (
            "class-threshold = {cat = 0.9}",
            "class_threshold takes a text or a number, not {'cat': 0.9}; write [\"cat=0.9\"]",
        ),
        (
            "[detect.class-threshold]\ncat = 1",
            "class_threshold takes a text or a number, not {'cat': 1}; write [\"cat=1\"]",
        ),
        ("labels = {SKU-1 = 'mug'}", "texts takes a text or a number, not {'SKU-1': 'mug'}; write [\"mug = SKU-1\"]"),
        ("threshold = {cat = 0.9}", "threshold takes a text or a number, not {'cat': 0.9}"),
    ],
)
def test_a_value_that_the_flag_cannot_have_is_one_error(tmp_path: Path, setting: str, told: str) -> None:
    path = tmp_path / "glip.toml"
    path.write_text(setting)
    with pytest.raises(UsageError) as caught:
        of("detect", "--config", str(path))
    assert str(caught.value) == f"--config {path}: {told}"


def test_a_file_of_windows(tmp_path: Path) -> None:
    path = tmp_path / "glip.toml"
    for encoding in ("utf-8-sig", "utf-16"):
        path.write_text("texts = 'café'", encoding=encoding)
        assert of("detect", f"--config={path}")[0] == "--texts=café"


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        (["--caption", "--labels"], ["--caption", "--labels"]),
        (["-t", "--conf", "--conf", "0.3"], ["-t", "--conf", "--threshold", "0.3"]),
        (["-qt", "--labels", "--labels=x"], ["-qt", "--labels", "--texts=x"]),
        (["-mglip-t", "--labels", "x"], ["-mglip-t", "--texts", "x"]),
        (["-t--labels", "--iou", "1"], ["-t--labels", "--nms-iou", "1"]),
        (["-q", "--labels", "x"], ["-q", "--texts", "x"]),
        (["--", "--labels", "--conf"], ["--", "--labels", "--conf"]),
        (["-", "--labels", "x"], ["-", "--texts", "x"]),
    ],
)
def test_only_flags_are_read_as_aliases(typed: list[str], read: list[str]) -> None:
    assert run(*typed) == read


def test_a_flag_that_may_stand_alone() -> None:
    assert of("batch", "--ray", "photos") == ["--ray=auto", "photos"]
    assert of("batch", "-o", "--ray", "--", "--ray") == ["-o", "--ray", "--", "--ray"]


def test_a_value_that_looks_like_a_flag_is_none() -> None:
    assert run("-t", "-mouse", GLIP_MODEL="glip-mini") == ["--model=glip-mini", "-t", "-mouse"]
    assert run("-mglip-t", GLIP_MODEL="glip-mini") == ["-mglip-t"]
    assert run("-t", "--config", "-q", GLIP_QUIET="1") == ["-t", "--config", "-q"]
    assert run("--", "-q", GLIP_QUIET="1") == ["--quiet", "--", "-q"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"GLIP_TRESHOLD": "0.4"}, ["note: GLIP_TRESHOLD is read by nothing; did you mean GLIP_THRESHOLD?"]),
        ({"GLIP_BATCHSIZE": "4"}, ["note: GLIP_BATCHSIZE is read by nothing; did you mean GLIP_BATCH_SIZE?"]),
        ({"GLIP_LABELS": "cat"}, ["note: GLIP_LABELS is read by nothing; did you mean GLIP_TEXTS?"]),
        ({"GLIP_TRESHOLD": "0.4", "GLIP_QUIET": "1"}, []),
        # of another command, of the package, and somebody's own
        ({"GLIP_VAL_IMAGES": "a", "GLIP_CAPTIONS": "a", "GLIP_TIME_LIMIT": "5", "GLIP_NO_BF16": "1"}, []),
        ({"GLIP_CACHE": "a", "GLIP_SHARED": "a", "GLIP_HOME": "a", "GLIPTHRESHOLD": "1"}, []),
    ],
)
def test_a_misspelt_variable_is_a_note(
    variables: dict[str, str], said: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run("a.jpg", **variables)
    assert capsys.readouterr().err.splitlines() == said


def test_a_misspelt_variable_is_no_note_of_a_quiet_command(capsys: pytest.CaptureFixture[str]) -> None:
    run("a.jpg", "-q", GLIP_TRESHOLD="0.4")
    of("doctor", GLIP_OFLINE="1")  # whose table says so
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("threshhold = 1", "--threshhold"),
        ("[detekt]\n", "detekt"),
        ("not toml", "TOML"),
        ("detect = 3", "--detect"),
        ("\xff", "TOML"),
    ],
)
def test_a_bad_file_is_one_error(tmp_path: Path, content: str, told: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(UsageError, match=told):
        run("a.jpg", "--config", str(path))
    with pytest.raises(UsageError, match="no\\.toml"):
        run("a.jpg", "--config", "no.toml")
