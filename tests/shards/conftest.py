"""Small pictures and finished shard folders, made without Ray."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.images import encode_image, encode_label_map, encode_mask
from pipeline.parsing.masks import clothes_mask, shielding_image
from pipeline.parsing.schemes import LIP
from pipeline.shards.record import write_record
from pipeline.shards.schema import SCHEMA_VERSION, Provenance, shard_name
from pipeline.shards.writer import QuarantineRow, ShardRow, describe_shard, open_shard, write_quarantine

PROVENANCE = Provenance(
    schema_version=SCHEMA_VERSION,
    dataset="tiny",
    parser="none",
    parser_settings={"level": 3},
    weights_sha256="",
    label_scheme="lip",
    labels=LIP.labels,
    clothes_labels=tuple(LIP.labels[number] for number in sorted(LIP.clothes)),
    fill=255,
    fingerprint="f" * 64,
)


def make_row(index: int, rng: np.random.Generator) -> ShardRow:
    """A row whose pictures are noise of a size of its own."""
    height, width = int(rng.integers(5, 20)), int(rng.integers(3, 12))
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    label_map = rng.integers(0, 20, (height, width), dtype=np.uint8)
    mask = clothes_mask(label_map, LIP.clothes)
    split = ("gallery", "query", "train")[index % 3]
    return ShardRow(
        image_id=f"{split}/{index:03d}.png",
        path=f"{split}/{index:03d}.png",
        split=split,
        person_id=1000 + index // 2,
        camera_id=None if index % 4 == 0 else index,
        clothes_id=None if index % 5 == 0 else 10 * index,
        tracklet_id=None,
        width=width,
        height=height,
        image=encode_image(image),
        label_map=encode_label_map(label_map),
        clothes_mask=encode_mask(mask),
        shielded_image=encode_image(shielding_image(image, mask)),
        clothes_fraction=float(mask.mean()),
        person_fraction=0.5,
        confidence=0.25 * (index % 4),
        flags=("no_person", "fragmented")[: index % 3],
    )


def write_folder(folder: Path, rows: list[ShardRow], shards: int, quarantine: list[QuarantineRow]) -> None:
    """A finished folder of ``rows`` in equal shards; the quarantined are the first shard's."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = []
    for number, part in enumerate(np.array_split(np.arange(len(rows)), shards)):
        path = folder / shard_name(number, shards)
        with open_shard(path, PROVENANCE, row_group_rows=4) as writer:
            for bad in quarantine if number == 0 else []:
                writer.add(bad)
            for index in part:
                writer.add(rows[index])
            writer.finish(sources_sha256="5" * 64)
        entries.append(describe_shard(path))
    write_quarantine(folder, quarantine)
    write_record(folder, PROVENANCE.fingerprint, "tiny", {"fill": 255}, {"test": "1"}, entries, {"seconds": 1.0})


@pytest.fixture
def sample_rows() -> list[ShardRow]:
    rng = np.random.default_rng(5)
    rows = sorted((make_row(index, rng) for index in range(23)), key=lambda row: row.image_id)
    return [replace(row) for row in rows]


@pytest.fixture
def finished_folder(tmp_path: Path, sample_rows: list[ShardRow]) -> Path:
    folder = tmp_path / "data" / "shards"
    write_folder(folder, sample_rows, 3, [QuarantineRow("train/zz.png", "train/zz.png", "missing", "no file")])
    return folder


@pytest.fixture
def write_finished_folder() -> Callable[..., None]:
    return write_folder
