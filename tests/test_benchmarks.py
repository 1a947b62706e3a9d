"""The script for GPUs works before it meets one."""

from __future__ import annotations

import pytest

from benchmarks import gpu


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
