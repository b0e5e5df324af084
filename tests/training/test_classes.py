"""Class numbers, and clothes classes by clustering, against drawn blobs."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.training.classes import (
    NO_CLASS,
    choose_clothes_source,
    clothes_of_identities,
    cluster_clothes,
    index_classes,
)


def test_ids_are_numbered_in_ascending_order():
    index = index_classes(np.array([70, -1, 3, 70, 12]))
    assert index.ids.tolist() == [3, 12, 70]
    assert index.labels.tolist() == [2, NO_CLASS, 0, 2, 1]
    assert len(index) == 3


@pytest.mark.parametrize(("ids", "source"), [([1, 2], "labels"), ([-1, 4], "labels"), ([-1, -1], "cluster")])
def test_auto_uses_labels_where_there_are_any(ids, source):
    assert choose_clothes_source("auto", np.array(ids)) == source


def test_asking_for_labels_that_do_not_exist_is_an_error():
    with pytest.raises(InputError, match="no clothes_id; use cluster, image or none"):
        choose_clothes_source("labels", np.array([-1, -1]))


def test_clusters_are_the_outfits_and_never_cross_identities():
    generator = np.random.default_rng(0)
    outfits = generator.standard_normal((3, 16))
    truth = np.repeat([0, 1, 2, 0, 2], 6)  # identity 0 wears 0, 1, 2; identity 1 wears 0, 2
    identities = np.repeat([0, 0, 0, 1, 1], 6)
    features = (outfits[truth] + 0.05 * generator.standard_normal((30, 16))).astype(np.float32)
    labels = cluster_clothes(features, identities, distance=0.2)
    assert sorted(set(labels)) == [0, 1, 2, 3, 4]
    for block in range(5):
        assert len(set(labels[block * 6 : block * 6 + 6])) == 1
    assert not set(labels[identities == 0]) & set(labels[identities == 1])


def test_distance_two_joins_everything_and_zero_nothing():
    features = np.random.default_rng(1).standard_normal((8, 4)).astype(np.float32)
    identities = np.array([0] * 4 + [1] * 3 + [-1])
    assert len(set(cluster_clothes(features, identities, 2.0)[:7])) == 2
    assert len(set(cluster_clothes(features, identities, 0.0)[:7])) == 7
    assert cluster_clothes(features, identities, 0.0)[7] == NO_CLASS


def naive_clusters(features: np.ndarray, limit: float) -> list[frozenset[int]]:
    """Merge the two nearest clusters, by the mean distance over all pairs, until none is near enough."""
    normalised = features / np.linalg.norm(features, axis=1, keepdims=True)
    distances = 1 - normalised @ normalised.T
    clusters = [[point] for point in range(len(features))]
    while len(clusters) > 1:
        pairs = [(i, j) for i in range(len(clusters)) for j in range(i)]
        means = [distances[np.ix_(clusters[i], clusters[j])].mean() for i, j in pairs]
        best = int(np.argmin(means))
        if means[best] > limit:
            break
        i, j = pairs[best]
        clusters[j] += clusters.pop(i)
    return sorted((frozenset(cluster) for cluster in clusters), key=min)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 14), st.floats(0.05, 1.5))
def test_clusters_equal_the_plain_search_for_the_nearest_pair(seed, count, limit):
    features = np.random.default_rng(seed).standard_normal((count, 4))
    labels = cluster_clothes(features.astype(np.float32), np.zeros(count, dtype=np.int64), limit)
    found = [frozenset(np.flatnonzero(labels == number).tolist()) for number in range(labels.max() + 1)]
    assert found == naive_clusters(features, limit)


def test_an_identity_with_thousands_of_images_takes_seconds():
    features = np.random.default_rng(0).standard_normal((2500, 8)).astype(np.float32)
    started = time.process_time()
    labels = cluster_clothes(features, np.zeros(2500, dtype=np.int64), 0.3)
    assert time.process_time() - started < 20  # n^3 takes minutes
    assert 1 < len(set(labels)) < 2500


def test_equal_images_are_one_class_at_any_distance():
    features = np.ones((6, 3), dtype=np.float32)
    assert set(cluster_clothes(features, np.zeros(6, dtype=np.int64), 0.01)) == {0}


def test_clothes_of_identities_lists_each_ones_classes():
    identities = np.array([2, 0, 2, 0, 1, 2, 2])
    clothes = np.array([5, 1, 3, 1, NO_CLASS, 5, 4])
    assert clothes_of_identities(identities, clothes).tolist() == [
        [1, NO_CLASS, NO_CLASS], [NO_CLASS, NO_CLASS, NO_CLASS], [3, 4, 5],
    ]  # fmt: skip
