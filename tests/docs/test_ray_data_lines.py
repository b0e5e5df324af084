"""The lines for Ray Data of the guide to the shards, run on shards as they are made, on a real Ray."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from doc_pages import DOCS, code_block

from pipeline.datasets.manifest import ManifestRow
from pipeline.images import decode_image
from pipeline.parsing.quality import Quality
from pipeline.ray_session import ray_session
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.making.writer import QuarantineRow


@pytest.fixture
def session() -> Iterator[None]:
    with ray_session(None, 2):
        yield


def write_shards(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for number in range(40):
        image = rng.integers(0, 256, (12, 6, 3), dtype=np.uint8)
        labels = rng.integers(0, 20, (12, 6), dtype=np.uint8)
        row = ManifestRow(f"{number:02d}.png", ("train", "query")[number % 2], number)
        rows.append(make_row(row, image, labels, labels == 5, Quality(0.5, 0.1, 0.9, ())))
    write_rows(folder, "prcc", rows, [QuarantineRow("train/x.png", "x.png", "missing", "no file")], shards=3)


@pytest.mark.usefixtures("session")
def test_the_lines_read_all_images_and_write_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_shards(tmp_path / "artifacts/prcc/shards")
    exec(code_block(DOCS / "guides/shards.md", "python", "ray.data.read_parquet"), {"__name__": "guide"})
    found = pq.read_table(tmp_path / "brightness").to_pylist()
    wanted = {}
    for part in (tmp_path / "artifacts/prcc/shards").glob("part-*"):
        for row in pq.read_table(part).to_pylist():
            if row["split"] == "query":
                wanted[row["image_id"]] = float(decode_image(row["shielded_image"]).mean())
    assert len(found) == len(wanted) == 20
    assert {row["image_id"]: row["brightness"] for row in found} == pytest.approx(wanted)
