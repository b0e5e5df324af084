"""A local copy of a shard folder as one memory-mapped Arrow file, for random access in microseconds.

Parquet must decode a whole row group to give one row. The copy is built once, bound to the hash of the record, and
safe when several processes build it at the same time: one builds, the others wait and use it. While it is built, the
bytes of every shard are held against the hash in the record: no damaged shard gets into a copy, and decoded pixels are
made from the copy.
"""

import os
import shutil
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError, WorkError
from pipeline.files import atomic_file, locked, sha256_of_file, sha256_of_value
from pipeline.location import Location, Place, locate
from pipeline.ownership import remove_listed
from pipeline.shards.record import Record
from pipeline.shards.schema import ENCODED_COLUMNS, SCHEMAS, check_columns, stored_version
from pipeline.storage import local_copy

CACHE_VARIABLE = "CCAF_CACHE"
BATCH_ROWS = 1024
BATCH_BYTES = 32_000_000
"""Rows are read so many at a time, or fewer if their pictures have more bytes than this."""
READ_BYTES = 1 << 20
"""A column is read from the file so many bytes at a time, not a whole row group's at once."""


def cache_schema(version: int) -> pa.Schema:
    """The columns of a copy of shards of a schema version."""
    columns = SCHEMAS[version]
    return pa.schema(
        [field.with_type(pa.large_binary()) if field.name in ENCODED_COLUMNS else field for field in columns]
    )


def default_cache_folder(shards: Place) -> Path:
    """``$CCAF_CACHE`` if it is set, else ``.cache`` beside the shard folder.

    Raises:
        InputError: It is not set, and the shards are not on this machine.
    """
    configured = os.environ.get(CACHE_VARIABLE)
    if configured:
        return Path(configured)
    local = locate(shards).local
    if local is None:
        raise InputError(
            f"shards in {locate(shards)} are read through a local copy: "
            f"set ${CACHE_VARIABLE} to the folder of this machine that shall hold it"
        )
    return local.resolve().parent / ".cache"


def _name(shards: Location) -> str:
    return sha256_of_value(shards.identity)[:12]


def _prefix(shards: Location) -> str:
    return f"shards-{_name(shards)}-"


def pixels_prefix(shards: Location) -> str:
    """Beginning of the names of a shard folder's decoded images."""
    return f"pixels-{_name(shards)}-"


def remove_copies(shards: Place, folder: Path) -> None:
    """Remove all local copies of a shard folder and of its decoded images; their names tell whose they are."""
    beginnings = (_prefix(locate(shards)), pixels_prefix(locate(shards)))
    if folder.is_dir() and not folder.is_symlink():
        copies = [path.name for path in folder.iterdir() if path.name.lstrip(".").startswith(beginnings)]
        remove_listed(folder, copies)


def _check_hash(path: Path, place: Location, expected: str) -> None:
    found = sha256_of_file(path)
    if found != expected:
        raise InputError(
            f"shard {place} is damaged: its SHA-256 is {found[:12]}…, its record says {expected[:12]}…; run the same "
            f"ccaf-pipeline parse command again, which makes damaged shards anew"
        )


def _write(shards: Location, record: Record, target: Path) -> None:
    """Copy all shards, each of which is hashed just before it is read: what is copied comes out of the page cache.

    Raises:
        InputError: A shard's bytes are not those of the record, or it has other columns than the first.
    """
    with atomic_file(target) as temporary, pa.OSFile(str(temporary), "wb") as sink, ExitStack() as stack:
        writer: pa.ipc.RecordBatchFileWriter | None = None
        for shard in record.shards:
            place = shards / shard.name
            with local_copy(place) as path:
                _check_hash(path, place, shard.sha256)
                if writer is None:
                    version = stored_version(pq.read_schema(path))
                    writer = stack.enter_context(pa.ipc.new_file(sink, cache_schema(version)))
                _copy_rows(path, place, version, writer)


def _copy_rows(path: Path, place: Location, version: int, writer: pa.ipc.RecordBatchFileWriter) -> None:
    target = cache_schema(version)
    with pq.ParquetFile(path, buffer_size=READ_BYTES, pre_buffer=False) as parquet:
        check_columns(parquet.schema_arrow, str(place), version)
        for group in range(parquet.metadata.num_row_groups):
            rows = _rows_at_once(parquet.metadata.row_group(group))
            for batch in parquet.iter_batches(batch_size=rows, row_groups=[group]):
                writer.write_batch(batch.select(target.names).cast(target))


def _rows_at_once(group: pq.RowGroupMetaData) -> int:
    """How many rows of a row group are read together, so that their mean size keeps within ``BATCH_BYTES``."""
    within: int = BATCH_BYTES * group.num_rows // max(1, group.total_byte_size)
    return max(1, min(BATCH_ROWS, within))


def _remove_stale(folder: Path, shards: Location) -> None:
    """Copies of earlier content, and what builders left that were killed (only the holder of the lock builds)."""
    for pattern in (f"{_prefix(shards)}*.arrow", f".{_prefix(shards)}*.tmp"):
        for stale in folder.glob(pattern):
            stale.unlink(missing_ok=True)


def _check_room(folder: Path, shards: Location, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise WorkError(
            f"the local copy of {shards} needs {needed / 1e9:.1f} GB in {folder}, where {free / 1e9:.1f} GB are free; "
            f"free space there, or name another folder in ${CACHE_VARIABLE}"
        )


def open_cache(shards: Location, record: Record, folder: Path) -> Path:
    """Path of the Arrow copy of a shard folder, built now if it is not there; copies of earlier content are removed.

    Args:
        shards: The shard folder; if it is remote, one shard after the other is fetched.
        record: Its record.
        folder: Where copies are kept.

    Raises:
        InputError: A shard cannot be read as Parquet, has other columns, or other bytes than the record says.
        WorkError: The copy cannot be written (no space, no permission); or a remote file system does not answer.
    """
    target = folder / f"{_prefix(shards)}{record.sha256[:32]}.arrow"
    if target.is_file():
        return target
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / f".{_prefix(shards)}lock"):
            if not target.is_file():
                _remove_stale(folder, shards)
                _check_room(folder, shards, sum(shard.bytes for shard in record.shards))
                _write(shards, record, target)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(f"shards in {shards} cannot be read: {error}; run ccaf-pipeline parse --verify") from error
    except OSError as error:
        raise WorkError(
            f"the local copy of {shards} cannot be written to {folder} ({error.strerror or error}); "
            f"free space there, or name another folder in ${CACHE_VARIABLE}"
        ) from error
    return target
