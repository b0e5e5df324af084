"""Label files that users have, made into shards by whole jobs: what is missing, and what changes later."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from shard_jobs import run_inline

from pipeline.datasets.manifest import ManifestRow, build_manifest
from pipeline.errors import InputError
from pipeline.images import encode_image, encode_label_map
from pipeline.shards.making.job import JobResult, run_job
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.reader import ShardReader

IMAGES = 8
SETTINGS = ShardSettings(parser="precomputed", shard_rows=2, row_group_rows=2, max_pixels=10_000)
RUN = RunSettings(workers=1, work=WorkSettings(io_threads=1, batch_size=4))
VALUES = {"0": "background", "5": "upper-clothes", "9": "pants", "13": "face"}
LABELS = np.array([[0, 5, 5], [0, 13, 9]], np.uint8)


@pytest.fixture(autouse=True)
def _in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    run_inline(monkeypatch)


def write_images(folder: Path) -> None:
    rng = np.random.default_rng(2)
    for index in range(IMAGES):
        path = folder / "images" / "c1" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_image(rng.integers(0, 256, (2, 3, 3), dtype=np.uint8)))


def write_labels(folder: Path, labels: Callable[[int], np.ndarray]) -> None:
    for index in range(IMAGES):
        path = folder / "labels" / "c1" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode_label_map(labels(index)))


def parse(folder: Path, **settings: object) -> JobResult:
    manifest = build_manifest(
        [ManifestRow(f"c1/{index}.png", "train", index, 1, None, None) for index in range(IMAGES)]
    )
    with_root = SETTINGS.model_copy(update={"settings": {"root": str(folder / "labels"), **settings}})
    return run_job("mine", manifest, folder / "images", folder / "shards", with_root, RUN, quiet=True)


def test_shards_follow_the_label_files(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_labels(tmp_path, lambda _: LABELS)
    first = parse(tmp_path, values=VALUES)
    assert first.record.counts["images"] == IMAGES
    reader = ShardReader(tmp_path / "shards", copy=False)
    assert all(np.array_equal(reader.label_map(index), LABELS) for index in range(IMAGES))
    assert np.array_equal(reader.mask(0), np.isin(LABELS, [5, 9]))

    again = parse(tmp_path, values=VALUES)
    assert (again.timings.shards_reused, again.timings.shards_made) == (4, 0)
    assert again.record.sha256 == first.record.sha256

    (tmp_path / "labels" / "c1" / "2.png").write_bytes(encode_label_map(np.where(LABELS == 5, 9, LABELS)))
    (tmp_path / "labels" / "c1" / "7.png").unlink()
    changed = parse(tmp_path, values=VALUES)
    assert (changed.timings.shards_reused, changed.timings.shards_made) == (2, 2)
    assert changed.record.counts["reasons"] == {"no_label_map": 1}
    (bad,) = pq.read_table(tmp_path / "shards" / "quarantine.parquet").to_pylist()
    assert bad["image_id"] == "train/c1/7.png"
    assert "no file c1/7.png or c1/7.npy" in bad["detail"]
    assert (ShardReader(tmp_path / "shards", copy=False).label_map(2) == 9).any()


def test_masks_alone_make_shards_without_false_alarms(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_labels(tmp_path, lambda index: np.where((LABELS == 5) & (index > 0), 255, 0).astype(np.uint8))
    result = parse(tmp_path, kind="mask")
    assert result.record.counts["flags"] == {"no_clothes": 1, "low_confidence": 1}
    reader = ShardReader(tmp_path / "shards", copy=False)
    assert reader.metadata.labels == ("background", "clothes")
    assert reader.metadata.clothes_labels == ("clothes",)
    assert json.loads(json.dumps(reader.metadata.parser_settings))["kind"] == "mask"
    assert np.array_equal(reader.mask(3), LABELS == 5)
    assert reader.ids.confidence.tolist() == [0.0] + [1.0] * (IMAGES - 1)


def test_a_scheme_without_clothes_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    write_images(tmp_path)
    write_labels(tmp_path, lambda _: np.zeros_like(LABELS))
    with pytest.raises(InputError, match="pascal has body parts but no clothes labels"):
        parse(tmp_path, scheme="pascal")
    assert not (tmp_path / "shards").exists()
