"""Redressed raw views of a batch: who wears another outfit, which one, and what class of clothes it then has."""

from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, RgbImage
from pipeline.redress.donors import measure_outfit
from pipeline.redress.outfits import Outfit, draw_outfit
from pipeline.redress.redress import redress
from pipeline.redress.regions import region_table
from pipeline.redress.settings import RedressSettings
from pipeline.shards.pixels import Planes
from pipeline.shards.schema import Provenance
from pipeline.shards.store import ImageStore
from pipeline.training.classes import NO_CLASS, Labels

_STREAM: Final = 7
"""Tells the generator of outfits from those of the views' geometry, which have 0 and 1 here."""


class LabelSource(Protocol):
    """Where label maps come from, as a shard reader gives them. It must be thread-safe."""

    metadata: Provenance

    def label_map(self, index: int) -> LabelMap:
        """uint8 (height, width), at the image's original size."""


@dataclass(frozen=True)
class DressedViews:
    """Raw images of a batch as they are worn.

    Attributes:
        raw: uint8, (B, 3, H, W).
        clothes_classes: Of what is worn, (B,); ``NO_CLASS`` where it has no class.
    """

    raw: Planes
    clothes_classes: Labels


@dataclass(frozen=True)
class Draw:
    """What a whole batch wears, those of all ranks together.

    Attributes:
        outfit: Number of the outfit that each image wears, (B,); -1: its own clothes.
        kind: Of each outfit, its place in the settings' kinds, (outfits,).
        donor: Of each outfit, the training image that lends it if its kind is ``donor``, (outfits,).
        seed: Of each outfit, (outfits,).
    """

    outfit: Labels
    kind: Labels
    donor: Labels
    seed: Labels


def draw_batch(settings: RedressSettings, seed: list[int], count: int, images: int) -> Draw:
    """Draw what the images of a batch wear.

    Args:
        settings: How often, and which kinds.
        seed: Of the batch.
        count: Images of the whole batch.
        images: Training images, any of which may be a donor.
    """
    generator = np.random.default_rng([*seed, _STREAM])
    outfits = settings.redress_outfits
    chosen = generator.random(count) < settings.redress
    outfit = generator.integers(outfits, size=count)
    return Draw(
        outfit=np.where(chosen, outfit, -1),
        kind=generator.integers(len(settings.redress_kinds), size=outfits),
        donor=generator.integers(images, size=outfits),
        seed=generator.integers(1 << 62, size=outfits),
    )


class Dresser:
    """Changes the clothes of raw views. Thread-safe, and cheap to pickle if its sources are.

    A few outfits serve a whole batch, so that several identities of it wear the same and clothes carry no identity.
    What is drawn depends on the seed, the epoch and the step only.

    Args:
        settings: How often, and which kinds and garments.
        reader: Label maps of the images.
        store: Raw images of donors.
        rows: The store's index of each training image, (N,).
        clothes_classes: Of each training image, (N,).

    Raises:
        InputError: The label scheme of the shards has none of the garments.
    """

    def __init__(
        self, settings: RedressSettings, reader: LabelSource, store: ImageStore, rows: Labels, clothes_classes: Labels
    ) -> None:
        self._settings = settings
        self._reader = reader
        self._store = store
        self._rows = rows
        self._classes = clothes_classes
        self._table = region_table(reader.metadata.labels, settings.redress_regions)

    def dress(
        self, raw: Planes, rows: Labels, clothes_classes: Labels, seed: list[int], rank: int = 0, world: int = 1
    ) -> DressedViews:
        """Change the clothes of some images of a batch.

        Args:
            raw: uint8, (B, 3, H, W); it is written to.
            rows: The store's index of each image, (B,).
            clothes_classes: Of what each image shows, (B,).
            seed: Of the batch.
            rank: Which share of the batch these images are.
            world: How many shares.
        """
        count = len(raw)
        drawn = draw_batch(self._settings, seed, count * world, len(self._rows))
        wanted = drawn.outfit[rank * count : (rank + 1) * count]
        outfits = {number: self._outfit(drawn, number) for number in np.unique(wanted[wanted >= 0]).tolist()}
        classes = clothes_classes.copy()
        for place in np.flatnonzero(wanted >= 0).tolist():
            number = int(wanted[place])
            image = np.ascontiguousarray(raw[place].transpose(1, 2, 0))
            worn = redress(image, self._labels(int(rows[place])), outfits[number], self._table)
            if worn.changed:
                raw[place] = worn.image.transpose(2, 0, 1)
                # what has no class gets none: terms may know no clothes of its identity
                classes[place] = self._class(drawn, number) if classes[place] != NO_CLASS else NO_CLASS
        return DressedViews(raw, classes)

    def _labels(self, row: int) -> LabelMap:
        height, width = self._store.size
        labels = self._reader.label_map(row)
        if labels.shape == (height, width):
            return labels
        small: LabelMap = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        return small

    def _is_donor(self, drawn: Draw, number: int) -> bool:
        return self._settings.redress_kinds[int(drawn.kind[number])] == "donor"

    def _outfit(self, drawn: Draw, number: int) -> Outfit:
        kind = self._settings.redress_kinds[int(drawn.kind[number])]
        if kind != "donor":
            return draw_outfit(kind, int(drawn.seed[number]))
        row = int(self._rows[drawn.donor[number]])
        planes: NDArray[np.uint8] = self._store.planes(("raw",), [row])[0][0]
        image: RgbImage = np.ascontiguousarray(planes.transpose(1, 2, 0))
        return measure_outfit(image, self._labels(row), self._table)

    def _class(self, drawn: Draw, number: int) -> int:
        if self._settings.redress_classes == "donor" and self._is_donor(drawn, number):
            return int(self._classes[drawn.donor[number]])
        return NO_CLASS
