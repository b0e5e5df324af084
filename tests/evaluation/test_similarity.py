"""Blocks of similarities: close to float64, and the same bits whatever is scored together by any number of threads."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.evaluation.rerank import reranked_blocks
from pipeline.evaluation.settings import RerankSettings
from pipeline.evaluation.similarity import BLOCK_ROWS, TILE_ITEMS, block_rows, similarity_blocks
from pipeline.features.feature_set import normalise_rows

REGISTER_BLOCKS = (4, 6, 8, 12, 16, 24, 32, 48)
"""Rows or columns that matrix products of MKL, oneDNN, OpenBLAS and BLIS handle at once."""


def unit(rng, *shape):
    return normalise_rows(rng.standard_normal(shape).astype(np.float32))


def all_rows(query, gallery, make_blocks=similarity_blocks):
    return np.concatenate([block.copy() for _, block in make_blocks(query, gallery)])


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(("queries", "items", "dimension"), [(1, 1, 1), (3, 700, 24), (300, 129, 512), (257, 40, 1280)])
def test_close_to_float64_and_independent_of_company_and_threads(queries, items, dimension):
    rng = np.random.default_rng(queries)
    query, gallery = unit(rng, queries, dimension), unit(rng, items, dimension)
    found = all_rows(query, gallery)
    np.testing.assert_allclose(found, query.astype(np.float64) @ gallery.T.astype(np.float64), atol=1e-6)
    some = rng.permutation(queries)[: max(1, queries // 3)]
    np.testing.assert_array_equal(all_rows(query[some], gallery), found[some])
    with threads(2):
        np.testing.assert_array_equal(all_rows(query, gallery), found)


@settings(max_examples=40)
@given(
    seed=st.integers(0, 2**32 - 1),
    queries=st.integers(1, 2 * BLOCK_ROWS + 1),
    items=st.integers(1, 2 * TILE_ITEMS + 1),
    dimension=st.sampled_from([1, 7, 64, 130, 513]),
    workers=st.integers(1, 5),
    spare=st.integers(0, 15),
)
def test_a_score_depends_on_its_two_features_alone(seed, queries, items, dimension, workers, spare):
    rng = np.random.default_rng(seed)
    query, gallery = unit(rng, queries, dimension), unit(rng, items, dimension)
    found = all_rows(query, gallery)
    rows, columns = (rng.permutation(n)[: rng.integers(1, n + 1)] for n in (queries, items))
    memory = np.empty(len(columns) * dimension + spare, dtype=np.float32)  # features may begin anywhere in memory
    moved = memory[spare:].reshape(len(columns), dimension)
    moved[:] = gallery[columns]
    with threads(workers):
        np.testing.assert_array_equal(all_rows(query[rows], moved), found[np.ix_(rows, columns)])


def test_there_is_one_product_for_a_dimension_and_one_thread_does_it(monkeypatch):
    """Its shape, strides, place in memory and number of threads: whatever a library could choose its way by."""
    multiply, products = torch.mm, set()

    def watched(left, right, *, out):
        for tensor in (left, right, out):
            products.add((tensor.dtype, tensor.shape, tensor.stride(), tensor.data_ptr() % 64))
        products.add(torch.get_num_threads())
        return multiply(left, right, out=out)

    monkeypatch.setattr(torch, "mm", watched)
    rng = np.random.default_rng(0)
    for queries, items, workers in [(1, 1, 1), (2, 767, 2), (193, 768, 3), (400, 1537, 4), (192, 40, 8)]:
        with threads(workers):
            all_rows(unit(rng, queries, 37), unit(rng, items, 37))
            assert torch.get_num_threads() == workers  # as the caller has set it
    left, right, product = (torch.float32, (192, 37), (37, 1), 0), (torch.float32, (37, 768), (1, 37), 0), (192, 768)
    assert products == {left, right, (torch.float32, product, (768, 1), 0), 1}


def test_no_row_of_a_product_is_a_remainder_of_the_blocks_of_a_library():
    assert [(BLOCK_ROWS % size, TILE_ITEMS % size) for size in REGISTER_BLOCKS] == [(0, 0)] * len(REGISTER_BLOCKS)


def test_the_number_of_threads_is_restored_after_an_error_and_between_blocks():
    rng = np.random.default_rng(0)
    with threads(3):
        with pytest.raises(RuntimeError, match="cannot be multiplied"):
            all_rows(unit(rng, 5, 8), unit(rng, 5000, 9))
        assert torch.get_num_threads() == 3
        for _ in similarity_blocks(unit(rng, 400, 8), unit(rng, 10, 8)):
            assert torch.get_num_threads() == 3


def test_reranked_distances_do_not_depend_on_threads():
    rng = np.random.default_rng(4)
    query, gallery = unit(rng, 30, 96), unit(rng, 200, 96)
    found = all_rows(query, gallery, lambda *sets: reranked_blocks(*sets, RerankSettings()))
    with threads(3):
        np.testing.assert_array_equal(
            all_rows(query, gallery, lambda *sets: reranked_blocks(*sets, RerankSettings())), found
        )


@pytest.mark.parametrize("dimension", [7, 512, 1280])
def test_equal_features_score_equally(dimension):
    rng = np.random.default_rng(dimension)
    query, gallery = unit(rng, 5, dimension), unit(rng, 1301, dimension)
    copies = [0, 1, 16, 777, 1299, 1300]
    gallery[copies] = gallery[0]
    found = all_rows(query, gallery)[:, copies]
    np.testing.assert_array_equal(found, np.repeat(found[:, :1], len(copies), axis=1))


def test_blocks_of_a_huge_gallery_are_smaller_and_score_the_same(monkeypatch):
    assert block_rows(10) == block_rows(125_353) == block_rows(1_000_000) == 192
    assert block_rows(2_000_000) == 96
    assert block_rows(100_000_000) == 24
    rng = np.random.default_rng(1)
    query, gallery = unit(rng, 100, 33), unit(rng, 900, 33)
    found = all_rows(query, gallery)
    monkeypatch.setattr("pipeline.evaluation.similarity.BLOCK_BYTES", 1)
    assert [len(block) for _, block in similarity_blocks(query, gallery)] == [24, 24, 24, 24, 4]
    np.testing.assert_array_equal(all_rows(query, gallery), found)
