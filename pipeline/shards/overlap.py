"""Ordered work on a small thread pool: reading, decoding and encoding go on while the network computes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of ``items``, with at most ``ahead`` items begun before they are asked for.

    Items are drawn from their iterator in the caller's thread; so a chain of these is a pipeline with bounded memory.

    Raises:
        Exception: What ``function`` raised, at that item's turn.
    """
    begun: deque[Future[Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(function, item))
            if len(begun) > ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()
