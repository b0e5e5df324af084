"""What workers count while they run: seconds by phase, and the counters that Ray's metrics and dashboard show.

Ray puts ``ray_`` before and ``_total`` behind the names, so that ``ccaf_parse_images`` is found as
``ray_ccaf_parse_images_total``. Workers report every few seconds, and what one counted last may be lost with it: the
record of the shards has the exact numbers.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from pipeline.shards.making.writer import ShardEntry

IMAGES = "ccaf_parse_images"
QUARANTINED = "ccaf_parse_quarantined"
SECONDS = "ccaf_parse_seconds"
PHASES = ("read", "decode", "parse", "encode", "write")
"""Of the work on an image; several threads work on them at the same time."""

Item = TypeVar("Item")
Result = TypeVar("Result")


class PhaseClock:
    """Seconds by phase, summed over all threads of a worker; thread-safe."""

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of a block."""
        started = time.perf_counter()
        try:
            yield
        finally:
            passed = time.perf_counter() - started
            with self._lock:
                self._seconds[name] = self._seconds.get(name, 0.0) + passed

    def timed(self, name: str, function: Callable[[Item], Result]) -> Callable[[Item], Result]:
        """The function, with the time of its calls counted."""

        def call(item: Item) -> Result:
            with self.phase(name):
                return function(item)

        return call

    def take(self) -> dict[str, float]:
        """Seconds by phase since the last call."""
        with self._lock:
            taken, self._seconds = self._seconds, {}
        return taken


class WorkerCounters:
    """The counters of a worker, each with the data set and the parser; made in a process of Ray's."""

    def __init__(self, dataset: str, parser: str) -> None:
        from ray.util.metrics import Counter as RayCounter

        tags = {"dataset": dataset, "parser": parser}
        self._images = RayCounter(IMAGES, "Images that shards were made of.", tuple(tags))
        self._quarantined = RayCounter(QUARANTINED, "Images that could not be used, by the reason.", (*tags, "reason"))
        self._seconds = RayCounter(SECONDS, "Seconds of the worker's threads, by the phase.", (*tags, "phase"))
        for counter in (self._images, self._quarantined, self._seconds):
            counter.set_default_tags(tags)

    def add(self, entry: ShardEntry, seconds: Mapping[str, float]) -> None:
        """Count a shard that was committed, and the seconds since the last one."""
        if entry.rows:  # Ray takes no zero
            self._images.inc(entry.rows)
        for reason, number in Counter(row.reason for row in entry.quarantine).items():
            self._quarantined.inc(number, {"reason": reason})
        for phase, passed in seconds.items():
            if passed > 0:
                self._seconds.inc(passed, {"phase": phase})
