import pickle
from collections import Counter
from dataclasses import asdict

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import cloudpickle

from pipeline.datasets.manifest import ManifestRow, build_manifest
from pipeline.errors import InputError
from pipeline.shards.making.plan import check_image_ids, limit_manifest, manifest_sha256, plan_shards, rows_of


def manifest_of(count: int) -> pa.Table:
    return build_manifest(
        [ManifestRow(f"{i:04d}.jpg", ("train", "query")[i % 2], i // 4, i % 3, None, None) for i in range(count)]
    )


@given(st.integers(1, 20_000), st.integers(1, 600), st.integers(1, 100))
def test_shards_cover_every_row_once_and_evenly(images: int, shard_rows: int, group: int) -> None:
    specs = plan_shards(images, shard_rows, group)
    covered = [row for spec in specs for row in range(spec.start, spec.stop)]
    assert covered == list(range(images))
    sizes = [spec.rows for spec in specs]
    assert 1 <= min(sizes) <= max(sizes) <= shard_rows
    assert max(sizes) - min(sizes) <= 1
    assert [spec.index for spec in specs] == list(range(len(specs)))
    assert {spec.count for spec in specs} == {len(specs)}


@pytest.mark.parametrize(
    ("images", "shards"), [(1, 1), (64, 1), (65, 2), (1184, 19), (16_384, 32), (16_385, 33), (350_000, 684)]
)
def test_number_of_shards(images: int, shards: int) -> None:
    assert len(plan_shards(images, shard_rows=512, row_group_rows=64)) == shards


def test_names_of_files() -> None:
    assert [spec.name for spec in plan_shards(130, 64, 64)] == [
        "part-00000-of-00003.parquet",
        "part-00001-of-00003.parquet",
        "part-00002-of-00003.parquet",
    ]


def test_rows_of_a_shard() -> None:
    manifest = manifest_of(10)
    second = plan_shards(10, 4, 1)[1]
    rows = rows_of(manifest, second)
    assert [row.image_id for row in rows] == manifest["image_id"].to_pylist()[second.start : second.stop]
    assert [row.person_id for row in rows] == manifest["person_id"].to_pylist()[second.start : second.stop]


def test_the_rows_of_a_shard_travel_as_columns_and_alone() -> None:
    manifest = manifest_of(5000)
    spec = plan_shards(5000, 50, 1)[7]
    rows = rows_of(manifest, spec)
    sent = cloudpickle.dumps(rows, protocol=5)  # as Ray does
    assert len(sent) < 10_000, "neither the other rows nor the code of a function is sent"
    wanted = manifest.to_pylist()[spec.start : spec.stop]
    for part in (rows, pickle.loads(sent)):
        assert len(part) == spec.rows == 50
        assert [{"image_id": row.image_id, **asdict(row)} for row in part] == wanted
        assert part[3] == list(part)[3]
        assert part[-2:] == list(part)[-2:]


@given(st.integers(1, 60), st.integers(1, 70))
def test_limit_spreads_over_the_manifest(count: int, limit: int) -> None:
    manifest = manifest_of(count)
    limited = limit_manifest(manifest, limit)
    ids = limited["image_id"].to_pylist()
    assert len(ids) == min(count, limit)
    assert ids == sorted(set(ids))
    if limit >= 3 and count >= 4:
        splits = Counter(limited["split"].to_pylist())
        assert set(splits) == {"train", "query"}


def test_limit_must_be_positive() -> None:
    with pytest.raises(InputError, match="at least 1 image"):
        limit_manifest(manifest_of(3), 0)


def test_hash_is_of_the_content_not_of_the_chunks() -> None:
    manifest = manifest_of(9)
    pieces = pa.concat_tables([manifest.slice(0, 4), manifest.slice(4)])
    assert pieces["path"].num_chunks == 2
    assert manifest_sha256(pieces) == manifest_sha256(manifest)
    other = manifest.set_column(3, manifest.schema.field(3), pa.array([7] * 9, pa.int64()))
    assert manifest_sha256(other) != manifest_sha256(manifest)


def test_image_ids_must_follow_from_split_and_path() -> None:
    manifest = manifest_of(4)
    check_image_ids(manifest)
    renamed = manifest.set_column(0, manifest.schema.field(0), pa.array(["a", "b", "c", "d"]))
    with pytest.raises(InputError, match="image_id a of the manifest"):
        check_image_ids(renamed)
