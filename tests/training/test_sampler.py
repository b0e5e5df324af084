"""The identity sampler against its definition, on drawn label sets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.training.sampler import IdentitySampler


@settings(max_examples=50, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 11), min_size=3, max_size=12),
    images=st.integers(2, 4),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 3),
)
def test_every_batch_has_p_identities_with_k_images(sizes, images, epoch, seed):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    batches = IdentitySampler(labels, 3, images, seed).epoch(epoch)
    assert batches
    used: dict[int, int] = {}
    for batch in batches:
        groups = labels[batch].reshape(3, images)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == 3
        for index in batch:
            used[index] = used.get(index, 0) + 1
    for index, count in used.items():
        assert count == 1 or sizes[labels[index]] < images  # only small identities repeat an image


def test_epochs_differ_and_are_the_same_again():
    labels = np.repeat(np.arange(6), 8)
    first, again = IdentitySampler(labels, 3, 4, 1), IdentitySampler(labels, 3, 4, 1)
    np.testing.assert_array_equal(first.epoch(2), again.epoch(2))
    assert not np.array_equal(first.epoch(2)[0], first.epoch(3)[0])


def test_images_without_a_class_are_never_sampled():
    labels = np.array([0, 0, -1, 1, 1, -1])
    batches = IdentitySampler(labels, 2, 2, 0).epoch(0)
    assert (labels[np.concatenate(batches)] >= 0).all()


def test_too_few_identities_is_an_input_error_that_names_both_numbers():
    with pytest.raises(InputError, match=r"identities_per_batch = 4.*2 identities"):
        IdentitySampler(np.array([0, 1]), 4, 2, 0)
