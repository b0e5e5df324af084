"""A small shard folder of random pictures of several sizes, for stores, batches and samples."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.images import encode_image, encode_label_map, encode_mask
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask, shielding_image
from pipeline.shards.making.writer import ShardRow, describe_shard, open_shard, write_quarantine
from pipeline.shards.record import write_record
from pipeline.shards.schema import SCHEMA_VERSION, Provenance, shard_name

PERSONS, TAKES = 6, 6


def picture_row(index: int) -> ShardRow:
    """Row of take ``index % TAKES`` of a person: three outfits, two cameras, one image without a camera id."""
    rng = np.random.default_rng(index)
    height, width = int(rng.integers(20, 60)), int(rng.integers(10, 30))
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    label_map = np.repeat(np.repeat(rng.integers(0, 20, (-(-height // 9), -(-width // 9))), 9, 0), 9, 1)
    label_map = label_map[:height, :width].astype(np.uint8)
    mask = clothes_mask(label_map, LIP.clothes)
    person, take = divmod(index, TAKES)
    split = "train" if person < 4 else "query"
    name = f"{split}/{person:02d}-{take}.png"
    return ShardRow(
        image_id=name,
        path=name,
        split=split,
        person_id=100 + 7 * person,
        camera_id=None if index == 0 else 1 + take % 2,
        clothes_id=10 * person + take // 2,
        tracklet_id=None,
        width=width,
        height=height,
        image=encode_image(image),
        label_map=encode_label_map(label_map),
        clothes_mask=encode_mask(mask),
        shielded_image=encode_image(shielding_image(image, mask)),
        clothes_fraction=float(mask.mean()),
        person_fraction=0.5,
        confidence=0.9,
        flags=(),
    )


@pytest.fixture(scope="session")
def picture_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six persons, four of them in split train, with six images each."""
    folder = tmp_path_factory.mktemp("pictures") / "shards"
    folder.mkdir()
    provenance = Provenance(
        schema_version=SCHEMA_VERSION,
        dataset="pictures",
        parser="none",
        parser_settings={},
        weights_sha256="",
        label_scheme="lip",
        labels=LIP.labels,
        clothes_labels=tuple(LIP.labels[number] for number in sorted(LIP.clothes)),
        fill="white",
        dilate=0,
        fill_holes=False,
        fingerprint="f" * 64,
    )
    rows = sorted((picture_row(index) for index in range(PERSONS * TAKES)), key=lambda row: row.image_id)
    path = folder / shard_name(0, 1)
    with open_shard(path, provenance, row_group_rows=16) as writer:
        for row in rows:
            writer.add(row)
        writer.finish(sources_sha256="0" * 64)
    write_quarantine(folder, [])
    write_record(folder, "f" * 64, "pictures", {}, {}, [describe_shard(path)], {"seconds": 1.0})
    return folder
