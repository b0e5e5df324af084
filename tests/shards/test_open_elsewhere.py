"""Shards open in other programs, and their pictures as images: pandas, polars, duckdb, Hugging Face datasets.

Each test does what the README shows and compares with this package's own reader.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.shards.reader import ShardReader

WHY = "{} is not installed: pip install -e '.[dev]'"


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


def check(reader: ShardReader, index: int, row: dict[str, object]) -> None:
    """``row`` is that image's, and its four pictures are those that the reader gives."""
    assert row["image_id"] == reader.ids.image_id[index]
    assert row["person_id"] == reader.ids.person_id[index]
    expected = (reader.image(index), reader.label_map(index), reader.mask(index), reader.shielded(index))
    for name, picture in zip(("image", "label_map", "clothes_mask", "shielded_image"), expected, strict=True):
        data = row[name]
        assert isinstance(data, bytes)
        np.testing.assert_array_equal(pixels(data), picture)


def test_pandas(finished_folder: Path) -> None:
    pandas = pytest.importorskip("pandas", reason=WHY.format("pandas"))
    reader = ShardReader(finished_folder)
    frame = pandas.concat(pandas.read_parquet(path) for path in sorted(finished_folder.glob("part-*.parquet")))
    assert len(frame) == len(reader)
    assert frame["camera_id"].isna().sum() == (reader.ids.camera_id == -1).sum()
    for index in (0, 9, 22):
        check(reader, index, frame.iloc[index].to_dict())


def test_polars(finished_folder: Path) -> None:
    polars = pytest.importorskip("polars", reason=WHY.format("polars"))
    reader = ShardReader(finished_folder)
    frame = polars.scan_parquet(finished_folder / "part-*.parquet")
    assert frame.select(polars.len()).collect().item() == len(reader)
    query = frame.filter(polars.col("split") == "query").sort("image_id").collect()
    rows = reader.select("query")
    assert query["image_id"].to_list() == reader.ids.image_id[rows].tolist()
    assert query["flags"].to_list() == [list(flags) for flags in reader.ids.flags[rows]]
    check(reader, int(rows[3]), query.row(3, named=True))


def test_duckdb(finished_folder: Path) -> None:
    duckdb = pytest.importorskip("duckdb", reason=WHY.format("duckdb"))
    reader = ShardReader(finished_folder)
    with duckdb.connect() as connection:
        counts = connection.sql(
            f"SELECT split, count(*), count(clothes_id) FROM '{finished_folder}/part-*.parquet' GROUP BY 1 ORDER BY 1"
        ).fetchall()
        found = connection.sql(f"SELECT * FROM '{finished_folder}/part-*.parquet' ORDER BY image_id LIMIT 1 OFFSET 7")
        (values,) = found.fetchall()
        row = dict(zip(found.columns, values, strict=True))
    splits, clothes = reader.ids.split, reader.ids.clothes_id
    assert counts == [
        (name, int((splits == name).sum()), int(((splits == name) & (clothes >= 0)).sum())) for name in reader.splits
    ]
    check(reader, 7, row)


def test_hugging_face_datasets(finished_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    datasets = pytest.importorskip("datasets", reason=WHY.format("datasets"))
    reader = ShardReader(finished_folder)
    files = sorted(str(path) for path in finished_folder.glob("part-*.parquet"))
    people = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    for name in ("image", "label_map", "clothes_mask", "shielded_image"):
        people = people.cast_column(name, datasets.Image())
    assert len(people) == len(reader)
    for index in (0, 13, 22):
        row = people[index]
        assert row["image_id"] == reader.ids.image_id[index]
        np.testing.assert_array_equal(np.asarray(row["image"]), reader.image(index))
        np.testing.assert_array_equal(np.asarray(row["label_map"]), reader.label_map(index))
        np.testing.assert_array_equal(np.asarray(row["clothes_mask"]), reader.mask(index))
        np.testing.assert_array_equal(np.asarray(row["shielded_image"]), reader.shielded(index))
