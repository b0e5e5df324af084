"""Class numbers, and clothes classes by clustering, against drawn blobs."""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.training.classes import NO_CLASS, choose_clothes_source, cluster_clothes, index_classes


def test_ids_are_numbered_in_ascending_order():
    index = index_classes(np.array([70, -1, 3, 70, 12]))
    assert index.ids.tolist() == [3, 12, 70]
    assert index.labels.tolist() == [2, NO_CLASS, 0, 2, 1]
    assert len(index) == 3


@pytest.mark.parametrize(("ids", "source"), [([1, 2], "labels"), ([-1, 4], "labels"), ([-1, -1], "cluster")])
def test_auto_uses_labels_where_there_are_any(ids, source):
    assert choose_clothes_source("auto", np.array(ids)) == source


def test_asking_for_labels_that_do_not_exist_is_an_error():
    with pytest.raises(InputError, match="no clothes_id; use cluster or none"):
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
