"""The rendered data set: populations, splits, names, captions, files; the same bytes from one process and from two."""

import hashlib
import json
from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.readers.walkers import parse_name
from pipeline.datasets.walkers.captions import captions
from pipeline.datasets.walkers.factors import FACTORS, NOT_APPLICABLE, draw_identity
from pipeline.datasets.walkers.population import Shot, plan_pretraining, plan_walkers
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.datasets.walkers.wardrobe import draw_free_outfit
from pipeline.datasets.walkers.writer import (
    ATTRIBUTES_NAME,
    CLOTHES_FACTORS_KEY,
    PHRASES_KEY,
    PRETRAIN_NAME,
    RECORD_NAME,
    render_pretraining,
    render_walkers,
)
from pipeline.images import decode_image, decode_label_map
from pipeline.labels import LIP

SEED = 3
SETTINGS = SynthSettings(train_identities=3, test_identities=2, pretrain_images=70)
STANDARD = SynthSettings()


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walkers")
    render_walkers(folder / "walkers", SETTINGS, SEED)
    render_pretraining(folder / "pretrain", SETTINGS, SEED)
    return folder


def test_people_of_training_and_test_are_different() -> None:
    people = defaultdict(set)
    for shot in plan_walkers(STANDARD, 0):
        people["train" if shot.split == "train" else "test"].add(shot.person_id)
    assert len(people["train"]) == STANDARD.train_identities
    assert len(people["test"]) == STANDARD.test_identities
    assert max(people["train"]) < min(people["test"])
    looks = {shot.identity for shot in plan_walkers(STANDARD, 0)}
    assert len(looks) == STANDARD.train_identities + STANDARD.test_identities
    assert not looks & {plan_pretraining(0, index).identity for index in range(50)}


def test_every_query_has_a_good_item_under_every_protocol() -> None:
    shots = plan_walkers(STANDARD, 0)
    gallery = [shot for shot in shots if shot.split == "gallery"]
    queries = [shot for shot in shots if shot.split == "query"]

    def good(query: Shot, same_clothes: bool) -> int:
        return sum(
            item.person_id == query.person_id
            and item.camera != query.camera
            and (item.clothes_id == query.clothes_id) == same_clothes
            for item in gallery
        )

    assert len(queries) > 250
    assert np.mean([good(query, True) > 0 for query in queries]) > 0.95
    assert np.mean([good(query, False) > 0 for query in queries]) > 0.95


def test_garments_are_shared_between_people_but_outfits_are_not() -> None:
    shots = plan_walkers(STANDARD, 0)
    wearers: dict[object, set[int]] = defaultdict(set)
    pairs: dict[object, set[int]] = defaultdict(set)
    for shot in shots:
        wearers[shot.outfit.upper].add(shot.person_id)
        pairs[(shot.outfit.upper, shot.outfit.lower)].add(shot.person_id)
    assert np.mean([len(people) for people in wearers.values()]) > 4
    assert np.mean([len(people) for people in pairs.values()]) < 1.6
    uppers = {(shot.person_id, shot.clothes_id): shot.outfit.upper for shot in shots}
    people = {person for person, _ in uppers}
    for person in people:
        own = [upper for (owner, _), upper in uppers.items() if owner == person]
        assert len(own) == len(set(own)) >= 2


def test_clothes_say_nothing_about_the_identity() -> None:
    shots = {shot.clothes_id: shot for shot in plan_walkers(SynthSettings(train_identities=1500), 0)}.values()
    hair = np.array([shot.identity.hair_colour for shot in shots])
    colour = np.array([shot.outfit.upper.colour for shot in shots])
    table = np.zeros((6, 12))
    np.add.at(table, (hair, colour), 1)
    expected = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    chi_square = float(((table - expected) ** 2 / expected).sum())
    assert chi_square < 110  # 55 degrees of freedom; a dependence of 10 % would give several hundred


def test_files_and_attributes(rendered: Path) -> None:
    folder = rendered / "walkers"
    rows = pq.read_table(folder / ATTRIBUTES_NAME).to_pylist()
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    on_disk = {
        str(path.relative_to(folder)) for split in ("train", "query", "gallery") for path in (folder / split).iterdir()
    }
    assert on_disk == {row["path"] for row in rows}
    for row in rows:
        labels_of_name = parse_name(row["path"].split("/")[1])
        assert labels_of_name is not None
        assert labels_of_name.person_id == row["person_id"]
        assert labels_of_name.camera_id == row["camera_id"]
        assert labels_of_name.clothes_id == row["clothes_id"]
        for name, factor in FACTORS.items():
            assert NOT_APPLICABLE <= row[name] < len(factor.names)
    row = rows[0]
    image = decode_image((folder / row["path"]).read_bytes())
    labels = decode_label_map((folder / "labels" / Path(row["path"]).with_suffix(".png")).read_bytes())
    assert image.shape == (128, 64, 3)
    assert labels.shape == (128, 64)
    assert labels.max() < len(LIP.labels)
    record = json.loads((folder / RECORD_NAME).read_text())
    assert record["parameters"]["seed"] == 3
    assert record["counts"]["train"] == sum(row["split"] == "train" for row in rows)


def test_pretraining_table(rendered: Path) -> None:
    table = pq.read_table(rendered / "pretrain" / PRETRAIN_NAME)
    assert table.num_rows == SETTINGS.pretrain_images
    metadata = table.schema.metadata
    phrases = json.loads(metadata[PHRASES_KEY])
    assert "a photo of a person with blond hair." in phrases["hair_colour"]
    assert set(json.loads(metadata[CLOTHES_FACTORS_KEY])) < set(phrases) == set(FACTORS)
    for row in table.to_pylist():
        assert decode_image(row["image"]).shape == (128, 64, 3)
        assert decode_label_map(row["label_map"]).shape == (128, 64)
        assert all(row[name] < len(phrases[name]) for name in phrases)


def test_two_processes_write_the_same_bytes(rendered: Path, tmp_path: Path) -> None:
    render_walkers(tmp_path / "walkers", SETTINGS, SEED, workers=2)
    render_pretraining(tmp_path / "pretrain", SETTINGS, SEED, workers=2)
    assert digests(tmp_path) == digests(rendered)


def test_other_seed_other_images(rendered: Path, tmp_path: Path) -> None:
    small = SETTINGS.model_copy(update={"train_identities": 1})
    render_walkers(tmp_path / "same", small, SEED)
    render_walkers(tmp_path / "other", small, SEED + 1)
    before, same, other = digests(rendered / "walkers"), digests(tmp_path / "same"), digests(tmp_path / "other")
    first = {name for name in same if name.startswith("train/")}
    assert first
    assert all(before[name] == same[name] for name in first)  # fewer people leave the others as they are
    assert not any(before.get(name) == other[name] for name in other if name.startswith("train/"))


def test_captions_say_what_they_are_for() -> None:
    for seed in range(30):
        generator = np.random.default_rng(seed)
        identity, outfit = draw_identity(generator), draw_free_outfit(generator)
        texts = captions({**identity.values(), **outfit.values()})
        hair = FACTORS["hair_colour"].names[identity.hair_colour]
        garment = FACTORS["upper_type"].names[outfit.upper.kind]
        assert f"{hair} hair" in texts["caption_identity"]
        assert garment not in texts["caption_identity"]
        assert garment in texts["caption_clothes"]
        assert "hair" not in texts["caption_clothes"]
        assert f"{hair} hair" in texts["caption_full"]
        assert garment in texts["caption_full"]
