"""What the project asked of the pretended GPU, counted by the line of the project that asked."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pipeline

ROOT = Path(pipeline.__file__).resolve().parent.parent
PROJECT = tuple(str(ROOT / folder) + "/" for folder in ("pipeline", "stages"))

Kind = Literal["kernel", "host to device", "device to host", "wait"]


def project_lines(count: int) -> list[str]:
    """The innermost lines of the project that are being executed in this thread, such as ``pipeline/device.py:16``."""
    found: list[str] = []
    frame = sys._getframe(1)
    while frame is not None and len(found) < count:
        name = frame.f_code.co_filename
        if name.startswith(PROJECT):
            found.append(f"{name[len(str(ROOT)) + 1 :]}:{frame.f_lineno}")
        frame = frame.f_back
    return found


@dataclass(frozen=True)
class Event:
    """Something that a GPU would have been asked to do.

    Attributes:
        kind: A kernel; a copy, which may wait; or a wait that is no copy (``torch.cuda.synchronize()``, ``nonzero``).
        what: Name of the operator or of the call.
        line: The project's own line; "(no line of the project)" in a test of the harness or in a thread of a library.
        waits: Whether the CPU waits until the GPU has done it, and with it all that was asked for before.
    """

    kind: Kind
    what: str
    line: str
    waits: bool


class Log:
    """Events, counted. Threads may share one."""

    def __init__(self) -> None:
        self.events: Counter[Event] = Counter()
        self.bytes: Counter[Event] = Counter()
        self._sections: list[Log] = []
        self._lock = threading.Lock()

    def add(self, kind: Kind, what: str, waits: bool = False, size: int = 0) -> None:
        """Count an event of the line that is being executed; ``size`` in bytes."""
        event = Event(kind, what, next(iter(project_lines(1)), "(no line of the project)"), waits)
        with self._lock:
            for log in (self, *self._sections):
                log.events[event] += 1
                log.bytes[event] += size

    @contextmanager
    def section(self) -> Iterator["Log"]:
        """A log of its own for what happens inside, which is counted here as well."""
        part = Log()
        with self._lock:
            self._sections.append(part)
        try:
            yield part
        finally:
            with self._lock:
                self._sections = [other for other in self._sections if other is not part]

    def by_line(self, kind: Kind | None = None, waits: bool | None = None) -> Counter[str]:
        """Counts by line of the events of a kind (None: of all) that wait or do not (None: both)."""
        lines: Counter[str] = Counter()
        for event, count in self.events.items():
            if kind in (None, event.kind) and waits in (None, event.waits):
                lines[event.line] += count
        return lines

    def operators(self, kind: Kind = "kernel") -> Counter[str]:
        """Counts by name of the operator."""
        names: Counter[str] = Counter()
        for event, count in self.events.items():
            if event.kind == kind:
                names[event.what] += count
        return names

    @property
    def kernels(self) -> int:
        """Operators that a GPU computes; views and allocations are none, and fused ones count once."""
        return self.by_line("kernel").total()

    @property
    def host_to_device(self) -> int:
        """Copies to the GPU, those that wait and those that do not."""
        return self.by_line("host to device").total()

    @property
    def blocking_host_to_device(self) -> int:
        """Copies to the GPU that the CPU waits for."""
        return self.by_line("host to device", waits=True).total()

    @property
    def device_to_host(self) -> int:
        """Copies from the GPU, ``item()`` and ``tolist()`` among them."""
        return self.by_line("device to host").total()

    @property
    def device_to_host_waits(self) -> int:
        """Copies from the GPU that the CPU waits for."""
        return self.by_line("device to host", waits=True).total()

    @property
    def waits(self) -> int:
        """Times that the CPU waited for the GPU, for whatever reason."""
        return self.by_line(waits=True).total()

    def __str__(self) -> str:
        head = (
            f"{self.kernels} kernels, {self.host_to_device} copies to the GPU "
            f"({self.blocking_host_to_device} of them waited for), {self.device_to_host} copies from it, "
            f"{self.waits} waits"
        )
        waits = Counter({event: count for event, count in self.events.items() if event.waits})
        return "\n".join(
            [
                head,
                *(f"  {count} x {event.kind} ({event.what}) at {event.line}" for event, count in waits.most_common()),
            ]
        )
