"""The crops of :mod:`pipeline.parsing.scoring.crops` for examples whose targets are those of ``targets.py``."""

import numpy as np

from pipeline.images import LabelMap, Mask
from pipeline.parsing.lite.targets import IGNORE
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


def person_mask(target: LabelMap) -> Mask:
    """True where a target says that there is a person; ignored pixels count as none."""
    return np.asarray((target != 0) & (target != IGNORE), dtype=np.bool_)


def person_box(target: LabelMap) -> Box:
    """Smallest box around the person.

    Raises:
        ValueError: There is no person.
    """
    return box_around(person_mask(target))


def detector_view(example: Example, size: tuple[int, int]) -> Example:
    """The example as a detector's crop of ``size`` (height, width)."""
    return cut(example, detector_box(person_box(example.target)), *size)
