"""Batches of a fixed size, and the parses in the order of the images."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.parsing.forward import check_images, fixed_batches, images_at_once, parse_in_batches
from pipeline.parsing.parser import Parsing


@given(st.lists(st.sampled_from([(2, 3), (3, 2)]), max_size=9), st.integers(1, 4))
def test_every_input_is_in_one_batch_of_its_shape_and_the_rest_is_zero(shapes, size):
    inputs = [torch.full(shape, number + 1, dtype=torch.uint8) for number, shape in enumerate(shapes)]
    seen = []
    for places, batch in fixed_batches(inputs, size):
        assert len(batch) == size
        assert batch.dtype == torch.uint8
        assert all(torch.equal(row, inputs[place]) for row, place in zip(batch, places, strict=False))
        assert not batch[len(places) :].any()
        seen += places
    assert sorted(seen) == list(range(len(shapes)))


def test_parses_come_in_the_order_of_the_images():
    inputs = [torch.full((1, width, width), float(width)) for width in (2, 3, 2, 3, 2)]

    def label(logits, place):
        return Parsing(np.full((1, 1), int(logits[0, 0, 0]), dtype=np.uint8), place / 10)

    parsings = parse_in_batches(inputs, 2, lambda batch: batch * 5, label)
    assert [int(parsing.label_map[0, 0]) for parsing in parsings] == [10, 15, 10, 15, 10]
    assert [parsing.confidence for parsing in parsings] == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_only_a_cpu_takes_images_one_by_one():
    assert images_at_once(torch.device("cpu"), 8) == 1
    assert images_at_once(torch.device("cuda", 1), 8) == 8


@pytest.mark.parametrize(
    ("shape", "kind"), [((2, 2), "uint8"), ((2, 2, 4), "uint8"), ((2, 2, 3), "float64"), ((0, 2, 3), "uint8")]
)
def test_what_is_no_image_is_refused(shape, kind):
    with pytest.raises(ValueError, match="expected uint8"):
        check_images([np.zeros(shape, kind)])
