"""Gradients go from process to process many at a time, and come back as their means."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from glip_cli.training.distributed import BUCKET, Distributed, buckets
from tests.training.networks import start

SHAPES = ((40, 30, 3, 3), (7,), (BUCKET // 4 + 1,), (5, 3), (1,))


def parameters(rank: int) -> list[torch.nn.Parameter]:
    """Each with a gradient of its own in each process; the last has none in one of them, and one is of float64."""
    made = [torch.nn.Parameter(torch.zeros(shape)) for shape in SHAPES]
    made[3] = torch.nn.Parameter(made[3].detach().double())
    generator = torch.Generator().manual_seed(rank)
    for one in made[:-1] if rank else made:
        one.grad = torch.randn(one.shape, generator=generator).to(one.dtype)
    made[0].grad = made[0].grad.to(memory_format=torch.channels_last)  # type: ignore[union-attr]
    return made


def average() -> None:
    processes = Distributed.join("cpu")
    mine = parameters(processes.rank)
    processes.average_gradients(mine)
    shares = [parameters(rank) for rank in range(processes.world)]
    means = [
        sum(torch.zeros_like(one) if one.grad is None else one.grad for one in same) / processes.world
        for same in zip(*shares, strict=True)
    ]
    equal = [bool(one.grad.equal(mean)) for one, mean in zip(mine, means, strict=True)]
    print(json.dumps([equal, mine[0].grad.is_contiguous(memory_format=torch.channels_last)]), flush=True)


def test_every_process_gets_the_means(tmp_path: Path) -> None:
    ranks = start(tmp_path, {}, 2, average)
    assert [one.wait() for one in ranks] == [0, 0], [one.stderr for one in ranks]
    assert [json.loads(one.stdout) for one in ranks] == [[[True] * len(SHAPES), True]] * 2


def test_buckets_keep_the_order_and_have_one_dtype() -> None:
    kinds = ((3, torch.float32), (2, torch.float32), (1, torch.float32), (9, torch.float32), (1, torch.float64))
    tensors = [torch.zeros(count, dtype=dtype) for count, dtype in kinds]
    found = list(buckets(tensors, size=20))
    assert [[len(one) for one in bucket] for bucket in found] == [[3, 2], [1], [9], [1]]
    assert [one for bucket in found for one in bucket] == tensors
    assert list(buckets([])) == []
