"""A tiny parsed data set of coloured figures, its description, and parameters to train on it in seconds."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.datasets.manifest import ManifestRow
from pipeline.images import encode_mask
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.making.writer import QuarantineRow, ShardRow

SIZE = (64, 32)
NOTHING = encode_mask(np.zeros(SIZE, dtype=np.bool_))
PERSON, UPPER, FACE = (slice(4, 60), slice(8, 24)), (slice(18, 44), slice(8, 24)), (slice(4, 18), slice(11, 21))


def figure(person: int, outfit: int, camera: int, take: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its label map: the face's colour is the person's, the upper garment's the outfit's."""
    rng = np.random.default_rng([person, outfit, camera, take])
    image = rng.integers(90, 130, (*SIZE, 3), dtype=np.uint8)
    labels = np.zeros(SIZE, dtype=np.uint8)
    for region, label, key in ((PERSON, 9, 50 + outfit), (UPPER, 5, outfit), (FACE, 13, 900 + person)):
        image[region] = np.random.default_rng(key).integers(0, 256, 3, dtype=np.uint8)
        labels[region] = label
    return np.clip(image.astype(int) + 10 * camera - 10, 0, 255).astype(np.uint8), labels


def shard_row(split: str, person: int, outfit: int | None, camera: int, take: int) -> ShardRow:
    """The row of one figure; ``outfit`` None leaves the clothes id out."""
    image, labels = figure(person, outfit or person, camera, take)
    mask = clothes_mask(labels, LIP.clothes)
    clothes = None if outfit is None else 1000 * person + outfit
    row = ManifestRow(f"{person:03d}_{outfit or 0}_c{camera}_{take}.png", split, person, camera, clothes)
    return make_row(row, image, labels, mask, Quality(float((labels > 0).mean()), float(mask.mean()), 0.9, ()))


@dataclass(frozen=True)
class ParsedDataset:
    """Where a test finds the tiny data set.

    Attributes:
        shards: Finished shard folder.
        facts: YAML file that describes the data set.
        params: Parameter file.
    """

    shards: Path
    facts: Path
    params: Path


def make_dataset(folder: Path, config: Path, with_clothes: bool, bare: int = 0) -> ParsedDataset:
    """Four training and three test identities, two outfits, two cameras, two takes each.

    The parse of the first ``bare`` training images shows no clothes.
    """
    name = "figures" if with_clothes else "figures-plain"
    rows = []
    for person in range(1, 8):
        for outfit in (1, 2):
            for camera in (1, 2):
                for take in (1, 2):
                    split = "train" if person <= 4 else ("query" if take == 1 else "gallery")
                    rows.append(shard_row(split, person, 10 * person + outfit if with_clothes else None, camera, take))
    if not with_clothes:  # takes of two outfits would have the same name
        rows = list({row.image_id: row for row in rows}.values())
    bare_rows = [replace(row, clothes_fraction=0.0, clothes_mask=NOTHING) for row in rows[:bare]]
    (folder / "shards").mkdir(parents=True)
    bad = QuarantineRow("train/bad.png", "bad.png", "missing", "no file")
    write_rows(folder / "shards", name, bare_rows + rows[bare:], [bad], parser="truth", row_group_rows=16)
    facts = {
        "name": name,
        "title": "Coloured figures",
        "reader": "custom",
        "home": "tests",
        "access": "made by the tests",
        "terms": "none",
        "layout": "table.csv",
        "markers": ["table.csv"],
        "roles": {"train": ["train"], "query": ["query"], "gallery": ["gallery"]},
        "protocols": ["general", "cc", "sc"] if with_clothes else ["general"],
        "settings": {"table": "table.csv", "columns": {"path": "path", "split": "split", "person_id": "person_id"}},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(facts))
    params = {
        "device": "cpu",
        "threads": 1,
        "data": {"dataset": str(folder / f"{name}.yaml")},
        "model": {"name": str(config), "pretrained": None, "image_size": [64, 32]},
        "prompts": {"epochs": 3, "tokens": 2, "batch_size": 16, "similarity": "cosine"},
        "encoder": {"epochs": 2, "identities_per_batch": 2, "images_per_identity": 2, "learning_rate": 1e-4, "pad": 2},
        "evaluate": {"bootstrap": 20},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return ParsedDataset(folder / "shards", folder / f"{name}.yaml", folder / "params.yaml")


@pytest.fixture(scope="session")
def figures(tmp_path_factory: pytest.TempPathFactory, tiny_clip_config: Path) -> ParsedDataset:
    """The tiny data set with clothes ids."""
    return make_dataset(tmp_path_factory.mktemp("figures"), tiny_clip_config, with_clothes=True)


@pytest.fixture(scope="session")
def plain_figures(tmp_path_factory: pytest.TempPathFactory, tiny_clip_config: Path) -> ParsedDataset:
    """The tiny data set without clothes ids."""
    return make_dataset(tmp_path_factory.mktemp("plain"), tiny_clip_config, with_clothes=False)


@pytest.fixture(scope="session")
def bare_figures(tmp_path_factory: pytest.TempPathFactory, tiny_clip_config: Path) -> ParsedDataset:
    """The tiny data set with clothes ids, four training images of which show no clothes."""
    return make_dataset(tmp_path_factory.mktemp("bare"), tiny_clip_config, with_clothes=True, bare=4)
