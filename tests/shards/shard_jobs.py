"""What a job left; and jobs whose one worker is in this process, for all that is not Ray's (that: test_faults.py)."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pipeline.ray_session import Resources
from pipeline.shards.making import job
from pipeline.shards.making.worker import ShardTask, ShardWorker, WorkerSetup


class InlinePool:
    """One worker in this process that takes the shards from last to first: a worker's order must not matter."""

    made: list[str]
    closed = 0
    interrupt_after: int | None = None

    lost = 0

    def __init__(self, setup: WorkerSetup, workers: int, *rest: Any) -> None:
        self._worker = ShardWorker(setup)

    def close(self) -> None:
        InlinePool.closed += 1

    def wait(self) -> None:
        self._worker.prepare()

    def run(
        self, method: str, tasks: Iterator[ShardTask], report: Callable[[int], None]
    ) -> Iterator[tuple[ShardTask, Any]]:
        for task in reversed(list(tasks)):
            if method == "make":
                if len(InlinePool.made) == InlinePool.interrupt_after:
                    raise KeyboardInterrupt
                InlinePool.made.append(task.name)
            yield task, getattr(self._worker, method)(task)


@contextmanager
def no_session(address: str | None, cpus: int | None = None) -> Iterator[Resources]:
    yield Resources(cpus=2, gpus=0, node_cpus=2)


def run_inline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jobs run in this process until the end of the test."""
    monkeypatch.setattr(job, "WorkerPool", InlinePool)
    monkeypatch.setattr(job, "ray_session", no_session)
    InlinePool.made = []
    InlinePool.closed = 0
    InlinePool.interrupt_after = None


def content(folder: Path) -> dict[str, bytes]:
    """Every file of a shard folder; of the record, all but its timings."""
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
    record = json.loads(files["_record.json"])
    del record["timings"]
    return {**files, "_record.json": json.dumps(record, sort_keys=True).encode()}
