"""Which images of the shards are trained on, and which get a feature, in which role."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.shards.reader import ShardReader

TEST_ROLES = ("query", "gallery")


@dataclass(frozen=True)
class FeatureRows:
    """Images of the shards with their roles, in the order of the shards.

    Attributes:
        index: Index in the shards, (N,).
        role: ``query``, ``gallery``, ``train`` or ``val``; the split's own name where several splits share a role
            (the two query sets of PRCC).
    """

    index: NDArray[np.int64]
    role: NDArray[np.object_]


def feature_rows(reader: ShardReader, facts: DatasetFacts, roles: Sequence[str] = TEST_ROLES) -> FeatureRows:
    """Choose the images of some roles.

    Raises:
        InputError: A role is not one of the data set's, or the shards lack its splits.
    """
    names: dict[str, str] = {}
    for role in roles:
        splits = next((splits for known, splits in facts.roles.items() if known == role), ())
        if not splits:
            raise InputError(f"data set {facts.name} has no role {role}; it has: {', '.join(facts.roles)}")
        names |= {split: role if len(splits) == 1 else split for split in splits}
    index = reader.select(list(names))
    role_of = np.array([names[split] for split in reader.ids.split[index]], dtype=np.object_)
    return FeatureRows(index, role_of)


def training_rows(reader: ShardReader, facts: DatasetFacts, drop_without_clothes: bool = False) -> NDArray[np.int64]:
    """Training images in the shards, (N,): those of people, with clothes or without as asked.

    Raises:
        InputError: The data set has no training split.
    """
    splits = facts.roles.get("train", ())
    if not splits:
        raise InputError(f"data set {facts.name} has no training split: it can be evaluated, but not trained on")
    rows = reader.select(list(splits))
    rows = rows[reader.ids.person_id[rows] >= 0]
    return rows[reader.ids.clothes_fraction[rows] > 0] if drop_without_clothes else rows
