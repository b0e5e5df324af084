"""Tables of images that are in no shards: their paths or their bytes, and their labels."""

from collections.abc import Iterator, Mapping
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.errors import BadImageError, InputError
from pipeline.location import Location
from pipeline.storage import local_copy, open_input

LABELS: Final = ("person_id", "camera_id", "clothes_id", "tracklet_id")
COLUMNS: Final = ("path", "image", "image_id", "role", "split", *LABELS)
"""Columns of a table that mean something here, by our names."""

TYPES: Final = {"camera_id": pa.int32()}
"""Of labels; the others are int64."""

_READ_ROWS: Final = 8
"""At once of the images that a table holds: a small file may unpack to large values."""


def read_table(place: Location, columns: Mapping[str, str], role: str) -> tuple[pa.Table, bool]:
    """The rows of a table, local or remote, and whether it holds the images.

    Args:
        place: A ``.csv`` or ``.parquet`` file.
        columns: Our name of a column: the table's name.
        role: Of images that have none.

    Returns:
        Columns image_id, path, role and the :data:`LABELS`; and whether its column ``image`` has the images' bytes.

    Raises:
        InputError: It is missing or damaged, or lacks a column or a value.
    """
    names = {name: columns.get(name, name) for name in COLUMNS}
    try:
        with local_copy(place) as file:
            csv = place.name.lower().endswith(".csv")
            schema = None if csv else pq.read_schema(file)
            holds = schema is not None and _is_held(schema, names["image"])
            wanted = [theirs for ours, theirs in names.items() if ours != "image"]
            if schema is None:
                text = pacsv.ConvertOptions(
                    column_types=dict.fromkeys(wanted, pa.string()), null_values=[""], strings_can_be_null=True
                )
                table = pacsv.read_csv(file, convert_options=text)
                rows = table.num_rows
            else:
                table = pq.read_table(file, columns=[name for name in wanted if name in schema.names])
                rows = pq.read_metadata(file).num_rows
    except FileNotFoundError:
        raise InputError(f"{place}: there is no such file or folder") from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"table {place} cannot be read: {' '.join(str(error).split())}") from error
    has = table.column_names if schema is None else schema.names
    twice = sorted(name for name in names.values() if has.count(name) > 1)
    if twice:
        raise InputError(f"table {place} has the column {twice[0]} more than once")
    missing = [theirs for ours, theirs in columns.items() if theirs not in has]
    if missing or (not holds and names["path"] not in has):
        raise InputError(
            f"table {place} has no column {missing[0] if missing else names['path']}; it has: {', '.join(has)}; "
            f"name the one with the paths by --column path=NAME"
        )
    found = {ours: table[theirs] for ours, theirs in names.items() if theirs in table.column_names}
    return _named_rows(found, rows, place, role), holds


def _is_held(schema: pa.Schema, name: str) -> bool:
    """Whether a column holds the bytes of images: plain, or with their path beside, as Hugging Face's data sets do."""
    if name not in schema.names:
        return False
    kind = schema.field(name).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        kind = kind.field("bytes").type
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _named_rows(found: Mapping[str, pa.ChunkedArray], rows: int, place: Location, role: str) -> pa.Table:
    """The columns of :attr:`ImageList.rows` out of those of a table."""

    def text(name: str, default: str) -> pa.ChunkedArray:
        if name not in found:
            return pa.chunked_array([pa.array([default] * rows, pa.string())])
        if found[name].null_count:
            row = pc.index(pc.is_null(found[name]), True).as_py()
            raise InputError(f"table {place}: row {row + 1} (row 1 is the first below the header) has no {name}")
        return _cast(found[name], pa.string(), name, place)

    path = text("path", "")
    roles = text("role" if "role" in found else "split", role)
    if "image_id" in found:
        names = text("image_id", "")
    else:
        names = pc.binary_join_element_wise(text("split", ""), path, "/") if {"split", "path"} <= found.keys() else path
    labels = {}
    for name in LABELS:
        kind = TYPES.get(name, pa.int64())
        labels[name] = _cast(found[name], kind, name, place) if name in found else pa.nulls(rows, kind)
    return pa.table({"image_id": names, "path": path, "role": roles, **labels})


def _cast(column: pa.ChunkedArray, kind: pa.DataType, name: str, place: Location) -> pa.ChunkedArray:
    try:
        return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        what = "texts" if pa.types.is_string(kind) else "whole numbers"
        raise InputError(f"table {place}: column {name} must hold {what}: {error}") from error


def read_held(place: Location, column: str, first: int, last: int, limit: int) -> Iterator[bytes | BadImageError]:
    """The images that a Parquet file holds in rows ``first`` to ``last`` (not included); null gives no bytes.

    What a file of a stranger unpacks to is bounded: of row groups that say that they hold more than their images may
    have, nothing is unpacked, and other large ones are unpacked an image at a time.

    Args:
        place: The file.
        column: That holds them.
        first: First row.
        last: The row behind the last.
        limit: Bytes that an image may have; one with more is an error in the place of its bytes.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with open_input(place) as stream, pq.ParquetFile(stream) as file:
            begin = 0
            for number in range(file.metadata.num_row_groups):
                group = file.metadata.row_group(number)
                end = begin + group.num_rows
                if begin < last and end > first:
                    rows = slice(max(first - begin, 0), min(last, end) - begin)
                    yield from _held_in_group(file, number, column, rows, limit)
                begin = end
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"table {place} cannot be read: {' '.join(str(error).split())}") from error


def _held_in_group(
    file: pq.ParquetFile, number: int, column: str, rows: slice, limit: int
) -> Iterator[bytes | BadImageError]:
    """Some rows of a row group, a few at a time."""
    group = file.metadata.row_group(number)
    chunks = [group.column(index) for index in range(group.num_columns)]
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks if _is_part(chunk.path_in_schema, column))
    if unpacked > group.num_rows * limit:
        reason = (
            f"its row group unpacks to {unpacked:,} bytes; the limit is {limit:,} for each of {group.num_rows} images"
        )
        yield from (BadImageError("too_large", reason) for _ in range(rows.start, rows.stop))
        return
    skipped, left = rows.start, rows.stop - rows.start
    for batch in file.iter_batches(1 if unpacked > limit else _READ_ROWS, row_groups=[number], columns=[column]):
        values = batch.column(0)
        values = values.field("bytes") if pa.types.is_struct(values.type) else values
        values = values.slice(min(skipped, len(values)), left)
        skipped = max(skipped - batch.num_rows, 0)
        left -= len(values)
        for size, value in zip(pc.binary_length(values).to_pylist(), values, strict=True):
            large = (size or 0) > limit
            reason = f"{size:,} bytes exceed the limit of {limit:,}" if large else ""
            yield BadImageError("too_large", reason) if large else value.as_py() or b""
        if not left:
            return


def _is_part(path: str, column: str) -> bool:
    """Whether a column of Parquet, which may be a part of a struct, belongs to a column of the table."""
    return path == column or path.startswith(f"{column}.")
