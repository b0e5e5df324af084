"""Summaries: percentages, intervals, single-shot draws, and the checks for mistakes."""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation.checks import check_shared_images, swapped_warning, training_identities_warning
from pipeline.evaluation.features import FeatureSet, concatenate, normalise_rows
from pipeline.evaluation.metrics import bootstrap_interval, evaluate
from pipeline.evaluation.protocols import GENERAL, PROTOCOLS, find_protocols


def items(role, person, camera, values, start=0) -> FeatureSet:
    count = len(person)
    return FeatureSet(
        features=normalise_rows(np.asarray(values, dtype=np.float32)),
        image_id=np.array([f"{role}/{start + i}" for i in range(count)]),
        role=np.full(count, role),
        person_id=np.asarray(person),
        camera_id=np.asarray(camera),
        clothes_id=np.asarray(person) * 10,
        tracklet_id=np.arange(count),
    )


def test_a_case_that_can_be_done_by_hand():
    # the query is person 1, camera 0; ranked: person 2, person 1, person 1 of camera 0 (junk), person 1
    query = items("query", [1, 9], [0, 0], [[1, 0], [0, 1]])
    gallery = items("gallery", [2, 1, 1, 1], [1, 1, 0, 2], [[1, 0.1], [1, 0.2], [1, 0.3], [1, 0.4]])
    entry, retrieval = evaluate(concatenate([query, gallery]), GENERAL, resamples=0)
    assert entry["n_query"] == 2
    assert entry["n_gallery"] == 4
    assert entry["n_skipped"] == 1  # person 9 is not in the gallery
    assert entry["rank1"] == 0.0
    assert entry["rank5"] == 100.0
    assert entry["mAP"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2, abs=1e-3)
    assert entry["mINP"] == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert retrieval.first_rank.tolist() == [2, 0]


def test_interval_of_equal_values_is_that_value_and_of_spread_ones_is_wide():
    persons = np.repeat(np.arange(30), 3)
    assert bootstrap_interval(np.full(90, 0.25), persons, 200, 0) == pytest.approx((0.25, 0.25))
    values = np.repeat(np.random.default_rng(0).random(30), 3)
    low, high = bootstrap_interval(values, persons, 2000, 0)
    error = values.reshape(30, 3)[:, 0].std() / np.sqrt(30)
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.02)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.02)


def test_single_shot_draws_one_image_an_identity_and_reports_the_spread():
    rng = np.random.default_rng(0)
    query = items("test_c", np.repeat(np.arange(1, 6), 2), np.full(10, 3), rng.standard_normal((10, 4)))
    gallery = items("gallery", np.repeat(np.arange(1, 6), 8), np.full(40, 1), rng.standard_normal((40, 4)))
    multi, single = find_protocols("prcc:cc")
    both = concatenate([query, gallery])
    multi_entry, _ = evaluate(both, multi, resamples=10)
    single_entry, _ = evaluate(both, single)
    assert multi_entry["n_gallery"] == 40
    assert single_entry["n_gallery"] == 5
    assert single_entry["draws"] == 10
    assert single_entry["rank1_sd"] > 0
    assert single_entry["rank5"] == 100.0  # five identities, one image each
    assert evaluate(both, single)[0] == single_entry  # seeded


def test_tracklets_are_averaged():
    query = items("query", [1, 1, 2], [1, 1, 1], [[1, 0], [0, 1], [1, -1]])
    query.tracklet_id[:] = [7, 7, 8]
    gallery = items("gallery", [1, 2], [2, 2], [[1, 1], [1, -1]])
    entry, retrieval = evaluate(concatenate([query, gallery]), PROTOCOLS["ccvid:general"], resamples=0)
    assert entry["n_query"] == 2
    assert retrieval.average_precision.tolist() == [1.0, 1.0]


def test_vcclothes_takes_two_cameras_only():
    query = items("query", [1, 1], [2, 3], [[1, 0], [0, 1]])
    gallery = items("gallery", [1, 1, 1], [2, 3, 4], [[1, 0], [0, 1], [1, 1]])
    entry, _ = evaluate(concatenate([query, gallery]), PROTOCOLS["vcclothes:cc"], resamples=0)
    assert (entry["n_query"], entry["n_gallery"]) == (1, 2)


def test_market_junk_leaves_and_distractors_stay():
    query = items("query", [1], [1], [[1, 0]])
    gallery = items("gallery", [-1, 0, 1], [2, 2, 2], [[1, 0], [1, 0.1], [1, 0.2]])
    entry, retrieval = evaluate(concatenate([query, gallery]), PROTOCOLS["market1501"], resamples=0)
    assert entry["n_gallery"] == 2
    assert retrieval.first_rank.tolist() == [2]  # behind the distractor


@pytest.mark.parametrize("name", ["nosuch", "prcc", "vcclothes", "cc:"])
def test_unknown_protocols_list_the_known_ones(name):
    with pytest.raises(InputError, match=r"unknown protocol .*general, cc, sc, prcc:sc:multi-shot"):
        find_protocols(name)


def test_cc_without_clothes_ids_says_so():
    query, gallery = items("query", [1], [1], [[1, 0]]), items("gallery", [1], [2], [[1, 0]])
    gallery.clothes_id[:] = -1
    with pytest.raises(InputError, match="needs clothes ids, but 1 gallery rows have none"):
        evaluate(concatenate([query, gallery]), PROTOCOLS["cc"])


def test_no_query_rows_lists_the_roles_found():
    with pytest.raises(InputError, match=r"no query rows .*roles gallery"):
        evaluate(items("gallery", [1], [2], [[1, 0]]), GENERAL)


def test_nothing_to_score_is_an_error():
    query, gallery = items("query", [1], [1], [[1, 0]]), items("gallery", [2], [2], [[1, 0]])
    with pytest.raises(InputError, match="no query has a good gallery item"):
        evaluate(concatenate([query, gallery]), GENERAL)


def test_shared_images_are_refused():
    query, gallery = items("query", [1], [1], [[1, 0]]), items("gallery", [1], [2], [[1, 0]])
    gallery.image_id[:] = query.image_id
    with pytest.raises(InputError, match="1 image ids are both query and gallery"):
        check_shared_images(concatenate([query, gallery]), GENERAL)


def test_training_identities_are_reported():
    query, train = items("query", [1, 2], [1, 1], [[1, 0], [0, 1]]), items("train", [2, 3], [1, 1], [[1, 0], [0, 1]])
    assert "1 identities are in training and test (such as 2)" in training_identities_warning(query, train)
    assert training_identities_warning(query, items("train", [3], [1], [[1, 0]])) is None


def test_swapped_distances_are_suspected():
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 8))
    person = np.repeat(np.arange(1, 21), 10)
    query = items("query", np.arange(1, 21), np.zeros(20, dtype=int), -centres)
    gallery = items(
        "gallery", person, np.ones(200, dtype=int), centres[person - 1] + 0.1 * rng.standard_normal((200, 8))
    )
    entry, _ = evaluate(concatenate([query, gallery]), GENERAL, resamples=0)
    assert "near zero" in swapped_warning(entry)
    query.features[:] *= -1
    entry, _ = evaluate(concatenate([query, gallery]), GENERAL, resamples=0)
    assert entry["rank1"] == 100.0
    assert swapped_warning(entry) is None
