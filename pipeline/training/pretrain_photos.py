"""Labelled photographs as captioned images for CLIP pre-training: their garments are what is said of them.

The layout is that of Clothing Co-Parsing (Yang, Luo and Lin, CVPR 2014): ``photos/NAME.jpg``, ``labels/NAME.png`` with
the number of each pixel's label, and ``label_list.json``, the labels' names in the order of their numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from pipeline.artifacts import Artifact, Word
from pipeline.errors import BadImageError, InputError
from pipeline.files import read_json, sha256_of_file, sha256_of_value
from pipeline.images import RgbImage, decode_image, read_bytes, resize_image
from pipeline.parsing.label_files import read_values
from pipeline.training.pretrain_data import CAPTION_KINDS, CaptionedImages, FactorPhrases

LABELS_NAME: Final = "label_list.json"
NO_GARMENTS: Final = frozenset({"null", "background", "skin", "hair", "face"})
"""Labels that are no garment."""

LEAST_SHARE: Final = 0.005
"""Of the person's pixels, that a garment must have to be spoken of."""

LEAST_PHOTOS: Final = 0.05
"""Share of the photographs that must show a garment for it to be a factor."""

_MARGIN: Final = 0.05


class _Labels(Artifact):
    names: Annotated[list[Word], Field(min_length=2, max_length=256)]


@dataclass(frozen=True)
class _Photo:
    image: RgbImage
    garments: tuple[str, ...]


def _label_names(folder: Path) -> list[str]:
    path = folder / LABELS_NAME
    if not path.is_file():
        raise InputError(f"--photos {folder}: no {LABELS_NAME} there; expected it beside photos/*.jpg and labels/*.png")
    found = {"names": read_json(path, "list of labels")}
    return _Labels.check(found, f"list of labels {path}", "it is a list of names, the background's first").names


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    photos = sorted((folder / "photos").glob("*.jpg"))
    pairs = [(photo, folder / "labels" / f"{photo.stem}.png") for photo in photos]
    without = next((photo for photo, labels in pairs if not labels.is_file()), None)
    if without is not None:
        raise InputError(f"--photos {folder}: photos/{without.name} has no labels/{without.stem}.png")
    if len(pairs) < 2:
        raise InputError(f"--photos {folder}: {len(pairs)} photographs there; at least 2 are needed")
    return pairs


def _crop(labels: NDArray[np.int64], size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of the person with a margin, in the proportions of ``size`` as far as the photograph reaches.

    Raises:
        ValueError: There is no person.
    """
    spans = []
    for axis in (0, 1):
        shown = np.flatnonzero((labels > 0).any(axis=1 - axis))
        if not len(shown):
            raise ValueError
        spans.append((int(shown[0]), int(shown[-1]) + 1))
    tall, wide = ((end - start) * (1 + 2 * _MARGIN) for start, end in spans)
    sides = (max(tall, wide * size[0] / size[1]), max(wide, tall * size[1] / size[0]))
    found = []
    for (start, end), side, limit in zip(spans, sides, labels.shape, strict=True):
        length = min(round(side), limit)
        first = min(max((start + end - length) // 2, 0), limit - length)
        found.append(slice(first, first + length))
    return found[0], found[1]


def _read(photo: Path, labels: Path, names: Sequence[str], size: tuple[int, int]) -> _Photo | None:
    """A photograph cut to its person; None: nobody is labelled in it."""
    try:
        image = decode_image(read_bytes(photo))
        values = read_values(read_bytes(labels), labels.name, (image.shape[0], image.shape[1])).astype(np.int64)
    except BadImageError as error:
        raise InputError(f"--photos: {photo} or its labels: {error}") from error
    if values.ndim != 2 or values.min() < 0 or values.max() >= len(names):
        raise InputError(f"--photos: {labels} has numbers that are no place in the {len(names)} names of {LABELS_NAME}")
    try:
        rows, columns = _crop(values, size)
    except ValueError:
        return None
    counts = np.bincount(values.ravel(), minlength=len(names))
    least = LEAST_SHARE * counts[1:].sum()
    garments = [name for name, count in zip(names, counts, strict=True) if count > least and name not in NO_GARMENTS]
    return _Photo(resize_image(np.ascontiguousarray(image[rows, columns]), size), tuple(garments))


def _listed(garments: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join(filter(None, [", ".join(garments[:-1]), *garments[-1:]]))


def _captions(photos: Sequence[_Photo]) -> dict[str, list[str]]:
    """Sentences by kind. Nothing is known of the people themselves: all of them have one sentence."""
    worn = [_listed(photo.garments) for photo in photos]
    texts = [
        ["a photo of a person." for _ in worn],
        [f"a photo of clothes: {text}." if text else "a photo of clothes." for text in worn],
        [f"a photo of a person, wearing {text}." if text else "a photo of a person." for text in worn],
    ]
    return dict(zip(CAPTION_KINDS, texts, strict=True))


def read_labelled_photos(folder: Path, size: tuple[int, int]) -> CaptionedImages:
    """Photographs cut to their person; each garment that enough of them show is a factor, worn or not.

    Args:
        folder: Of the layout above.
        size: Height and width to which the people are resized.

    Raises:
        InputError: Something is missing, damaged or of another layout.
    """
    names = _label_names(folder)
    read = [_read(photo, labels, names, size) for photo, labels in _pairs(folder)]
    photos = [photo for photo in read if photo is not None]
    frequent = [
        name for name in names if sum(name in photo.garments for photo in photos) >= max(LEAST_PHOTOS * len(photos), 1)
    ]
    if not frequent:
        raise InputError(f"--photos {folder}: no garment is labelled in them")
    values = np.array([[int(name in photo.garments) for name in frequent] for photo in photos], dtype=np.int64)
    person = "a photo of a person"
    factors = tuple(
        FactorPhrases(f"photo: {name}", True, (f"{person} without {name}.", f"{person} in {name}."))
        for name in frequent
    )
    images = torch.from_numpy(np.stack([photo.image for photo in photos]))
    return CaptionedImages(images, factors, torch.from_numpy(values), _captions(photos))


def photos_sha256(folder: Path) -> str:
    """A hash of all that :func:`read_labelled_photos` reads."""
    files = [folder / LABELS_NAME, *(path for pair in _pairs(folder) for path in pair)]
    return sha256_of_value({path.relative_to(folder).as_posix(): sha256_of_file(path) for path in files})


def join(one: CaptionedImages, other: CaptionedImages) -> CaptionedImages:
    """Images of two kinds together; factors of the one kind do not apply to the other."""
    values = torch.full((len(one) + len(other), len(one.factors) + len(other.factors)), -1, dtype=torch.int64)
    values[: len(one), : len(one.factors)] = one.values
    values[len(one) :, len(one.factors) :] = other.values
    captions = {kind: [*one.captions[kind], *other.captions[kind]] for kind in CAPTION_KINDS}
    return CaptionedImages(torch.cat([one.images, other.images]), (*one.factors, *other.factors), values, captions)
