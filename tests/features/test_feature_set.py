"""Feature files: round trip, other people's forms, and broken ones."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.features.feature_set import NO_ID, concatenate, normalise_rows, read_features, write_features


def table(**changes):
    columns = {
        "image_id": ["a", "b"],
        "role": ["query", "gallery"],
        "person_id": [1, 2],
        "camera_id": pa.array([1, None], pa.int32()),
        "clothes_id": pa.nulls(2, pa.int64()),
        "tracklet_id": pa.array([7, 8], pa.int64()),
        "feature": pa.array([[3.0, 4.0], [0.0, 2.0]], pa.list_(pa.float32(), 2)),
    }
    columns |= changes
    return pa.table({name: value for name, value in columns.items() if value is not None})


def test_round_trip_normalises_and_keeps_metadata(tmp_path):
    path = tmp_path / "f.parquet"
    write_features(path, table(), {"checkpoint_sha256": "abc"})
    features, metadata = read_features(path)
    np.testing.assert_allclose(features.features, [[0.6, 0.8], [0.0, 1.0]], rtol=1e-6)
    assert features.camera_id.tolist() == [1, NO_ID]
    assert features.clothes_id.tolist() == [NO_ID, NO_ID]
    assert features.role.tolist() == ["query", "gallery"]
    assert features.tracklet_id.tolist() == [7, 8]
    assert metadata["checkpoint_sha256"] == "abc"
    schema = pq.read_schema(path)
    assert schema.names == [
        "image_id", "role", "person_id", "camera_id", "clothes_id", "tracklet_id", "feature",
    ]  # fmt: skip
    assert schema.field("feature").type == pa.list_(pa.float32(), 2)
    assert schema.field("camera_id").type == pa.int32()


@pytest.mark.parametrize(("changes", "message"), [
    ({"tracklet_id": None}, "needs tracklet_id"),
    ({"feature": pa.array([[1.0], [2.0]])}, "needs feature as a fixed-size list"),
])  # fmt: skip
def test_a_table_without_the_columns_of_the_contract_is_not_written(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        write_features(tmp_path / "f", table(**changes), {})
    assert not (tmp_path / "f").exists()


def test_batches_join_and_errors_count_rows_over_them(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.features.formats.BATCH_ROWS", 3)
    values = np.random.default_rng(0).standard_normal((10, 4)) * 10.0 ** np.arange(-5, 5)[:, None]

    def write(rows):
        pq.write_table(
            pa.table({"role": ["query"] * 10, "person_id": range(10), "feature": pa.array(rows)}), tmp_path / "f"
        )

    write(values.tolist())
    found = read_features(tmp_path / "f")[0].features
    np.testing.assert_allclose(found, values / np.linalg.norm(values, axis=1, keepdims=True), rtol=1e-6)
    values[7, 2] = np.nan
    write(values.tolist())
    with pytest.raises(InputError, match="NaN or infinite values; the first is row 7"):
        read_features(tmp_path / "f")
    write([*values[:6].tolist(), *([[1.0]] * 4)])
    with pytest.raises(InputError, match="mixed dimensions: 1, 4"):
        read_features(tmp_path / "f")


def test_very_small_and_large_features_keep_their_direction():
    rows = np.array([[3e-20, 4e-20], [3e18, 4e18], [0, 0]], dtype=np.float32)
    np.testing.assert_allclose(normalise_rows(rows), np.array([[0.6, 0.8], [0.6, 0.8], [0.0, 0.0]]), rtol=1e-6)


def test_rows_in_sequence_are_a_view_and_others_a_copy(tmp_path):
    write_features(tmp_path / "f", table(), {})
    features = read_features(tmp_path / "f")[0]
    assert np.shares_memory(features.take(np.array([False, True])).features, features.features)
    assert features.take(np.array([1, 0])).image_id.tolist() == ["b", "a"]
    assert len(features.take(np.array([], dtype=np.int64))) == 0


def test_plain_lists_of_doubles_and_a_split_column_are_taken(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(table(role=None, split=["query", "gallery"], feature=pa.array([[1.0, 0.0], [0.0, 1.0]])), path)
    features, _ = read_features(path)
    assert features.features.dtype == np.float32
    assert features.role.tolist() == ["query", "gallery"]


def test_a_role_can_be_given_for_a_file_without_one(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(table(role=None), path)
    assert set(read_features(path, "gallery")[0].role) == {"gallery"}
    pq.write_table(table(role=["test", "test_a"]), path)
    assert read_features(path, "gallery", ["gallery", "test_a"])[0].role.tolist() == ["gallery", "test_a"]


@pytest.mark.parametrize(("changes", "message"), [
    ({"feature": None}, "lacks the column feature"),
    ({"person_id": None}, "lacks the column person_id"),
    ({"role": None}, "lacks a column role"),
    ({"feature": pa.array([[1.0, 2.0], [1.0]])}, "mixed dimensions: 1, 2"),
    ({"feature": pa.array([[1.0, float("nan")], [1.0, 1.0]])}, "features have NaN or infinite.*first is row 0"),
    ({"feature": pa.array([[1.0, 1.0], [1.0, float("inf")]])}, "the first is row 1"),
    ({"feature": pa.array([[1.0, 1.0], None])}, "1 nulls"),
    ({"feature": pa.array([[1.0, 1.0], [1.0, None]])}, "NaN or infinite values; the first is row 1"),
    ({"feature": pa.array([[1.0, 1.0], [1.0, 1e300]])}, "NaN or infinite values; the first is row 1"),
    ({"feature": pa.array([[0.0, 0.0], [1.0, 1.0]])}, "all zeros and have no direction; the first is row 0"),
    ({"feature": pa.array([[], []], pa.list_(pa.float32()))}, "empty lists"),
    ({"feature": pa.array([["a"], ["b"]])}, "values that are no numbers"),
    ({"role": ["query", None]}, "column role has 1 nulls"),
    ({"feature": pa.array([1.0, 2.0])}, "must be a list of numbers"),
    ({"person_id": pa.array(["x", "y"])}, "person_id must hold whole numbers"),
    ({"person_id": pa.array([1, None])}, "person_id has 1 nulls"),
])  # fmt: skip
def test_broken_tables_are_input_errors(tmp_path, changes, message):
    path = tmp_path / "f.parquet"
    pq.write_table(table(**changes), path)
    with pytest.raises(InputError, match=message):
        read_features(path)


def test_missing_and_foreign_files_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="feature file not found"):
        read_features(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_features(tmp_path / "text.parquet")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder holds no features: there is no file that ends in \.parquet"):
        read_features(tmp_path / "folder")
    pq.write_table(table().slice(0, 0), tmp_path / "empty.parquet")
    with pytest.raises(InputError, match="has no row"):
        read_features(tmp_path / "empty.parquet")
    whole = tmp_path / "whole.parquet"
    pq.write_table(table(), whole)
    (tmp_path / "cut.parquet").write_bytes(whole.read_bytes()[:-30])
    with pytest.raises(InputError, match="cannot be read as Parquet"):
        read_features(tmp_path / "cut.parquet")


def test_sets_of_other_dimensions_cannot_be_joined(tmp_path):
    write_features(tmp_path / "a", table(), {})
    write_features(tmp_path / "b", table(feature=pa.array([[1.0], [2.0]], pa.list_(pa.float32(), 1))), {})
    with pytest.raises(InputError, match="different dimensions: 1, 2"):
        concatenate([read_features(tmp_path / "a")[0], read_features(tmp_path / "b")[0]])
