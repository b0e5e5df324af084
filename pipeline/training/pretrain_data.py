"""What CLIP pre-training reads: all captioned images in memory, the values of their factors, and the phrases."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pipeline.artifacts import Artifact, Word
from pipeline.datasets.walkers.writer import CLOTHES_FACTORS_KEY, PHRASES_KEY, PRETRAIN_NAME
from pipeline.errors import BadImageError, InputError
from pipeline.images import RgbImage, decode_image
from pipeline.json_text import decode_json
from pipeline.models.preprocess import normalise, resize_image
from pipeline.trainer.task import Epoch
from pipeline.training.settings import PretrainSettings
from pipeline.training.views import crop_and_flip, draw_geometry

CAPTION_KINDS = ("caption_identity", "caption_clothes", "caption_full")
BOX_SHARE = (0.15, 0.7)  # of the image's height and width
GREY_BOXES = 2


@dataclass(frozen=True)
class FactorPhrases:
    """A factor of the images and one sentence for each of its values.

    Attributes:
        name: Such as ``hair_colour``.
        of_clothes: Whether it belongs to the clothes; otherwise to the person.
        phrases: Sentence of each value, in the order of the values.
    """

    name: str
    of_clothes: bool
    phrases: tuple[str, ...]


@dataclass(frozen=True)
class CaptionedImages:
    """Images with their factors and captions.

    Attributes:
        images: uint8, (N, H, W, 3).
        factors: The factors, in the order of the columns of ``values``.
        values: Number of each image's value of each factor, int64 (N, F); -1 where it does not apply.
        captions: Sentences by kind (``CAPTION_KINDS``).
    """

    images: Tensor
    factors: tuple[FactorPhrases, ...]
    values: Tensor
    captions: dict[str, list[str]]

    def __len__(self) -> int:
        return len(self.images)

    def part(self, rows: slice) -> "CaptionedImages":
        """Some of the images."""
        captions = {kind: texts[rows] for kind, texts in self.captions.items()}
        return CaptionedImages(self.images[rows], self.factors, self.values[rows], captions)


@dataclass(frozen=True)
class PretrainBatch:
    """One step's input.

    Attributes:
        images: Normalised, (B, 3, H, W).
        values: (B, F), see :class:`CaptionedImages`.
        captions: One sentence an image; None in steps without captions.
    """

    images: Tensor
    values: Tensor
    captions: list[str] | None


def _read_table(path: Path) -> pa.Table:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"no captioned images at {path}: make them with `ccaf-pipeline synth`") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
    missing = [name for name in ("image", *CAPTION_KINDS) if name not in table.column_names]
    metadata = table.schema.metadata or {}
    if missing or PHRASES_KEY not in metadata or CLOTHES_FACTORS_KEY not in metadata:
        what = f"columns {', '.join(missing)}" if missing else "the phrases of the factors"
        raise InputError(f"{path} lacks {what}: it was not made by this version's `ccaf-pipeline synth`")
    if table.num_rows < 2:
        raise InputError(f"{path} has {table.num_rows} rows; at least 2 are needed")
    return table


class _Factors(Artifact):
    phrases: Annotated[dict[Word, Annotated[list[str], Field(min_length=1)]], Field(min_length=1)]
    clothes: list[Word]


def _read_factors(table: pa.Table, path: Path) -> _Factors:
    """The phrases of the factors, each of which has a column of whole numbers; no picture or caption is missing."""
    found = {
        name: decode_json(table.schema.metadata[key], f"{key.decode()} in the metadata of {path}")
        for name, key in (("phrases", PHRASES_KEY), ("clothes", CLOTHES_FACTORS_KEY))
    }
    factors = _Factors.check(found, f"metadata of {path}", "make it again with `ccaf-pipeline synth`")
    kinds = {"image": pa.types.is_binary, **dict.fromkeys(CAPTION_KINDS, pa.types.is_string)}
    for name, fits in {**kinds, **dict.fromkeys(factors.phrases, pa.types.is_integer)}.items():
        column = table[name] if table.column_names.count(name) == 1 else None
        if column is None or not fits(column.type) or column.null_count:
            raise InputError(
                f"{path}: column {name} is missing, of another type or has nulls: make it again with "
                f"`ccaf-pipeline synth`"
            )
    return factors


def _decode(data: bytes, row: int, path: Path, size: tuple[int, int]) -> RgbImage:
    try:
        return resize_image(decode_image(data), size)
    except BadImageError as error:
        raise InputError(f"{path}, row {row}: {error}") from error


def read_captioned_images(folder: Path, size: tuple[int, int]) -> CaptionedImages:
    """Read ``pretrain.parquet`` of a folder that ``ccaf-pipeline synth`` wrote; all images are decoded.

    Args:
        folder: Where it lies.
        size: Height and width to which the images are resized.

    Raises:
        InputError: The table is missing or damaged, or an image or a value in it is wrong.
    """
    path = folder / PRETRAIN_NAME
    table = _read_table(path)
    about = _read_factors(table, path)
    clothes = set(about.clothes)
    factors = tuple(FactorPhrases(name, name in clothes, tuple(texts)) for name, texts in about.phrases.items())
    images = torch.empty(table.num_rows, *size, 3, dtype=torch.uint8)
    for row, data in enumerate(table["image"]):
        images[row] = torch.from_numpy(_decode(data.as_py(), row, path, size))
    values = np.stack([table[factor.name].to_numpy() for factor in factors], axis=1).astype(np.int64)
    for factor, column in zip(factors, values.T, strict=True):
        if column.min() < -1 or column.max() >= len(factor.phrases):
            raise InputError(f"{path}: column {factor.name} has values outside its {len(factor.phrases)} phrases")
    captions = {kind: table[kind].to_pylist() for kind in CAPTION_KINDS}
    return CaptionedImages(images, factors, torch.from_numpy(values), captions)


def cover_with_boxes(images: Tensor, generator: np.random.Generator, probability: float) -> None:
    """Put one or two grey boxes into a share of uint8 images (B, H, W, 3), in place.

    Shielded images, in which the clothes are one flat area, then are nothing new to the encoder.
    """
    height, width = images.shape[1:3]
    for image in images:
        if generator.random() >= probability:
            continue
        for _ in range(int(generator.integers(1, GREY_BOXES + 1))):
            share = generator.uniform(*BOX_SHARE, 2)
            tall, wide = max(int(share[0] * height), 1), max(int(share[1] * width), 1)
            top, left = int(generator.integers(height - tall + 1)), int(generator.integers(width - wide + 1))
            image[top : top + tall, left : left + wide] = int(generator.integers(256))


def _shift_and_flip(images: Tensor, generator: np.random.Generator, pad: int) -> Tensor:
    size = (images.shape[1], images.shape[2])
    geometry = draw_geometry(generator, len(images), size, pad=pad, erase_probability=0.0)
    planes = images.permute(0, 3, 1, 2).numpy()
    return torch.from_numpy(crop_and_flip(planes, geometry, pad)).permute(0, 2, 3, 1)


@dataclass(frozen=True)
class PretrainBatches:
    """Makes the batches of each epoch.

    Attributes:
        data: The images to train on.
        settings: Images in a batch (the last one of an epoch is dropped if it is not full), steps between two batches
            with captions, and the share of the images that get grey boxes.
        mean: See :func:`normalise`.
        std: See :func:`normalise`.
        seed: Of order and augmentation.
        device: Where the batches go.
        pad: Pixels of padding before the random crop.
    """

    data: CaptionedImages
    settings: PretrainSettings
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    seed: int
    device: str = "cpu"
    pad: int = 4

    def epoch(self, number: int) -> Epoch[PretrainBatch]:
        """Batches by a random permutation of all images."""
        order = np.random.default_rng([self.seed, number]).permutation(len(self.data))
        size = min(self.settings.batch_size, len(order))
        steps = len(order) // size
        return Epoch(steps, self._batches(number, order[: steps * size].reshape(steps, size)))

    def _batches(self, number: int, parts: NDArray[np.int64]) -> Iterator[PretrainBatch]:
        for step, rows in enumerate(parts):
            generator = np.random.default_rng([self.seed, number, step])
            index = torch.from_numpy(rows)
            images = _shift_and_flip(self.data.images[index], generator, self.pad)
            cover_with_boxes(images, generator, self.settings.grey_box_probability)
            done = number * len(parts) + step
            captions = None
            if done % self.settings.caption_every == 0:
                # One kind a batch: in a mixed batch the easiest kind, the clothes, would be all that is learned.
                kind = CAPTION_KINDS[done // self.settings.caption_every % len(CAPTION_KINDS)]
                captions = [self.data.captions[kind][row] for row in rows]
            yield PretrainBatch(
                normalise(images.to(self.device), self.mean, self.std),
                self.data.values[index].to(self.device),
                captions,
            )
