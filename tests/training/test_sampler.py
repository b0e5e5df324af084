"""The identity sampler against its definition, on drawn label sets."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.training.sampler import IdentitySampler


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 11), min_size=4, max_size=12),
    images=st.integers(2, 4),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 3),
    spread=st.sampled_from(["none", "outfits", "cameras", "both"]),
)
def test_every_batch_has_p_identities_with_k_images(sizes, images, epoch, seed, spread):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    ids = {name: np.append(rng.integers(-1, 3, len(labels) - 1), 0) for name in ("outfits", "cameras")}
    batches = IdentitySampler(labels, 4, images, seed, spread=spread, **ids).epoch(epoch)
    assert len(batches)
    used: Counter[int] = Counter()
    for batch in batches:
        groups = labels[batch].reshape(4, images)
        assert (groups == groups[:, :1]).all()
        assert len(set(groups[:, 0])) == 4
        for group in batch.reshape(4, images):
            times = Counter(group.tolist())
            size = sizes[labels[group[0]]]
            assert set(times.values()) <= {images // size, -(-images // size)} if size < images else {1}
            used.update(dict.fromkeys(times, 1) if size < images else times)
    assert set(used.values()) == {1}  # no image comes twice in an epoch but to fill a small identity's group


@settings(max_examples=40, deadline=None)
@given(sizes=st.lists(st.integers(1, 11), min_size=4, max_size=12), world=st.sampled_from([1, 2, 4]))
def test_ranks_side_by_side_are_the_batch_of_one_process(sizes, world):
    labels = np.repeat(np.arange(len(sizes)), sizes)
    sampler = IdentitySampler(labels, 4, 3, seed=2)
    whole = sampler.epoch(1)
    shares = [sampler.epoch(1, rank, world) for rank in range(world)]
    np.testing.assert_array_equal(np.concatenate(shares, axis=1), whole)
    for step in range(len(whole)):
        persons = [set(labels[share[step]].tolist()) for share in shares]
        assert sum(len(some) for some in persons) == len(set().union(*persons)) == 4


def test_a_world_that_does_not_divide_the_identities_is_refused():
    with pytest.raises(InputError, match=r"identities_per_batch = 4 cannot be shared out to 3 workers"):
        IdentitySampler(np.arange(4), 4, 2, 0).epoch(0, 0, 3)


@settings(max_examples=60, deadline=None)
@given(
    keys=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=4, max_size=30),
    images=st.integers(2, 5),
    seed=st.integers(0, 5),
)
def test_spread_groups_have_as_many_outfits_and_cameras_as_are_left(keys, images, seed):
    outfits, cameras = (np.array(column) for column in zip(*keys, strict=True))
    everything = np.arange(len(keys))
    for spread, first in (("outfits", outfits), ("cameras", cameras), ("both", outfits)):
        sampler = IdentitySampler(
            np.zeros_like(outfits), 1, images, seed, spread=spread, outfits=outfits, cameras=cameras
        )
        groups = sampler._groups(everything, np.random.default_rng(seed))
        if len(keys) < images:
            continue
        assert groups.shape == (len(keys) // images, images)
        left = Counter(first.tolist())
        for group in groups:
            assert len(set(first[group].tolist())) == min(images, sum(count > 0 for count in left.values()))
            had = Counter(first[group].tolist())
            for key, count in had.items():  # nothing comes once more while another that is left came less
                assert all(count - 1 <= had[other] for other in left if left[other] > had[other] and other != key)
            left.subtract(had)


def test_spread_over_both_takes_another_camera_for_each_outfit():
    outfits, cameras = np.repeat(np.arange(2), 8), np.tile(np.repeat(np.arange(2), 4), 2)
    sampler = IdentitySampler(np.zeros(16, np.int64), 1, 4, 0, spread="both", outfits=outfits, cameras=cameras)
    for group in sampler.epoch(0):
        assert sorted(zip(outfits[group], cameras[group], strict=True)) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_spread_deals_the_largest_outfits_first_so_that_no_group_of_one_outfit_is_left():
    outfits = np.repeat([0, 1, 2], [6, 3, 3])
    sampler = IdentitySampler(np.zeros(12, np.int64), 1, 2, 0, spread="outfits", outfits=outfits)
    for epoch in range(5):
        assert all(len(set(outfits[group].tolist())) == 2 for group in sampler.epoch(epoch))


def test_spread_without_the_ids_is_refused():
    with pytest.raises(ValueError, match=r"spread both needs the ids of outfits and cameras"):
        IdentitySampler(np.arange(4), 2, 2, 0, spread="both", outfits=np.arange(4))


@pytest.mark.parametrize("spread", ["outfits", "cameras", "both"])
def test_spread_over_ids_that_no_image_has_is_refused(spread):
    unknown = np.full(4, -1)
    known = np.arange(4)
    ids = {"outfits": known, "cameras": unknown} if spread != "outfits" else {"outfits": unknown, "cameras": known}
    with pytest.raises(InputError, match=rf"encoder.spread = {spread}, but no training image has known"):
        IdentitySampler(np.arange(4), 2, 2, 0, spread=spread, **ids)


def test_epochs_differ_and_are_the_same_again():
    labels = np.repeat(np.arange(6), 8)
    first, again = IdentitySampler(labels, 3, 4, 1), IdentitySampler(labels, 3, 4, 1)
    np.testing.assert_array_equal(first.epoch(2), again.epoch(2))
    assert not np.array_equal(first.epoch(2)[0], first.epoch(3)[0])


def test_images_without_a_class_are_never_sampled():
    labels = np.array([0, 0, -1, 1, 1, -1])
    batches = IdentitySampler(labels, 2, 2, 0).epoch(0)
    assert (labels[np.concatenate(batches)] >= 0).all()


@pytest.mark.parametrize("labels", [[0, 1], [-1, -1], []])
def test_too_few_identities_is_an_input_error_that_names_both_numbers(labels):
    count = len({label for label in labels if label >= 0})
    with pytest.raises(InputError, match=rf"identities_per_batch = 4.*{count} identities"):
        IdentitySampler(np.array(labels, dtype=np.int64), 4, 2, 0)
