"""Samples by identity: the right images of the right person, and batches for a loop of one's own."""

import pickle

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.shards.reader import ShardReader
from pipeline.training.samples import open_samples

SIZE = (32, 16)


def test_all_images_of_a_person_in_the_order_of_the_shards(picture_shards, tmp_path):
    samples = open_samples(picture_shards, SIZE, cache=tmp_path)
    ids = ShardReader(picture_shards, tmp_path).ids
    assert len(samples) == 36
    assert samples.identities.tolist() == [100, 107, 114, 121, 128, 135]
    for person in samples.identities:
        batch = samples.of_identity(int(person))
        rows = np.flatnonzero(ids.person_id == person)
        np.testing.assert_array_equal(batch.index, rows)
        assert batch.image_id.tolist() == ids.image_id[rows].tolist()
        assert batch.clothes_id.tolist() == ids.clothes_id[rows].tolist()
        assert torch.equal(batch.raw, samples.store.raw(rows))
        assert torch.equal(batch.shielding, samples.store.shielding(rows))


def test_a_split_has_its_own_persons_only(picture_shards, tmp_path):
    samples = open_samples(picture_shards, SIZE, split="train", cache=tmp_path)
    assert samples.identities.tolist() == [100, 107, 114, 121]
    with pytest.raises(InputError, match=r"no image of person 128 among these 24 of"):
        samples.of_identity(128)
    with pytest.raises(InputError, match="no split val"):
        open_samples(picture_shards, SIZE, split="val", cache=tmp_path)


def test_batches_of_persons_and_images_are_the_samplers(picture_shards, tmp_path):
    samples = pickle.loads(pickle.dumps(open_samples(picture_shards, SIZE, split="train", cache=tmp_path)))
    batches = list(samples.batches(identities=2, images=3, seed=1, epoch=2, spread="outfits"))
    assert batches
    for batch in batches:
        persons = batch.person_id.reshape(2, 3)
        assert (persons == persons[:, :1]).all()
        assert persons[0, 0] != persons[1, 0]
        assert all(len(set(outfits)) == 3 for outfits in batch.clothes_id.reshape(2, 3).tolist())
        assert torch.equal(batch.raw, samples.store.raw(batch.index))
    again = samples.batches(identities=2, images=3, seed=1, epoch=2, spread="outfits", ahead=0)
    assert [batch.index.tolist() for batch in again] == [batch.index.tolist() for batch in batches]
