"""The order in which shards are handed to workers, and which of them failed before."""

from collections import deque
from collections.abc import Iterator

from pipeline.shards.worker import ShardTask


class TaskQueue:
    """Tasks to hand out: those that are given back first, then new ones in their order."""

    def __init__(self, tasks: Iterator[ShardTask]) -> None:
        self._tasks = tasks
        self._again: deque[ShardTask] = deque()
        self._next = next(tasks, None)
        self._following = next(tasks, None)
        self.failures: dict[str, int] = {}
        self.alone: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._again) or self._next is not None

    def take(self, fresh: bool = False) -> ShardTask | None:
        """The next task; None if there is none for this worker.

        Args:
            fresh: Whether the worker has made no shard yet. Images that another one failed on are for such a worker.
        """
        for again in self._again:
            if fresh or not again.failed:
                self._again.remove(again)
                return again
        task, self._next, self._following = self._next, self._following, next(self._tasks, None)
        return task

    def take_second(self) -> ShardTask | None:
        """A task to wait behind another: none that was given back, nor the last one, which an idle worker may take."""
        return self.take() if not self._again and self._following is not None else None

    def give_back(self, tasks: list[ShardTask]) -> None:
        """Put lost tasks before all others. From now on they run alone, so that the culprit shows."""
        self._again.extendleft(reversed(tasks))
        self.alone.update(task.name for task in tasks)
