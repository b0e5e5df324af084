"""Seeded draws of pairs of images, of one person and of different people, without ever listing all pairs of many."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.features.feature_set import NO_ID, FeatureSet, Floats, Integers

DRAWS_PER_PAIR = 10
"""Pairs that are drawn for one that is wanted; what the rules leave out is taken off afterwards."""
CHUNK = 8192


@dataclass(frozen=True)
class Pairs:
    """Positions of two images each, (N, 2), the first smaller than the second; no pair twice."""

    same_clothes: Integers
    other_clothes: Integers
    same_person: Integers
    different: Integers
    other_camera: bool
    """Whether pairs of one camera were left out."""


def _unrank(numbers: Integers) -> tuple[Integers, Integers]:
    """Pair (i, j), i < j, of each number in the order (0,1), (0,2), (1,2), (0,3), ...: number = j(j-1)/2 + i."""
    second = np.floor((1 + np.sqrt(1 + 8 * numbers.astype(np.float64))) / 2).astype(np.int64)
    second -= second * (second - 1) // 2 > numbers  # float64 may round up where numbers are large
    second += (second + 1) * second // 2 <= numbers
    first: Integers = numbers - second * (second - 1) // 2
    return first, second


def _draw(total: int, wanted: int, generator: np.random.Generator) -> Integers:
    """Distinct numbers below ``total``: all where there are not many more than wanted, else drawn at random."""
    most = DRAWS_PER_PAIR * wanted
    if total <= most:
        return np.arange(total, dtype=np.int64)
    return np.unique(generator.integers(total, size=most))


def _keep(pairs: Integers, wanted: int, generator: np.random.Generator) -> Integers:
    if len(pairs) <= wanted:
        return pairs
    return pairs[np.sort(generator.choice(len(pairs), wanted, replace=False))]


def _of_one_person(person_id: Integers, wanted: int, generator: np.random.Generator) -> Integers:
    """Pairs of images of one person; a person has as many chances as pairs."""
    order = np.argsort(person_id, kind="stable")
    _, starts, counts = np.unique(person_id[order], return_index=True, return_counts=True)
    ends = np.cumsum(counts * (counts - 1) // 2)
    numbers = _draw(int(ends[-1]) if len(ends) else 0, wanted, generator)
    person = np.searchsorted(ends, numbers, side="right")
    before = np.concatenate([[0], ends[:-1]])
    first, second = _unrank(numbers - before[person])
    pairs: Integers = order[np.stack([first, second], axis=1) + starts[person][:, None]]
    pairs.sort(axis=1)
    return pairs


def _of_different_people(person_id: Integers, wanted: int, generator: np.random.Generator) -> Integers:
    count = len(person_id)
    pairs: Integers = np.stack(_unrank(_draw(count * (count - 1) // 2, wanted, generator)), axis=1)
    differ: NDArray[np.bool_] = person_id[pairs[:, 0]] != person_id[pairs[:, 1]]
    return pairs[differ]


def _crosses(cameras: Integers, pairs: Integers) -> NDArray[np.bool_]:
    """Pairs that are not known to be of one camera."""
    one, other = cameras[pairs[:, 0]], cameras[pairs[:, 1]]
    crosses: NDArray[np.bool_] = (one != other) | (one == NO_ID)
    return crosses


def draw_pairs(items: FeatureSet, wanted: int, seed: int) -> Pairs:
    """Draw up to ``wanted`` pairs of each kind.

    As in the retrieval protocols pairs of one camera are left out; where no person was seen by two cameras they stay.

    Args:
        items: Images with their ids.
        wanted: Most pairs of a kind.
        seed: Decides the draw.
    """
    generator = np.random.default_rng([seed, 31])
    same = _of_one_person(items.person_id, wanted, generator)
    different = _of_different_people(items.person_id, wanted, generator)
    crossing = _crosses(items.camera_id, same)
    other_camera = bool((items.camera_id != NO_ID).any() and crossing.any())
    if other_camera:
        same, different = same[crossing], different[_crosses(items.camera_id, different)]
    one, other = items.clothes_id[same[:, 0]], items.clothes_id[same[:, 1]]
    known = (one != NO_ID) & (other != NO_ID)
    return Pairs(
        same_clothes=_keep(same[known & (one == other)], wanted, generator),
        other_clothes=_keep(same[known & (one != other)], wanted, generator),
        same_person=_keep(same, wanted, generator),
        different=_keep(different, wanted, generator),
        other_camera=other_camera,
    )


def cosine_distances(features: Floats, pairs: Integers) -> Floats:
    """1 - cosine of each pair, (N,), of L2-normalised features (M, D); a part at a time."""
    distances = np.empty(len(pairs), dtype=np.float32)
    for start in range(0, len(pairs), CHUNK):
        part = pairs[start : start + CHUNK]
        distances[start : start + CHUNK] = 1 - np.einsum("nd,nd->n", features[part[:, 0]], features[part[:, 1]])
    return distances
