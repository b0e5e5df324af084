import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.images import encode_image, encode_label_map, encode_mask
from pipeline.shards.making.writer import ShardRow
from pipeline.shards.schema import QUARANTINE_SCHEMA
from pipeline.shards.verify import verify_folder


def test_a_good_folder_has_no_problem_and_every_image_is_reported(finished_folder: Path) -> None:
    seen: list[int] = []
    assert verify_folder(finished_folder, threads=2, report=seen.append) == []
    assert sum(seen) == 23


def wrong_size(row: ShardRow) -> ShardRow:
    return replace(row, width=row.width + 1)


def wrong_mask(row: ShardRow) -> ShardRow:
    return replace(row, clothes_mask=encode_mask(np.ones((row.height, row.width), np.bool_)))


def wrong_shielding(row: ShardRow) -> ShardRow:
    return replace(row, shielded_image=encode_image(np.zeros((row.height, row.width, 3), np.uint8)))


def wrong_label(row: ShardRow) -> ShardRow:
    return replace(row, label_map=encode_label_map(np.full((row.height, row.width), 20, np.uint8)))


def cut_image(row: ShardRow) -> ShardRow:
    return replace(row, image=row.image[:-12])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (wrong_size, "its pictures differ in size"),
        (wrong_mask, "the clothes mask does not follow from the label map"),
        (wrong_shielding, "the shielding image does not follow from image and mask"),
        (wrong_label, "a number that is not in the label scheme"),
        (cut_image, "a picture cannot be decoded"),
    ],
)
def test_a_row_that_does_not_fit_together_is_found(
    tmp_path: Path,
    sample_rows: list[ShardRow],
    write_finished_folder: Callable[..., None],
    spoil: Callable[[ShardRow], ShardRow],
    problem: str,
) -> None:
    rows = [*sample_rows[:9], spoil(sample_rows[9]), *sample_rows[10:]]
    write_finished_folder(tmp_path / "out", rows, 2, [])
    (found,) = verify_folder(tmp_path / "out", threads=1)
    assert found.startswith(f"part-00000-of-00002.parquet: {rows[9].image_id}: ")
    assert problem in found


def test_wrong_counts_quarantine_and_foreign_shards_are_found(finished_folder: Path) -> None:
    record = json.loads((finished_folder / "_record.json").read_text())
    record["counts"]["flags"]["no_person"] += 1
    (finished_folder / "_record.json").write_text(json.dumps(record))
    pq.write_table(QUARANTINE_SCHEMA.empty_table(), finished_folder / "quarantine.parquet")
    (finished_folder / "part-00000-of-00009.parquet").write_bytes(b"")
    assert verify_folder(finished_folder, threads=1) == [
        "the counts of the record are not those of the shards",
        "quarantine.parquet does not hold what the shards say",
        "part-00000-of-00009.parquet: is not in the record",
    ]
    (finished_folder / "quarantine.parquet").unlink()
    assert "quarantine.parquet cannot be read" in verify_folder(finished_folder, threads=1)[1]


def test_unreadable_changed_and_foreign_shards_are_found(finished_folder: Path) -> None:
    parts = sorted(finished_folder.glob("part-*"))
    parts[0].unlink()
    data = bytearray(parts[1].read_bytes())
    data[100] ^= 255
    parts[1].write_bytes(data)
    pq.write_table(pa.table({"x": [1]}), parts[2])
    found = verify_folder(finished_folder, threads=2)
    assert len(found) == 3
    assert "part-00000-of-00003.parquet: cannot be read" in found[0]
    assert found[1] == "part-00001-of-00003.parquet: its hash is not that of the record"
    assert found[2] == "part-00002-of-00003.parquet: its hash is not that of the record"


def test_an_unfinished_folder_cannot_be_verified(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no finished shards"):
        verify_folder(tmp_path, threads=1)
