"""Shards without shielding images: the same pictures for all that read them, in about a third of the bytes."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.datasets.manifest import ManifestRow, build_manifest
from pipeline.errors import InputError
from pipeline.images import decode_image, decode_mask, encode_mask
from pipeline.location import locate
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.maker import ShardMaker
from pipeline.shards.making.plan import plan_shards, rows_of
from pipeline.shards.making.rows import write_rows
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import build_parser
from pipeline.shards.making.writer import ShardRow, describe_shard
from pipeline.shards.reader import ShardReader
from pipeline.shards.schema import SHARD_SCHEMA, Provenance
from pipeline.shards.verify import verify_folder


@pytest.fixture
def without(tmp_path: Path, sample_rows: list[ShardRow], write_finished_folder: Callable[..., None]) -> Path:
    folder = tmp_path / "without"
    write_finished_folder(folder, [replace(row, shielded_image=None) for row in sample_rows], 3, [])
    return folder


@pytest.mark.parametrize("copy", [True, False])
def test_every_picture_comes_as_if_it_were_stored(without: Path, finished_folder: Path, copy: bool) -> None:
    made, stored = ShardReader(without, copy=copy), ShardReader(finished_folder, copy=copy)
    assert (made.metadata.schema_version, stored.metadata.schema_version) == (4, 3)
    for index in range(len(stored)):
        for column in ("image", "label_map", "clothes_mask", "shielded_image"):
            assert made.encoded(index, column) == stored.encoded(index, column)
        np.testing.assert_array_equal(made.shielded(index), stored.shielded(index))
    assert made.ids.image_id.tolist() == stored.ids.image_id.tolist()
    with pytest.raises(IndexError):
        made.encoded(23, "shielded_image")


def test_they_lack_one_column_and_are_verified_like_others(
    without: Path, tmp_path: Path, sample_rows: list[ShardRow]
) -> None:
    names = pq.read_schema(without / "part-00000-of-00003.parquet").names
    assert names == [name for name in SHARD_SCHEMA.names if name != "shielded_image"]
    assert verify_folder(without, threads=1) == []
    spoilt = [replace(row, shielded_image=None) for row in sample_rows]
    everywhere = encode_mask(np.ones((spoilt[4].height, spoilt[4].width), np.bool_))
    spoilt[4] = replace(spoilt[4], clothes_mask=everywhere)
    write_rows(tmp_path, "tiny", spoilt)
    (problem,) = verify_folder(tmp_path, threads=1)
    assert "the clothes mask does not follow from the label map" in problem


@pytest.mark.parametrize("value", ["5", "[4]", "null", '"4"'])
def test_another_version_is_refused_by_its_number(value: str) -> None:
    with pytest.raises(InputError, match=r"has schema version .*, this program reads 3, 4"):
        Provenance.from_metadata({b"ccaf.schema_version": value.encode()}, "a.parquet")


def test_shards_of_both_kinds_in_one_folder_are_refused(without: Path, finished_folder: Path, tmp_path: Path) -> None:
    """As after somebody copied files: the record's hashes may even fit."""
    name = "part-00001-of-00003.parquet"
    (without / name).write_bytes((finished_folder / name).read_bytes())
    record = json.loads((without / "_record.json").read_text())
    entry = describe_shard(without / name)
    record["shards"][1] |= {"sha256": entry.sha256, "bytes": entry.bytes}
    (without / "_record.json").write_text(json.dumps(record))
    for copy in (True, False):
        with pytest.raises(InputError, match=r"unknown column shielded_image"):
            ShardReader(without, cache=tmp_path / f"cache-{copy}", copy=copy)


def make(folder: Path, images: Path, manifest: object, settings: ShardSettings) -> list[dict[str, object]]:
    parser = build_parser(settings, "cpu")
    content, provenance = bind_content("tiny", manifest, settings, parser)
    assert content["schema_version"] == provenance.schema_version
    maker = ShardMaker(parser, settings, provenance, locate(images), WorkSettings(batch_size=4))
    (spec,) = plan_shards(manifest.num_rows, 512, 64)
    maker.make(rows_of(manifest, spec), folder)
    maker.close()
    return pq.read_table(folder).to_pylist()


def test_a_parse_that_does_not_store_them_differs_in_nothing_else(plugin_parser: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(2)
    rows = [ManifestRow(f"{number}.png", "train", number, 0) for number in range(6)]
    for row in rows:
        Image.fromarray(generator.integers(0, 256, (40, 30, 3), dtype=np.uint8)).save(tmp_path / row.path)
    manifest = build_manifest(rows)
    stored, made = (
        make(tmp_path / f"{kind}.parquet", tmp_path, manifest, ShardSettings(parser="tiles", shielded_images=kind))
        for kind in ("stored", "made")
    )
    for one, other in zip(stored, made, strict=True):
        shielded = decode_image(one.pop("shielded_image"))
        assert one == other
        mask = decode_mask(other["clothes_mask"])  # by hand, as another program would
        by_hand = np.where(mask[..., None], 255, decode_image(other["image"]))
        np.testing.assert_array_equal(shielded, by_hand)
    sizes = [(tmp_path / f"{kind}.parquet").stat().st_size for kind in ("stored", "made")]
    assert sizes[1] < 0.75 * sizes[0]


def test_what_stored_shards_are_bound_to_is_what_it_was(plugin_parser: Path) -> None:
    """Shards that were made before there was a choice stay valid."""
    manifest = build_manifest([ManifestRow("a.png", "train", 1, 0)])
    settings = ShardSettings(parser="tiles")
    parser = build_parser(settings, "cpu")
    content, provenance = bind_content("tiny", manifest, settings, parser)
    assert "shielded_images" not in content
    assert content["schema_version"] == 3
    made, other = bind_content("tiny", manifest, settings.model_copy(update={"shielded_images": "made"}), parser)
    assert (made["shielded_images"], made["schema_version"]) == ("made", 4)
    assert other.fingerprint != provenance.fingerprint
