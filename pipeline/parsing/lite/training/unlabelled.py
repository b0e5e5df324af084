"""Crops that nobody labelled: their targets are what a trained parser says of every shifted view of them.

Self-training: a parser learns surveillance crops from its own labels where these do not depend on how the crop was
cut, and nothing where they do. Whether a pixel is background or a bag is left open, as a label map does not say.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from pipeline.errors import BadImageError, InputError
from pipeline.images import LabelMap, RgbImage, decode_image, read_bytes
from pipeline.parsing.lite.targets import BAG, IGNORE, NO_PERSON, WIDE_TARGETS
from pipeline.parsing.lite.training.crops import Example, person_mask, shrink
from pipeline.parsing.parser import Parser
from pipeline.parsing.scoring.ground_truth import IMAGE_SUFFIXES

SHIFTS: Final = ((0.0, 0.0), (0.05, 0.0), (-0.05, 0.0), (0.0, 0.08), (0.0, -0.08))
"""Of the views, down and to the right, as shares of height and width; the parser looks at each mirrored, too."""


def read_unlabelled(folder: Path, parser: Parser, height: int, limit: int | None = None) -> list[Example]:
    """Read the crops of a folder and its subfolders, by name, with the targets that ``parser`` agrees on.

    Crops in which it finds nobody are left out.

    Args:
        folder: Of images, one person each.
        parser: Trained already.
        height: Larger crops are scaled down to this height.
        limit: Read only the first so many crops.

    Raises:
        InputError: There are none, an image is damaged, or the parser finds a person in none of them.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)[:limit]
    if not paths:
        raise InputError(f"no images in {folder}; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    examples = []
    for path in paths:
        try:
            image = decode_image(read_bytes(path))
        except BadImageError as error:
            raise InputError(f"{path}: {error}") from error
        blank = np.zeros(image.shape[:2], dtype=np.uint8)
        image = shrink(Example(path.name, image, blank), height).image
        target = agreed_target(parser, image)
        if person_mask(target).any():
            examples.append(Example(path.name, image, target))
    if not examples:
        raise InputError(f"the parser finds a person in none of the {len(paths)} images in {folder}")
    return examples


def agreed_target(parser: Parser, image: RgbImage) -> LabelMap:
    """Target of one crop: the label that all shifted views have; one of several garments, arms, legs or shoes; or none.

    Returns:
        uint8 (height, width); pixels that a view does not see, and such on which views differ otherwise, are ignored.
    """
    rows, columns = image.shape[:2]
    shifts = [(round(down * rows), round(right * columns)) for down, right in SHIFTS]
    views = [shifted(image, *shift) for shift in shifts]
    maps = []
    for parsing, shift in zip(parser.parse(views), shifts, strict=True):
        if isinstance(parsing, BadImageError):
            raise InputError(f"the parser {parser.name} cannot parse a crop of {rows}x{columns} pixels: {parsing}")
        maps.append(back(parsing.label_map, *shift))
    return agreement(maps)


def shifted(image: RgbImage, down: int, right: int) -> RgbImage:
    """The image moved; its edge is repeated where nothing is left."""
    move = np.array([[1.0, 0.0, right], [0.0, 1.0, down]])
    size = image.shape[1], image.shape[0]
    return np.asarray(
        cv2.warpAffine(image, move, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), dtype=np.uint8
    )


def back(labels: LabelMap, down: int, right: int) -> LabelMap:
    """The labels of a moved image at their pixels before; ignored where the moved one does not show them."""
    move = np.array([[1.0, 0.0, -right], [0.0, 1.0, -down]])
    size = labels.shape[1], labels.shape[0]
    return np.asarray(
        cv2.warpAffine(labels, move, size, flags=cv2.INTER_NEAREST, borderValue=float(IGNORE)), dtype=np.uint8
    )


def agreement(maps: Sequence[LabelMap]) -> LabelMap:
    """One target of several label maps of a crop, see :func:`agreed_target`."""
    stack = np.stack(maps)
    target = np.full(stack.shape[1:], IGNORE, dtype=np.uint8)
    for wide, labels in sorted(
        WIDE_TARGETS.items(), key=lambda item: -len(item[1])
    ):  # an arm is skin, but rather an arm
        if wide not in (BAG, NO_PERSON):
            target[np.isin(stack, labels).all(axis=0)] = wide
    same = (stack == stack[0]).all(axis=0)
    target[same] = stack[0][same]
    return target
