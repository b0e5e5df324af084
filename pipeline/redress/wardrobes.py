"""Who wears what in a redressed data set: outfits of a shared pool for each person, dealt to the person's images."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.shards.reader import NO_ID, ShardIds

OWN: Final = -1
"""Stands for the clothes that an image was taken in."""
_STREAM: Final = 21


@dataclass(frozen=True)
class Worn:
    """An image in an outfit.

    Attributes:
        row: Of the image in the shards.
        outfit: Number in the pool, or :data:`OWN`.
    """

    row: int
    outfit: int


def check_wardrobe(outfits: int, pool: int) -> None:
    """Refuse a wardrobe that a pool cannot fill.

    Raises:
        InputError: There are fewer outfits in the pool than a person wears besides the own clothes.
    """
    if pool < outfits - 1:
        raise InputError(
            f"a pool of {pool} outfits is too small for people with {outfits}: --pool {outfits - 1} at least"
        )


def wardrobes(persons: NDArray[np.int64], outfits: int, pool: int, seed: int) -> dict[int, tuple[int, ...]]:
    """The outfits of each person, own clothes first; several people share one.

    Args:
        persons: Of each image.
        outfits: Of each person.
        pool: Outfits to draw from.
        seed: Decides the draw.
    """
    found = {}
    for number, person in enumerate(np.unique(persons).tolist()):
        generator = np.random.default_rng([seed, _STREAM, number])
        drawn = generator.choice(pool, size=outfits - 1, replace=False) if outfits > 1 else np.zeros(0, dtype=np.int64)
        found[int(person)] = (OWN, *drawn.tolist())
    return found


def persons_only(ids: ShardIds, rows: NDArray[np.int64], nobody: Collection[int]) -> NDArray[np.int64]:
    """Those of some images that show a known person.

    Args:
        ids: Of all images of the shards.
        rows: The images.
        nobody: Person ids that stand for nobody, such as Market-1501's distractors.
    """
    return rows[~np.isin(ids.person_id[rows], list(nobody))]


def deal_outfits(
    ids: ShardIds,
    rows: NDArray[np.int64],
    outfits: int,
    pool: int,
    seed: int,
    every: bool = False,
    nobody: Collection[int] = (),
) -> list[Worn]:
    """Decide what is worn in each image.

    In each split a person's outfits take turns over its images, camera by camera, so that each outfit is seen by
    several cameras and each camera sees several outfits. The frames of a tracklet wear one.

    Args:
        ids: Of all images of the shards.
        rows: The images.
        outfits: Of each person, the own clothes included.
        pool: Outfits that people share.
        seed: Decides all draws.
        every: Each image is worn in all outfits of its person.
        nobody: Person ids that stand for nobody: such images are of many people, and each stays in its own clothes.

    Raises:
        InputError: See :func:`check_wardrobe`.
    """
    check_wardrobe(outfits, pool)
    dressed = persons_only(ids, rows, nobody)
    worn = wardrobes(ids.person_id[dressed], outfits, pool, seed)
    if every:
        return [Worn(int(row), outfit) for row in rows for outfit in worn.get(int(ids.person_id[row]), (OWN,))]
    chosen: dict[int, int] = {}
    groups: dict[tuple[int, str], dict[int, dict[tuple[int, int], list[int]]]] = {}
    for row in dressed.tolist():
        tracklet = int(ids.tracklet_id[row])
        unit = (0, tracklet) if tracklet != NO_ID else (1, row)
        cameras = groups.setdefault((int(ids.person_id[row]), str(ids.split[row])), {})
        cameras.setdefault(int(ids.camera_id[row]), {}).setdefault(unit, []).append(row)
    for number, (person, split) in enumerate(sorted(groups)):
        generator = np.random.default_rng([seed, _STREAM, 1, number])
        turn = int(generator.integers(outfits))
        for camera in sorted(groups[person, split]):
            units = sorted(groups[person, split][camera].items())
            for place in generator.permutation(len(units)).tolist():
                chosen |= dict.fromkeys(units[place][1], worn[person][turn % outfits])
                turn += 1
    return [Worn(row, chosen.get(row, OWN)) for row in rows.tolist()]


def number_clothes(ids: ShardIds, worn: list[Worn]) -> NDArray[np.int64]:
    """Clothes ids from 0: one for each person in each outfit; own clothes keep apart what the data set tells apart."""
    keys = np.array(
        [
            (ids.person_id[item.row], item.outfit, ids.clothes_id[item.row] if item.outfit == OWN else NO_ID)
            for item in worn
        ],
        dtype=np.int64,
    )
    return np.unique(keys, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def number_tracklets(ids: ShardIds, worn: list[Worn], every: bool) -> list[int | None]:
    """Tracklet ids: as they were, or, where each is worn in several outfits, one for each of these."""
    pairs = [(int(ids.tracklet_id[item.row]), item.outfit) for item in worn]
    if not every:
        return [tracklet if tracklet != NO_ID else None for tracklet, _ in pairs]
    known = {pair: number for number, pair in enumerate(sorted({pair for pair in pairs if pair[0] != NO_ID}))}
    return [known.get(pair) for pair in pairs]
