"""Mistakes that change published numbers."""

import itertools

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation import checks
from pipeline.evaluation.protocols import GENERAL, PROTOCOLS, select
from pipeline.evaluation.ranking import score
from pipeline.evaluation.scoring import select_scored
from pipeline.features.feature_set import FeatureSet, concatenate, normalise_rows


def items(role, person, values, camera=0, names=None) -> FeatureSet:
    count = len(person)
    return FeatureSet(
        features=normalise_rows(np.asarray(values, dtype=np.float32)),
        image_id=np.array(names or [f"{role}/{i}" for i in range(count)]),
        role=np.full(count, role),
        person_id=np.asarray(person),
        camera_id=np.full(count, camera),
        clothes_id=np.asarray(person),
        tracklet_id=np.arange(count),
    )


def test_images_of_both_sides_are_refused_by_name():
    query = items("query", [1, 2], [[1, 0], [0, 1]], names=["x", "y"])
    checks.check_shared_images(query, items("gallery", [1], [[1, 0]], 1, names=["z"]), GENERAL)
    with pytest.raises(InputError, match=r"1 images are both query and gallery \(such as y\)"):
        checks.check_shared_images(query, items("gallery", [1, 2], [[1, 0], [0, 1]], 1, names=["z", "y"]), GENERAL)


def test_one_file_in_two_splits_is_seen_by_its_feature():
    query = items("query", [1, 2], [[1, 0], [0, 1]])  # query/0, query/1
    checks.check_shared_images(query, items("gallery", [1, 2], [[1, 0.1], [0.1, 1]], 1), GENERAL)  # other images
    with pytest.raises(InputError, match=r"1 images are both query and gallery \(such as 1\)"):
        checks.check_shared_images(query, items("gallery", [1, 2], [[1, 0.1], [0, 1]], 1), GENERAL)


@pytest.mark.parametrize(("name", "removed"), [
    ("general", True), ("cc", True), ("sc", True), ("market1501", True), ("last", False), ("celeb", False),
])  # fmt: skip
def test_copies_of_queries_are_refused_where_the_protocol_does_not_remove_them(name, removed):
    query = items("query", [1, 2], [[1, 0], [0, 1]], names=["x", "y"])
    gallery = concatenate(
        [items("gallery", [1, 2], [[1, 0], [0, 1]], names=["x", "y"]), items("gallery", [1], [[1, 1]])]
    )
    sides = select(concatenate([query, gallery]), PROTOCOLS[name])
    if removed:
        assert checks.check_shared_images(*sides, PROTOCOLS[name]).tolist() == [0, 1]
        _, kept, copies = select_scored(concatenate([query, gallery]), PROTOCOLS[name])
        assert (kept.image_id.tolist(), copies.tolist()) == (["gallery/0"], [0, 1])
        ranking = score(*sides, PROTOCOLS[name], depth=3)
        for row, own in enumerate(("x", "y")):
            assert own not in ranking.gallery_image_id[ranking.head[row][ranking.head[row] >= 0]]
    else:
        with pytest.raises(InputError, match=rf"protocol {name}: 2 images are both query and gallery \(such as x, y\)"):
            checks.check_shared_images(*sides, PROTOCOLS[name])


def test_copies_without_a_camera_or_with_another_person_are_refused():
    query = items("query", [1], [[1, 0]], names=["x"])
    for person, camera in ((1, -1), (2, 0)):  # a camera of its own; a wrong image
        gallery = items("gallery", [person], [[1, 0]], camera, names=["x"])
        with pytest.raises(InputError, match="1 images are both query and gallery"):
            checks.check_shared_images(*select(concatenate([query, gallery]), GENERAL), GENERAL)


def test_rows_without_names_are_not_taken_for_one_image():
    query, gallery = items("query", [1], [[1, 0]], names=[""]), items("gallery", [1, 1], [[1, 0]] * 2, names=["", ""])
    checks.check_shared_images(query, gallery, GENERAL)
    assert checks.repeated_names_warning(gallery, GENERAL) is None


def test_repeated_gallery_images_are_told():
    gallery = items("gallery", [1] * 3, [[1, 0]] * 3, names=["a", "b", "a"])
    assert "1 gallery rows repeat the image_id" in str(checks.repeated_names_warning(gallery, GENERAL))
    assert checks.repeated_names_warning(items("gallery", [1] * 3, [[1, 0]] * 3), GENERAL) is None


def test_training_identities_are_counted():
    query, train = items("query", [0, 2, 2], np.eye(3)), items("train", [2, 3, 0], np.eye(3))
    warning = checks.training_identities_warning(query, train, GENERAL)
    assert "2 of 2 query identities are in the training set (such as 0, 2)" in str(warning)
    assert checks.training_identities_warning(query, items("train", [3], [[1, 0, 0]]), GENERAL) is None


def test_missing_cameras_are_told_where_they_matter():
    rows = concatenate([items("query", [1], [[1, 0]], 3), items("gallery", [1, 2], [[1, 0]] * 2, -1)])
    warning = checks.missing_cameras_warning(rows, GENERAL)
    assert "2 of 3 images have no camera_id" in str(warning)
    assert checks.missing_cameras_warning(rows, PROTOCOLS["last"]) is None
    rows.camera_id[:] = 1
    assert checks.missing_cameras_warning(rows, GENERAL) is None


@pytest.mark.parametrize(("good", "kept"), [(1, 1), (1, 4), (2, 5), (3, 6), (4, 4)])
def test_chance_is_the_mean_over_all_orders_and_worst_the_least(good, kept):
    precisions = []
    for places in itertools.combinations(range(1, kept + 1), good):
        precisions.append(np.mean([number / place for number, place in enumerate(places, start=1)]))
    chance, worst = checks.chance_and_worst(np.array([good]), kept)
    assert chance == pytest.approx(np.mean(precisions))
    assert worst == pytest.approx(min(precisions))


def ranking_of(sign, noise, identities=20):
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((identities, 8))
    persons = np.repeat(np.arange(identities), 10)
    query = items("query", np.arange(identities), sign * centres)
    gallery = items("gallery", persons, centres[persons] + noise * rng.standard_normal((len(persons), 8)), 1)
    return score(*select(concatenate([query, gallery]), GENERAL), GENERAL)


def test_swapped_distances_are_suspected():
    assert "far below that of a random ranking" in str(checks.swapped_warning("cc", ranking_of(-1, 0.1)))
    assert checks.swapped_warning("cc", ranking_of(1, 0.1)) is None
    assert checks.swapped_warning("cc", ranking_of(1, 100.0)) is None  # features that know nothing are at chance
    assert checks.swapped_warning("cc", ranking_of(-1, 0.1, identities=4)) is None  # too few to tell
