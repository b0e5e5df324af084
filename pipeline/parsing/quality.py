"""Quality figures of one parse, and the flags that tell a person which parses to look at.

LTCC shows why: dark, occluded or unusual images are parsed badly, and a bad mask hides the face or leaves the clothes
in the shielding image. Flags do not remove an image; they order the sheets of examples and are counted in the report.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from pipeline.images import LabelMap, Mask
from pipeline.parsing.parser import Parsing

NO_PERSON: Final = "no_person"
NO_CLOTHES: Final = "no_clothes"
ALMOST_ALL_CLOTHES: Final = "almost_all_clothes"
LOW_CONFIDENCE: Final = "low_confidence"
FRAGMENTED: Final = "fragmented"
FLAGS: Final = (NO_PERSON, NO_CLOTHES, ALMOST_ALL_CLOTHES, LOW_CONFIDENCE, FRAGMENTED)
"""Every flag, from the gravest to the mildest."""

NO_CENTRAL_PERSON: Final = "no_central_person"
"""Note of a parse that should have been restricted to the central person, but there was none: everything is kept."""


@dataclass(frozen=True)
class Quality:
    """Figures of one parse.

    Attributes:
        person_fraction: Share of all pixels that are labelled as person (any label but 0).
        clothes_fraction: Share of all pixels that are in the clothes mask.
        confidence: Of the parse, see :class:`pipeline.parsing.parser.Parsing`.
        flags: Those of :data:`FLAGS` that apply, in that order, then the parse's own notes.
    """

    person_fraction: float
    clothes_fraction: float
    confidence: float
    flags: tuple[str, ...]


def assess(
    parsing: Parsing,
    clothes: Mask,
    *,
    min_person_fraction: float = 0.02,
    min_clothes_fraction: float = 0.01,
    max_clothes_share: float = 0.97,
    low_confidence: float = 0.5,
    min_main_piece: float = 0.7,
    garments_only: bool = False,
) -> Quality:
    """Figures and flags of one parse.

    Args:
        parsing: Label map (height, width) and confidence.
        clothes: The clothes mask made from it, of the same shape.
        min_person_fraction: Below this share of person pixels: ``no_person``, and no other flag but
            ``low_confidence``, as the rest would say the same again.
        min_clothes_fraction: Below this share of clothes pixels: ``no_clothes``.
        max_clothes_share: Above this share of clothes among the person's pixels: ``almost_all_clothes``; then neither
            head nor limbs were found, and the shielding image shows next to nothing of the person.
        low_confidence: Below this confidence: ``low_confidence``.
        min_main_piece: Below this share of the person's pixels in the largest connected piece (8-connectivity):
            ``fragmented``.
        garments_only: The parser finds clothes only (see :class:`pipeline.labels.LabelScheme`), so that the
            person's pixels are the clothes': no clothes is then ``no_clothes`` and never ``no_person``, and neither
            ``almost_all_clothes`` nor ``fragmented`` applies, as what lies between garments was never looked for.

    Raises:
        ValueError: The shapes differ, or the label map is empty.
    """
    label_map = parsing.label_map
    if label_map.shape != clothes.shape or label_map.size == 0:
        raise ValueError(f"label map {label_map.shape} and clothes mask {clothes.shape} must have one shape")
    person_pixels = int(np.count_nonzero(label_map))
    clothes_pixels = int(np.count_nonzero(clothes))
    person_fraction = person_pixels / label_map.size
    clothes_fraction = clothes_pixels / label_map.size
    flags = set()
    if parsing.confidence < low_confidence:
        flags.add(LOW_CONFIDENCE)
    if garments_only:
        if clothes_fraction < min_clothes_fraction or clothes_pixels == 0:
            flags.add(NO_CLOTHES)
    elif person_fraction < min_person_fraction or person_pixels == 0:
        flags.add(NO_PERSON)
    else:
        if clothes_fraction < min_clothes_fraction:
            flags.add(NO_CLOTHES)
        if clothes_pixels > max_clothes_share * person_pixels:
            flags.add(ALMOST_ALL_CLOTHES)
        if main_piece_share(label_map) < min_main_piece:
            flags.add(FRAGMENTED)
    ordered = (*(flag for flag in FLAGS if flag in flags), *parsing.notes)
    return Quality(person_fraction, clothes_fraction, parsing.confidence, ordered)


def main_piece_share(label_map: LabelMap) -> float:
    """Share of the person's pixels that lie in its largest connected piece; 0 if there is no person."""
    person = np.asarray(label_map != 0, dtype=np.uint8)
    count, _, statistics, _ = cv2.connectedComponentsWithStats(person, connectivity=8)
    if count < 2:
        return 0.0
    areas = statistics[1:, cv2.CC_STAT_AREA]
    return float(areas.max() / areas.sum())
