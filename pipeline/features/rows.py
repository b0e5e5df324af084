"""Which images of the shards get a feature, in which role, and the table of features."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.datasets.catalog import load_facts
from pipeline.errors import InputError
from pipeline.shards.reader import NO_ID, ShardReader


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


def feature_rows(reader: ShardReader, dataset: str, roles: list[str]) -> FeatureRows:
    """Choose the images of some roles.

    Raises:
        InputError: A role is not one of the data set's, or the shards lack its splits.
    """
    facts = load_facts(dataset)
    names: dict[str, str] = {}
    for role in roles:
        splits = next((splits for known, splits in facts.roles.items() if known == role), ())
        if not splits:
            raise InputError(f"data set {facts.name} has no role {role}; it has: {', '.join(facts.roles)}")
        names |= {split: role if len(splits) == 1 else split for split in splits}
    index = reader.select(list(names))
    role_of = np.array([names[split] for split in reader.ids.split[index]], dtype=np.object_)
    return FeatureRows(index, role_of)


def feature_table(reader: ShardReader, rows: FeatureRows, features: NDArray[np.float32]) -> pa.Table:
    """The feature file's columns; ids that a data set lacks are null."""
    ids = reader.ids

    def nullable(values: NDArray[np.int64] | NDArray[np.int32], kind: pa.DataType) -> pa.Array:
        chosen = values[rows.index]
        return pa.array(chosen, type=kind, mask=chosen == NO_ID)

    dimension = features.shape[1]
    return pa.table(
        {
            "image_id": pa.array(ids.image_id[rows.index].tolist(), type=pa.string()),
            "role": pa.array(rows.role.tolist(), type=pa.string()),
            "person_id": pa.array(ids.person_id[rows.index], type=pa.int64()),
            "camera_id": nullable(ids.camera_id, pa.int32()),
            "clothes_id": nullable(ids.clothes_id, pa.int64()),
            "tracklet_id": nullable(ids.tracklet_id, pa.int64()),
            "feature": pa.FixedSizeListArray.from_arrays(pa.array(features.ravel(), type=pa.float32()), dimension),
        }
    )
