"""Reading a finished shard folder back: its ids as arrays, and random access to images, masks and label maps."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.images import LabelMap, Mask, RgbImage, decode_image, decode_label_map, decode_mask, encode_image
from pipeline.location import Location, Place, locate
from pipeline.parsing.masks import shielding_image
from pipeline.shards.cache import cache_schema, default_cache_folder, open_cache
from pipeline.shards.record import Record, check_files, read_record
from pipeline.shards.schema import ENCODED_COLUMNS, SHARD_SCHEMA, Provenance, check_columns, encoded_columns
from pipeline.storage import open_input

NO_ID = -1
"""Stands for a null camera, clothes or tracklet id in integer arrays."""


@dataclass(frozen=True)
class ShardIds:
    """The columns that are no pictures, one entry an image, in the order of the shards (sorted by image_id).

    ``camera_id``, ``clothes_id`` and ``tracklet_id`` are :data:`NO_ID` where the data set has none. ``image_id``,
    ``path`` and ``split`` are object arrays of str, ``flags`` one of tuples of str.
    """

    image_id: NDArray[np.object_]
    path: NDArray[np.object_]
    split: NDArray[np.object_]
    person_id: NDArray[np.int64]
    camera_id: NDArray[np.int32]
    clothes_id: NDArray[np.int64]
    tracklet_id: NDArray[np.int64]
    width: NDArray[np.int32]
    height: NDArray[np.int32]
    clothes_fraction: NDArray[np.float32]
    person_fraction: NDArray[np.float32]
    confidence: NDArray[np.float32]
    flags: NDArray[np.object_]


def _objects(values: list[Any]) -> NDArray[np.object_]:
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array


def _read_ids(table: pa.Table) -> ShardIds:
    def numbers(name: str) -> Any:
        return table[name].combine_chunks().fill_null(NO_ID).to_numpy(zero_copy_only=False)

    flags = np.empty(table.num_rows, dtype=np.object_)
    for index, value in enumerate(table["flags"].to_pylist()):
        flags[index] = tuple(value)
    return ShardIds(
        image_id=_objects(table["image_id"].to_pylist()),
        path=_objects(table["path"].to_pylist()),
        split=_objects(table["split"].to_pylist()),
        person_id=numbers("person_id"),
        camera_id=numbers("camera_id"),
        clothes_id=numbers("clothes_id"),
        tracklet_id=numbers("tracklet_id"),
        width=numbers("width"),
        height=numbers("height"),
        clothes_fraction=numbers("clothes_fraction"),
        person_fraction=numbers("person_fraction"),
        confidence=numbers("confidence"),
        flags=flags,
    )


class _Pictures(Protocol):
    """Where the encoded pictures come from."""

    def read_ids(self) -> pa.Table:
        """The columns that are no pictures."""

    def encoded(self, index: int, column: str) -> bytes:
        """The stored bytes of one picture; the index is known to be good."""


class _MappedCopy:
    """The memory-mapped local copy."""

    def __init__(self, path: Path, images: int, version: int) -> None:
        try:
            self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
            self._table.validate(full=True)  # of pictures, only where each begins: none leads out of the file
            fits = self._table.schema.equals(cache_schema(version))
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path} cannot be read ({error}): delete that file and try again") from error
        if not fits:
            raise InputError(f"{path} has not the columns of a local copy: delete that file and try again")
        if self._table.num_rows != images:
            raise InputError(
                f"{path} has {self._table.num_rows} images, the record of its shards {images}: "
                f"delete that file and try again"
            )
        self._chunks = {name: self._table[name].chunks for name in encoded_columns(version)}
        self._ends = np.cumsum([len(chunk) for chunk in self._chunks["image"]])

    def read_ids(self) -> pa.Table:
        return self._table.drop_columns(list(self._chunks))

    def encoded(self, index: int, column: str) -> bytes:
        chunk = int(np.searchsorted(self._ends, index, side="right"))
        start = int(self._ends[chunk - 1]) if chunk else 0
        return bytes(self._chunks[column][chunk][int(index) - start].as_buffer())


@contextmanager
def _open_shard(place: Location) -> Iterator[pq.ParquetFile]:
    try:
        with open_input(place) as source, pq.ParquetFile(source) as parquet:
            yield parquet
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"shard {place} cannot be read ({error}): run ccaf-pipeline parse --verify") from error


def _check_texts(table: pa.Table, place: Location) -> None:
    try:
        table.validate(full=True)
    except pa.ArrowException as error:
        raise InputError(f"shard {place} holds values that are none ({error}): run ccaf-pipeline parse") from error


class _RowGroups:
    """The Parquet files themselves: a row group is read for one picture, the last one is kept."""

    def __init__(self, paths: Sequence[Location], version: int) -> None:
        self._paths = paths
        self._columns = list(encoded_columns(version))
        groups: list[tuple[Location, int, int]] = []
        for path in paths:
            with _open_shard(path) as parquet:
                check_columns(parquet.schema_arrow, str(path), version)
                metadata = parquet.metadata
            groups += [(path, group, metadata.row_group(group).num_rows) for group in range(metadata.num_row_groups)]
        self._groups = groups
        self._ends = np.cumsum([rows for _, _, rows in groups])
        self._kept: tuple[int, pa.Table] | None = None

    def read_ids(self) -> pa.Table:
        names = [name for name in SHARD_SCHEMA.names if name not in ENCODED_COLUMNS]
        tables = []
        for path in self._paths:
            with _open_shard(path) as parquet:
                tables.append(parquet.read(columns=names).replace_schema_metadata(None))
                _check_texts(tables[-1], path)
        return pa.concat_tables(tables)

    def encoded(self, index: int, column: str) -> bytes:
        position = int(np.searchsorted(self._ends, index, side="right"))
        kept = self._kept
        if kept is None or kept[0] != position:
            path, group, _ = self._groups[position]
            with _open_shard(path) as parquet:
                kept = position, parquet.read_row_group(group, columns=self._columns)
            self._kept = kept
        start = int(self._ends[position - 1]) if position else 0
        return bytes(kept[1][column][int(index) - start].as_buffer())


def _check_origin(record: Record, metadata: Provenance, place: Location) -> None:
    if record.dataset != metadata.dataset:
        raise InputError(
            f"shard {place} is of data set {metadata.dataset}, its record says {record.dataset}: "
            f"run the same ccaf-pipeline parse command again"
        )


class ShardReader:
    """Random access to a finished shard folder, through a memory-mapped local copy that is built at the first use.

    Cheap to pickle: another process opens the same copy. Reading is thread-safe.

    Args:
        folder: The shard folder that ``ccaf-pipeline parse`` wrote, local or remote.
        cache: Where local copies are kept; None: ``$CCAF_CACHE`` if set, else ``.cache`` beside a local folder.
        copy: Make the local copy. Without it pictures are read from the Parquet files, a row group for each one:
            for a look at a few of many.

    Raises:
        InputError: The folder holds no finished shards, or they are damaged; or it is remote and nothing says where
            the local copy shall be.
        WorkError: The local copy cannot be written; or a remote file system does not answer.
    """

    def __init__(self, folder: Place, cache: Path | None = None, copy: bool = True) -> None:
        self.folder = locate(folder)
        self._cache = cache
        self._copy = copy
        self.record: Record = read_record(self.folder)
        paths = check_files(self.folder, self.record)
        if not paths or not self.record.counts["images"]:
            raise InputError(f"the shards in {self.folder} hold no image; see quarantine.parquet there for the reasons")
        with _open_shard(paths[0]) as parquet:
            self.metadata = Provenance.from_metadata(parquet.schema_arrow.metadata or {}, str(paths[0]))
            check_columns(parquet.schema_arrow, str(paths[0]), self.metadata.schema_version)
        _check_origin(self.record, self.metadata, paths[0])
        self._pictures: _Pictures
        version = self.metadata.schema_version
        if copy:
            cache_folder = cache or default_cache_folder(self.folder)
            local = open_cache(self.folder, self.record, cache_folder)
            self._pictures = _MappedCopy(local, self.record.counts["images"], version)
        else:
            self._pictures = _RowGroups(paths, version)
        self._stored = encoded_columns(version)
        self.ids = _read_ids(self._pictures.read_ids())

    def __reduce__(self) -> tuple[type["ShardReader"], tuple[Location, Path | None, bool]]:
        return type(self), (self.folder, self._cache, self._copy)

    def __len__(self) -> int:
        return len(self.ids.image_id)

    @property
    def record_sha256(self) -> str:
        """Hash of the record without its timings: equal for equal content."""
        return self.record.sha256

    @property
    def splits(self) -> list[str]:
        """Names of the splits that occur, sorted."""
        return sorted(set(self.ids.split))

    def select(self, split: str | list[str]) -> NDArray[np.int64]:
        """Ascending indices of the images of one split, or of several.

        Raises:
            InputError: A split does not occur.
        """
        names = [split] if isinstance(split, str) else split
        missing = [name for name in names if name not in self.splits]
        if missing:
            raise InputError(
                f"the shards in {self.folder} have no split {', '.join(missing)}; they have: {', '.join(self.splits)}"
            )
        return np.flatnonzero(np.isin(self.ids.split.astype(str), names)).astype(np.int64)

    def encoded(self, index: int, column: str = "image") -> bytes:
        """The stored bytes of ``image``, ``label_map``, ``clothes_mask`` or ``shielded_image`` of one image.

        Where the shards do without shielding images, one is made and encoded as it would have been stored.

        Raises:
            IndexError: There is no such index (negative ones are not taken).
        """
        if not 0 <= index < len(self):
            raise IndexError(f"image {index} of {len(self)}")
        if column == "shielded_image" and column not in self._stored:
            return encode_image(self.shielded(index))
        return self._pictures.encoded(int(index), column)

    def image(self, index: int) -> RgbImage:
        """The original image, RGB uint8 (height, width, 3)."""
        return decode_image(self.encoded(index, "image"), max_pixels=self._pixels(index))

    def label_map(self, index: int) -> LabelMap:
        """uint8 (height, width) of numbers of the label scheme that :attr:`metadata` names."""
        return decode_label_map(self.encoded(index, "label_map"))

    def mask(self, index: int) -> Mask:
        """Boolean (height, width): true on clothes."""
        return decode_mask(self.encoded(index, "clothes_mask"))

    def shielded(self, index: int) -> RgbImage:
        """The shielding image (equation 4), RGB uint8 (height, width, 3); made where it is not stored."""
        if "shielded_image" not in self._stored:
            return shielding_image(self.image(index), self.mask(index), self.metadata.fill)
        return decode_image(self.encoded(index, "shielded_image"), max_pixels=self._pixels(index))

    def _pixels(self, index: int) -> int:
        return int(self.ids.width[index]) * int(self.ids.height[index])
