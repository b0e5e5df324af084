"""Writing and reading manifests, and what is refused."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.manifest import MANIFEST_SCHEMA, check_manifest, read_manifest, write_manifest
from pipeline.errors import InputError

COLUMNS = {
    "image_id": ["train/b.jpg", "query/a.jpg"],
    "path": ["b.jpg", "a.jpg"],
    "split": ["train", "query"],
    "person_id": [1, 2],
    "camera_id": [1, None],
    "clothes_id": [10, None],
    "tracklet_id": [None, None],
}


def table(**changes: list[object]) -> pa.Table:
    return pa.table({**COLUMNS, **changes})


def test_round_trip_sorts_and_gives_the_schema(tmp_path: Path) -> None:
    pq.write_table(table(), tmp_path / "m.parquet")
    manifest = read_manifest(tmp_path / "m.parquet")
    assert manifest.schema.equals(MANIFEST_SCHEMA)
    assert manifest["image_id"].to_pylist() == ["query/a.jpg", "train/b.jpg"]
    write_manifest(manifest, tmp_path / "again.parquet")
    assert read_manifest(tmp_path / "again.parquet").equals(manifest)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"person_id": [1, None]}, "has 1 rows without person_id"),
        ({"split": [None, None]}, "has 2 rows without split"),
        ({"person_id": ["x", "y"]}, "column of the wrong type"),
        ({"camera_id": [2**40, 1]}, "column of the wrong type"),
        ({"image_id": ["train/b.jpg", "train/b.jpg"]}, "occurs more than once"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, changes: dict[str, list[object]], said: str) -> None:
    pq.write_table(table(**changes), tmp_path / "m.parquet")
    with pytest.raises(InputError, match=said):
        read_manifest(tmp_path / "m.parquet")


def test_missing_files_and_columns(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="manifest not found"):
        read_manifest(tmp_path / "m.parquet")
    pq.write_table(table().drop_columns(["path", "camera_id"]), tmp_path / "m.parquet")
    with pytest.raises(InputError, match="lacks the columns path, camera_id"):
        read_manifest(tmp_path / "m.parquet")
    (tmp_path / "m.parquet").write_text("no")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_manifest(tmp_path / "m.parquet")


def test_an_empty_table_is_refused() -> None:
    with pytest.raises(InputError, match="no image"):
        check_manifest(MANIFEST_SCHEMA.empty_table())
