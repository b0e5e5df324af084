"""Re-ranking against a dense calculation with sets, written from the paper's equations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.evaluation.rerank import bytes_needed, reranked_blocks
from pipeline.evaluation.settings import RerankSettings
from pipeline.features.feature_set import normalise_rows


def dense(query, gallery, k1, k2, share):
    """d* (Q, G) with explicit sets and full matrices, in float64."""
    items = np.concatenate([query, gallery]).astype(np.float64)
    total = len(items)
    distance = np.maximum(2 - 2 * items @ items.T, 0)
    distance /= distance.max(axis=1, keepdims=True)
    order = []
    for i in range(total):
        others = sorted((j for j in range(total) if j != i), key=lambda j: (round(distance[i, j], 9), j))
        order.append([i, *others])

    def reciprocal(i, k):
        return {j for j in order[i][: k + 1] if i in order[j][: k + 1]}

    encoded = np.zeros((total, total))
    for i in range(total):
        expanded = set(reciprocal(i, k1))
        for j in reciprocal(i, k1):
            theirs = reciprocal(j, round(k1 / 2))
            if 3 * len(theirs & reciprocal(i, k1)) > 2 * len(theirs):
                expanded |= theirs
        for j in expanded:
            encoded[i, j] = np.exp(-distance[i, j])
        encoded[i] /= encoded[i].sum()
    averaged = np.array([np.mean([encoded[j] for j in order[i][:k2]], axis=0) for i in range(total)])
    result = np.empty((len(query), len(gallery)))
    for q in range(len(query)):
        for g in range(len(gallery)):
            a, b = averaged[q], averaged[len(query) + g]
            jaccard = 1 - np.minimum(a, b).sum() / np.maximum(a, b).sum()
            result[q, g] = (1 - share) * jaccard + share * distance[q, len(query) + g]
    return result


def reranked(query, gallery, settings):
    return -np.concatenate([block.copy() for _, block in reranked_blocks(query, gallery, settings)])


def clustered(rng, count, identities=5, dimension=6):
    centres = rng.standard_normal((identities, dimension))
    values = centres[rng.integers(0, identities, count)] + 0.6 * rng.standard_normal((count, dimension))
    return normalise_rows(values.astype(np.float32))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    counts=st.tuples(st.integers(1, 6), st.integers(1, 40)),
    k1=st.integers(1, 12),
    k2=st.integers(1, 4),
    share=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_equal_to_the_dense_calculation(seed, counts, k1, k2, share):
    rng = np.random.default_rng(seed)
    query, gallery = clustered(rng, counts[0]), clustered(rng, counts[1])
    method = RerankSettings(rerank_neighbours=k1, rerank_averaged=k2, rerank_lambda=share)
    found = reranked(query, gallery, method)
    np.testing.assert_allclose(found, dense(query, gallery, k1, k2, share), atol=2e-5)


def test_many_small_parts_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    query, gallery = clustered(rng, 6), clustered(rng, 50)
    whole = reranked(query, gallery, RerankSettings())
    monkeypatch.setattr("pipeline.evaluation.rerank.ROWS_AT_ONCE", 7)
    np.testing.assert_allclose(reranked(query, gallery, RerankSettings()), whole, atol=1e-7)


def test_too_large_sets_are_refused_before_any_work():
    query, gallery = np.zeros((2, 4), dtype=np.float32), np.zeros((30, 4), dtype=np.float32)
    with pytest.raises(InputError, match=r"2 queries and 30 gallery items may need .*rerank_gigabytes is 1e-06"):
        next(iter(reranked_blocks(query, gallery, RerankSettings(rerank_gigabytes=1e-6))))
    assert (
        bytes_needed(10_176, 125_353, 1280, RerankSettings()) > 4e9 > bytes_needed(493, 7_050, 1280, RerankSettings())
    )
