import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from pipeline.overlap import MapAhead, launch_ahead, prefetch


def test_order_is_kept_whatever_finishes_first() -> None:
    def slow_when_even(number: int) -> int:
        time.sleep(0.003 * (number % 2 == 0))
        return number * number

    with ThreadPoolExecutor(4) as pool:
        assert list(MapAhead(pool, slow_when_even, range(40), ahead=7)) == [n * n for n in range(40)]


@pytest.mark.parametrize("ahead", [0, 1, 5])
def test_no_more_than_so_many_are_drawn_ahead(ahead: int) -> None:
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for number in range(20):
            drawn += 1
            yield number

    with ThreadPoolExecutor(2) as pool:
        for taken, _ in enumerate(MapAhead(pool, lambda number: number, items(), ahead), start=1):
            assert drawn <= taken + ahead


def test_an_error_comes_at_its_turn_and_the_rest_is_cancelled() -> None:
    begun: list[int] = []
    gate = threading.Event()

    def work(number: int) -> int:
        begun.append(number)
        if number == 1:
            raise ValueError("one")
        if number > 1:
            gate.wait(60)
        return number

    with ThreadPoolExecutor(1) as pool:
        results = MapAhead(pool, work, range(50), ahead=10)
        assert next(results) == 0
        with pytest.raises(ValueError, match="one"):
            next(results)
        gate.set()
    assert len(begun) <= 3


def test_what_is_under_way_costs_no_more_than_the_budget() -> None:
    costs = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3]
    under_way: list[int] = []
    most = 0

    def items() -> Iterator[int]:
        yield from costs

    with ThreadPoolExecutor(2) as pool:
        results = MapAhead(pool, lambda cost: cost, items(), ahead=20, cost=lambda cost: cost, budget=7)
        begun = 0
        for taken, result in enumerate(results):
            assert result == costs[taken]
            begun = taken + 1 + len(results._begun)
            under_way = costs[taken:begun]
            most = max(most, sum(under_way))
            assert sum(under_way) <= 7 or len(under_way) == 1, "only what is too large for the budget is alone"
    assert begun == len(costs)
    assert most == 9


def test_filling_begins_the_work_before_anything_is_asked_for() -> None:
    done = threading.Event()
    with ThreadPoolExecutor(1) as pool, closing(MapAhead(pool, lambda _: done.set(), range(3), ahead=1)) as results:
        results.fill()
        assert done.wait(60)


def test_closing_closes_the_chain_of_iterators() -> None:
    closed: list[bool] = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    with ThreadPoolExecutor(1) as pool:
        first = MapAhead(pool, lambda number: number, items(), ahead=2)
        second = MapAhead(pool, lambda number: number, first, ahead=2)
        assert next(second) == 0
        second.close()
        assert closed == [True]
        assert list(second) == []


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
    waits = []
    for _ in range(19):
        time.sleep(0.03)  # the step
        started = time.perf_counter()
        next(results)
        waits.append(time.perf_counter() - started)
    assert sorted(waits)[15] < 0.05 * 0.03  # 5% of a step; a busy machine may delay three of the nineteen


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
def test_so_many_are_launched_before_one_is_waited_for(ahead: int) -> None:
    events: list[str] = []

    def launch(number: int) -> Callable[[], int]:
        events.append(f"launch {number}")

        def wait() -> int:
            events.append(f"wait {number}")
            return number * number

        return wait

    assert list(launch_ahead(launch, range(5), ahead)) == [0, 1, 4, 9, 16]
    for number in range(5):
        launched = events[: events.index(f"wait {number}")]
        assert sum(event.startswith("launch") for event in launched) == min(5, number + 1 + ahead)
    assert list(launch_ahead(launch, [], ahead)) == []
