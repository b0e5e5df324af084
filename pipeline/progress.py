"""One progress line for long work: a bar on a terminal, plain lines elsewhere, nothing when quiet."""

import sys
import time
from types import TracebackType
from typing import Any, TextIO

from tqdm import tqdm

PLAIN_INTERVAL_SECONDS = 10.0


def duration(seconds: float) -> str:
    """Minutes and seconds, such as ``04:05``; hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes:02d}:{rest:02d}"


class Progress:
    """Counts finished units of work and shows rate and time left on ``stream``.

    Use as a context manager. On a terminal one bar is redrawn; otherwise a plain line is written at most every
    ``PLAIN_INTERVAL_SECONDS`` and once at the end.

    Args:
        total: Units of work expected.
        what: Short name of the work, such as ``parse``.
        unit: Name of one unit, such as ``image``.
        quiet: Write nothing.
        stream: Defaults to standard error, so that standard output stays for results.
        done: Units that an earlier run finished; they do not count in the rate.
    """

    def __init__(
        self, total: int, what: str, unit: str, quiet: bool = False, stream: TextIO | None = None, done: int = 0
    ) -> None:
        self._total = total
        self._what = what
        self._unit = unit
        self._stream = stream or sys.stderr
        self._done = self._done_before = done
        self._note = ""
        self._written = -1
        self._started = self._last_line = time.monotonic()
        self._plain = not quiet and not self._stream.isatty()
        self._bar: tqdm[Any] | None = None
        if not quiet and not self._plain:
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=what,
                unit=f" {unit}",
                file=self._stream,
                dynamic_ncols=True,
                leave=True,
            )

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._plain and self._written != self._done:
            self._write_line()

    def expect(self, total: int) -> None:
        """Correct the number of units expected."""
        self._total = total
        if self._bar is not None:
            self._bar.total = total

    def advance(self, count: int = 1, note: str = "") -> None:
        """Report ``count`` more finished units; ``note`` (such as the latest loss) is shown behind the figures."""
        self._done += count
        self._note = note or self._note
        if self._bar is not None:
            if note:
                self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
        elif self._plain and time.monotonic() - self._last_line >= PLAIN_INTERVAL_SECONDS:
            self._write_line()

    def _write_line(self) -> None:
        self._last_line = time.monotonic()
        self._written = self._done
        elapsed = max(self._last_line - self._started, 1e-9)
        rate = (self._done - self._done_before) / elapsed
        parts = [f"{self._what}: {self._done}/{self._total} {self._unit}s", f"{rate:.1f} {self._unit}s/s"]
        if self._done >= self._total:
            parts.append(f"took {duration(elapsed)}")
        elif rate > 0:
            parts.append(f"{duration((self._total - self._done) / rate)} left")
        if self._note:
            parts.append(self._note)
        print(", ".join(parts), file=self._stream, flush=True)
