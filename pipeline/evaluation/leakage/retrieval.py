"""Retrieval by clothes: are other people in the same garment nearer than other people in another?"""

from dataclasses import dataclass

import numpy as np

from pipeline.evaluation.chance import expected_average_precision
from pipeline.evaluation.features import Floats, Integers
from pipeline.evaluation.leakage.probes import NOT_APPLICABLE
from pipeline.evaluation.similarity import similarity_blocks


@dataclass(frozen=True)
class ClothesRetrieval:
    """Retrieval of other people's images by the value of a garment factor.

    Attributes:
        mean_ap: Mean over queries of the AP.
        chance: Mean over queries of the expected AP of a random ranking.
        n: Queries: images for which somebody else wears the same.
        images: Images that have a value, which are searched.
    """

    mean_ap: float
    chance: float
    n: int
    images: int


def retrieve_same_value(features: Floats, person_id: Integers, values: Integers) -> ClothesRetrieval | None:
    """Search every image among all images of other people; those with the same value are good.

    Equal similarities rank in the order of the rows.

    Args:
        features: L2-normalised, (N, D).
        person_id: (N,).
        values: Of the garment factor, (N,); rows with ``NOT_APPLICABLE`` are left out.

    Returns:
        None if no value is shared by two people.
    """
    applies = values != NOT_APPLICABLE
    features, person_id, values = features[applies], person_id[applies], values[applies]
    precision, expected = [], []
    for start, scores in similarity_blocks(features, features):
        part = slice(start, start + len(scores))
        own = person_id[part, None] == person_id
        scores[own] = -np.inf  # behind everything
        order = np.argsort(-scores, axis=1, kind="stable")
        good = np.take_along_axis((values[part, None] == values) & ~own, order, axis=1)
        counts = good.sum(axis=1)
        found = counts > 0
        ranks = np.arange(1, len(features) + 1)
        sums = (good * np.cumsum(good, axis=1) / ranks).sum(axis=1)
        precision.append(sums[found] / counts[found])
        expected.append(expected_average_precision(counts[found], (~own).sum(axis=1)[found]))
    every = np.concatenate(precision) if precision else np.empty(0)
    if not len(every):
        return None
    return ClothesRetrieval(float(every.mean()), float(np.concatenate(expected).mean()), len(every), len(features))
