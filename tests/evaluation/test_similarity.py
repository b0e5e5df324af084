"""Blocks of similarities: close to float64, and the same bits whatever is scored together."""

import numpy as np
import pytest
import torch

from pipeline.evaluation.similarity import block_rows, similarity_blocks
from pipeline.features.feature_set import normalise_rows


def unit(rng, *shape):
    return normalise_rows(rng.standard_normal(shape).astype(np.float32))


def all_rows(query, gallery):
    return np.concatenate([block.copy() for _, block in similarity_blocks(query, gallery)])


@pytest.mark.parametrize(("queries", "items", "dimension"), [(1, 1, 1), (3, 700, 24), (300, 129, 512), (257, 40, 1280)])
def test_close_to_float64_and_independent_of_company_and_threads(queries, items, dimension):
    rng = np.random.default_rng(queries)
    query, gallery = unit(rng, queries, dimension), unit(rng, items, dimension)
    found = all_rows(query, gallery)
    np.testing.assert_allclose(found, query.astype(np.float64) @ gallery.T.astype(np.float64), atol=1e-6)
    some = rng.permutation(queries)[: max(1, queries // 3)]
    np.testing.assert_array_equal(all_rows(query[some], gallery), found[some])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        np.testing.assert_array_equal(all_rows(query, gallery), found)
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dimension", [7, 512, 1280])
def test_equal_features_score_equally(dimension):
    rng = np.random.default_rng(dimension)
    query, gallery = unit(rng, 5, dimension), unit(rng, 1301, dimension)
    copies = [0, 1, 16, 777, 1299, 1300]
    gallery[copies] = gallery[0]
    found = all_rows(query, gallery)[:, copies]
    np.testing.assert_array_equal(found, np.repeat(found[:, :1], len(copies), axis=1))


def test_blocks_of_a_huge_gallery_are_smaller():
    assert block_rows(10) == block_rows(125_353) == 256
    assert block_rows(1_000_000) == 128
    assert block_rows(100_000_000) == 32
