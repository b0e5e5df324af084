"""From a label scheme to regions of garments: what of a person is one piece of clothing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.redress.settings import REGIONS, Region

_LABELS: Final[Mapping[Region, frozenset[str]]] = {
    "upper": frozenset(
        {"upper-clothes", "upper-body", "upper", "top", "shirt", "t-shirt", "blouse", "sweater", "vest"}
    ),
    "lower": frozenset({"pants", "trousers", "jeans", "leggings", "skirt", "shorts", "lower-clothes", "lower-body"}),
    "dress": frozenset({"dress", "jumpsuits", "jumpsuit", "romper"}),
    "coat": frozenset({"coat", "jacket", "blazer", "cardigan", "outerwear"}),
    "shoes": frozenset({"left-shoe", "right-shoe", "shoes", "shoe", "boots"}),
    "hat": frozenset({"hat", "cap"}),
}
NUMBERS: Final[Mapping[Region, int]] = {name: number for number, name in enumerate(REGIONS, start=1)}
"""Number of each region in a map of regions; 0 is everything else."""
TOPS: Final = (NUMBERS["upper"], NUMBERS["coat"], NUMBERS["dress"])
LEAST_TOP: Final = 0.18
"""A garment on the upper body with a smaller share of its pixels is a slip of the parser: it goes with the largest."""


@dataclass(frozen=True)
class RegionTable:
    """Which labels of a scheme are which garment.

    Attributes:
        numbers: Region number of each label number, uint8 (256,); 0 where a label is no garment that may change.
        background: Boolean (256,): labels of no part of a person.
    """

    numbers: NDArray[np.uint8]
    background: NDArray[np.bool_]


def region_table(labels: Sequence[str], regions: Collection[Region]) -> RegionTable:
    """The garments of a label scheme.

    Args:
        labels: Name of each label number; number 0 is the background.
        regions: Those that may change.

    Raises:
        InputError: The scheme has none of them.
    """
    numbers = np.zeros(256, dtype=np.uint8)
    for number, label in enumerate(labels[:256]):
        name = label.lower().replace("_", "-").replace(" ", "-")
        for region in regions:
            if number and name in _LABELS[region]:
                numbers[number] = NUMBERS[region]
    if not numbers.any():
        raise InputError(
            f"clothes cannot be changed: the label scheme has no garment among {', '.join(regions)}; its labels are "
            f"{', '.join(labels)}"
        )
    background = np.zeros(256, dtype=np.bool_)
    background[0] = True
    return RegionTable(numbers, background)


def merge_slips(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The region whose garment each region wears.

    Args:
        counts: Pixels of each region number, (regions + 1,).

    Returns:
        Region numbers, uint8 (regions + 1,): every region's own, but for scraps of a garment on the upper body.
    """
    worn = np.arange(len(counts), dtype=np.uint8)
    tops = np.array(TOPS)
    largest = tops[int(counts[tops].argmax())]
    small = tops[counts[tops] < LEAST_TOP * counts[tops].sum()]
    worn[small] = largest
    return worn
