"""Class numbers for training: identities, and clothes classes with and without labels (method.md's last open point)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Labels = NDArray[np.int64]
NO_CLASS = -1

ClothesSource = Literal["auto", "labels", "cluster", "image", "none"]
ResolvedSource = Literal["labels", "cluster", "image", "none"]


@dataclass(frozen=True)
class ClassIndex:
    """Consecutive class numbers for the ids of a data set.

    Attributes:
        ids: The data set's id of each class, ascending, (K,).
        labels: Class number of each image, (N,); ``NO_CLASS`` where an image has none.
    """

    ids: Labels
    labels: Labels

    def __len__(self) -> int:
        return len(self.ids)


def index_classes(ids: Labels) -> ClassIndex:
    """Number the non-negative ids in ascending order; negative ids mean no class."""
    known = np.unique(ids[ids >= 0])
    labels = np.where(ids >= 0, np.searchsorted(known, ids), NO_CLASS)
    return ClassIndex(known, labels.astype(np.int64))


def choose_clothes_source(wanted: ClothesSource, clothes_ids: Labels) -> ResolvedSource:
    """Resolve ``auto``: the data set's labels where it has any, else clustering.

    Raises:
        InputError: ``labels`` is wanted and the data set has none.
    """
    has_labels = bool((clothes_ids >= 0).any())
    if wanted == "labels" and not has_labels:
        raise InputError(
            "prompts.clothes_classes is labels, but the data set has no clothes_id; use cluster, image or none"
        )
    if wanted == "auto":
        return "labels" if has_labels else "cluster"
    return wanted


def _merge_by_average_distance(distances: NDArray[np.float32], limit: float) -> Labels:
    """Average-linkage agglomeration of n points until no two clusters are nearer than ``limit``; numbers from 0.

    By chains of nearest neighbours (Murtagh 1983): average linkage has the same tree whichever pair of mutual nearest
    neighbours is merged first, so n^2 steps suffice where the search for the nearest pair takes n^3. The tree is built
    whole, then cut: with average linkage no merge is nearer than the ones below it.
    """
    count = len(distances)
    distances = distances.copy()
    np.fill_diagonal(distances, np.inf)
    sizes = np.ones(count, dtype=np.float32)
    parents = np.arange(count)
    chain: list[int] = []
    waiting = set(range(count))  # clusters that are not merged into another one
    for _ in range(count - 1):
        if not chain:
            chain = [min(waiting)]
        while True:
            last = chain[-1]
            nearest = int(np.argmin(distances[last]))
            if len(chain) > 1 and distances[last, chain[-2]] <= distances[last, nearest]:
                break
            chain.append(nearest)
        second, first = sorted((chain.pop(), chain.pop()), reverse=True)
        if distances[first, second] <= limit:
            parents[second] = first
        merged = (sizes[first] * distances[first] + sizes[second] * distances[second]) / (sizes[first] + sizes[second])
        distances[first], distances[:, first] = merged, merged
        distances[first, first] = np.inf
        distances[second], distances[:, second] = np.inf, np.inf
        sizes[first] += sizes[second]
        waiting.discard(second)
    for point in range(count):  # parents are earlier points, so theirs are final already
        parents[point] = parents[parents[point]]
    return np.unique(parents, return_inverse=True)[1].astype(np.int64)


def cluster_clothes(features: NDArray[np.float32], identities: Labels, distance: float) -> Labels:
    """Clothes classes where a data set has no clothes labels: clusters of clothes-image features within an identity.

    Args:
        features: Features of the clothes images, (N, D).
        identities: Class numbers, (N,); images with a negative number get ``NO_CLASS``.
        distance: Cosine distance up to which clusters are merged (average linkage), in [0, 2].

    Returns:
        Clothes class numbers (N,), consecutive, never shared by two identities.
    """
    labels = np.full(len(features), NO_CLASS, dtype=np.int64)
    normalised = features.astype(np.float32) / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    following = 0
    for identity in np.unique(identities[identities >= 0]):
        rows = np.flatnonzero(identities == identity)
        distances = (1.0 - normalised[rows] @ normalised[rows].T).clip(0.0, 2.0)
        clusters = _merge_by_average_distance(distances, distance)
        labels[rows] = clusters + following
        following += int(clusters.max()) + 1
    return labels


def clothes_of_identities(identities: Labels, clothes_classes: Labels) -> Labels:
    """The clothes classes of each identity, filled up with ``NO_CLASS``: (K, most classes of an identity).

    Args:
        identities: Class numbers 0 to K - 1, (N,).
        clothes_classes: Class numbers, (N,).
    """
    dressed = clothes_classes != NO_CLASS
    pairs = np.unique(np.stack([identities[dressed], clothes_classes[dressed]], axis=1), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=int(identities.max()) + 1)
    table = np.full((len(counts), max(int(counts.max()), 1)), NO_CLASS, dtype=np.int64)
    columns = np.arange(len(pairs)) - np.repeat(np.cumsum(counts) - counts, counts)
    table[pairs[:, 0], columns] = pairs[:, 1]
    return table
