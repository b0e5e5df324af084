"""Label maps that people drew: what their numbers mean, and how they lie beside their images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.errors import BadImageError, InputError
from pipeline.images import LabelMap, Mask, decode_image, read_bytes
from pipeline.labels import LabelScheme
from pipeline.parsing.label_files import UNREADABLE, read_values
from pipeline.parsing.scoring.crops import Example, box_around, cut, detector_box

IMAGE_SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LABEL_SUFFIXES: Final = (".png", ".npy")
VOID: Final = 255
"""The number that the data sets of this field give to pixels that shall not count."""


@dataclass(frozen=True)
class TruthScheme:
    """A numbering of label maps drawn by people, which may leave pixels undecided.

    Attributes:
        name: Short name.
        labels: Name of each number; pixels with a number beyond are not counted for classes.
        clothes: Numbers of the clothes mask; they may lie beyond ``labels``, for garments of an undecided kind.
        nobody: Numbers of pixels that do not belong to the person.
    """

    name: str
    labels: tuple[str, ...]
    clothes: frozenset[int]
    nobody: frozenset[int] = frozenset({0, VOID})

    def person(self, target: LabelMap) -> Mask:
        """Boolean (height, width): true on the person."""
        return ~np.isin(target, list(self.nobody))


def truth_scheme(scheme: LabelScheme, clothes: frozenset[int]) -> TruthScheme:
    """The truth scheme of label maps in a label scheme, where 255 may stand for pixels that shall not count."""
    nobody = {0, VOID} if len(scheme.labels) <= VOID else {0}
    return TruthScheme(scheme.name, scheme.labels, clothes, frozenset(nobody))


@dataclass(frozen=True)
class LabelledImage:
    """An image file and its label map.

    Attributes:
        name: Path of the image inside its folder.
        image: Its file.
        labels: File of its label map; None if there is none.
    """

    name: str
    image: Path
    labels: Path | None


def find_labelled(images: Path, labels: Path) -> list[LabelledImage]:
    """Images of a folder and its subfolders, sorted, with label maps of the same relative path but for the suffix.

    Raises:
        InputError: A folder is missing, there are no images or no label maps, or two images have one label map.
    """
    for what, folder in (("images", images), ("label maps", labels)):
        if not folder.is_dir():
            raise InputError(f"there is no folder {folder} with {what}")
    if images.resolve() == labels.resolve():
        raise InputError(f"images and label maps lie in one folder, {images}, and cannot be told apart; separate them")
    names = sorted(
        path.relative_to(images)
        for path in images.rglob("*")
        if path.suffix.lower() in IMAGE_SUFFIXES and labels not in path.parents
    )
    found: dict[Path, LabelledImage] = {}
    for name in names:
        twin = found.get(name.with_suffix(""))
        if twin is not None:
            raise InputError(f"{images}: {twin.name} and {name} would have the same label map; leave one out")
        candidates = [labels / name.with_suffix(suffix) for suffix in LABEL_SUFFIXES]
        file = next((path for path in candidates if path.is_file()), None)
        found[name.with_suffix("")] = LabelledImage(name.as_posix(), images / name, file)
    if not found:
        raise InputError(f"no images in {images}; expected files ending in {', '.join(IMAGE_SUFFIXES)}")
    if all(item.labels is None for item in found.values()):
        first = next(iter(found.values()))
        raise InputError(
            f"none of the {len(found)} images in {images} has a label map in {labels}; "
            f"for {first.name} it would be {Path(first.name).with_suffix(LABEL_SUFFIXES[0])} there"
        )
    return list(found.values())


def read_labelled(
    item: LabelledImage, truth: TruthScheme, translate: Callable[[LabelMap], LabelMap] | None = None
) -> Example:
    """Read an image, EXIF rotation applied, and its label map.

    Args:
        item: Which.
        truth: Meaning of the label map's numbers.
        translate: From the numbers in the file to those of ``truth``; None: they are the same.

    Raises:
        BadImageError: ``no_label_map``, ``label_map_unreadable``, ``label_map_size``, ``label_map_values``, or the
            reasons of an image that cannot be decoded.
    """
    if item.labels is None:
        raise BadImageError("no_label_map", f"no label map for {item.name}")
    image = decode_image(read_bytes(item.image))
    values = read_values(read_bytes(item.labels), item.labels.name, (image.shape[0], image.shape[1]))
    if values.ndim != 2 or values.dtype.kind not in "biu":
        raise BadImageError(UNREADABLE, f"{item.labels.name} holds colours or fractions, not label numbers")
    target = values.astype(np.int64)
    if target.min() < 0 or target.max() > VOID:
        raise BadImageError("label_map_values", f"{item.labels.name} has values from {target.min()} to {target.max()}")
    numbers = target.astype(np.uint8)
    if translate is not None:
        return Example(item.name, image, translate(numbers))
    beyond = [number for number in np.unique(numbers).tolist() if number >= len(truth.labels) and number != VOID]
    if beyond:
        raise BadImageError(
            "label_map_values",
            f"{item.labels.name} has the values {beyond[:5]}; the scheme {truth.name} has 0 to {len(truth.labels) - 1}",
        )
    return Example(item.name, image, numbers)


def cut_to_person(example: Example, truth: TruthScheme, size: tuple[int, int]) -> Example:
    """The example as a detector's crop of ``size`` (height, width); see :func:`detector_box`.

    Raises:
        BadImageError: ``no_person``.
    """
    person = truth.person(example.target)
    if not person.any():
        raise BadImageError("no_person", f"the label map of {example.name} shows nobody to cut out")
    return cut(example, detector_box(box_around(person)), *size)


def read_examples(
    items: Sequence[LabelledImage],
    read: Callable[[LabelledImage], Example],
    skip: Callable[[LabelledImage, BadImageError], None],
) -> Iterator[Example]:
    """Read one after the other, so that memory does not grow with the set; what cannot be used goes to ``skip``."""
    for item in items:
        try:
            yield read(item)
        except BadImageError as error:
            skip(item, error)
