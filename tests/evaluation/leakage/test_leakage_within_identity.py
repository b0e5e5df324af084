"""Probes of the outfit within each identity: cameras held out where they can be."""

import numpy as np
import pytest

from pipeline.evaluation.leakage.settings import LeakageSettings
from pipeline.evaluation.leakage.within_identity import probe_within_identities
from pipeline.features.feature_set import FeatureSet

OPTIONS = {"settings": LeakageSettings(folds=4, penalty=0.01, images_per_outfit=40), "seed": 0}


def items(rows, features) -> FeatureSet:
    """``rows``: (person, camera, clothes) of each image."""
    person, camera, clothes = np.array(rows).T
    return FeatureSet(
        features=np.asarray(features, dtype=np.float32),
        image_id=np.array([f"gallery/{i}" for i in range(len(rows))]),
        role=np.full(len(rows), "gallery"),
        person_id=person,
        camera_id=camera,
        clothes_id=clothes,
        tracklet_id=np.full(len(rows), -1),
    )


def codes(labels, noise=0.05):
    rng = np.random.default_rng(0)
    names, number = np.unique(labels, return_inverse=True)
    return rng.standard_normal((len(names), 12))[number] + noise * rng.standard_normal((len(labels), 12))


EVERY_CAMERA = [
    (person, camera, 10 * person + outfit) for person in range(1, 9) for outfit in (1, 2) for camera in (1, 2, 3, 4)
]


def test_an_outfit_that_the_features_hold_is_told_by_other_cameras():
    overall, schemes = probe_within_identities(items(EVERY_CAMERA, codes([row[2] for row in EVERY_CAMERA])), **OPTIONS)
    assert overall is not None
    assert (overall.accuracy, overall.chance, overall.n, overall.people, overall.outfits) == (1.0, 0.5, 64, 8, 16)
    assert schemes == {"other_cameras": overall}


def test_features_of_the_camera_alone_tell_no_outfit():
    overall, schemes = probe_within_identities(items(EVERY_CAMERA, codes([row[1] for row in EVERY_CAMERA])), **OPTIONS)
    assert overall is not None
    assert overall.accuracy <= 0.6
    assert set(schemes) == {"other_cameras"}


def test_people_whose_outfits_hang_on_cameras_are_counted_apart():
    bound = [(100, outfit, 1000 + outfit) for outfit in (1, 2) for _ in range(4)]
    rows = EVERY_CAMERA + bound
    overall, schemes = probe_within_identities(items(rows, codes([row[1] for row in rows])), **OPTIONS)
    assert schemes["same_cameras"].accuracy == 1.0  # the camera gives it away
    assert (schemes["same_cameras"].n, schemes["other_cameras"].n) == (8, 64)
    assert overall is not None
    weighted = (8 * 1.0 + 64 * schemes["other_cameras"].accuracy) / 72
    assert overall.accuracy == pytest.approx(weighted)


def test_images_without_camera_are_dealt_to_folds():
    rows = [(person, -1, clothes) for person, _, clothes in EVERY_CAMERA]
    overall, schemes = probe_within_identities(items(rows, codes([row[2] for row in rows])), **OPTIONS)
    assert overall is not None
    assert overall.accuracy == 1.0
    assert set(schemes) == {"same_cameras"}


def test_outfits_of_one_image_missing_ids_and_people_of_one_outfit_take_no_part():
    rows = [*EVERY_CAMERA, (1, 1, 99), (50, 1, 500), (50, 2, 500), (60, 1, -1), (60, 2, -1)]
    overall, _ = probe_within_identities(items(rows, codes([row[2] for row in rows])), **OPTIONS)
    assert overall is not None
    assert (overall.n, overall.people, overall.outfits) == (64, 8, 16)
    nobody = [(person, camera, person) for person, camera, _ in EVERY_CAMERA]
    assert probe_within_identities(items(nobody, codes([1] * len(nobody))), **OPTIONS) == (None, {})


def test_chance_is_the_share_of_each_persons_usual_outfit_and_large_outfits_are_sampled():
    rows = [(1, camera, 1) for camera in (1, 2) for _ in range(30)] + [(1, camera, 2) for camera in (1, 2)] * 4
    features = codes([row[2] for row in rows])
    overall, _ = probe_within_identities(items(rows, features), **OPTIONS)
    assert overall is not None
    assert (overall.n, overall.chance) == (48, pytest.approx(40 / 48))
    again, _ = probe_within_identities(items(rows, features), **OPTIONS)
    assert again == overall
