"""Requests to stop, made by real signals to this process and to its children."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from pipeline.stopping import end_with_parent, stop_requests, termination_as_interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_request_waits_until_it_is_looked_at_and_a_second_one_does_not(number: signal.Signals) -> None:
    def look() -> None:
        with stop_requests() as request:
            assert not request
            os.kill(os.getpid(), number)
            assert request
            assert request.number == number
            assert termination.number is None
            request.act()

    def ask_twice() -> None:
        with stop_requests() as request:
            os.kill(os.getpid(), number)
            assert request
            os.kill(os.getpid(), number)
            raise AssertionError("the second request must interrupt")

    with termination_as_interruption() as termination:
        before = signal.getsignal(number)
        with pytest.raises(KeyboardInterrupt):
            look()
        assert termination.number == (signal.SIGTERM if number == signal.SIGTERM else None)
        with pytest.raises(KeyboardInterrupt):
            ask_twice()
        assert signal.getsignal(number) is before


def test_a_request_that_nobody_looked_at_acts_at_the_end() -> None:
    reached = []

    def work() -> None:
        with stop_requests():
            os.kill(os.getpid(), signal.SIGINT)
            reached.append(True)

    with pytest.raises(KeyboardInterrupt):
        work()
    assert reached
    with stop_requests() as request:
        pass
    assert not request


def test_a_termination_that_python_drops_in_a_destructor_is_repeated() -> None:
    class Deaf:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            for _ in range(1000):
                pass

    def work() -> None:
        item = Deaf()
        del item
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            time.sleep(0.01)

    before = signal.getsignal(signal.SIGTERM)
    with termination_as_interruption() as termination:
        with pytest.raises(KeyboardInterrupt):
            work()
        assert termination.number == signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is before


def _live(path: Path) -> None:
    end_with_parent()
    path.write_text(str(os.getpid()))
    time.sleep(60)


def _have_a_child(path: Path) -> None:
    multiprocessing.get_context("spawn").Process(target=_live, args=(path,)).start()
    time.sleep(60)


def test_a_child_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "child"
    parent = multiprocessing.get_context("spawn").Process(target=_have_a_child, args=(path,))
    parent.start()
    deadline = time.monotonic() + 60
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = Path("/proc", path.read_text())
    assert child.exists()
    assert parent.pid is not None
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    while child.exists() and (child / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < deadline, "the child lives on"
        time.sleep(0.02)
