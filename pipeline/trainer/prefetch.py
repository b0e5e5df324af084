"""Batches made ahead by threads, in order, with bounded memory."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from pipeline.overlap import map_ahead

Item = TypeVar("Item")
Result = TypeVar("Result")


def prefetch(make: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int) -> Iterator[Result]:
    """Yield ``make(item)`` in the order of ``items`` while threads make the next ones.

    When the iterator is closed, dropped or fails, what is not begun is cancelled, and the threads have ended when
    control comes back.

    Args:
        make: Makes one; with several threads it must be thread-safe.
        items: What to make.
        threads: How many make at the same time.
        ahead: Results that may wait for their turn; 0: each is made when it is asked for, in the caller's thread.

    Raises:
        Exception: What ``make`` raised, at that item's turn.
    """
    if not ahead or not threads:
        yield from map(make, items)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="prefetch") as pool:
        yield from map_ahead(pool, make, items, ahead)
