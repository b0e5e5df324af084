"""A small shard folder of random pictures of several sizes, for stores, batches and samples."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.datasets.manifest import ManifestRow
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.making.writer import ShardRow

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
    row = ManifestRow(f"{person:02d}-{take}.png", split, 100 + 7 * person, 1 + take % 2 if index else None,
                      10 * person + take // 2)  # fmt: skip
    quality = Quality(person_fraction=0.5, clothes_fraction=float(mask.mean()), confidence=0.9, flags=())
    return make_row(row, image, label_map, mask, quality)


@pytest.fixture(scope="session")
def picture_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six persons, four of them in split train, with six images each."""
    folder = tmp_path_factory.mktemp("pictures") / "shards"
    rows = [picture_row(index) for index in range(PERSONS * TAKES)]
    write_rows(folder, "pictures", rows, row_group_rows=16, fingerprint="f" * 64)
    return folder
