"""From a label scheme to regions of garments: what of a person is one piece of clothing."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.garments import REGIONS, Region, region_of

NUMBERS: Final[Mapping[Region, int]] = {name: number for number, name in enumerate(REGIONS, start=1)}
"""Number of each region in a map of regions; 0 is everything else."""
_TOPS: Final = np.array([NUMBERS["upper"], NUMBERS["coat"], NUMBERS["dress"]])
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
        region = region_of(label)
        if number and region is not None and region in regions:
            numbers[number] = NUMBERS[region]
    if not numbers.any():
        raise InputError(
            f"clothes cannot be changed: the label scheme has no garment among {', '.join(regions)}; its labels are "
            f"{', '.join(labels)}"
        )
    background = np.zeros(256, dtype=np.bool_)
    background[0] = True
    return RegionTable(numbers, background)


def say_unchanged(clothes: Sequence[str]) -> str | None:
    """A warning about labels of the clothes mask that keep their colours, as it is not known where they are worn.

    Args:
        clothes: Labels that the mask covers.

    Returns:
        The warning; None if there are no such labels.
    """
    left = [name for name in clothes if region_of(name) is None]
    if not left:
        return None
    return (
        f"warning: {', '.join(left)} will keep the old colours where clothes are changed: the name does not tell on "
        f"which part of the body it is worn"
    )


def merge_slips(counts: NDArray[np.int64]) -> NDArray[np.uint8]:
    """The region whose garment each region wears.

    Args:
        counts: Pixels of each region number, (regions + 1,).

    Returns:
        Region numbers, uint8 (regions + 1,): every region's own, but for scraps of a garment on the upper body.
    """
    worn = np.arange(len(counts), dtype=np.uint8)
    tops = counts[_TOPS]
    worn[_TOPS[tops < LEAST_TOP * tops.sum()]] = _TOPS[tops.argmax()]
    return worn
