"""A small finished shard folder of people in changing clothes, and helpers to take a page's pictures apart."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.datasets.manifest import ManifestRow
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.making.writer import QuarantineRow, ShardRow
from pipeline.shards.reader import ShardReader

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
    clothes = None if split == "train" and outfit == 2 else 10 * person + outfit
    row = ManifestRow(f"{person}_{outfit}_c{camera}.png", split, person, camera or None, clothes)
    flags = (("low_confidence",) if camera == 2 else ()) + (("odd_flag",) if person == 1 else ())
    confidence = round(0.99 - 0.01 * person - 0.1 * (camera == 2), 4)
    return make_row(row, image, labels, mask, Quality(0.4, float(mask.mean()), confidence, flags))


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
    write_rows(
        folder, "people", people_rows, QUARANTINE, parser="truth", parser_settings={"size": 3},
        weights_sha256="a" * 64, fingerprint="f" * 64, versions={"numpy": "2"}, row_group_rows=8,
    )  # fmt: skip
    return ShardReader(folder)


@pytest.fixture(scope="session")
def pixels_of() -> Callable[[str], np.ndarray]:
    """Takes the picture out of a data URI, as an array."""
    return _pixels_of


def _pixels_of(uri: str) -> np.ndarray:
    head, data = uri.split(",", 1)
    assert head in ("data:image/jpeg;base64", "data:image/png;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
