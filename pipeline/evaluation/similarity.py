"""Cosine similarities of queries and gallery, block by block, the same bits whatever the blocks hold.

A blocked matrix product may round the last bit differently when its shape differs, so that a query's ranks would depend
on which other queries are scored with it. Hence every product has the same number of rows, filled up with zeros.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

Scores = NDArray[np.float32]

BLOCK_ROWS = 256
BLOCK_BYTES = 512 << 20
FEWEST_ROWS = 32


def block_rows(gallery_items: int) -> int:
    """Queries in a block; it depends on the gallery alone."""
    rows = BLOCK_ROWS
    while rows > FEWEST_ROWS and 4 * rows * gallery_items > BLOCK_BYTES:
        rows //= 2
    return rows


def similarity_blocks(query: Scores, gallery: Scores) -> Iterator[tuple[int, Scores]]:
    """Similarities in float32, some queries at a time.

    Args:
        query: L2-normalised features, (Q, D).
        gallery: Likewise, (G, D).

    Yields:
        Number of the first query of the block, and cosines (q, G). The memory is used again for the next block.
    """
    rows = block_rows(len(gallery))
    transposed = torch.from_numpy(gallery).T
    padded = torch.zeros(rows, query.shape[1])
    product = torch.empty(rows, len(gallery))
    for start in range(0, len(query), rows):
        part = torch.from_numpy(query[start : start + rows])
        padded[: len(part)] = part
        padded[len(part) :] = 0
        torch.mm(padded, transposed, out=product)
        yield start, product[: len(part)].numpy()
