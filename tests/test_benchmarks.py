"""The benchmarks run: in small, and on a CPU."""

from __future__ import annotations

import pytest

from benchmarks import gpu, parts, training


@pytest.mark.long
def test_the_script_for_gpus_on_a_cpu() -> None:
    result = gpu.measure(gpu.Plan.tiny("cpu"))
    assert result["failed"] == []
    (agreement,) = result["agreement"]
    assert agreement[:3] == ("glip-t, float32", "synthetic200", "100 of 100")
    assert float(agreement[3]) < 1e-4
    assert float(agreement[4]) < 0.02  # pixels
    names = [row[0] for part in ("speed", "training") for row in result[part]]
    assert names == [
        "glip-mini, float32, batch 1", "glip-mini, float32, batch 2", "glip-mini, lora", "glip-mini, full",
    ]  # fmt: skip
    assert all(float(row[1]) > 0 for part in ("speed", "training") for row in result[part])
    assert "| glip-mini, lora |" in gpu.table(result)


@pytest.mark.long
def test_a_step_of_training() -> None:
    result = training.measure("glip-mini", (96, 160), batch=2, device="cpu", repeats=1, steps=2)
    parts = ["forward pass and loss", "backward pass", "clipping and AdamW"]
    assert [*result["rows"]] == [training.FORWARD, *parts, "step"]
    wall = {part: seconds for part, (seconds, _) in result["rows"].items()}
    assert sum(wall[part] for part in parts) <= wall["step"] + 1e-3
    assert result["mb_per_image"]["step"] > 0
    assert 0 <= result["waiting"] < 1
    assert "| backward pass |" in training.table(result)


@pytest.mark.parametrize(("model", "fused"), [("glip-mini", True), ("glip-nano", False)])
def test_the_parts_of_an_image(model: str, fused: bool) -> None:
    rows = parts.measure(model, (96, 96), "float32", "cpu", repeats=1)["rows"]
    assert {"decoding", "resizing", "backbone", "FPN"} < {*rows}
    assert ("fusion" in rows, "dynamic head" in rows) == (fused, fused)
    assert "BERT" in rows  # it runs each time
