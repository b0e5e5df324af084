"""A tiny parsed data set of coloured figures, its description, and parameters to train on it in seconds."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.images import encode_image, encode_label_map, encode_mask
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask, shielding_image
from pipeline.shards.making.writer import QuarantineRow, ShardRow, describe_shard, open_shard, write_quarantine
from pipeline.shards.record import write_record
from pipeline.shards.schema import SCHEMA_VERSION, Provenance, shard_name

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
    path = f"{person:03d}_{outfit or 0}_c{camera}_{take}.png"
    return ShardRow(
        image_id=f"{split}/{path}",
        path=path,
        split=split,
        person_id=person,
        camera_id=camera,
        clothes_id=None if outfit is None else 1000 * person + outfit,
        tracklet_id=None,
        width=SIZE[1],
        height=SIZE[0],
        image=encode_image(image),
        label_map=encode_label_map(labels),
        clothes_mask=encode_mask(mask),
        shielded_image=encode_image(shielding_image(image, mask)),
        clothes_fraction=float(mask.mean()),
        person_fraction=float((labels > 0).mean()),
        confidence=0.9,
        flags=(),
    )


def write_shards(folder: Path, dataset: str, rows: list[ShardRow]) -> None:
    """A finished shard folder of one shard."""
    provenance = Provenance(
        schema_version=SCHEMA_VERSION,
        dataset=dataset,
        parser="truth",
        parser_settings={},
        weights_sha256="",
        label_scheme="lip",
        labels=LIP.labels,
        clothes_labels=tuple(LIP.labels[number] for number in sorted(LIP.clothes)),
        fill="white",
        dilate=0,
        fill_holes=False,
        fingerprint="0" * 64,
    )
    folder.mkdir(parents=True)
    path = folder / shard_name(0, 1)
    bad = QuarantineRow("train/bad.png", "bad.png", "missing", "no file")
    with open_shard(path, provenance, row_group_rows=16) as writer:
        writer.add(bad)
        for row in sorted(rows, key=lambda row: row.image_id):
            writer.add(row)
        writer.finish(sources_sha256="0" * 64)
    write_quarantine(folder, [bad])
    write_record(folder, "0" * 64, dataset, {}, {}, [describe_shard(path)], {"seconds": 1.0})


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
    write_shards(folder / "shards", name, bare_rows + rows[bare:])
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
