"""Re-reads a finished shard folder from first to last: hashes, counts, every picture, and that they fit together."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import BadImageError, InputError
from pipeline.files import sha256_of_file
from pipeline.images import decode_image, decode_label_map, decode_mask
from pipeline.location import Place, locate
from pipeline.parsing.masks import clothes_mask, shielding_image
from pipeline.shards.making.writer import ShardEntry, describe_shard
from pipeline.shards.record import Record, ShardFile, build_counts, read_record
from pipeline.shards.schema import QUARANTINE_NAME, QUARANTINE_SCHEMA, SCHEMAS, SHARD_PATTERN, Provenance
from pipeline.storage import list_names, local_copy


def check_row(row: dict[str, Any], provenance: Provenance) -> str | None:
    """What is wrong with one row of a shard: None if its pictures decode and follow from each other."""
    pixels = row["width"] * row["height"]
    try:
        image = decode_image(row["image"], pixels)
        label_map = decode_label_map(row["label_map"])
        mask = decode_mask(row["clothes_mask"])
        shielded = decode_image(row["shielded_image"], pixels) if "shielded_image" in row else None
    except BadImageError as error:
        return f"a picture cannot be decoded ({error})"
    shape = (row["height"], row["width"])
    pictures = [image, label_map, mask, *([] if shielded is None else [shielded])]
    if any(picture.shape[:2] != shape for picture in pictures):
        return "its pictures differ in size"
    if int(label_map.max()) >= len(provenance.labels):
        return "the label map has a number that is not in the label scheme"
    numbers = [provenance.labels.index(name) for name in provenance.clothes_labels]
    if not np.array_equal(mask, clothes_mask(label_map, numbers, provenance.dilate, provenance.fill_holes)):
        return "the clothes mask does not follow from the label map"
    if shielded is not None and not np.array_equal(shielded, shielding_image(image, mask, provenance.fill)):
        return "the shielding image does not follow from image and mask"
    return None


def check_shard(folder: Place, shard: ShardFile, fingerprint: str) -> tuple[ShardEntry | None, list[str]]:
    """Re-read one shard; gives its entry (None if it cannot be read) and what is wrong."""
    try:
        with local_copy(locate(folder) / shard.name) as path:
            if sha256_of_file(path) != shard.sha256:
                return None, [f"{shard.name}: its hash is not that of the record"]
            entry = replace(describe_shard(path), name=shard.name)
            with pq.ParquetFile(path) as parquet:
                return entry, list(_check_content(parquet, shard.name, fingerprint))
    except (OSError, pa.ArrowException, InputError, ValueError) as error:
        return None, [f"{shard.name}: cannot be read ({error})"]


def _check_content(parquet: pq.ParquetFile, name: str, fingerprint: str) -> Iterator[str]:
    provenance = Provenance.from_metadata(parquet.schema_arrow.metadata or {}, name)
    columns = SCHEMAS[provenance.schema_version]
    if not parquet.schema_arrow.equals(columns) or provenance.fingerprint != fingerprint:
        yield f"{name}: its columns or its fingerprint are not those of the record"
        return
    for group in range(parquet.num_row_groups):
        for row in parquet.read_row_group(group).to_pylist():
            problem = check_row(row, provenance)
            if problem is not None:
                yield f"{name}: {row['image_id']}: {problem}"


def _check_totals(folder: Place, record: Record, entries: list[ShardEntry]) -> list[str]:
    problems = []
    if build_counts(entries) != record.counts:
        problems.append("the counts of the record are not those of the shards")
    expected = [[row.image_id, row.path, row.reason, row.detail] for entry in entries for row in entry.quarantine]
    try:
        with local_copy(locate(folder) / QUARANTINE_NAME) as path:
            table = pq.read_table(path, schema=QUARANTINE_SCHEMA)
        if [list(row.values()) for row in table.to_pylist()] != expected:
            problems.append(f"{QUARANTINE_NAME} does not hold what the shards say")
    except (OSError, pa.ArrowException) as error:
        problems.append(f"{QUARANTINE_NAME} cannot be read ({error})")
    listed = {shard.name for shard in record.shards}
    extra = [name for name in list_names(folder, SHARD_PATTERN) if name not in listed]
    return problems + [f"{name}: is not in the record" for name in extra]


def verify_folder(folder: Place, threads: int, report: Callable[[int], None] = lambda _: None) -> list[str]:
    """Re-read every shard of a finished folder.

    Args:
        folder: The shard folder.
        threads: Shards read at the same time.
        report: Called with the number of images of each shard when it was read.

    Returns:
        What is wrong, one sentence each; empty if nothing is.

    Raises:
        InputError: The folder holds no finished shards.
        StorageError: A remote file system does not answer.
    """
    record = read_record(folder)
    problems: list[str] = []
    entries: list[ShardEntry] = []
    with ThreadPoolExecutor(threads) as pool:
        for entry, found in pool.map(lambda shard: check_shard(folder, shard, record.fingerprint), record.shards):
            problems += found
            entries += [] if entry is None else [entry]
            report(0 if entry is None else entry.rows)
    return problems + (_check_totals(folder, record, entries) if len(entries) == len(record.shards) else [])
