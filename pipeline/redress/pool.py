"""The outfits that the people of a data set share."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.redress.donors import measure_outfit
from pipeline.redress.outfits import Outfit, draw_outfit
from pipeline.redress.regions import RegionTable
from pipeline.redress.settings import Kind
from pipeline.shards.reader import ShardReader

_STREAM: Final = 22
_TRIES: Final = 20


def make_outfit(
    kind: Kind, seed: list[int], reader: ShardReader, rows: NDArray[np.int64], table: RegionTable
) -> Outfit:
    """An outfit of some kind; where no donor with garments is found in a few draws, a plain one.

    Args:
        kind: Of the outfit.
        seed: Decides everything.
        reader: The shards, for donors.
        rows: Images that may be donors.
        table: Which labels are garments.
    """
    if kind != "donor":
        return draw_outfit(kind, seed)
    for row in np.random.default_rng(seed).choice(rows, size=_TRIES).tolist():
        outfit = measure_outfit(reader.image(row), reader.label_map(row), table)
        if outfit:
            return outfit
    return draw_outfit("colour", seed)


def make_pool(
    kinds: Sequence[Kind], count: int, seed: int, reader: ShardReader, rows: NDArray[np.int64], table: RegionTable
) -> list[Outfit]:
    """So many outfits, of the kinds in turn; arguments as for :func:`make_outfit`."""
    return [
        make_outfit(kinds[number % len(kinds)], [seed, _STREAM, number], reader, rows, table) for number in range(count)
    ]
