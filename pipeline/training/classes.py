"""Class numbers for training: identities, and clothes classes with and without labels (method.md's last open point)."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError

Labels = NDArray[np.int64]
NO_CLASS = -1

ClothesSource = Literal["auto", "labels", "cluster", "none"]


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


def choose_clothes_source(wanted: ClothesSource, clothes_ids: Labels) -> Literal["labels", "cluster", "none"]:
    """Resolve ``auto``: the data set's labels where it has any, else clustering.

    Raises:
        InputError: ``labels`` is wanted and the data set has none.
    """
    has_labels = bool((clothes_ids >= 0).any())
    if wanted == "labels" and not has_labels:
        raise InputError("prompts.clothes_classes is labels, but the data set has no clothes_id; use cluster or none")
    if wanted == "auto":
        return "labels" if has_labels else "cluster"
    return wanted


def _merge_by_average_distance(distances: NDArray[np.float64], limit: float) -> Labels:
    """Average-linkage agglomeration of n points until no two clusters are nearer than ``limit``; numbers from 0."""
    count = len(distances)
    distances = distances.copy()
    np.fill_diagonal(distances, np.inf)
    sizes = np.ones(count)
    members = [[index] for index in range(count)]
    while count > 1:
        first, second = np.unravel_index(np.argmin(distances), distances.shape)
        if distances[first, second] > limit:
            break
        merged = (sizes[first] * distances[first] + sizes[second] * distances[second]) / (sizes[first] + sizes[second])
        distances[first], distances[:, first] = merged, merged
        distances[first, first] = np.inf
        distances[second], distances[:, second] = np.inf, np.inf
        sizes[first] += sizes[second]
        members[first] += members[second]
        members[second] = []
        count -= 1
    labels = np.empty(len(distances), dtype=np.int64)
    for number, cluster in enumerate(sorted(cluster for cluster in members if cluster)):
        labels[cluster] = number
    return labels


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
    normalised = features.astype(np.float64) / np.linalg.norm(features, axis=1, keepdims=True).clip(1e-12)
    following = 0
    for identity in np.unique(identities[identities >= 0]):
        rows = np.flatnonzero(identities == identity)
        clusters = _merge_by_average_distance(1.0 - normalised[rows] @ normalised[rows].T, distance)
        labels[rows] = clusters + following
        following += int(clusters.max()) + 1
    return labels
