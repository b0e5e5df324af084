"""Batches of stage 2: functions of seed, epoch and step, whatever the threads, the ranks and where a run resumed."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import InputError
from pipeline.losses.terms import Known
from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import open_store
from pipeline.training.batches import EncoderBatch, EncoderData
from pipeline.training.classes import index_classes
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import ViewSettings
from pipeline.training.views import augment, draw_geometry

SIZE = (32, 16)
MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)


@pytest.fixture(scope="module")
def data(picture_shards, tmp_path_factory) -> EncoderData:
    reader = ShardReader(picture_shards)
    rows = reader.select("train")
    labels = index_classes(reader.ids.person_id[rows]).labels
    return EncoderData(
        store=open_store(reader, rows, SIZE, folder=tmp_path_factory.mktemp("pixels")),
        rows=rows,
        identities=labels,
        clothes_classes=reader.ids.clothes_id[rows],
        sampler=IdentitySampler(labels, 2, 2, seed=3),
        mean=MEAN,
        std=STD,
        views=ViewSettings(pad=3),
        seed=3,
        cameras=reader.ids.camera_id[rows].astype(np.int64),
    )


TENSORS = [name for name in EncoderBatch.__dataclass_fields__ if name != "known"]


def same(ours: EncoderBatch, theirs: EncoderBatch) -> bool:
    pairs = [(getattr(ours, name), getattr(theirs, name)) for name in TENSORS]
    pairs += [(getattr(ours.known, name), getattr(theirs.known, name)) for name in Known.__dataclass_fields__]
    return all(torch.equal(one, other) for one, other in pairs)


def all_same(ours: Sequence[EncoderBatch], theirs: Sequence[EncoderBatch]) -> bool:
    return len(ours) == len(theirs) > 0 and all(map(same, ours, theirs))


def test_a_batch_holds_the_augmented_images_of_its_rows_and_their_labels(data):
    positions = data.sampler.epoch(1)
    batch = list(data.epoch(1).batches)[2]
    geometry = draw_geometry(np.random.default_rng([3, 1, 2, 0]), 4, SIZE, pad=3)
    planes = data.store.planes(("raw", "shielding"), data.rows[positions[2]])
    for ours, theirs in zip((batch.raw, batch.shielding), planes, strict=True):
        assert torch.equal(ours, augment(theirs, geometry, geometry.noise(), mean=MEAN, std=STD, pad=3))
    assert batch.identities.tolist() == data.identities[positions[2]].tolist()
    assert batch.clothes_classes.tolist() == data.clothes_classes[positions[2]].tolist()
    assert batch.cameras.tolist() == data.cameras[positions[2]].tolist()
    assert batch.rows.tolist() == positions[2].tolist()


def test_a_batch_knows_what_the_terms_would_ask_its_labels(data):
    classes = np.where(np.arange(len(data.rows)) % 3, data.clothes_classes, -1)
    for batch in replace(data, clothes_classes=classes).epoch(3).batches:
        identities = sorted(set(batch.identities.tolist()))
        assert batch.known.dressed.tolist() == [row for row, own in enumerate(batch.clothes_classes) if own >= 0]
        assert batch.known.members.tolist() == [identities.index(own) for own in batch.identities.tolist()]
        assert batch.known.counts.tolist() == [batch.identities.tolist().count(identity) for identity in identities]


def test_cameras_are_the_data_sets_ids_and_an_unknown_one_is_minus_one(data):
    batches = list(data.epoch(0).batches) + list(data.epoch(1).batches)
    numbers = torch.cat([batch.cameras for batch in batches])
    assert numbers.dtype == torch.int64
    assert set(numbers.tolist()) == {-1, 1, 2}


def test_without_cameras_all_are_minus_one(data):
    batch = next(iter(replace(data, cameras=None).epoch(0).batches))
    assert batch.cameras.tolist() == [-1] * 4


@pytest.mark.parametrize(("threads", "ahead"), [(1, 1), (3, 5)])
def test_threads_change_nothing(data, threads, ahead):
    alone = list(replace(data, loading=LoadingSettings(ahead=0)).epoch(4).batches)
    assert all_same(list(replace(data, loading=LoadingSettings(threads=threads, ahead=ahead)).epoch(4).batches), alone)


@pytest.mark.parametrize("geometry", ["shared", "independent"])
def test_a_resume_in_the_middle_of_an_epoch_gives_the_same_batches(data, geometry):
    data = replace(data, views=ViewSettings(pad=3, view_geometry=geometry))
    whole = data.epoch(2)
    expected = list(whole.batches)
    for start in range(1, whole.steps):
        rest = data.epoch(2, start_step=start)
        assert rest.steps == whole.steps
        assert all_same(list(rest.batches), expected[start:])
    assert not list(data.epoch(2, start_step=whole.steps).batches)


@pytest.mark.parametrize("geometry", ["shared", "independent"])
def test_ranks_together_see_the_batch_of_one_process(data, geometry):
    data = replace(data, views=ViewSettings(pad=3, view_geometry=geometry))
    whole = list(data.epoch(5).batches)
    shares = [list(data.epoch(5, rank=rank, world=2).batches) for rank in range(2)]
    together = [
        EncoderBatch(*(torch.cat([getattr(part, name) for part in parts]) for name in TENSORS), known=parts[1].known)
        for parts in zip(*shares, strict=True)
    ]
    assert all_same(together, whole)
    with pytest.raises(InputError, match="cannot be shared out to 3 workers"):
        data.epoch(0, rank=0, world=3)


def test_epochs_steps_and_seeds_have_augmentations_of_their_own(data):
    first = list(data.epoch(0).batches)
    again = list(data.epoch(0).batches)
    assert all_same(first, again)
    other = list(replace(data, seed=4).epoch(0).batches)
    assert not any(torch.equal(ours.raw, theirs.raw) for ours, theirs in zip(first, other, strict=True))


def test_shared_views_have_one_geometry_and_independent_ones_their_own(data):
    def flips(batch: EncoderBatch) -> int:
        """Images whose raw and shielding views agree on the most of their pixels: their geometry is the same."""
        share = (batch.raw == batch.shielding).all(dim=1).float().mean(dim=(1, 2))
        return int((share > 0.25).sum())

    plain = replace(data, views=ViewSettings(pad=3, erase_probability=0.0))
    shared = sum(flips(batch) for batch in plain.epoch(0).batches)
    apart = sum(
        flips(batch)
        for batch in replace(plain, views=ViewSettings(pad=3, erase_probability=0.0, view_geometry="independent"))
        .epoch(0)
        .batches
    )
    images = 4 * plain.epoch(0).steps
    assert shared == images
    assert apart < images / 2


def test_batches_that_are_kept_are_not_overwritten(data):
    kept = list(data.epoch(0).batches)
    copies = [batch.raw.clone() for batch in kept]
    for _ in data.epoch(1).batches:
        pass
    assert all(torch.equal(batch.raw, copy) for batch, copy in zip(kept, copies, strict=True))
