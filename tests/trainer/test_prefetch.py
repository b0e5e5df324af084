"""Prefetching: the same order whatever the threads, bounded, and nothing left running."""

import threading
import time

import pytest

from pipeline.trainer.prefetch import prefetch


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("prefetch")]


@pytest.mark.parametrize(("threads", "ahead"), [(0, 4), (2, 0), (1, 1), (3, 2), (4, 9)])
def test_results_come_in_the_order_of_the_items(threads, ahead):
    def make(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(prefetch(make, range(20), threads, ahead)) == [item * item for item in range(20)]
    assert not running()


def test_never_more_than_ahead_results_wait():
    made, asked = [], 0
    lock = threading.Lock()

    def make(item: int) -> int:
        with lock:
            made.append(item)
            assert len(made) <= asked + 1 + 3  # the one that is asked for, and three ahead
        return item

    results = prefetch(make, range(30), 4, 3)
    for number in range(30):
        with lock:
            asked = number
        assert next(results) == number
        time.sleep(0.002)


def test_a_failure_comes_at_its_turn_and_ends_the_threads():
    def make(item: int) -> int:
        if item == 3:
            raise OSError("no such image")
        return item

    results = prefetch(make, range(10), 2, 4)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="no such image"):
        next(results)
    assert not running()


@pytest.mark.parametrize("how", ["close", "drop"])
def test_stopping_early_ends_the_threads_and_makes_no_more(how):
    made = []

    def make(item: int) -> int:
        made.append(item)
        time.sleep(0.005)
        return item

    results = prefetch(make, range(1000), 2, 4)
    next(results)
    assert running()
    if how == "close":
        results.close()
    else:
        del results
    assert not running()
    count = len(made)
    time.sleep(0.03)
    assert len(made) == count < 12


def test_a_slow_step_does_not_wait_for_its_batch():
    def make(item: int) -> int:
        time.sleep(0.005)
        return item

    results = prefetch(make, range(20), 2, 4)
    next(results)
    waited = 0.0
    for _ in range(19):
        time.sleep(0.03)  # the step
        started = time.perf_counter()
        next(results)
        waited += time.perf_counter() - started
    assert waited < 0.05 * 19 * 0.03 + 0.05  # 5% of the steps, and room for a busy machine
