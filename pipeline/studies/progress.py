"""The progress line of a study: runs done, and the time left by the estimated costs of the steps."""

import sys
import time
from types import TracebackType
from typing import TextIO

from pipeline.progress import PLAIN_INTERVAL_SECONDS, duration
from pipeline.studies.rows import Plan
from pipeline.studies.schedule import Schedule

TERMINAL_SECONDS = 1.0
MOST_OF_A_STEP = 0.95


class StudyProgress:
    """Writes one line: redrawn on a terminal, now and then elsewhere.

    Args:
        schedule: The work.
        plan: Whose runs are counted: a run is done when its metrics are.
        quiet: Write nothing.
        stream: Defaults to standard error.
    """

    def __init__(self, schedule: Schedule, plan: Plan, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._schedule = schedule
        self._runs = sorted({run.metrics for row in plan.rows for run in row.runs.values()})
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._cost = schedule.cost_left
        self._parallel = 1
        self._started = time.monotonic()
        self._last = 0.0
        self._since: dict[str, float] = {}

    def __enter__(self) -> "StudyProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.show(last=True)

    def parallel(self, steps: int) -> None:
        """So many steps run at once; the clock starts."""
        self._parallel = steps
        self._started = time.monotonic()

    def _left(self, now: float) -> float:
        """Estimated seconds of work left; of a running step what it has run for is taken off, but for a rest."""
        running = self._schedule.running
        self._since = {name: self._since.get(name, now) for name in running}
        steps = self._schedule.steps
        done = sum(min(now - self._since[name], MOST_OF_A_STEP * steps[name].cost) for name in running)
        return self._schedule.cost_left - done

    def text(self, now: float) -> str:
        """The line at a moment."""
        done = sum(name in self._schedule.notes for name in self._runs)
        parts = [f"ablate: {done}/{len(self._runs)} runs"]
        if self._schedule.missing:
            parts.append(f"{self._schedule.missing} steps to do")
        left = self._left(now)
        elapsed, spent = now - self._started, self._cost - left
        if self._schedule.missing and self._cost:
            # what the costs say counts as much as a minute of measuring
            pace = (elapsed + 60.0) / (spent / self._parallel + 60.0)
            parts.append(f"about {duration(left / self._parallel * pace)} left")
        else:
            parts.append(f"took {duration(elapsed)}")
        if self._schedule.failures:
            parts.append(f"{len(self._schedule.failures)} steps failed")
        return ", ".join(parts)

    def show(self, last: bool = False) -> None:
        """Write the line if it is time."""
        now = time.monotonic()
        wait = TERMINAL_SECONDS if self._terminal else PLAIN_INTERVAL_SECONDS
        if self._quiet or (now - self._last < wait and not last):
            return
        self._last = now
        if self._terminal:
            print(f"\r{self.text(now)}\x1b[K", end="\n" if last else "", file=self._stream, flush=True)
        else:
            print(self.text(now), file=self._stream, flush=True)
