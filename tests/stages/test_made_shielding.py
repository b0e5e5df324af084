"""Commands on shards without shielding images: what they show, load and write is what it is with them."""

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.shards.making.rows import write_rows
from pipeline.shards.making.writer import ShardRow
from pipeline.training.samples import open_samples
from stages.cli import run


@pytest.fixture(scope="module")
def both(figures, tmp_path_factory) -> tuple[Path, Path]:
    """The figures' shards, and the same without shielding images."""
    rows = [
        ShardRow(**{field.name: row[field.name] for field in fields(ShardRow)} | {"shielded_image": None})
        for part in sorted(figures.shards.glob("part-*"))
        for row in pq.read_table(part).to_pylist()
    ]
    folder = tmp_path_factory.mktemp("made") / "shards"
    write_rows(folder, "figures", rows, parser="truth", row_group_rows=16)
    return figures.shards, folder


@pytest.mark.parametrize("policy", ["always", "never"])
def test_what_a_training_loads(both, tmp_path, policy):
    found = []
    for number, shards in enumerate(both):
        samples = open_samples(shards, (32, 16), "train", policy, tmp_path / str(number))
        found.append(next(iter(samples.batches(identities=2, images=4, seed=0, epoch=0))))
    assert np.array_equal(found[0].raw, found[1].raw)
    assert np.array_equal(found[0].shielding, found[1].shielding)
    assert not np.array_equal(found[0].raw, found[0].shielding)


def test_the_page_of_inspect_shows_the_same_pictures(both, tmp_path, capsys):
    pages = []
    for number, shards in enumerate(both):
        assert run(["inspect", str(shards), "--out", str(tmp_path / f"{number}.html"), "--images", "3", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["images"] == 56
        pages.append(re.findall(r"data:image/[^\"]+", (tmp_path / f"{number}.html").read_text()))
    assert pages[0] == pages[1]
    assert len(pages[0]) > 20


def test_people_are_redressed_alike(both, figures, tmp_path):
    made = []
    for number, shards in enumerate(both):
        words = [
            "redress",
            "--shards",
            str(shards),
            "--dataset",
            str(figures.facts),
            "--out",
            str(tmp_path / str(number)),
        ]
        assert run([*words, "--seed", "4", "--quiet"]) == 0
        images = sorted((tmp_path / str(number)).rglob("*.jpg"))
        made.append({path.relative_to(tmp_path / str(number)): path.read_bytes() for path in images})
    assert made[0] == made[1]
    assert len(made[0]) > 20


def test_they_can_be_verified(both):
    assert run(["parse", "--verify", "--out", str(both[1]), "--quiet"]) == 0
