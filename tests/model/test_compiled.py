"""`--compile`: the network's graphs have no breaks, answers stay, shapes are bounded, and failing is one line."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters
from torch._subclasses import FakeTensorMode
from torch.testing import assert_close

from glip_cli import Detector
from glip_cli.checkpoints.empty_init import init_empty
from glip_cli.data.synthetic import draw_scene
from glip_cli.model import compiled
from glip_cli.model.compiled import Compiled
from glip_cli.model.config import GLIP_MINI
from glip_cli.model.glip import Glip
from glip_cli.model.head import RawOutput
from tests import forked
from tests.model.test_cuda_road import move

CPU = torch.device("cpu")


@pytest.fixture
def traced(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Torch traces and guards as ever, but runs the graph as it is: its own compiler would take minutes."""
    torch.compiler.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    yield
    torch.compiler.reset()


class Doubling:
    """In the place of a network, which takes longer to trace. Counts the runs that are not compiled."""

    def __init__(self) -> None:
        self.runs = 0

    def encode_image(self, pixels: Tensor) -> list[Tensor]:
        if not torch.compiler.is_compiling():
            self.runs += 1
        return [pixels * 2]

    def ground(self, maps: list[Tensor], hidden: Tensor, mask: Tensor) -> RawOutput:
        return RawOutput(maps[0] + 1, hidden * 2, mask.float(), ())


@pytest.mark.usefixtures("traced")
@pytest.mark.parametrize("fused", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_whole_network_is_two_graphs(fused: bool) -> None:
    """Nothing in it makes torch give up and go back to Python, and the graphs do what the network does."""
    torch.manual_seed(0)
    model = Glip(GLIP_MINI if fused else replace(GLIP_MINI, fusion=None)).eval()
    pixels, mask = torch.randn(1, 3, 96, 160), torch.ones(1, 8, dtype=torch.bool)
    steps, graphs = Compiled(model, CPU), counters["stats"]
    graphs.clear()
    with torch.inference_mode():
        hidden = model.encode_text(torch.arange(5, 13).unsqueeze(0), mask)
        maps = model.encode_image(pixels)
        assert_close(steps.encode_image(pixels), maps, rtol=1e-4, atol=1e-4)
        mine, theirs = (network.ground(maps, hidden, mask) for network in (steps, model))
    assert_close(vars(mine), vars(theirs), rtol=1e-4, atol=1e-4)
    assert graphs["unique_graphs"] == 2


def test_what_a_gpu_runs_is_two_graphs_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced for a GPU that need not be there, with torchvision's kernel, in bfloat16; recorded is nothing."""
    modes, compile = [], torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda step, mode, **how: modes.append(mode) or compile(step, backend="eager", **how)
    )
    torch.compiler.reset()
    model, half = init_empty(lambda: Glip(GLIP_MINI)).eval(), {"dtype": torch.bfloat16, "device": "cuda"}
    with FakeTensorMode(allow_non_fake_inputs=True), torch.inference_mode():
        move(model, torch.bfloat16)
        steps = Compiled(model, torch.device("cuda"))
        maps = steps.encode_image(torch.empty(2, 3, 96, 160, **half))
        raw = steps.ground(maps, torch.empty(2, 8, 128, **half), torch.ones(2, 8, dtype=torch.bool, device="cuda"))
    torch.compiler.reset()
    assert modes == ["reduce-overhead"] * 2
    assert raw.sizes == ((12, 20), (6, 10), (3, 5), (2, 3), (1, 2))
    assert raw.logits.shape == (2, 12 * 20 + 60 + 15 + 6 + 2, 8)
    assert {(x.device.type, x.dtype) for x in maps} == {("cuda", torch.bfloat16)}
    assert {(x.device.type, x.dtype) for x in (raw.logits, raw.deltas)} == {("cuda", torch.float32)}


@pytest.mark.usefixtures("traced")
def test_only_so_many_shapes_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """And each once, whatever torch's own limit."""
    monkeypatch.setattr(compiled, "SHAPES", 2)
    network = Doubling()
    steps = Compiled(network, CPU)  # type: ignore[arg-type]
    graphs = counters["stats"]
    graphs.clear()
    with torch._dynamo.config.patch(recompile_limit=1):
        for side, passed in [(3, False), (4, False), (3, False), (5, True), (4, True)]:
            pixels = torch.rand(1, side)
            assert_close(steps.encode_image(pixels), [pixels * 2])
            assert steps.passed is passed
    assert (network.runs, graphs["unique_graphs"]) == (1, 2)


@pytest.mark.long
def test_where_nothing_can_be_compiled_it_is_one_line(tmp_path: Path) -> None:
    """In a real process: torch looks for a compiler once, and what was compiled before would need none."""
    draw_scene(np.random.default_rng(0)).image.save(tmp_path / "0.png")
    words = ["detect", "0.png", "-m", "glip-mini", "-t", "star .", "--device", "cpu", "--compile", "-q"]
    done = subprocess.run(
        [sys.executable, "-m", "glip_cli", *words], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=forked.CLEAN | {"CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("glip: error: --compile: torch cannot compile here (No working C++ compiler")
    assert done.stderr.endswith("else leave --compile out\n")
    assert done.stderr.count("\n") == 1


@pytest.mark.long
def test_the_answers_of_a_compiled_model_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """glip-mini by torch's own compiler, which takes minutes."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    image, prompt = draw_scene(np.random.default_rng(0), 320, 240).image, "circle . red square . star ."
    plain, quick = (Detector.load("glip-mini", device="cpu", compile=on)(image, prompt, threshold=0.05)
                    for on in (False, True))  # fmt: skip
    assert len(plain) > 3
    assert plain.names == quick.names
    np.testing.assert_allclose(quick.scores, plain.scores, atol=1e-4)
    np.testing.assert_allclose(quick.boxes, plain.boxes, atol=1e-2)
