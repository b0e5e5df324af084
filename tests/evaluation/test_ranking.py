"""Exact scoring against a loop that removes junk, sorts and walks down the list, written independently."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.features import NO_ID, FeatureSet, concatenate, normalise_rows
from pipeline.evaluation.protocols import CLOTHES_CHANGING, GENERAL, PROTOCOLS, SAME_CLOTHES, select
from pipeline.evaluation.ranking import FEW_ITEMS, best_items, good_ranks, ranked_list, score
from pipeline.evaluation.similarity import similarity_blocks


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


def cosines(query: FeatureSet, gallery: FeatureSet):
    return np.concatenate([block.copy() for _, block in similarity_blocks(query.features, gallery.features)])


def naive(query: FeatureSet, gallery: FeatureSet, rule: str, similarity=None):
    """Per query: (AP, INP, first rank, number of good items, of junk), by sorting (-similarity, position)."""
    similarity = (query.features @ gallery.features.T if similarity is None else similarity).tolist()
    results = []
    for q in range(len(query)):
        ranked = sorted(range(len(gallery)), key=lambda g: (-similarity[q][g], g))
        hits, place, precisions = 0, 0, []
        first = last = junk = 0
        for g in ranked:
            same_id = gallery.person_id[g] == query.person_id[q]
            same_camera = gallery.camera_id[g] == query.camera_id[q]
            same_clothes = gallery.clothes_id[g] == query.clothes_id[q]
            wrong_clothes = {"general": False, "cc": same_clothes, "sc": not same_clothes}[rule]
            if same_id and (same_camera or wrong_clothes):
                junk += 1
                continue
            place += 1
            if same_id:
                hits += 1
                precisions.append(hits / place)
                first, last = first or place, place
        results.append((
            math.fsum(precisions) / hits if hits else 0.0, hits / last if hits else 0.0, first, hits, junk,
        ))  # fmt: skip
    return np.array(results)


def assert_equal(actual, expected):
    np.testing.assert_allclose(actual.average_precision, expected[:, 0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(actual.inverse_negative_penalty, expected[:, 1], rtol=0, atol=1e-12)
    np.testing.assert_array_equal(actual.first_rank, expected[:, 2])
    np.testing.assert_array_equal(actual.good, expected[:, 3])
    np.testing.assert_array_equal(actual.junk, expected[:, 4])


RULES = st.sampled_from([GENERAL, CLOTHES_CHANGING, SAME_CLOTHES])


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    counts=st.tuples(st.integers(1, 8), st.integers(1, 150)),
    identities=st.integers(1, 5),
    cameras=st.integers(1, 3),
    protocol=RULES,
)
def test_equal_to_the_loop_on_tied_scores(seed, counts, identities, cameras, protocol):
    rng = np.random.default_rng(seed)
    query = feature_set(rng, counts[0], "query", identities, cameras)
    gallery = feature_set(rng, counts[1], "gallery", identities + 1, cameras)
    actual = score(query, gallery, protocol, threads=1)
    assert_equal(actual, naive(query, gallery, protocol.name))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    counts=st.tuples(st.integers(1, 8), st.integers(1, 150)),
    copies=st.integers(0, 40),
    protocol=RULES,
)
def test_equal_to_the_loop_with_copied_features(seed, counts, copies, protocol):
    rng = np.random.default_rng(seed)
    query = feature_set(rng, counts[0], "query", cameras=2, tied=False)
    gallery = feature_set(rng, counts[1], "gallery", cameras=2, tied=False)
    for _ in range(copies):
        source, target = rng.integers(0, counts[1], 2)
        gallery.features[target] = gallery.features[source]
    gallery.features[rng.integers(counts[1])] = query.features[0]
    actual = score(query, gallery, protocol, threads=2)
    assert_equal(actual, naive(query, gallery, protocol.name, cosines(query, gallery)))


def test_a_larger_case_with_several_blocks_of_queries():
    rng = np.random.default_rng(0)
    query = feature_set(rng, 600, "query", identities=30, cameras=6, tied=False)
    gallery = feature_set(rng, 3000, "gallery", identities=35, cameras=6, tied=False)
    for protocol in (GENERAL, CLOTHES_CHANGING):
        few = query.take(np.arange(0, 600, 20))
        expected = naive(few, gallery, protocol.name, cosines(few, gallery))
        assert (expected[:, 3] > FEW_ITEMS).any()  # both ways of counting occur
        assert_equal(score(few, gallery, protocol), expected)
        whole = score(query, gallery, protocol)
        np.testing.assert_array_equal(whole.average_precision[::20], score(few, gallery, protocol).average_precision)


@settings(max_examples=120, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    size=st.integers(2, 400),
    share=st.floats(0, 1),
    junk_share=st.floats(0, 0.5),
    kind=st.sampled_from(["grid", "normal", "peaked", "constant", "outlier", "tiny"]),
)
def test_ranks_agree_with_sorting_whatever_the_scores(seed, size, share, junk_share, kind):
    rng = np.random.default_rng(seed)
    row = {
        "grid": rng.integers(0, 15, size),
        "normal": rng.standard_normal(size),
        "peaked": 0.8 + 1e-6 * rng.standard_normal(size),
        "constant": np.full(size, 0.3),
        "outlier": np.where(np.arange(size) == 0, -1e6, rng.standard_normal(size)),
        "tiny": 1e-38 * rng.standard_normal(size),
    }[kind].astype(np.float32)
    same = np.flatnonzero(rng.random(size) < max(share, 1 / size))
    good = rng.random(len(same)) >= junk_share
    kept = np.setdiff1d(np.arange(size), same[~good])
    order = sorted(kept.tolist(), key=lambda position: (-row[position], position))
    wanted = set(same[good].tolist())
    expected = [place for place, position in enumerate(order, start=1) if position in wanted]
    np.testing.assert_array_equal(good_ranks(row, same, good), expected)
    np.testing.assert_array_equal(best_items(row, same[~good], 7), order[:7])


@pytest.mark.parametrize("good_count", [1, FEW_ITEMS, FEW_ITEMS + 1, 90])
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


@pytest.mark.parametrize("protocol", [GENERAL, CLOTHES_CHANGING])
def test_the_head_is_the_head_of_the_loop(protocol):
    rng = np.random.default_rng(4)
    query, gallery = feature_set(rng, 9, "query"), feature_set(rng, 40, "gallery", outfits=1)
    found = score(query, gallery, protocol, depth=30)
    similarity = query.features @ gallery.features.T
    for q in range(9):
        same = gallery.person_id == query.person_id[q]
        good = same & (gallery.camera_id != query.camera_id[q])
        if protocol is CLOTHES_CHANGING:
            good &= gallery.clothes_id != query.clothes_id[q]
        order = [g for g in sorted(range(40), key=lambda g: (-similarity[q, g], g)) if good[g] or not same[g]][:30]
        assert found.head[q].tolist() == order + [-1] * (30 - len(order))
        assert found.head_good[q].tolist() == [bool(good[g]) for g in order] + [False] * (30 - len(order))
        single = ranked_list(query, q, gallery, protocol, depth=5)
        assert single.positions.tolist() == order[:5]
        np.testing.assert_array_equal(single.similarity, similarity[q, order[:5]])
        assert single.correct.tolist() == good[order[:5]].tolist()


def test_advance_counts_every_query():
    rng = np.random.default_rng(8)
    query, gallery = feature_set(rng, 300, "query"), feature_set(rng, 5, "gallery")
    steps: list[int] = []
    score(query, gallery, GENERAL, advance=steps.append)
    assert steps == [192, 108]


def joined(query: FeatureSet, gallery: FeatureSet) -> FeatureSet:
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


@pytest.mark.parametrize("name", ["last", "celeb"])
def test_last_and_celeb_count_every_image_as_its_own_camera(name):
    rng = np.random.default_rng(6)
    query, gallery = feature_set(rng, 6, "query", cameras=1), feature_set(rng, 30, "gallery", cameras=1)
    protocol = PROTOCOLS[name]
    found = score(*select(joined(query, gallery), protocol), protocol)
    np.testing.assert_array_equal(found.good, [(gallery.person_id == person).sum() for person in query.person_id])
    assert not found.junk.any()


def test_deepchange_takes_the_tracklet_for_the_camera():
    rng = np.random.default_rng(7)
    query, gallery = feature_set(rng, 6, "query", cameras=1), feature_set(rng, 30, "gallery", cameras=1)
    query.tracklet_id[:] = 1
    gallery.tracklet_id[:] = np.arange(30) % 2  # half of the gallery is of the queries' tracklet
    protocol = PROTOCOLS["deepchange"]
    found = score(*select(joined(query, gallery), protocol), protocol)
    expected = [((gallery.person_id == person) & (gallery.tracklet_id != 1)).sum() for person in query.person_id]
    np.testing.assert_array_equal(found.good, expected)
