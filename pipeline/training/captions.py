"""Features of texts about the training images, from a file that any model may have made."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from pipeline.errors import InputError
from pipeline.features.feature_set import Floats, list_rows, normalise_rows
from pipeline.features.formats import stored_lists
from pipeline.files import sha256_of_file
from pipeline.losses.captions import CaptionSettings
from pipeline.losses.registry import find_terms
from pipeline.losses.terms import settings_as
from pipeline.training.methods import term_weights
from pipeline.training.settings import EncoderSettings

About = Literal["identity", "clothes"]
ABOUT: Final[tuple[About, ...]] = get_args(About)
"""What texts are about: the columns of the file."""

_SETTING: Final = "encoder.captions"


@dataclass(frozen=True)
class Captions:
    """Texts of the training images.

    Attributes:
        texts: By what they are about, float32 (N, T), in the order of the training images; the mean of all is taken
            away, and each has length 1, or 0 where it was the mean.
        sha256: Hash of the file.
    """

    texts: dict[str, Tensor]
    sha256: str


def wanted_captions(settings: EncoderSettings) -> tuple[About, ...]:
    """Which texts the terms of a training need."""
    needs = {
        need
        for term in find_terms(term_weights(settings.method, settings, settings.weights)).values()
        for need in term.needs
    }
    return tuple(about for about in ABOUT if f"{about}_captions" in needs)


def find_captions(settings: EncoderSettings, image_ids: Sequence[str]) -> Captions | None:
    """The texts that a training needs; None if it needs none.

    Args:
        settings: Of stage 2.
        image_ids: Of the training images.

    Raises:
        InputError: The file does not fit; see :func:`read_captions`.
    """
    wanted = wanted_captions(settings)
    path = settings_as(settings, CaptionSettings).captions
    return read_captions(path, wanted, image_ids) if wanted and path is not None else None


def read_captions(path: Path, wanted: Collection[About], image_ids: Sequence[str]) -> Captions:
    """Read text features by image.

    Args:
        path: Parquet with ``image_id``, one row an image, and lists of numbers of one length in the columns wanted.
            Rows of other images do not matter.
        wanted: The columns.
        image_ids: Of the training images.

    Raises:
        InputError: The file is missing, damaged or lacks a column; an image has no row or several; features are no
            numbers, of mixed dimensions, not finite, all zeros, or all the same.
    """
    table = _read(path, wanted)
    names = table["image_id"].combine_chunks()
    if names.null_count:
        raise InputError(f"{path}: column image_id has {names.null_count} nulls ({_SETTING})")
    listed = np.asarray(names.to_pylist(), dtype=np.object_)
    rows: dict[str, int] = {}
    for row, name in enumerate(listed.tolist()):
        if rows.setdefault(name, row) != row:
            raise InputError(f"{path}: image {name} has several rows; each image must have one ({_SETTING})")
    missing = [name for name in image_ids if name not in rows]
    if missing:
        raise InputError(
            f"{path}: {len(missing)} of {len(image_ids)} training images have no row, such as {missing[0]} "
            f"({_SETTING}); image_id is that of the shards"
        )
    order = np.array([rows[name] for name in image_ids], dtype=np.int64)
    found = {about: _column(table, about, order, path) for about in ABOUT if about in wanted}
    return Captions({about: torch.from_numpy(values) for about, values in found.items()}, sha256_of_file(path))


def _read(path: Path, wanted: Collection[About]) -> pa.Table:
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            lacking = [
                name for name in ("image_id", *(about for about in ABOUT if about in wanted)) if name not in names
            ]
            if lacking:
                raise InputError(
                    f"{path} lacks the column {', '.join(lacking)}, which the terms need ({_SETTING}); it has: "
                    f"{', '.join(names)}"
                )
            twice = [name for name in ("image_id", *wanted) if names.count(name) > 1]
            if twice:
                raise InputError(f"{path} has several columns {twice[0]} ({_SETTING})")
            table = file.read(columns=["image_id", *wanted])
            table.validate(full=True)
            return table.set_column(
                table.column_names.index("image_id"), "image_id", table["image_id"].cast(pa.string())
            )
    except FileNotFoundError:
        raise InputError(f"file of text features not found: {path} ({_SETTING})") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path} cannot be read as Parquet ({_SETTING}): {' '.join(str(error).split())}") from error


def _column(table: pa.Table, about: About, order: np.ndarray, path: Path) -> Floats:
    """The texts of one kind, in an order of rows: without their mean, of length 1."""
    where = Path(f"{path}, column {about}")
    column = stored_lists(table[about].combine_chunks())
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    features = list_rows(column.take(pa.array(order)), where)
    for wrong, what in (
        (~np.isfinite(features).all(axis=1), "have NaN or infinite values"),
        (~features.any(axis=1), "are all zeros"),
    ):
        if wrong.any():
            name = table["image_id"][int(order[np.flatnonzero(wrong)[0]])].as_py()
            raise InputError(f"{where}: {int(wrong.sum())} texts {what}, such as that of {name} ({_SETTING})")
    directions = normalise_rows(features).astype(np.float64)
    centred = directions - directions.mean(axis=0)
    if np.abs(centred).max() < 1e-6:
        raise InputError(f"{where}: all texts are the same, which tells nothing ({_SETTING})")
    return normalise_rows(centred.astype(np.float32))
