"""The weights that ship with the package: what the card claims, on real photographs and crops."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from lite_samples import ccp_person, picture_of

from pipeline.files import sha256_of_file
from pipeline.images import decode_image, read_bytes
from pipeline.labels import LIP
from pipeline.parsing.backends import load_backends
from pipeline.parsing.lite.checkpoint import PACKAGED_WEIGHTS, load_lite
from pipeline.parsing.lite.training.ccp_labels import ccp_target, read_label_table
from pipeline.parsing.lite.training.crops import detector_view
from pipeline.parsing.lite.training.examples import VALIDATION_EVERY
from pipeline.parsing.lite.training.scoring import TARGET_SCHEME, score
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.parser import create_parser
from pipeline.parsing.quality import assess
from pipeline.parsing.scoring.ground_truth import find_labelled, read_labelled

MOST_BYTES = 8_000_000
REPOSITORY = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def lite():
    load_backends()
    return create_parser("lite")


def test_card_and_scores_lie_beside_the_weights_they_describe(lite):
    assert PACKAGED_WEIGHTS.stat().st_size <= MOST_BYTES
    scores = json.loads((PACKAGED_WEIGHTS.parent / "scores.json").read_text())
    assert scores["weights_sha256"] == lite.weights_sha256 == sha256_of_file(PACKAGED_WEIGHTS)
    card = (PACKAGED_WEIGHTS.parent / "MODEL_CARD.md").read_text()
    for value in scores["scores"].values():
        assert f"{value['clothes_iou']:.3f}" in card
    _, description = load_lite(PACKAGED_WEIGHTS)
    assert description.training["photos"] > 0
    assert description.training["walkers"] > 0


def test_the_card_counts_the_crops_that_were_checked_by_eye(real_images):
    with (REPOSITORY / "data_manifests" / "parsing" / "lite_crops.csv").open() as stream:
        crops = list(csv.DictReader(stream))
    assert len({crop["crop"] for crop in crops}) == len(crops) == 60
    counts = Counter((crop["fault"], crop["with_margins"]) for crop in crops)
    card = (PACKAGED_WEIGHTS.parent / "MODEL_CARD.md").read_text().splitlines()
    for fault, words in {
        "hair": "hair painted as clothes", "bag": "bag painted as clothes",
        "background": "background painted as clothes", "legs": "trousers or tights missed",
        "upper": "shirt or coat missed",
    }.items():  # fmt: skip
        right, wrong, unsure = (counts.pop((fault, verdict), 0) for verdict in ("right", "wrong", "unsure"))
        assert f"| {words} | {right + wrong + unsure} | 0 | {right} | {unsure} |" in card
    assert not counts
    with (real_images / "pku_reid_74" / "labels.csv").open() as stream:
        tested = {row["path"] for row in csv.DictReader(stream) if row["split"] in ("query", "gallery")}
    assert {crop["crop"] for crop in crops} <= tested


def test_labels_of_a_drawing_are_the_same_on_every_call(lite):
    images = [picture_of(ccp_person(), seed) for seed in range(3)]
    once, again = lite.parse(images), [lite.parse([image])[0] for image in reversed(images)][::-1]
    for first, second in zip(once, again, strict=True):
        assert np.array_equal(first.label_map, second.label_map)


def test_clothes_of_held_out_photographs_are_found(lite, real_images):
    """Every tenth of the 200 held-out photographs; the card has the score of all."""
    folder = real_images / "ccp_parsing"
    table = read_label_table(folder / "label_list.json")
    items = find_labelled(folder / "photos", folder / "labels")
    held_out = [item for item in items if int(item.image.stem) % VALIDATION_EVERY == 0]
    examples = [
        read_labelled(item, TARGET_SCHEME, lambda numbers: ccp_target(numbers, table)) for item in held_out[::10]
    ]
    for size in ((256, 128), (128, 48)):
        scores = score(lite, [detector_view(example, size) for example in examples])
        assert scores.clothes_iou >= 0.85
        assert scores.mean_image_iou >= 0.84


def test_surveillance_crops_are_parsed_plausibly(lite, real_images):
    """Detector crops of pedestrians: a person in each, dressed, nearly always with a head above the clothes.

    Nearly, as the card says: long dark hair from behind may be taken for clothes.
    """
    folder = real_images / "pku_reid_74"
    with (folder / "labels.csv").open() as stream:
        paths = [row["path"] for row in csv.DictReader(stream)][::30]
    images = [decode_image(read_bytes(folder / path)) for path in paths]
    unflagged = with_head = 0
    for parsing in lite.parse(images):
        mask = clothes_mask(parsing.label_map, LIP.clothes)
        quality = assess(parsing, mask)
        assert 0.2 < quality.person_fraction < 0.8
        assert 0.1 < quality.clothes_fraction < 0.7
        head = np.isin(parsing.label_map, [LIP.labels.index(name) for name in ("hair", "face", "hat", "sunglasses")])
        with_head += bool(head.any()) and bool(np.nonzero(head)[0].mean() < np.nonzero(mask)[0].mean())
        unflagged += not quality.flags
    assert with_head >= 0.95 * len(images)
    assert unflagged >= 0.9 * len(images)
