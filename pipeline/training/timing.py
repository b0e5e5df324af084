"""Where the time of a step goes: waiting for data, forward, backward, optimizer."""

import time
from typing import Any

import torch

PHASES = ("data", "forward", "backward", "optimizer")
Timings = dict[str, float]
"""Seconds by phase."""


class PhaseTimer:
    """A stopwatch with named laps. On CUDA laps are events, so that timing does not make the CPU wait for the GPU.

    Args:
        device: Torch device that the work runs on.
    """

    def __init__(self, device: str = "cpu") -> None:
        self._device = torch.device(device)
        self._cuda = self._device.type == "cuda"
        self._seconds: Timings = {}
        self._events: list[tuple[str, Any, Any]] = []
        self._event: Any = None
        self._last = 0.0
        self.start()

    def start(self) -> None:
        """Begin a lap; what came before is not counted."""
        self._last = time.perf_counter()
        if self._cuda:
            self._event = self._mark()

    def lap(self, name: str) -> None:
        """End the lap and begin the next one."""
        now = time.perf_counter()
        if self._cuda and name != "data":  # waiting for data is the CPU's own time
            event = self._mark()
            self._events.append((name, self._event, event))
            self._event = event
        else:
            self._seconds[name] = self._seconds.get(name, 0.0) + now - self._last
            if self._cuda:
                self._event = self._mark()
        self._last = now

    def take(self) -> Timings:
        """Seconds by name since the last call; on CUDA this waits for the GPU."""
        if self._events:
            torch.cuda.synchronize(self._device)
            for name, start, end in self._events:
                self._seconds[name] = self._seconds.get(name, 0.0) + start.elapsed_time(end) / 1000.0
            self._events.clear()
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _mark(self) -> Any:
        event: Any = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        # a device without a number is the current one; of any other the stream must be named, or GPU 0 is timed
        event.record(None if self._device.index is None else torch.cuda.current_stream(self._device))
        return event
