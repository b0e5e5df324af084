"""Entries of metrics.json: percentages, intervals, single-shot draws, and what each protocol selects."""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation.metrics import METRICS, evaluate, evaluate_selected
from pipeline.evaluation.protocols import GENERAL, PROTOCOLS, find_protocols, select
from pipeline.evaluation.settings import RerankSettings
from pipeline.features.feature_set import FeatureSet, concatenate, normalise_rows


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
    entry, [retrieval] = evaluate(concatenate([query, gallery]), GENERAL, resamples=0)
    assert entry["n_query"] == 2
    assert entry["n_gallery"] == 4
    assert entry["n_skipped"] == 1  # person 9 is not in the gallery
    assert entry["rank1"] == 0.0
    assert entry["rank5"] == 100.0
    assert entry["mAP"] == pytest.approx(100 * (1 / 2 + 2 / 3) / 2, abs=1e-3)
    assert entry["mINP"] == pytest.approx(100 * 2 / 3, abs=1e-3)
    assert retrieval.first_rank.tolist() == [2, 0]
    assert (entry["name"], entry["distance"], entry["dimension"]) == ("general", "negative cosine", 2)
    assert "reranking" not in entry


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
    assert evaluate(both, single, seed=1)[0] != single_entry
    low, high = single_entry["mAP_interval"]
    assert low < single_entry["mAP"] < high


def test_single_shot_is_the_mean_of_draws_that_are_scored_one_by_one():
    rng = np.random.default_rng(3)
    query = items("test_b", np.arange(1, 5), np.full(4, 2), rng.standard_normal((4, 3)))
    gallery = items("test_a", np.repeat(np.arange(1, 5), 6), np.full(24, 1), rng.standard_normal((24, 3)))
    single = PROTOCOLS["prcc:sc:single-shot"]
    entry, retrievals = evaluate(concatenate([query, gallery]), single, resamples=0)
    values = []
    for retrieval in retrievals:
        chosen = np.array([int(name.split("/")[1]) for name in retrieval.gallery_image_id])
        assert gallery.person_id[chosen].tolist() == [1, 2, 3, 4]
        similarity = query.features @ gallery.features[chosen].T
        ranks = (similarity > np.diagonal(similarity)[:, None]).sum(axis=1) + 1
        np.testing.assert_array_equal(retrieval.first_rank, ranks)
        values.append((1 / ranks).mean())
    assert len({tuple(retrieval.gallery_image_id) for retrieval in retrievals}) > 5
    assert entry["mAP"] == pytest.approx(100 * np.mean(values), abs=1e-3)
    assert entry["mAP_sd"] == pytest.approx(100 * np.std(values, ddof=1), abs=1e-3)


def test_every_metric_has_its_interval_around_it():
    rng = np.random.default_rng(1)
    query = items("query", np.repeat(np.arange(1, 9), 3), np.full(24, 0), rng.standard_normal((24, 4)))
    gallery = items("gallery", np.repeat(np.arange(1, 9), 9), np.full(72, 1), rng.standard_normal((72, 4)))
    entry, _ = evaluate(concatenate([query, gallery]), GENERAL, resamples=300)
    for name in METRICS:
        low, high = entry[f"{name}_interval"]
        assert 0 <= low <= entry[name] <= high <= 100
    assert entry["rank1"] <= entry["rank5"] <= entry["rank10"] <= entry["rank20"]
    assert entry["mAP_interval"][0] < entry["mAP_interval"][1]


def test_a_reranked_entry_says_so():
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((6, 5))
    query = items("query", np.arange(1, 7), np.zeros(6), centres + rng.standard_normal((6, 5)))
    persons = np.repeat(np.arange(1, 7), 6)
    gallery = items("gallery", persons, np.ones(36), centres[persons - 1] + 0.3 * rng.standard_normal((36, 5)))
    sides = select(concatenate([query, gallery]), GENERAL)
    plain, _ = evaluate_selected(*sides, GENERAL, 10)
    entry, _ = evaluate_selected(
        *sides, GENERAL, 10, reranking=RerankSettings(rerank_neighbours=5, rerank_averaged=2, rerank_lambda=0.3)
    )
    assert entry["reranking"] == {"k1": 5, "k2": 2, "lambda": 0.3}
    assert "k-reciprocal" in entry["distance"]
    assert entry["meaning"].endswith("re-ranked")
    assert entry["mAP"] != plain["mAP"]


def test_tracklets_are_averaged():
    query = items("query", [1, 1, 2], [1, 1, 1], [[1, 0], [0, 1], [1, -1]])
    query.tracklet_id[:] = [7, 7, 8]
    gallery = items("gallery", [1, 2], [2, 2], [[1, 1], [1, -1]])
    entry, [retrieval] = evaluate(concatenate([query, gallery]), PROTOCOLS["ccvid:general"], resamples=0)
    assert entry["n_query"] == 2
    assert retrieval.average_precision.tolist() == [1.0, 1.0]


def test_a_tracklet_is_the_mean_of_its_normalised_frames_over_many_batches(monkeypatch):
    monkeypatch.setattr("pipeline.evaluation.protocols.FRAME_ROWS", 4)
    rng = np.random.default_rng(0)
    tracklet = rng.integers(0, 5, 30)
    query = items("query", tracklet // 2, tracklet % 3, rng.standard_normal((30, 4)))
    query.tracklet_id[:] = tracklet
    query.clothes_id[:] = tracklet
    gallery = items("gallery", [1], [9], [[1, 0, 0, 0]])
    found, _ = select(concatenate([query, gallery]), PROTOCOLS["ccvid:cc"])
    for row, number in enumerate(range(5)):
        mean = query.features[tracklet == number].mean(axis=0)
        np.testing.assert_allclose(found.features[row], mean / np.linalg.norm(mean), rtol=1e-5)
        assert (found.tracklet_id[row], found.person_id[row]) == (number, number // 2)


def test_a_tracklet_of_several_people_is_refused():
    query = items("query", [1, 2], [1, 1], [[1, 0], [0, 1]])
    query.tracklet_id[:] = 7
    with pytest.raises(InputError, match="tracklet 7 has frames with different person_id"):
        select(concatenate([query, items("gallery", [1], [2], [[1, 0]])]), PROTOCOLS["ccvid:general"])


@pytest.mark.parametrize("name", ["ccvid:general", "deepchange"])
def test_protocols_on_tracklets_need_their_ids(name):
    query, gallery = items("query", [1], [1], [[1, 0]]), items("gallery", [1], [2], [[1, 0]])
    query.tracklet_id[:] = -1
    with pytest.raises(InputError, match=f"protocol {name} needs tracklet ids, but 1 query rows have none"):
        select(concatenate([query, gallery]), PROTOCOLS[name])


@pytest.mark.parametrize(("name", "queries"), [("prcc:sc:multi-shot", 2), ("prcc:cc:multi-shot", 1)])
@pytest.mark.parametrize("roles", [("test_a", "test_b", "test_c"), ("gallery", "query_sc", "query_cc")])
def test_prcc_takes_its_own_splits(name, queries, roles):
    a = items(roles[0], [1, 1, 2], [1, 1, 1], [[1, 0], [1, 0], [0, 1]])
    b, c = items(roles[1], [1, 2], [2, 2], [[1, 0], [0, 1]]), items(roles[2], [2], [3], [[0, 1]])
    other = items("val", [5], [1], [[1, 1]])
    entry, _ = evaluate(concatenate([a, b, c, other]), PROTOCOLS[name], resamples=0)
    assert (entry["n_query"], entry["n_gallery"], entry["mAP"]) == (queries, 3, 100.0)


def test_vcclothes_takes_two_cameras_only():
    query = items("query", [1, 1], [2, 3], [[1, 0], [0, 1]])
    gallery = items("gallery", [1, 1, 1], [2, 3, 4], [[1, 0], [0, 1], [1, 1]])
    for name, expected in (("cc", (1, 2)), ("sc", (2, 2)), ("general", (2, 3))):
        entry, _ = evaluate(concatenate([query, gallery]), PROTOCOLS[f"vcclothes:{name}"], resamples=0)
        assert (entry["n_query"], entry["n_gallery"]) == expected
    assert entry["n_skipped"] == 0
    with pytest.raises(InputError, match=r"no query rows \(role query, camera 3 or 4\)"):
        evaluate(concatenate([query.take(np.array([0])), gallery]), PROTOCOLS["vcclothes:cc"])


def test_market_junk_leaves_and_distractors_stay():
    query = items("query", [1], [1], [[1, 0]])
    gallery = items("gallery", [-1, 0, 1], [2, 2, 2], [[1, 0], [1, 0.1], [1, 0.2]])
    entry, [retrieval] = evaluate(concatenate([query, gallery]), PROTOCOLS["market1501"], resamples=0)
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
