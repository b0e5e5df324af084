"""Ordered work on a small thread pool: reading, decoding, encoding and batches go on while the network computes."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class MapAhead(Iterator[Result], Generic[Item, Result]):
    """Gives ``function(item)`` in the order of ``items``; items are begun before they are asked for, within bounds.

    Items are drawn from their iterator in the caller's thread; so a chain of these is a pipeline with bounded memory.

    Args:
        pool: Where the work is done.
        function: The work on one item. What it raises is raised at that item's turn.
        items: Drawn one by one.
        ahead: Items begun before they are asked for, at the most.
        cost: What an item costs while it is under way, such as its pixels.
        budget: The sum of costs under way at the most; an item that costs more is under way alone.
    """

    def __init__(
        self,
        pool: Executor,
        function: Callable[[Item], Result],
        items: Iterable[Item],
        ahead: int,
        cost: Callable[[Item], int] = lambda _: 0,
        budget: int = 0,
    ) -> None:
        self._pool = pool
        self._function = function
        self._source = items
        self._items = iter(items)
        self._ahead = ahead
        self._cost = cost
        self._budget = budget
        self._begun: deque[tuple[Future[Result], int]] = deque()
        self._spent = 0
        self._waiting: tuple[Item, int] | None = None
        self._drained = False

    def fill(self) -> None:
        """Begin as many items as the bounds allow, without waiting for their results."""
        while len(self._begun) <= self._ahead and self._draw():
            assert self._waiting is not None, "an item was drawn"
            item, cost = self._waiting
            if self._begun and self._spent + cost > self._budget:
                return
            self._waiting = None
            self._begun.append((self._pool.submit(self._function, item), cost))
            self._spent += cost

    def __next__(self) -> Result:
        self.fill()
        if not self._begun:
            raise StopIteration
        future, cost = self._begun.popleft()
        self._spent -= cost
        try:
            return future.result()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Cancel what is begun, and close the items' own iterator if it can be."""
        for future, _ in self._begun:
            future.cancel()
        self._begun.clear()
        self._drained = True
        if isinstance(self._items, MapAhead | Generator):
            self._items.close()

    def _draw(self) -> bool:
        """Have the next item waiting; false if there is none."""
        if self._waiting is None and not self._drained:
            try:
                item = next(self._items)
            except StopIteration:
                self._drained = True
                return False
            self._waiting = (item, self._cost(item))
        return self._waiting is not None


def map_ahead(
    pool: Executor, function: Callable[[Item], Result], items: Iterable[Item], ahead: int
) -> Iterator[Result]:
    """Yield ``function(item)`` in the order of ``items``, with at most ``ahead`` items begun before they are asked for.

    Raises:
        Exception: What ``function`` raised, at that item's turn.
    """
    with closing(MapAhead(pool, function, items, ahead)) as results:
        yield from results


def launch_ahead(
    launch: Callable[[Item], Callable[[], Result]], items: Iterable[Item], ahead: int
) -> Generator[Result, None, None]:
    """Yield the result of each item in order, with ``ahead`` more items launched before it is waited for.

    Unlike :func:`prefetch` this needs no thread: a GPU goes on with what it was asked for while the CPU asks for more.

    Args:
        launch: Begins the work on an item, and returns what waits for its result.
        items: Drawn when they are launched.
        ahead: 0: each result is waited for before the next item is drawn.

    Raises:
        Exception: What ``launch``, or waiting, raised.
    """
    launched: deque[Callable[[], Result]] = deque()
    for item in items:
        launched.append(launch(item))
        if len(launched) > ahead:
            yield launched.popleft()()
    while launched:
        yield launched.popleft()()


def prefetch(
    make: Callable[[Item], Result], items: Iterable[Item], threads: int, ahead: int
) -> Generator[Result, None, None]:
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
