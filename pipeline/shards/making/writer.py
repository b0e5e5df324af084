"""Writing one shard: rows go out in row groups as they come, the file appears only when it is complete and on disk."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import Artifact, Word
from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.json_text import decode_json, decode_text
from pipeline.location import Place, locate
from pipeline.shards.schema import (
    DICTIONARY_COLUMNS,
    ENCODED_COLUMNS,
    QUARANTINE_KEY,
    QUARANTINE_NAME,
    QUARANTINE_SCHEMA,
    SCHEMAS,
    SHARD_KEY,
    SOURCES_KEY,
    VERSIONS_KEY,
    Provenance,
    check_columns,
)
from pipeline.storage import atomic_output, local_copy

ROW_GROUP_BYTES = 64_000_000
"""A row group ends early when its pictures have so many bytes, so that memory stays flat with large photographs too."""

LIBRARIES = ("numpy", "opencv-python-headless", "pillow", "pyarrow", "torch")
"""Libraries whose version can change a shard's bytes; a shard names those that it was made with, and its parser's."""


@dataclass(frozen=True)
class ShardRow:
    """One parsed image; the fields are the columns of :data:`pipeline.shards.schema.SHARD_SCHEMA`.

    ``shielded_image`` is None in shards that do without (:data:`pipeline.shards.schema.MADE_VERSION`).
    """

    image_id: str
    path: str
    split: str
    person_id: int
    camera_id: int | None
    clothes_id: int | None
    tracklet_id: int | None
    width: int
    height: int
    image: bytes
    label_map: bytes
    clothes_mask: bytes
    shielded_image: bytes | None
    clothes_fraction: float
    person_fraction: float
    confidence: float
    flags: tuple[str, ...]


@dataclass(frozen=True)
class QuarantineRow:
    """One image that could not be used."""

    image_id: str
    path: str
    reason: str
    detail: str


@dataclass(frozen=True)
class ShardEntry:
    """What the record says of a committed shard.

    Attributes:
        name: File name.
        rows: Images in it.
        bytes: Size of the file.
        sha256: Hash of the file.
        sources_sha256: Hash of the image files it was made from, the quarantined included.
        splits: Number of images of each split.
        flags: Number of images of each flag.
        quarantine: Images of its part of the manifest that it does not hold, with the reason.
        versions: Versions of the libraries that it was made with.
    """

    name: str
    rows: int
    bytes: int
    sha256: str
    sources_sha256: str
    splits: dict[str, int]
    flags: dict[str, int]
    quarantine: tuple[QuarantineRow, ...]
    versions: dict[str, str]


def _version(name: str) -> str:
    """Of a package in this process, without the name of a build."""
    try:
        return version(name).partition("+")[0]
    except PackageNotFoundError:  # such as another wheel of OpenCV
        return "unknown"


@cache
def library_versions() -> dict[str, str]:
    """Versions of :data:`LIBRARIES` in this process."""
    return {name: _version(name) for name in LIBRARIES}


@dataclass
class ShardWriter:
    """Collects a shard's rows, in order; made by :func:`open_shard`.

    Attributes:
        entry: What the record says of the shard, once it was committed.
    """

    parquet: pq.ParquetWriter
    row_group_rows: int
    libraries: tuple[str, ...] = ()
    rows: list[ShardRow] = field(default_factory=list)
    quarantine: list[QuarantineRow] = field(default_factory=list)
    entry: ShardEntry | None = None
    _bytes: int = 0

    def add(self, row: ShardRow | QuarantineRow) -> None:
        """Take the next row; a full row group is written at once, so that memory stays flat."""
        if isinstance(row, QuarantineRow):
            self.quarantine.append(row)
            return
        self.rows.append(row)
        pictures = (row.image, row.label_map, row.clothes_mask, row.shielded_image)
        self._bytes += sum(len(picture) for picture in pictures if picture is not None)
        if len(self.rows) >= self.row_group_rows or self._bytes >= ROW_GROUP_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the rows held so far as one row group."""
        if self.rows:
            schema = self.parquet.schema
            columns = [pa.array([getattr(row, field.name) for row in self.rows], type=field.type) for field in schema]
            self.parquet.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
            self.rows.clear()
            self._bytes = 0

    def finish(self, sources_sha256: str) -> None:
        """Write what is left, and with it the quarantine and the hash of the sources, into the same file."""
        self.flush()
        versions = library_versions() | {name: _version(name) for name in self.libraries}
        self.parquet.add_key_value_metadata(
            {
                SOURCES_KEY: sources_sha256,
                VERSIONS_KEY: json.dumps(versions, sort_keys=True),
                QUARANTINE_KEY: json.dumps([asdict(row) for row in self.quarantine], sort_keys=True),
            }
        )


def _column_compression(names: Sequence[str]) -> dict[str, str]:
    plain = [name if name != "flags" else "flags.list.element" for name in names]
    return {name: "NONE" if name in ENCODED_COLUMNS else "ZSTD" for name in plain}


@contextmanager
def open_shard(
    place: Place, provenance: Provenance, row_group_rows: int, libraries: tuple[str, ...] = ()
) -> Iterator[ShardWriter]:
    """Yield a writer for the shard at ``place``; when the block ends well, the shard appears there, synced.

    It names the versions of ``libraries`` besides those that all shards name.

    The caller must call :meth:`ShardWriter.finish` in the block. The bytes depend on the rows, the provenance and the
    libraries only.
    """
    location = locate(place)
    columns = SCHEMAS[provenance.schema_version]
    schema = columns.with_metadata({**provenance.to_metadata(), SHARD_KEY: location.name})
    with atomic_output(location) as temporary:
        with pq.ParquetWriter(
            temporary,
            schema,
            version="2.6",
            use_dictionary=list(DICTIONARY_COLUMNS),
            compression=_column_compression(columns.names),
            write_statistics=[name for name in columns.names if name not in ENCODED_COLUMNS],
        ) as parquet:
            writer = ShardWriter(parquet, row_group_rows, libraries)
            yield writer
        entry = _describe(temporary, location.name)  # of the local file, before it is sent anywhere
    writer.entry = entry


def describe_shard(place: Place) -> ShardEntry:
    """Read a committed shard's entry for the record from the file itself.

    Raises:
        OSError, pa.ArrowException: The file cannot be read.
        InputError: It is no shard, or its metadata are damaged.
        StorageError: A remote file system does not answer.
    """
    location = locate(place)
    with local_copy(location) as path:
        return _describe(path, location.name)


class _Quarantined(Artifact):
    image_id: str
    path: str
    reason: Word
    detail: str


class _About(Artifact):
    """What a shard's metadata say of its making."""

    sources_sha256: Word
    quarantine: list[_Quarantined]
    versions: dict[Word, Word]


def _read_about(metadata: Mapping[bytes, bytes], where: str) -> _About:
    found: dict[str, Any] = {}
    for name, key in (("sources_sha256", SOURCES_KEY), ("quarantine", QUARANTINE_KEY), ("versions", VERSIONS_KEY)):
        value = metadata.get(key.encode())
        if value is None:
            raise InputError(f"{where} has no {key} in its metadata: it is no finished shard of ccaf-pipeline")
        read = decode_text if key == SOURCES_KEY else decode_json
        found[name] = read(value, f"{key} of {where}")
    return _About.check(found, f"metadata of {where}")


def _describe(path: Path, name: str) -> ShardEntry:
    with pq.ParquetFile(path) as parquet:
        check_columns(parquet.schema_arrow, name)
        about = _read_about(parquet.metadata.metadata or {}, name)
        table = parquet.read(columns=["split", "flags"])
        rows = int(parquet.metadata.num_rows)
    return ShardEntry(
        name=name,
        rows=rows,
        bytes=path.stat().st_size,
        sha256=sha256_of_file(path),
        sources_sha256=about.sources_sha256,
        splits=_counts(table["split"]),
        flags=_counts(pa.chunked_array([chunk.flatten() for chunk in table["flags"].chunks], pa.string())),
        quarantine=tuple(QuarantineRow(**row.model_dump()) for row in about.quarantine),
        versions=about.versions,
    )


def _counts(column: pa.ChunkedArray) -> dict[str, int]:
    pairs = column.value_counts().to_pylist()
    return {pair["values"]: pair["counts"] for pair in sorted(pairs, key=lambda pair: str(pair["values"]))}


def write_quarantine(folder: Place, rows: list[QuarantineRow]) -> None:
    """Write the quarantine table, in the order given, atomically; it may be empty."""
    columns = [pa.array([getattr(row, name) for row in rows], type=pa.string()) for name in QUARANTINE_SCHEMA.names]
    with atomic_output(locate(folder) / QUARANTINE_NAME) as temporary:
        pq.write_table(pa.table(columns, schema=QUARANTINE_SCHEMA), temporary, compression="ZSTD")
