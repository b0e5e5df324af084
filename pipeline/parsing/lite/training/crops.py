"""The crops of :mod:`pipeline.parsing.scoring.crops` for examples whose targets are those of ``targets.py``."""

from typing import Final

import numpy as np

from pipeline.images import LabelMap, Mask
from pipeline.parsing.lite.targets import BAG, IGNORE, NO_PERSON
from pipeline.parsing.scoring.crops import Box, Example, box_around, cut, detector_box, shrink, whole_view

__all__ = [
    "Box",
    "Example",
    "cut",
    "detector_box",
    "detector_view",
    "person_box",
    "person_mask",
    "shrink",
    "whole_view",
]

_NOBODY: Final = (0, IGNORE, BAG, NO_PERSON)


def person_mask(target: LabelMap) -> Mask:
    """True where a target says that there is a person; ignored pixels and bags count as none."""
    return ~np.isin(target, _NOBODY)


def person_box(target: LabelMap) -> Box:
    """Smallest box around the person.

    Raises:
        ValueError: There is no person.
    """
    return box_around(person_mask(target))


def detector_view(example: Example, size: tuple[int, int]) -> Example:
    """The example as a detector's crop of ``size`` (height, width)."""
    return cut(example, detector_box(person_box(example.target)), *size)
