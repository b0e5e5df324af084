"""Cosine similarities of queries and gallery, the same bits whatever is scored together and by however many threads.

A matrix product may round the last bit differently when its shape changes or when several threads share it, and which
of them does so differs from one make of processor to the next. Hence there is only one product here: a tile of
``BLOCK_ROWS`` queries by ``TILE_ITEMS`` gallery items, filled up with zeros, in memory of its own, multiplied by a
single thread. Threads share out whole tiles.

What is left to the library is that a product of one shape treats all its rows alike. The sides of a tile are multiples
of the register blocks of the usual libraries (4, 6, 8, 12, 16, 24, 32, 48), so that no row is a remainder of them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Scores = NDArray[np.float32]

BLOCK_ROWS = 192
TILE_ITEMS = 768
BLOCK_BYTES = 1 << 30
FEWEST_ROWS = 24


def block_rows(gallery_items: int) -> int:
    """Queries in a block: fewer for a huge gallery, to save memory, although a tile always has ``BLOCK_ROWS``."""
    rows = BLOCK_ROWS
    while rows > FEWEST_ROWS and 4 * rows * gallery_items > BLOCK_BYTES:
        rows //= 2
    return rows


def similarity_blocks(query: Scores, gallery: Scores) -> Iterator[tuple[int, Scores]]:
    """Similarities in float32, some queries at a time, by as many threads as torch is set to.

    Args:
        query: L2-normalised features, (Q, D).
        gallery: Likewise, (G, D).

    Yields:
        Number of the first query of the block, and cosines (q, G). The memory is used again for the next block.
    """
    rows, items = block_rows(len(gallery)), torch.from_numpy(gallery)
    queries = torch.zeros(BLOCK_ROWS, query.shape[1])
    block = torch.empty(rows, len(gallery))
    threads = torch.get_num_threads()
    multiply = _tile_multiplier(queries, items, block, threads)
    with ThreadPoolExecutor(threads, thread_name_prefix="similarity") as pool:
        for start in range(0, len(query), rows):
            part = torch.from_numpy(query[start : start + rows])
            queries[: len(part)] = part
            queries[len(part) :] = 0
            with _one_thread_per_product():
                list(pool.map(multiply, range(0, len(gallery), TILE_ITEMS)))
            yield start, block[: len(part)].numpy()


def _tile_multiplier(queries: Tensor, items: Tensor, block: Tensor, tiles_at_once: int) -> Callable[[int], None]:
    """A function that fills the columns of ``block`` from one item on, to be called by ``tiles_at_once`` threads."""
    scratch: SimpleQueue[tuple[Tensor, Tensor]] = SimpleQueue()
    for _ in range(tiles_at_once):
        scratch.put((torch.zeros(TILE_ITEMS, items.shape[1]), torch.empty(BLOCK_ROWS, TILE_ITEMS)))

    def multiply(start: int) -> None:
        torch.set_num_threads(1)  # some libraries keep a number for each thread
        tile, product = scratch.get()
        try:
            part = items[start : start + TILE_ITEMS]
            tile[: len(part)] = part
            tile[len(part) :] = 0
            torch.mm(queries, tile.T, out=product)
            block[:, start : start + len(part)] = product[: len(block), : len(part)]
        finally:  # the next tile of another thread may wait for them
            scratch.put((tile, product))

    return multiply


@contextmanager
def _one_thread_per_product() -> Iterator[None]:
    """Torch's number of threads, which holds for the whole process, is one meanwhile."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
