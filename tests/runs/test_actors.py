"""Real actors on a real Ray of two nodes: whatever dies or does not see the images, each has its record, in order."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from glip_cli.errors import GlipError
from glip_cli.runs import actors
from glip_cli.runs.actors import ActorPool
from glip_cli.runs.items import Item
from glip_cli.runs.ray_cluster import room_for
from tests.runs.examples import items
from tests.runs.workers import MadeWorker

pytest.importorskip("ray", reason="needs the extra [ray]")
pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="starts raylets and kills processes")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    ray.init(cluster.address, log_to_driver=False, logging_level="critical")
    yield ray
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def pool(ray: Any, tmp_path: Path) -> Callable[..., ActorPool]:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def made(size: int = 2, blind: str = "", node: str = "") -> ActorPool:
        nodes = cycle([node] if node else [found["NodeID"] for found in ray.nodes()])
        actor = ray.remote(MadeWorker)

        def hire() -> Any:
            where = NodeAffinitySchedulingStrategy(next(nodes), soft=False)
            options = {"max_concurrency": 2, "num_cpus": 1, "scheduling_strategy": where}
            return actor.options(**options).remote(str(tmp_path), blind)

        return ActorPool(ray, hire, size,
                    doubt=lambda item: True, died=died, room=lambda: room_for(ray, "CPU"), stop=threading.Event(),
                    say=lambda text: None)  # fmt: skip

    return made


def died(item: Item, host: str) -> Any:
    return {"image": item.source.name, "error": "died"}


def records(pool: ActorPool, names: Sequence[str]) -> list[dict[str, str]]:
    """Of groups of four."""
    return list(pool.run(groups(names, 4)))  # type: ignore[arg-type]


def groups(names: Sequence[str], size: int) -> Iterator[list[Item]]:
    return (list(items(names[i : i + size])) for i in range(0, len(names), size))


def test_the_image_that_kills_is_found_and_the_rest_goes_on(pool: Callable[..., ActorPool], tmp_path: Path) -> None:
    names = [str(i) for i in range(40)]
    names[3], names[17], names[22] = "kill3", "once17", "kill22"
    assert records(pool(), names) == [
        {"image": name} | ({"error": "died"} if name.startswith("kill") else {}) for name in names
    ]
    starts = len(list(tmp_path.glob("start-*")))
    # nine deaths: four of each that kills, one of the other; the last two may leave nothing for another worker
    assert 9 <= starts <= 11, "two, and one for each death: however many groups there are"


def test_a_node_that_does_not_see_the_images_gets_no_more_of_them(
    ray: Any, pool: Callable[..., ActorPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It fails fast, so without that it would draw most of the work."""
    monkeypatch.setattr(actors, "SAY_SECONDS", 600)  # on a busy machine Ray may be slow to start
    names = ["meet", *(f"slow{i}" if i % 4 == 0 else str(i) for i in range(1, 60))]
    blind = ray.nodes()[0]["NodeID"]
    said: list[str] = []
    one = pool(blind=blind)
    one.say = said.append
    assert records(one, names) == [{"image": name} for name in names]
    assert said == [f"a worker fewer: {blind[:4]} does not see images that other nodes see"]


def test_what_no_node_has_is_an_error(ray: Any, pool: Callable[..., ActorPool]) -> None:
    node = ray.nodes()[0]["NodeID"]
    one = pool(1, node, node)
    found = records(one, ["a", "b"])
    assert [record["error"] for record in found] == ["a: no such file", "b: no such file"]
    assert one.host == node[:4], "who made the last record"


def test_told_to_stop_it_ends_in_the_midst_of_a_group(pool: Callable[..., ActorPool]) -> None:
    one = pool()
    names = [f"slow{i}" for i in range(40)]
    run = one.run(groups(names, 20))
    threading.Timer(4.0, one.stop.set).start()
    begun = time.monotonic()
    found = [record["image"] for record in run]
    assert found == names[: len(found)]
    assert len(found) < 40
    assert time.monotonic() - begun < 60


def test_workers_for_which_there_is_no_room_are_said(
    pool: Callable[..., ActorPool], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Again and again, since there is none at all."""
    monkeypatch.setattr(actors, "SAY_SECONDS", 0.1)
    monkeypatch.setattr(actors, "AGAIN_SECONDS", 0.1)
    one, said = pool(), list[str]()
    one.hire = lambda: one.ray.remote(MadeWorker).options(num_cpus=3).remote(str(tmp_path))

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            one.stop.set()

    one.say = say
    assert records(one, [str(i) for i in range(8)]) == []
    told = r"0 of 2 workers started: each needs 1 CPU; the cluster has 4, \d of them free"  # workers of before may end
    assert len(said) == 2
    assert all(re.fullmatch(told, text) for text in said), said


def test_workers_that_cannot_start_end_it_with_their_reason(pool: Callable[..., ActorPool]) -> None:
    one = pool()
    one.hire = lambda: one.ray.remote(MadeWorker).remote(None)
    with pytest.raises(
        GlipError, match=r"workers die while they load the model \(TypeError: .*NoneType.*\); each machine"
    ):
        records(one, ["a"])


def test_workers_of_a_node_that_is_given_up_may_die_at_that_moment(ray: Any, pool: Callable[..., ActorPool]) -> None:
    """Of answers that come together, the first gives up the node of the second, which is an error by then."""
    one = pool()
    good, first, second = (actors.Actor(one.hire(), str(i), node, node) for i, node in enumerate(["a", "b", "b"]))
    one.actors = [good, first, second]
    one.open = [actors.ImageGroup(group, refused=["b"] * actors.STRIKES) for group in groups(["x", "y"], 1)]
    good.group, second.group = one.open

    def get(answer: str) -> actors.Done:
        if answer == "2":
            raise ray.exceptions.RayActorError
        return actors.Done([{"image": "x"}])  # type: ignore[list-item]

    one.ray = SimpleNamespace(  # the real one cannot be made to do so at will
        wait=lambda answers, timeout: (answers, []), get=get, kill=ray.kill, exceptions=ray.exceptions
    )
    one._wait()
    assert one.actors == [good]
    assert one.open[0].records == [{"image": "x"}]
