"""Exact scoring against a loop that removes junk, sorts and walks down the list, written independently."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.features import NO_ID, FeatureSet, normalise_rows
from pipeline.evaluation.protocols import CLOTHES_CHANGING, GENERAL, PROTOCOLS, SAME_CLOTHES, select
from pipeline.evaluation.ranking import FEW_ITEMS, good_ranks, ranked_list, score


def feature_set(rng, count, role, identities=4, cameras=3, outfits=2, tied=True) -> FeatureSet:
    # entries of +-1/2 have cosines that float32 holds exactly, and many of them are equal
    values = rng.choice([-0.5, 0.5], (count, 4)) if tied else rng.standard_normal((count, 4))
    values = values.astype(np.float32)
    person = rng.integers(1, identities + 1, count)
    return FeatureSet(
        features=normalise_rows(values),
        image_id=np.array([f"{role}{i}" for i in range(count)]),
        role=np.full(count, role),
        person_id=person,
        camera_id=rng.integers(0, cameras, count),
        clothes_id=person * 100 + rng.integers(0, outfits, count),
        tracklet_id=np.arange(count),
    )


def naive(query: FeatureSet, gallery: FeatureSet, rule: str):
    """Per query: (AP, INP, first rank, number of good items), by sorting (-similarity, position)."""
    similarity = (query.features @ gallery.features.T).tolist()
    results = []
    for q in range(len(query)):
        ranked = sorted(range(len(gallery)), key=lambda g: (-similarity[q][g], g))
        hits, place, precisions = 0, 0, []
        first = last = 0
        for g in ranked:
            same_id = gallery.person_id[g] == query.person_id[q]
            same_camera = gallery.camera_id[g] == query.camera_id[q]
            same_clothes = gallery.clothes_id[g] == query.clothes_id[q]
            wrong_clothes = {"general": False, "cc": same_clothes, "sc": not same_clothes}[rule]
            if same_id and (same_camera or wrong_clothes):
                continue  # junk
            place += 1
            if same_id:
                hits += 1
                precisions.append(hits / place)
                first, last = first or place, place
        results.append((
            math.fsum(precisions) / hits if hits else 0.0, hits / last if hits else 0.0, first, hits,
        ))  # fmt: skip
    return np.array(results)


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    counts=st.tuples(st.integers(1, 8), st.integers(1, 60)),
    identities=st.integers(1, 5),
    cameras=st.integers(1, 3),
    protocol=st.sampled_from([GENERAL, CLOTHES_CHANGING, SAME_CLOTHES]),
    tied=st.booleans(),
)
def test_equal_to_the_loop(seed, counts, identities, cameras, protocol, tied):
    rng = np.random.default_rng(seed)
    query = feature_set(rng, counts[0], "query", identities=identities, cameras=cameras, tied=tied)
    gallery = feature_set(rng, counts[1], "gallery", identities=identities + 1, cameras=cameras, tied=tied)
    expected = naive(query, gallery, protocol.name)
    actual = score(query, gallery, protocol, threads=1)
    np.testing.assert_allclose(actual.average_precision, expected[:, 0], atol=1e-12)
    np.testing.assert_allclose(actual.inverse_negative_penalty, expected[:, 1], atol=1e-12)
    np.testing.assert_array_equal(actual.first_rank, expected[:, 2])
    np.testing.assert_array_equal(actual.good, expected[:, 3])


@pytest.mark.parametrize("good_count", [1, FEW_ITEMS, FEW_ITEMS + 1, 40])
def test_both_ways_of_counting_agree_with_sorting(good_count):
    rng = np.random.default_rng(good_count)
    row = rng.integers(0, 15, 200).astype(np.float32)  # many ties
    same = np.sort(rng.choice(200, good_count + 7, replace=False))
    good = np.zeros(len(same), dtype=bool)
    good[rng.choice(len(same), good_count, replace=False)] = True
    kept = np.setdiff1d(np.arange(200), same[~good])
    order = sorted(kept, key=lambda position: (-row[position], position))
    expected = [place for place, position in enumerate(order, start=1) if position in set(same[good])]
    np.testing.assert_array_equal(good_ranks(row, same, good), expected)


def test_chunks_of_one_row_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    query, gallery = feature_set(rng, 9, "query", tied=False), feature_set(rng, 50, "gallery", tied=False)
    whole = score(query, gallery, GENERAL)
    monkeypatch.setattr("pipeline.evaluation.ranking.CHUNK_BYTES", 1)
    single = score(query, gallery, GENERAL)
    np.testing.assert_array_equal(whole.average_precision, single.average_precision)


def test_ranked_list_is_the_head_of_the_loop_and_marks_the_good_ones():
    rng = np.random.default_rng(4)
    query, gallery = feature_set(rng, 5, "query", tied=False), feature_set(rng, 40, "gallery", tied=False)
    result = score(query, gallery, CLOTHES_CHANGING)
    for row in range(5):
        listed = ranked_list(query, row, gallery, CLOTHES_CHANGING, depth=40)
        assert listed.correct.sum() == result.good[row]
        assert (np.diff(listed.similarity) <= 0).all()
        if result.good[row]:
            assert int(np.flatnonzero(listed.correct)[0]) + 1 == result.first_rank[row]


def joined(query: FeatureSet, gallery: FeatureSet) -> FeatureSet:
    from pipeline.evaluation.features import concatenate

    return concatenate([query, gallery])


def test_images_without_a_camera_make_nothing_junk():
    rng = np.random.default_rng(5)
    query, gallery = feature_set(rng, 6, "query", cameras=1), feature_set(rng, 30, "gallery", cameras=1)
    assert not score(*select(joined(query, gallery), GENERAL), GENERAL).valid.any()  # one camera: all junk
    for features in (query, gallery):
        features.camera_id[:] = NO_ID
    found = score(*select(joined(query, gallery), GENERAL), GENERAL)
    expected = [(gallery.person_id == person).sum() for person in query.person_id]
    np.testing.assert_array_equal(found.good, expected)


def test_last_counts_every_image_as_its_own_camera():
    rng = np.random.default_rng(6)
    query, gallery = feature_set(rng, 6, "query", cameras=1), feature_set(rng, 30, "gallery", cameras=1)
    protocol = PROTOCOLS["last"]
    found = score(*select(joined(query, gallery), protocol), protocol)
    np.testing.assert_array_equal(found.good, [(gallery.person_id == person).sum() for person in query.person_id])


def test_deepchange_takes_the_tracklet_for_the_camera():
    rng = np.random.default_rng(7)
    query, gallery = feature_set(rng, 6, "query", cameras=1), feature_set(rng, 30, "gallery", cameras=1)
    query.tracklet_id[:] = 1
    gallery.tracklet_id[:] = np.arange(30) % 2  # half of the gallery is of the queries' tracklet
    protocol = PROTOCOLS["deepchange"]
    found = score(*select(joined(query, gallery), protocol), protocol)
    expected = [((gallery.person_id == person) & (gallery.tracklet_id != 1)).sum() for person in query.person_id]
    np.testing.assert_array_equal(found.good, expected)
