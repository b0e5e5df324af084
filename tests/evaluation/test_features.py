"""Feature files: round trip, other people's forms, and broken ones."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.evaluation.features import NO_ID, concatenate, read_features, write_features


def table(**changes):
    columns = {
        "image_id": ["a", "b"],
        "role": ["query", "gallery"],
        "person_id": [1, 2],
        "camera_id": pa.array([1, None], pa.int32()),
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
    assert metadata["checkpoint_sha256"] == "abc"


def test_plain_lists_of_doubles_and_a_split_column_are_taken(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(table(role=None, split=["query", "gallery"], feature=pa.array([[1.0, 0.0], [0.0, 1.0]])), path)
    features, _ = read_features(path)
    assert features.features.dtype == np.float32
    assert features.role.tolist() == ["query", "gallery"]


def test_a_role_can_be_given_for_a_file_without_one(tmp_path):
    path = tmp_path / "f.parquet"
    pq.write_table(table(role=None), path)
    assert set(read_features(path, role="gallery")[0].role) == {"gallery"}


@pytest.mark.parametrize(("changes", "message"), [
    ({"feature": None}, "lacks the column feature"),
    ({"person_id": None}, "lacks the column person_id"),
    ({"role": None}, "lacks a column role"),
    ({"feature": pa.array([[1.0, 2.0], [1.0]])}, "mixed dimensions: 1, 2"),
    ({"feature": pa.array([[1.0, float("nan")], [1.0, 1.0]])}, "1 features have NaN or infinite.*first is row 0"),
    ({"feature": pa.array([[1.0, 1.0], [1.0, float("inf")]])}, "the first is row 1"),
    ({"feature": pa.array([[1.0, 1.0], None])}, "1 nulls"),
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


def test_sets_of_other_dimensions_cannot_be_joined(tmp_path):
    write_features(tmp_path / "a", table(), {})
    write_features(tmp_path / "b", table(feature=pa.array([[1.0], [2.0]], pa.list_(pa.float32(), 1))), {})
    with pytest.raises(InputError, match="different dimensions: 1, 2"):
        concatenate([read_features(tmp_path / "a")[0], read_features(tmp_path / "b")[0]])
