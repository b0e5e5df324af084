import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from pipeline.overlap import MapAhead


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
            gate.wait(5)
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
        assert done.wait(5)


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
