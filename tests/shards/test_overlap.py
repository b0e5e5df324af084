import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.shards.overlap import MapAhead


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
