"""The job files of docs/cluster.md: the Slurm script runs, and what Kubernetes starts are commands of glip."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import ROOT, Command, blocks
from tests.docs.parse import parse_line
from tests.forked import CLEAN

PAGE = "docs/cluster.md"
PHOTOGRAPHS = ROOT / "tests" / "photographs"


def text_of_block(language: str) -> str:
    (block,) = [block for block in blocks(language) if block.page == PAGE]
    return block.text


@pytest.mark.skipif(shutil.which("bash") is None, reason="is a script of bash")
def test_the_slurm_script_does_a_part(tmp_path: Path) -> None:
    """With glip on the path, as an environment of its own would have it, and the built-in model."""
    (tmp_path / "photos").mkdir()
    for name in ("cat.jpg", "dog.jpg"):
        shutil.copy(PHOTOGRAPHS / name, tmp_path / "photos")
    glip = tmp_path / "bin/glip"
    glip.parent.mkdir()
    glip.write_text(f'#!/bin/sh\nexec {sys.executable} -m glip_cli "$@"\n')
    glip.chmod(0o755)
    script = tmp_path / "job.sh"
    script.write_text(text_of_block("bash").replace("/shared/", f"{tmp_path}/").replace("-m glip-t", "-m glip-nano"))
    paths = {"PATH": f"{glip.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT), "SLURM_ARRAY_TASK_ID": "1"}
    done = subprocess.run(["bash", script], env=CLEAN | paths, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run/shards/1-of-8.done").exists()
    assert (tmp_path / "run/shards/1-of-8.jsonl").read_bytes().count(b"\n") == 1


def test_what_kubernetes_starts_is_a_command() -> None:
    job = yaml.safe_load(text_of_block("yaml"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["sh", "-c"]
    (line,) = container["args"]
    words = shlex.split(line.replace("$JOB_COMPLETION_INDEX", "7"))
    assert words[:3] == ["exec", "glip", "batch"]
    assert words[-2:] == ["--shard", f"7/{job['spec']['completions']}"]
    parse_line(Command(shlex.join(words[1:]), ()))
    (rule,) = job["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["containerName"] == container["name"]
