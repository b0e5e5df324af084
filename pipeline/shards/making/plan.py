"""The plan of shards: which images, in which order, in which file. A pure function of manifest and parameters."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.manifest import MANIFEST_SCHEMA, ManifestRow
from pipeline.errors import InputError
from pipeline.shards.schema import shard_name

SHARDS_WANTED = 32
"""A small data set is cut finer than ``shard_rows``: into about so many shards, for the workers to share."""

_HASHED_ROWS = 10_000


@dataclass(frozen=True)
class ShardSpec:
    """One unit of work: rows ``start`` to ``stop`` (not included) of the manifest go into the file ``name``."""

    index: int
    count: int
    start: int
    stop: int

    @property
    def name(self) -> str:
        """File name."""
        return shard_name(self.index, self.count)

    @property
    def rows(self) -> int:
        """Images of the manifest that it covers, the bad ones included."""
        return self.stop - self.start


def plan_shards(images: int, shard_rows: int, row_group_rows: int) -> list[ShardSpec]:
    """Cut ``images`` rows into shards whose sizes differ by one at the most.

    A shard has ``shard_rows`` images at the most; fewer where that gives fewer than :data:`SHARDS_WANTED` shards, but
    not below one row group.
    """
    wanted = max(-(-images // SHARDS_WANTED), row_group_rows)
    count = max(1, -(-images // min(shard_rows, wanted)))
    size, longer = divmod(images, count)
    specs = []
    start = 0
    for index in range(count):
        stop = start + size + (index < longer)
        specs.append(ShardSpec(index, count, start, stop))
        start = stop
    return specs


def limit_manifest(manifest: pa.Table, limit: int) -> pa.Table:
    """At most ``limit`` rows, spread evenly over the manifest, so that every large split is among them.

    Raises:
        InputError: ``limit`` is not positive.
    """
    if limit < 1:
        raise InputError(f"the limit must be at least 1 image, not {limit}")
    rows = manifest.num_rows
    if limit >= rows:
        return manifest
    return manifest.take(pa.array([number * rows // limit for number in range(limit)])).combine_chunks()


class ManifestPart(Sequence[ManifestRow]):
    """Rows of a manifest that stay columns until one is asked for, and travel to a worker as columns.

    Whoever plans never asks: at 200 shards per second the objects of their rows alone would keep a core half busy.
    """

    def __init__(self, part: pa.Table) -> None:
        self._part = part

    def __reduce__(self) -> tuple[object, tuple[bytes]]:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self._part.schema) as stream:  # cuts off what is not of this part
            stream.write_table(self._part)
        return _read_part, (sink.getvalue().to_pybytes(),)

    @cached_property
    def _rows(self) -> list[ManifestRow]:
        return [ManifestRow(**row) for row in self._part.to_pylist()]

    def __len__(self) -> int:
        return int(self._part.num_rows)

    def __iter__(self) -> Iterator[ManifestRow]:
        return iter(self._rows)

    @overload
    def __getitem__(self, index: int) -> ManifestRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[ManifestRow]: ...

    def __getitem__(self, index: int | slice) -> ManifestRow | list[ManifestRow]:
        return self._rows[index]


def _read_part(data: bytes) -> ManifestPart:
    """Of the module and not of the class: Ray would send the code of a method along with every part."""
    return ManifestPart(pa.ipc.open_stream(data).read_all())


_TRAVELLING = [name for name in MANIFEST_SCHEMA.names if name != "image_id"]


def rows_of(manifest: pa.Table, spec: ShardSpec) -> ManifestPart:
    """The part of the manifest that belongs to a shard."""
    return ManifestPart(manifest.slice(spec.start, spec.rows).select(_TRAVELLING).replace_schema_metadata())


def manifest_sha256(manifest: pa.Table) -> str:
    """Hash of a manifest's content, whatever file it came from."""
    digest = hashlib.sha256()
    columns = manifest.select(MANIFEST_SCHEMA.names)
    for start in range(0, manifest.num_rows, _HASHED_ROWS):  # so that memory does not grow with the data set
        part = columns.slice(start, _HASHED_ROWS).to_pydict()
        digest.update(json.dumps(part, separators=(",", ":")).encode())
    return digest.hexdigest()


def check_image_ids(manifest: pa.Table) -> None:
    """Check that image ids are what the rows' splits and paths make them, for the shards are built from those.

    Raises:
        InputError: An image_id differs.
    """
    expected = pc.binary_join_element_wise(manifest["split"], manifest["path"], "/")
    differs = pc.not_equal(manifest["image_id"], expected)
    if pc.any(differs).as_py():
        first = manifest["image_id"].filter(differs)[0].as_py()
        raise InputError(f"image_id {first} of the manifest is not its split and path joined by /")
