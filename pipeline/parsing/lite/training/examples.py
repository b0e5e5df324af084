"""Training and validation examples read from disk: CCP photographs and rendered walkers, with their targets."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipeline.errors import BadImageError, InputError
from pipeline.images import LabelMap, RgbImage, decode_image, decode_label_map, read_bytes
from pipeline.parsing.lite.targets import CLASSES
from pipeline.parsing.lite.training.ccp_labels import ccp_target, read_label_table
from pipeline.parsing.lite.training.crops import Example, person_mask

VALIDATION_EVERY: Final = 5
"""A photograph whose number is divisible by this is for validation only."""


@dataclass(frozen=True)
class PhotoSet:
    """The photographs, divided by their numbers."""

    train: list[Example]
    validation: list[Example]


def read_photos(folder: Path, limit: int | None = None, bags: bool = False) -> PhotoSet:
    """Read CCP: ``photos/NNNN.jpg``, ``labels/NNNN.png`` and ``label_list.json`` in ``folder``.

    Photographs without a labelled person are left out. With ``bags``, those to train on tell bags from the
    background.

    Args:
        folder: Where they lie.
        limit: Read only the first so many photographs.
        bags: Whether bags are targets of their own.

    Raises:
        InputError: A file is missing or damaged, or a label map's size is not its photograph's.
    """
    table = read_label_table(folder / "label_list.json")
    paths = sorted((folder / "photos").glob("*.jpg"))[:limit]
    if not paths:
        raise InputError(f"no photographs at {folder / 'photos'}; expected files named NNNN.jpg")
    photos = PhotoSet([], [])
    for path in paths:
        if not re.fullmatch(r"\d+", path.stem):
            raise InputError(f"{path}: a photograph must be named by its number, such as 0001.jpg")
        image, labels = _read_pair(path, folder / "labels" / f"{path.stem}.png")
        held_out = int(path.stem) % VALIDATION_EVERY == 0
        target = ccp_target(labels, table, bags=bags and not held_out)
        if not person_mask(target).any():
            continue
        part = photos.validation if held_out else photos.train
        part.append(Example(path.stem, image, target))
    return photos


def read_walkers(folder: Path, splits: Sequence[str], limit: int | None = None) -> list[Example]:
    """Read rendered walkers: ``<split>/<stem>.jpg`` with LIP label maps ``labels/<split>/<stem>.png``.

    Args:
        folder: The data set's folder.
        splits: Which splits to read.
        limit: Read at most so many images, evenly spaced over the sorted names.

    Raises:
        InputError: There are none, a file is missing or damaged, or a label is not one of LIP's.
    """
    paths = [path for split in splits for path in sorted((folder / split).glob("*.jpg"))]
    if not paths:
        raise InputError(f"no images of walkers in {folder} ({', '.join(splits)}); make them with: ccaf-pipeline synth")
    if limit is not None and limit < len(paths):
        paths = [paths[index * len(paths) // limit] for index in range(limit)]
    examples = []
    for path in paths:
        image, labels = _read_pair(path, folder / "labels" / path.parent.name / f"{path.stem}.png")
        if int(labels.max()) >= CLASSES:
            raise InputError(f"label map of {path}: label {labels.max()} is not one of LIP's {CLASSES}")
        examples.append(Example(path.stem, image, labels))
    return examples


def _read_pair(image_path: Path, label_path: Path) -> tuple[RgbImage, LabelMap]:
    try:
        image = decode_image(read_bytes(image_path))
        labels = decode_label_map(read_bytes(label_path))
    except BadImageError as error:
        raise InputError(f"{image_path} and its label map {label_path}: {error}") from error
    if labels.shape != image.shape[:2]:
        raise InputError(
            f"{label_path} is {labels.shape[1]} x {labels.shape[0]} pixels, "
            f"its image {image.shape[1]} x {image.shape[0]}"
        )
    return image, labels
