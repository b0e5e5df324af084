"""Features made of what is true of each rendered image, not of its pixels: the ceiling and the floor of the benchmark.

- ``identity``: every factor and measure of the person, whatever the image shows. Constant for a person and blind to
  clothes: no method can rank better. It scores 100.
- ``visible``: the named factors of the person as far as this image shows them, and no measures: what a perfect reader
  of the names would reach. Beard and glasses are hidden where the face is not drawn; length of legs and steps where
  something stands in front or a long skirt or dress hangs over them; a ponytail behind the head and a bun under a cap
  read as short hair. A method that measures finer than the names can pass it.
- ``clothes``: the factors of the outfit, and nothing of the person: the floor for cloth-changing.
"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.datasets.walkers.attributes import Integers, factor_values
from pipeline.datasets.walkers.factors import FACTORS, NOT_APPLICABLE, value_of
from pipeline.datasets.walkers.head import PONYTAIL_BEHIND, shows_face
from pipeline.datasets.walkers.rows import MEASURES

OracleKind = Literal["identity", "visible", "clothes"]
KINDS: Final[tuple[OracleKind, ...]] = get_args(OracleKind)

Matrix = NDArray[np.float64]


def _one_hot(values: Integers, size: int) -> Matrix:
    """One column a value, less its mean over the rows that have one; rows without a value say nothing: 0. (N, size)"""
    known = values != NOT_APPLICABLE
    columns = np.zeros((len(values), size))
    columns[known, values[known]] = 1
    if known.any():
        columns[known] -= columns[known].mean(axis=0)
    return columns


def _encode(values: Mapping[str, Integers]) -> Matrix:
    return np.concatenate([_one_hot(column, len(FACTORS[name].names)) for name, column in values.items()], axis=1)


def _scaled(table: pa.Table, rows: Integers) -> Matrix:
    """Measures with mean 0 and deviation 1, (N, measures)."""
    columns = np.stack([table[name].to_numpy()[rows].astype(np.float64) for name in MEASURES], axis=1)
    scaled: Matrix = (columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-12)
    return scaled


def visible_values(table: pa.Table, rows: Integers) -> dict[str, Integers]:
    """Identity factors as these images show them, -1 where they do not."""
    every = factor_values(table, rows)
    values = {name: column for name, column in every.items() if not FACTORS[name].of_clothes}
    facing = np.cos(table["yaw"].to_numpy()[rows].astype(np.float64))
    turned_away = ~np.array([shows_face(value) for value in facing.tolist()])
    for name in ("beard", "glasses"):
        values[name] = np.where(turned_away, NOT_APPLICABLE, values[name])
    covered = table["occluded"].to_numpy()[rows].astype(np.bool_)
    covered |= every["lower_type"] == value_of("lower_type", "long skirt")
    covered |= every["upper_type"] == value_of("upper_type", "dress")
    for name in ("legs", "stride"):
        values[name] = np.where(covered, NOT_APPLICABLE, values[name])
    style = values["hair_style"]
    unseen = (style == value_of("hair_style", "a ponytail")) & (facing >= PONYTAIL_BEHIND)
    unseen |= (style == value_of("hair_style", "a bun")) & (every["hat"] == value_of("hat", "a cap"))
    values["hair_style"] = np.where(unseen, value_of("hair_style", "short hair"), style)
    return values


def oracle_features(table: pa.Table, rows: Integers, kind: OracleKind) -> NDArray[np.float32]:
    """Features of some images from what is true of them.

    Args:
        table: Of ``read_attributes``.
        rows: Which images, (N,).
        kind: See the module.

    Returns:
        (N, D), not normalised.
    """
    every = factor_values(table, rows)
    if kind == "clothes":
        features = _encode({name: column for name, column in every.items() if FACTORS[name].of_clothes})
    elif kind == "visible":
        features = _encode(visible_values(table, rows))
    else:
        names = _encode({name: column for name, column in every.items() if not FACTORS[name].of_clothes})
        features = np.concatenate([names, _scaled(table, rows)], axis=1)
    return features.astype(np.float32)
