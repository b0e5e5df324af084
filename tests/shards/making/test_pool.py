"""What a pool does when time passes, on a pretended Ray whose clock runs while one waits; the real: test_faults.py."""

import math
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.shards.making import members, pool
from pipeline.shards.making.faults import WorkerFaultError
from pipeline.shards.making.pool import PATIENCE_SECONDS, POLL_SECONDS, UNUSED_SECONDS, WorkerPool
from pipeline.shards.making.worker import ShardTask


class RayTaskError(Exception):
    """Ray's own, which has the worker's error as its cause."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause


class Ref:
    """The result of a call, once ``outcome`` gives one."""

    def __init__(self, outcome: Callable[[], Any]) -> None:
        self.outcome = outcome


class Actor:
    """A worker that runs as soon as the cluster has room for it."""

    def __init__(self, cluster: "Cluster") -> None:
        self.cluster = cluster
        self.runs = False
        self.made: list[str] = []
        self.__ray_call__ = SimpleNamespace(remote=lambda _: Ref(lambda: "node" if self.runs else None))
        self.images_done = SimpleNamespace(remote=lambda: Ref(lambda: 0))
        self.make = SimpleNamespace(remote=self._make)

    def _make(self, task: ShardTask) -> Ref:
        self.made.append(task.name)
        return Ref(lambda: self.cluster.work(self, task))


class Cluster:
    """Stands for the module ``ray``.

    Args:
        room: Actors that run at the same time.
        work: What comes of a task that an actor was given; None: it is still at it.
    """

    exceptions = SimpleNamespace(
        RayTaskError=RayTaskError, RayError=RayTaskError, RuntimeEnvSetupError=type("RuntimeEnvSetupError", (), {})
    )

    def __init__(self, room: int, work: Callable[[Actor, ShardTask], Any]) -> None:
        self.room = room
        self.work = work
        self.clock = 1000.0
        self.actors: list[Actor] = []
        self.killed: list[Actor] = []
        self.killed_at: list[float] = []

    def remote(self, _: type) -> Any:
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=self._start))

    def _start(self, _: Any) -> Actor:
        self.actors.append(Actor(self))
        return self.actors[-1]

    def alive(self) -> list[Actor]:
        return [actor for actor in self.actors if actor not in self.killed]

    def kill(self, actor: Actor) -> None:
        self.killed.append(actor)
        self.killed_at.append(self.clock)

    def wait(self, refs: list[Ref], num_returns: int, timeout: float) -> tuple[list[Ref], list[Ref]]:
        for actor in self.alive():
            actor.runs = actor.runs or sum(other.runs for other in self.alive()) < self.room
        ready = [ref for ref in refs if ref.outcome() is not None][:num_returns]
        if not ready:
            self.sleep(timeout)
        return ready, [ref for ref in refs if ref not in ready]

    def get(self, ref: Ref) -> Any:
        outcome = ref.outcome()
        if isinstance(outcome, Exception):
            raise RayTaskError(outcome)
        return outcome

    def sleep(self, seconds: float) -> None:
        self.clock += seconds
        assert self.clock < 2000, "the pool waits for what never comes"


@pytest.fixture
def make_cluster(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Cluster]:
    def made(room: int, work: Callable[[Actor, ShardTask], Any]) -> Cluster:
        cluster = Cluster(room, work)
        monkeypatch.setitem(sys.modules, "ray", cluster)  # type: ignore[arg-type]
        clock = SimpleNamespace(monotonic=lambda: cluster.clock, sleep=cluster.sleep)
        for module in (pool, members):
            monkeypatch.setattr(module, "time", clock)
        monkeypatch.setattr(pool, "check_alive", lambda: None)
        monkeypatch.setattr(pool, "leaving_nodes", frozenset)
        return cluster

    return made


SETUP = SimpleNamespace(threads=1)


def tasks(*names: str) -> Iterator[ShardTask]:
    return (ShardTask(name, []) for name in names)


@pytest.mark.parametrize("room", [2, 4])
def test_a_pool_that_grew_lets_go_of_idle_workers_and_of_those_that_never_came(
    make_cluster: Callable[..., Cluster], room: int
) -> None:
    """The last shard takes until the others are gone; the pool keeps the worker that makes it, and its least number."""

    def work(actor: Actor, task: ShardTask) -> Any:
        return None if task.name == "slow" and len(cluster.alive()) > 1 else True

    cluster = make_cluster(room, work)
    grown = WorkerPool(SETUP, workers=1, gpus=0, restarts=0, most=4)
    grown.wait()
    done, handed_out = [], []
    names = [*"abcdefgh", "slow", "i"]
    for task, _ in grown.run("make", tasks(*names), lambda _: None):
        done.append(task.name)
        handed_out.append(cluster.clock)
    assert sorted(done) == sorted(names)
    assert done[-1] == "slow"
    assert len(cluster.actors) == 4, "it grew as far as it may"
    (kept,) = cluster.alive()
    assert "slow" in kept.made
    assert sum(actor.runs for actor in cluster.actors) == room
    assert min(cluster.killed_at) - handed_out[-2] >= UNUSED_SECONDS - POLL_SECONDS
    assert max(cluster.killed_at) - handed_out[-2] <= UNUSED_SECONDS + 2 * POLL_SECONDS
    assert (grown.lost, grown.peak) == (0, room)


@pytest.mark.parametrize("comes", [True, False], ids=["it comes", "it never comes"])
def test_images_that_failed_in_masses_wait_for_a_fresh_worker_but_not_for_ever(
    make_cluster: Callable[..., Cluster], comes: bool
) -> None:
    """The room of the worker that failed is taken by somebody else; then a good one is given up for a fresh one."""

    def work(actor: Actor, task: ShardTask) -> Any:
        if task.name == "bad" and not task.failed:
            cluster.room = 2 if comes else 1
            return WorkerFaultError("all failed alike", ["image"])
        return True

    cluster = make_cluster(2, work)
    two = WorkerPool(SETUP, workers=2, gpus=0, restarts=1)
    two.wait()
    started = cluster.clock
    done = [task for task, _ in two.run("make", tasks("a", "b", "bad", "c"), lambda _: None)]
    assert sorted(task.name for task in done) == ["a", "b", "bad", "c"]
    assert next(task for task in done if task.name == "bad").failed == {"image"}
    first, second = (actor for actor in cluster.actors if "bad" in actor.made)
    assert len(first.made) > 1, "it was not fresh"
    assert second.made == ["bad"]
    waited = cluster.clock - started
    if comes:
        assert cluster.killed == [first]
        assert waited < PATIENCE_SECONDS
    else:
        assert cluster.killed[0] is first
        assert len(cluster.killed) == 2
        assert math.isclose(cluster.killed_at[1] - cluster.killed_at[0], PATIENCE_SECONDS, abs_tol=3)


def test_images_of_a_shard_whose_result_has_been_taken_are_not_counted_again(
    make_cluster: Callable[..., Cluster],
) -> None:
    """The worker answered while it was still at it, and the answer is looked at after the shard's result."""
    cluster = make_cluster(1, lambda *_: None)
    reported: list[int] = []
    questions = members.Questions()
    for images, taken in ((5, 0), (7, 0), (2, 1), (3, 1), (4, 1)):
        actor = SimpleNamespace(images_done=SimpleNamespace(remote=lambda done=images: Ref(lambda: done)))
        questions.ask([actor], reported.append, taken)
        cluster.sleep(1)
    assert reported == [5, 2, 3]
