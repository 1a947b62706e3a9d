"""`glip doctor` against really broken packages, caches and hosts, and on the machine that runs the tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from glip_cli.checkpoints import registry
from glip_cli.cli.app import app
from glip_cli.doctor import checks, machine, storage, versions
from glip_cli.doctor.checks import Check
from glip_cli.utils.text_format import byte_size
from tests import forked
from tests.checkpoints.support import serving
from tests.forked import CLEAN


def of(findings: Iterable[Check], name: str) -> Check:
    (found,) = [finding for finding in findings if finding.name == name]
    return found


def with_problems(findings: Iterable[Check]) -> set[str]:
    return {finding.name for finding in findings if finding.problem}


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--offline", *arguments])


@pytest.fixture
def filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache that holds the default model."""
    for variable in [name for name in os.environ if name.startswith("GLIP_")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / "cache"))
    kept = tmp_path / "cache" / "converted" / f"glip-t-{registry.find('glip-t').hash[:8]}.safetensors"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(whole_safetensors())
    return tmp_path / "cache"


def whole_safetensors() -> bytes:
    header = b'{"x":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}}'
    return len(header).to_bytes(8, "little") + header + bytes(4)


def fake(folder: Path, monkeypatch: pytest.MonkeyPatch, package: str, code: str) -> None:
    """A package that stands before the real one of that name."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(code)
    monkeypatch.setenv("PYTHONPATH", str(folder))


# ----------------------------------------------------------------------------------------------- the whole command


def test_where_all_is_well_it_says_so(filled: Path) -> None:
    result = doctor("--json")
    found = json.loads(result.stdout)
    wrong = {finding["name"] for section in found["sections"] for finding in section["findings"] if finding["problem"]}
    # what the machine that runs the tests may really lack
    assert wrong <= {"memory", "free disk space", "processor", "text"}, wrong
    assert result.exit_code == (1 if wrong else 0)
    titles = [section["title"] for section in found["sections"]]
    assert titles == ["versions", "imports", "devices", "settings", "cache", "network", "models"]
    by_name = {finding["name"]: finding for section in found["sections"] for finding in section["findings"]}
    assert by_name["torchvision"]["value"].endswith("its operators work")
    assert by_name["cpu"]["value"].startswith("float32 (--dtype auto); bfloat16 ")
    assert by_name["glip-t"]["value"].startswith(f"here: {filled}")


def test_a_pair_that_does_not_match_is_found_and_everything_else_goes_on(
    filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(
        tmp_path / "fake", monkeypatch, "torchvision", "raise RuntimeError('operator torchvision::nms does not exist')"
    )
    result = doctor()
    assert result.exit_code == 1
    assert "! torchvision" in result.stdout
    assert "does not work with this torch: operator torchvision::nms does not exist" in result.stdout
    assert "pip install --force-reinstall --no-cache-dir torch torchvision" in result.stdout
    assert "fails as torchvision does" in result.stdout  # timm, which is not to blame
    assert "float32 (--dtype auto)" in result.stdout  # torch itself was tried
    assert "Traceback" not in result.output


def test_without_a_torch_that_can_be_imported(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(tmp_path / "fake", monkeypatch, "torch", "raise OSError('libcudart.so.12: cannot open\\nshared object file')")
    result = doctor("--json")
    assert result.exit_code == 1
    sections = {s["title"]: {f["name"]: f for f in s["findings"]} for s in json.loads(result.stdout)["sections"]}
    torch = sections["imports"]["torch"]
    assert torch["problem"] == "cannot be used: libcudart.so.12: cannot open shared object file"
    assert torch["remedy"].endswith("torch torchvision")
    assert sections["imports"]["torchvision"]["value"].startswith("not tried")
    assert sections["imports"]["tokenizers"]["value"] == "works"
    assert sections["models"]["glip-mini"]["problem"] is None
    assert "processor" in sections["devices"]


def test_it_imports_no_torch_itself() -> None:
    code = "import glip_cli.doctor, glip_cli.cli, sys; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


# ------------------------------------------------------------------------------------------------------- the probe


@pytest.mark.parametrize(
    ("code", "patience", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 60, r"ends Python with signal 11 \(SIGSEGV\)"),
        ("import os; os._exit(3)", 60, "ends Python with exit code 3"),
        ("import time; time.sleep(600)", 2, "is not finished after 2 seconds"),
        ("print('{'); raise SystemExit('no licence')", 60, "no licence"),
        ("import torch.nothing", 60, "No module named 'torch.nothing'"),
    ],
)
def test_whatever_an_import_does_is_a_finding(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, patience: float, told: str
) -> None:
    fake(tmp_path, monkeypatch, "torch", code)
    answers = machine.run_probe(patience)
    problem = of(machine.check_imports(answers), "torch").problem
    assert problem is not None
    with pytest.raises(AssertionError, match=told):  # the whole of what is said, whatever it is
        raise AssertionError(problem)


def test_what_the_probe_says_in_words() -> None:
    """No GPU here: the answers of one, as `probe` would print them."""
    torch = {"version": "2.6.0", "cuda": "12.4", "hip": None, "threads": 99_999, "numpy": "Numpy is not available"}
    speed = {"float32": 50.0, "bfloat16": 700.0, "float16": 55.0}
    gpu = {"name": "H200", "memory": 150e9, "free": 140e9, "capability": "9.0", "speed": speed}
    answers = {"torch": torch, "cuda:0": gpu, "cuda:1": {"error": "no kernel image is available"},
               "torchvision": {"version": "0.21.0"}, "nms": {"error": "no kernel"}}  # fmt: skip
    found = [*machine.check_devices(answers)]
    assert of(found, "cuda:0").value == (
        "H200, 140 GB free of 150 GB; float32 (--dtype auto); bfloat16 14 times as fast; "
        "float16 works, but does not pay (1.1 times as fast)"
    )
    assert "no kernel image" in (of(found, "cuda:1").problem or "")
    assert "OMP_NUM_THREADS=" in (of(found, "processor").remedy or "")
    assert "numpy" in (of(machine.check_imports(answers), "torch").problem or "")
    assert "on the GPU: no kernel" in (of(machine.check_imports(answers), "torchvision").problem or "")


def test_a_gpu_that_torch_does_not_see(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H200, 570.1'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    torch = {"version": "2.6.0", "cuda": None, "hip": None, "threads": 1, "numpy": None}
    finding = of(machine.check_devices({"torch": torch}), "cuda")
    assert finding.value == "NVIDIA H200 driver 570.1"
    assert "built with CUDA" in (finding.remedy or "")
    assert "driver" in (of(machine.check_devices({"torch": torch | {"cuda": "12.4"}}), "cuda").remedy or "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES" in (
        of(machine.check_devices({"torch": torch | {"cuda": "12.4"}}), "cuda").remedy or ""
    )


# -------------------------------------------------------------------------------------------------------- versions


def installed(folder: Path, name: str, version: str, *needs: str) -> None:
    """The record of an installed package."""
    record = folder / f"{name}-{version}.dist-info"
    record.mkdir(parents=True)
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {n}" for n in needs)]
    (record / "METADATA").write_text("\n".join(lines) + "\n")


def test_what_is_installed_is_held_against_what_packages_ask_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(tmp_path, "torch", "99.0+cu124")
    installed(tmp_path, "torchvision", "99.1+cu124", "torch==99.1", "gdown ; extra == 'gdown'")
    installed(tmp_path, "timm", "0.9.2")
    installed(tmp_path, "transformers", "99.0", "tokenizers<0.2,>=0.1", "nothing-of-that-name")
    installed(tmp_path, "ray", "1.0")
    monkeypatch.syspath_prepend(str(tmp_path))
    found = [*versions.check_versions()]
    pair = of(found, "torchvision")
    assert pair.problem == "needs torch==99.1, but 99.0+cu124 is installed"
    assert pair.remedy == "pip install 'torch==99.1' torchvision==99.1, or pip install -U torch torchvision"
    assert of(found, "torch").problem is None
    assert of(found, "timm").problem == "is not >=1.0.15"
    assert "tokenizers<0.2,>=0.1" in (of(found, "transformers").problem or "")
    assert of(found, "ray").remedy == "pip install -U 'glip-cli[ray]'"


def test_the_build_of_a_version_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(tmp_path, "torch", "99.1+cpu")
    installed(tmp_path, "torchvision", "99.1+cu124", "torch==99.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert of(versions.check_versions(), "torchvision").problem is None


def test_every_requirement_is_looked_at() -> None:
    wanted = versions.requirements()
    names = {finding.name for finding in versions.check_versions()}
    assert {requirement.name for part in ("", "ray", "finetune") for requirement in wanted[part]} <= names
    assert {"torch", "torchvision"} <= names


# ----------------------------------------------------------------------------------------------------------- cache


def test_what_lies_in_the_cache(filled: Path) -> None:
    downloads = filled / "downloads"
    downloads.mkdir()
    (downloads / "a.pth.part").write_bytes(bytes(2_000_000))
    (downloads / ".a.pth.lock").touch()
    (downloads / "cut.safetensors").write_bytes(whole_safetensors()[:20])
    (downloads / "cut.pth").write_bytes(b"PK\x03\x04" + bytes(100))
    (downloads / "empty.pth").touch()
    (downloads / "glip_tiny_mmdet-c24ce662.pth").write_bytes(b"\x80\x02another")
    (filled / "converted" / ".x.safetensors.1234abcd.tmp").write_bytes(b"1")
    found = [*storage.check_cache()]
    assert of(found, "downloads/a.pth.part").value == "2 MB, unfinished: the next fetch resumes it"
    assert with_problems(found) == {
        "downloads/cut.safetensors", "downloads/cut.pth", "downloads/empty.pth",
        "converted/.x.safetensors.1234abcd.tmp",
    }  # fmt: skip
    assert of(found, "total").value.endswith("in 7 files")
    verified = storage.check_cache(verify=True)
    wrong = of(verified, "downloads/glip_tiny_mmdet-c24ce662.pth")
    assert wrong.problem == "is not the published file: its hash does not begin with c24ce662"


@pytest.mark.parametrize("place", ["file", "file/below"])
def test_a_cache_that_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path / place))
    finding = of(storage.check_cache(), "folder")
    assert "cannot be written" in (finding.problem or "")
    assert "GLIP_CACHE" in (finding.remedy or "")


def print_problems() -> None:
    print([finding.problem for finding in storage.check_cache() if finding.problem])


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("place", ["cache", "locked/cache"])
def test_a_cache_of_somebody_else(tmp_path: Path, place: str) -> None:
    """Read as a user who may not."""
    (tmp_path / place).mkdir(parents=True)
    (tmp_path / place.partition("/")[0]).chmod(0)
    try:
        done = forked.run([], print_problems, env=CLEAN | {"GLIP_CACHE": str(tmp_path / place)}, ordinary=True)
    finally:
        (tmp_path / place.partition("/")[0]).chmod(0o700)
    assert "cannot be written (Permission denied)" in done.stdout
    assert "cannot be read (Permission denied)" in done.stdout


def test_sizes_in_words() -> None:
    assert [byte_size(n) for n in (0, 999, 231_508, 2_000_000, 1.23e9)] == [
        "0 bytes",
        "999 bytes",
        "232 kB",
        "2 MB",
        "1.23 GB",
    ]


# --------------------------------------------------------------------------------------------------------- network


def test_hosts_are_asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving() as server:
        server.files["x.pth"] = b"1"
        files = {"good": server.url("x.pth"), "gone": server.url("y.pth"), "dead": "http://127.0.0.1:9/x",
                 "silent": "http://10.255.255.1/x", "strange": "http://[/x"}  # fmt: skip
        together, ask = threading.Barrier(len(files)), storage.request_head

        def ask_together(url: str, patience: float) -> str | None:
            together.wait(60)
            return ask(url, patience)

        monkeypatch.setattr(storage, "request_head", ask_together)
        found = [*storage.check_network(files=files, patience=5.0)]
    assert of(found, "good") == Check("good", "reachable")
    assert "answers 404" in (of(found, "gone").problem or "")
    assert "refused" in (of(found, "dead").problem or "")
    assert of(found, "silent").problem is not None
    assert of(found, "strange").problem is not None
    assert all("-m glip-nano" in (finding.remedy or "-m glip-nano") for finding in found)


def test_every_host_of_the_registry_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    files = storage.one_file_per_host()
    assert set(files) == {"download.openmmlab.com", "huggingface.co"}
    monkeypatch.setenv("HF_ENDPOINT", "http://mirror.local:8080/")
    mirrored = storage.one_file_per_host()
    assert set(mirrored) == {"download.openmmlab.com", "mirror.local:8080"}
    assert mirrored["mirror.local:8080"].startswith("http://mirror.local:8080/")


@pytest.mark.parametrize("variable", [True, False])
def test_offline_asks_nobody(monkeypatch: pytest.MonkeyPatch, variable: bool) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1" if variable else "0")
    with serving() as server:
        found = [*storage.check_network(offline=not variable, files={"one": server.url("x")})]
        assert server.asked == []
    assert [finding.problem for finding in found] == [None]


# ----------------------------------------------------------------------------------------------- models, settings


def test_the_default_model_is_a_problem_only_where_it_cannot_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GLIP_CACHE", str(tmp_path))
    assert with_problems(checks.check_models(reachable=True)) == set()
    found = [*checks.check_models(reachable=False)]
    assert with_problems(found) == {"glip-t"}
    assert {finding.name for finding in found} == set(registry.names())
    assert of(found, "glip-mini").value == "built in: procedurally drawn shapes"
    assert of(found, "glip-l-lvisbest").value == "no longer published"


def test_variables() -> None:
    given = {"GLIP_THRESHOLD": "0.4", "GLIP_TRESHOLD": "0.4", "GLIP_CACHE": "/x", "OTHER": "1",
             "HTTPS_PROXY": "http://me:secret@proxy:3128"}  # fmt: skip
    found = [*checks.check_environment({"GLIP_THRESHOLD", "GLIP_TOP_K", "GLIP_CACHE"}, given)]
    assert of(found, "GLIP_TRESHOLD").remedy == "unset it; or did you mean GLIP_THRESHOLD?"
    assert with_problems(found) - {"text"} == {"GLIP_TRESHOLD"}
    assert of(found, "HTTPS_PROXY").value == "http://...@proxy:3128"
    assert {finding.name for finding in found} == {"text", *given} - {"OTHER"}


def test_a_problem_has_a_remedy() -> None:
    with pytest.raises(ValueError, match="go together"):
        Check("x", "1", "is wrong")
