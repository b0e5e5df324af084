"""A small finished shard folder of people in changing clothes, and helpers to take a page's pictures apart."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.images import encode_image, encode_label_map, encode_mask
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask, shielding_image
from pipeline.shards.making.writer import QuarantineRow, ShardRow, describe_shard, open_shard, write_quarantine
from pipeline.shards.reader import ShardReader
from pipeline.shards.record import write_record
from pipeline.shards.schema import SCHEMA_VERSION, Provenance, shard_name

HEIGHT, WIDTH = 48, 24
QUARANTINE = [
    QuarantineRow("train/a.png", "a.png", "truncated", "cut off"),
    QuarantineRow("train/b.png", "b.png", "missing", "no file"),
    QuarantineRow("train/c.png", "c.png", "truncated", "cut off <b>here</b>"),
]


def shard_row(split: str, person: int, outfit: int, camera: int) -> ShardRow:
    """A person in a colour of their own, in an upper garment of the outfit's colour; camera 0 means no camera."""
    image = np.full((HEIGHT, WIDTH, 3), 120, dtype=np.uint8)
    image[4:16, 6:18] = (40 * person, 10, 250 - 40 * person)
    image[16:40, 4:20] = (250 * (outfit % 2), 200 - 60 * outfit, 20)
    labels = np.zeros((HEIGHT, WIDTH), dtype=np.uint8)
    labels[4:16, 6:18], labels[16:40, 4:20] = 13, 5
    mask = clothes_mask(labels, LIP.clothes)
    path = f"{person}_{outfit}_c{camera}.png"
    return ShardRow(
        image_id=f"{split}/{path}",
        path=path,
        split=split,
        person_id=person,
        camera_id=camera or None,
        clothes_id=None if split == "train" and outfit == 2 else 10 * person + outfit,
        tracklet_id=None,
        width=WIDTH,
        height=HEIGHT,
        image=encode_image(image),
        label_map=encode_label_map(labels),
        clothes_mask=encode_mask(mask),
        shielded_image=encode_image(shielding_image(image, mask)),
        clothes_fraction=float(mask.mean()),
        person_fraction=0.4,
        confidence=round(0.99 - 0.01 * person - 0.1 * (camera == 2), 4),
        flags=(("low_confidence",) if camera == 2 else ()) + (("odd_flag",) if person == 1 else ()),
    )


def all_rows() -> list[ShardRow]:
    rows = [shard_row("train", person, outfit, 1) for person in (1, 2) for outfit in (1, 2)]
    rows += [shard_row("query", person, outfit, 1) for person in (3, 4, 5) for outfit in (1, 2)]
    rows += [
        shard_row("gallery", person, outfit, camera) for person in (3, 4, 5) for outfit in (1, 2) for camera in (1, 2)
    ]
    return sorted(rows, key=lambda row: row.image_id)


@pytest.fixture(scope="session")
def people_rows() -> list[ShardRow]:
    """The rows of the shard folder, in its order."""
    return all_rows()


@pytest.fixture(scope="session")
def people(tmp_path_factory: pytest.TempPathFactory, people_rows: list[ShardRow]) -> ShardReader:
    """Reader of the shard folder."""
    folder: Path = tmp_path_factory.mktemp("people") / "shards"
    folder.mkdir()
    provenance = Provenance(
        schema_version=SCHEMA_VERSION,
        dataset="people",
        parser="truth",
        parser_settings={"size": 3},
        weights_sha256="a" * 64,
        label_scheme="lip",
        labels=LIP.labels,
        clothes_labels=tuple(LIP.labels[number] for number in sorted(LIP.clothes)),
        fill="white",
        dilate=0,
        fill_holes=False,
        fingerprint="f" * 64,
    )
    path = folder / shard_name(0, 1)
    with open_shard(path, provenance, row_group_rows=8) as writer:
        for bad in QUARANTINE:
            writer.add(bad)
        for row in people_rows:
            writer.add(row)
        writer.finish(sources_sha256="5" * 64)
    write_quarantine(folder, QUARANTINE)
    write_record(
        folder, "f" * 64, "people", {"fill": "white"}, {"numpy": "2"}, [describe_shard(path)], {"seconds": 1.0}
    )
    return ShardReader(folder)


@pytest.fixture(scope="session")
def pixels_of() -> Callable[[str], np.ndarray]:
    """Takes the picture out of a data URI, as an array."""
    return _pixels_of


def _pixels_of(uri: str) -> np.ndarray:
    head, data = uri.split(",", 1)
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
