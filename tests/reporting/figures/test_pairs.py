"""Drawn pairs: all of them where there are few, a fair and repeatable part where there are many."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.features.feature_set import NO_ID, FeatureSet, normalise_rows
from pipeline.reporting.figures.feature_distances import KINDS, feature_distances, feature_section
from pipeline.reporting.figures.pairs import _unrank, cosine_distances, draw_pairs
from pipeline.reporting.figures.separation import separation


def people(person, camera, clothes, features=None) -> FeatureSet:
    count = len(person)
    features = np.eye(count, dtype=np.float32) if features is None else features
    return FeatureSet(
        features, np.array([f"i{n}" for n in range(count)]), np.full(count, "query"), np.asarray(person),
        np.asarray(camera), np.asarray(clothes), np.full(count, NO_ID),
    )  # fmt: skip


def as_set(pairs) -> set[tuple[int, int]]:
    found = [tuple(pair) for pair in pairs.tolist()]
    assert len(found) == len(set(found))
    return set(found)


IDS = st.integers(2, 14).flatmap(
    lambda count: st.tuples(*(st.lists(st.integers(low, 3), min_size=count, max_size=count) for low in (0, -1, -1)))
)


@given(ids=IDS)
def test_few_images_give_every_pair_of_each_kind(ids):
    person, camera, clothes = ids
    found = draw_pairs(people(*ids), wanted=1000, seed=0)
    crosses = {(i, j) for i, j in combinations(range(len(person)), 2) if camera[i] != camera[j] or camera[i] == -1}
    same = {(i, j) for i, j in combinations(range(len(person)), 2) if person[i] == person[j]}
    different = set(combinations(range(len(person)), 2)) - same
    if any(value != -1 for value in camera) and same & crosses:
        assert found.other_camera
        same, different = same & crosses, different & crosses
    else:
        assert not found.other_camera
    known = {(i, j) for i, j in same if clothes[i] != -1 and clothes[j] != -1}
    assert as_set(found.same_person) == same
    assert as_set(found.different) == different
    assert as_set(found.same_clothes) == {(i, j) for i, j in known if clothes[i] == clothes[j]}
    assert as_set(found.other_clothes) == {(i, j) for i, j in known if clothes[i] != clothes[j]}


def test_many_images_give_as_many_pairs_as_wanted_and_right_ones():
    generator = np.random.default_rng(0)
    person, camera = generator.integers(0, 50, 20_000), generator.integers(0, 4, 20_000)
    items = people(person, camera, person * 3 + generator.integers(0, 3, 20_000), np.zeros((20_000, 1), np.float32))
    found = draw_pairs(items, wanted=500, seed=3)
    for kind in KINDS:
        pairs = getattr(found, kind)
        assert len(as_set(pairs)) == 500
        one, other = pairs.T
        assert (one < other).all()
        assert (camera[one] != camera[other]).all()
        assert ((person[one] == person[other]) == (kind != "different")).all()
    assert (items.clothes_id[found.same_clothes[:, 0]] == items.clothes_id[found.same_clothes[:, 1]]).all()
    assert (items.clothes_id[found.other_clothes[:, 0]] != items.clothes_id[found.other_clothes[:, 1]]).all()
    again, other_seed = draw_pairs(items, wanted=500, seed=3), draw_pairs(items, wanted=500, seed=4)
    assert np.array_equal(found.different, again.different)
    assert not np.array_equal(found.different, other_seed.different)


def test_a_person_is_drawn_as_often_as_there_are_pairs():
    person = np.repeat([0, 1], [100, 300])
    found = draw_pairs(people(person, np.full(400, -1), np.full(400, -1)), wanted=3000, seed=0)
    share = (person[found.same_person[:, 0]] == 0).mean()
    assert share == pytest.approx(4950 / (4950 + 44850), abs=0.02)


@given(second=st.integers(1, 3_000_000), data=st.data())
def test_the_number_of_a_pair_is_undone_exactly(second, data):
    first = data.draw(st.integers(0, second - 1))
    number = second * (second - 1) // 2 + first
    one, other = _unrank(np.array([number]))
    assert (int(one[0]), int(other[0])) == (first, second)


def test_distances_and_their_separation_are_those_of_a_plain_loop():
    features = normalise_rows(np.random.default_rng(1).standard_normal((12, 5)).astype(np.float32))
    person, clothes = np.repeat([0, 1, 2], 4), np.tile([0, 0, 1, 1], 3)
    items = people(person, np.tile([0, 1], 6), clothes, features)
    pairs = draw_pairs(items, 100, 0)
    found = feature_distances(items, pairs)
    naive = {kind: [1 - float(features[i] @ features[j]) for i, j in getattr(pairs, kind)] for kind in KINDS}
    for kind in KINDS:
        np.testing.assert_allclose(found.distances[kind], naive[kind], atol=1e-6)
    expected = separation(np.float32(naive["other_clothes"]), np.float32(naive["different"]))
    assert found.separations["other_clothes"].auc == pytest.approx(expected.auc)
    assert "different" not in found.separations
    np.testing.assert_allclose(cosine_distances(features, np.array([[0, 0]])), [0], atol=1e-6)


def test_without_clothes_ids_one_person_is_one_kind():
    features = normalise_rows(np.random.default_rng(1).standard_normal((6, 3)).astype(np.float32))
    items = people([0, 0, 0, 1, 1, 1], [-1] * 6, [-1] * 6, features)
    pairs = draw_pairs(items, 100, 0)
    section = feature_section({"a": feature_distances(items, pairs)}, pairs)
    assert [row[1] for row in section.tables[0].rows] == ["same person", "different people"]
    assert "left out" not in section.notes[0]
