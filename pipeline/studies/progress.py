"""The progress line of a study: steps and runs done, and the time left by the steps that are finished."""

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TextIO

from pipeline.progress import PLAIN_INTERVAL_SECONDS, duration
from pipeline.studies.pace import Room, time_left
from pipeline.studies.rows import Plan
from pipeline.studies.schedule import Schedule

TERMINAL_SECONDS = 1.0


class StudyProgress:
    """Writes one line: redrawn on a terminal, now and then elsewhere.

    Args:
        schedule: The work.
        plan: Whose runs are counted: a run is done when its metrics are.
        quiet: Write nothing.
        stream: Defaults to standard error.
        clock: Seconds since some moment.
    """

    def __init__(
        self,
        schedule: Schedule,
        plan: Plan,
        quiet: bool = False,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._schedule = schedule
        self._runs = plan.runs
        self._quiet = quiet
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._clock = clock
        self._room: Room = lambda step: ("", 1)
        self._started = clock()
        self._last = 0.0
        self._since: dict[str, float] = {}

    def __enter__(self) -> "StudyProgress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.show(last=True)

    def begin(self, room: Room) -> None:
        """The clock starts; ``room`` says how many steps run at once."""
        self._room = room
        self._started = self._clock()

    def time_left(self) -> float | None:
        """Estimated seconds until all steps are done; None as long as there is not enough to tell from."""
        now = self._clock()
        self._since = {name: self._since.get(name, now) for name in self._schedule.running}
        return time_left(self._schedule, {name: now - since for name, since in self._since.items()}, self._room)

    def text(self) -> str:
        """The line as it is now."""
        schedule = self._schedule
        runs = sum(name in schedule.notes for name in self._runs)
        parts = [
            f"ablate: {len(schedule.notes)}/{len(schedule.steps)} steps",
            f"{runs}/{len(self._runs)} runs",
        ]
        if schedule.missing:
            left = self.time_left()
            parts.append("estimating the time left" if left is None else f"about {duration(left)} left")
        else:
            parts.append(f"took {duration(self._clock() - self._started)}")
        if schedule.failures:
            parts.append(f"{len(schedule.failures)} steps failed")
        return ", ".join(parts)

    def show(self, last: bool = False) -> None:
        """Write the line if it is time."""
        now = self._clock()
        wait = TERMINAL_SECONDS if self._terminal else PLAIN_INTERVAL_SECONDS
        if self._quiet or (now - self._last < wait and not last):
            return
        self._last = now
        if self._terminal:
            print(f"\r{self.text()}\x1b[K", end="\n" if last else "", file=self._stream, flush=True)
        else:
            print(self.text(), file=self._stream, flush=True)

    def say(self, text: str) -> None:
        """Write a line of its own, above the progress line of a terminal."""
        if not self._quiet:
            print(f"\r{text}\x1b[K" if self._terminal else text, file=self._stream, flush=True)
            self._last = 0.0 if self._terminal else self._last
