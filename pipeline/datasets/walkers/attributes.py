"""Reads what is true of every rendered image, and finds the rows of some images by their names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.datasets.walkers.factors import FACTORS
from pipeline.datasets.walkers.rows import MEASURES
from pipeline.datasets.walkers.writer import ATTRIBUTES_NAME
from pipeline.errors import InputError

TEST_SPLITS: Final = ("query", "gallery")
_IDS: Final = ("person_id", "camera_id", "clothes_id")
_NEEDED: Final = ("path", "split", *_IDS, "view", "occluded", *FACTORS, *MEASURES)
_SHOWN: Final = 3

Integers = NDArray[np.int64]


def read_attributes(folder: Path) -> pa.Table:
    """The table ``attributes.parquet`` of a rendered data set, one row an image.

    Raises:
        InputError: It is missing, damaged, or of a version that lacks a column.
    """
    path = folder / ATTRIBUTES_NAME
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path} not found: render it (ccaf-pipeline synth), or say by --root where it is") from None
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{path} cannot be read as Parquet: {error}") from error
    missing = [name for name in _NEEDED if name not in table.column_names]
    if missing:
        raise InputError(f"{path} lacks the columns {', '.join(missing)}: render it again (ccaf-pipeline synth)")
    return table


def image_ids(table: pa.Table) -> list[str]:
    """Name of each image as the manifest has it, ``split/path``."""
    pairs = zip(table["split"].to_pylist(), table["path"].to_pylist(), strict=True)
    return [f"{split}/{path}" for split, path in pairs]


def find_rows(table: pa.Table, names: NDArray[np.str_], ids: Mapping[str, Integers], features: str) -> Integers:
    """Row of the table of each image.

    Args:
        table: Of :func:`read_attributes`.
        names: Image ids, (N,).
        ids: person_id, and further ids that must agree, each (N,).
        features: What the images come from, for errors.

    Raises:
        InputError: An image is not in the table, or an id of it differs there.
    """
    positions = {name: row for row, name in enumerate(image_ids(table))}
    missing = [name for name in names.tolist() if name not in positions]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) or "an image without a name"
        raise InputError(
            f"{features}: {len(missing)} of {len(names)} images are not in {ATTRIBUTES_NAME} (such as {shown}): "
            "the features are of another rendering or data set"
        )
    rows: Integers = np.array([positions[name] for name in names.tolist()], dtype=np.int64)
    for column, values in ids.items():
        differing = np.flatnonzero(table[column].to_numpy()[rows] != values)
        if len(differing):
            raise InputError(
                f"{features}: {column} of {len(differing)} images differs from {ATTRIBUTES_NAME} "
                f"(such as {names[differing[0]]})"
            )
    return rows


def factor_values(table: pa.Table, rows: Integers) -> dict[str, Integers]:
    """Value of every countable factor of some rows, -1 where it does not apply."""
    return {name: table[name].to_numpy()[rows].astype(np.int64) for name in FACTORS}
