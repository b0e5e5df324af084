"""The mean cosine of people, against a loop over all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.training.collapse import COLLAPSED, mean_cosine


@given(st.integers(2, 9), st.integers(1, 6), st.integers(0, 10**6))
def test_it_is_the_mean_over_all_pairs(count, size, seed):
    features = np.random.default_rng(seed).standard_normal((count, size))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    pairs = [float(features[one] @ features[other]) for one in range(count) for other in range(one)]
    assert mean_cosine(features) == pytest.approx(sum(pairs) / len(pairs), abs=1e-6)


def test_equal_features_have_collapsed_and_opposite_ones_have_not():
    one = np.array([[0.6, 0.8, 0.0]], dtype=np.float32)
    assert mean_cosine(one.repeat(64, axis=0)) == pytest.approx(1.0, abs=1e-6)
    assert mean_cosine(one.repeat(64, axis=0)) > COLLAPSED
    assert mean_cosine(np.concatenate([one, -one])) == pytest.approx(-1.0, abs=1e-6)
