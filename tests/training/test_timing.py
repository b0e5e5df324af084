"""The stopwatch: laps on a CPU; on CUDA events of the run's own device."""

import time

import pytest
import torch

from pipeline.training.timing import PhaseTimer


def test_laps_on_a_cpu_add_up_by_name_and_are_taken_once():
    timer = PhaseTimer()
    for _ in range(2):
        timer.start()
        time.sleep(0.01)
        timer.lap("forward")
    timer.lap("backward")
    seconds = timer.take()
    assert 0.02 <= seconds["forward"] < 1
    assert seconds["backward"] < seconds["forward"]
    assert timer.take() == {}


@pytest.mark.parametrize(
    ("device", "stream", "waited"),
    [("cuda", None, torch.device("cuda")), ("cuda:1", "stream of cuda:1", torch.device("cuda:1"))],
)
def test_events_and_waits_are_of_the_runs_device(monkeypatch, device, stream, waited):
    streams, waits = [], []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream=None):
            streams.append(stream)

        def elapsed_time(self, other):
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    monkeypatch.setattr(torch.cuda, "synchronize", waits.append)
    timer = PhaseTimer(device)
    timer.start()
    timer.lap("data")
    timer.lap("forward")
    assert not waits, "timing must not wait for the GPU"
    assert timer.take()["forward"] == 0.25
    assert set(streams) == {stream}
    assert waits == [waited]
