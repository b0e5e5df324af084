"""Redressed raw views: functions of seed, epoch and step, whatever the threads, ranks and resumes; their classes."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.garments import CLOTHES
from pipeline.labels import LIP
from pipeline.losses.cal import clothes_adversarial_loss, positive_clothes
from pipeline.redress.regions import region_table
from pipeline.redress.settings import RedressSettings
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import ImageStore
from pipeline.training.batches import EncoderBatch, EncoderData
from pipeline.training.classes import NO_CLASS
from pipeline.training.redressing import Dresser, draw_batch
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import ViewSettings

SIZE = (32, 16)
IMAGES = 24
IDENTITIES = np.repeat(np.arange(6), 4)
CLASSES = np.arange(IMAGES) // 2


class _People:
    """Images of people in a top and trousers, of their own colours."""

    class metadata:  # noqa: N801
        labels = LIP.labels

    def image(self, index: int) -> np.ndarray:
        generator = np.random.default_rng(index)
        image = generator.integers(100, 130, (*SIZE, 3), dtype=np.uint8)
        for rows, seed in ((slice(8, 18), 1), (slice(18, 30), 2)):
            colour = np.random.default_rng([index, seed]).integers(20, 235, 3)
            image[rows, 4:12] = np.clip(colour + generator.integers(-15, 16, (rows.stop - rows.start, 8, 1)), 0, 255)
        return image

    def label_map(self, index: int) -> np.ndarray:
        labels = np.zeros(SIZE, dtype=np.uint8)
        labels[2:8, 6:10], labels[8:18, 4:12], labels[18:30, 4:12] = 13, 5, 9
        return labels if index else np.where(labels == 13, labels, 0).astype(np.uint8)  # the first wears nothing known

    def mask(self, index: int) -> np.ndarray:
        return np.isin(self.label_map(index), (5, 9))


def _data(**settings: object) -> EncoderData:
    store, rows = ImageStore(_People(), SIZE, threads=1), np.arange(IMAGES)
    chosen = RedressSettings(**{"redress": 0.6, "redress_outfits": 3, **settings})
    return EncoderData(
        store=store,
        rows=rows,
        identities=IDENTITIES,
        clothes_classes=CLASSES,
        sampler=IdentitySampler(IDENTITIES, 4, 2, seed=5),
        mean=(0.0, 0.0, 0.0),
        std=(1 / 255, 1 / 255, 1 / 255),
        views=ViewSettings(pad=0, flip_probability=0, erase_probability=0),
        seed=5,
        dresser=Dresser(chosen, _People(), store, rows, CLASSES) if chosen.redress else None,
    )


def _same(ours: Sequence[EncoderBatch], theirs: Sequence[EncoderBatch]) -> bool:
    names = [name for name in EncoderBatch.__dataclass_fields__ if isinstance(getattr(ours[0], name), torch.Tensor)]
    return len(ours) == len(theirs) > 0 and all(
        torch.equal(getattr(one, name), getattr(other, name))
        for one, other in zip(ours, theirs, strict=True)
        for name in names
    )


def _changed(batch: EncoderBatch) -> np.ndarray:
    original = np.stack([_People().image(int(row)) for row in batch.rows]).transpose(0, 3, 1, 2)
    return np.abs(batch.raw.numpy() - original).max(axis=(1, 2, 3)) > 0.5


def test_some_raw_views_are_redressed_and_no_shielding_view_is() -> None:
    batches, plain = list(_data().epoch(0).batches), list(_data(redress=0).epoch(0).batches)
    changed = np.concatenate([_changed(batch) for batch in batches])
    assert 0.3 < changed.mean() < 0.9
    assert not np.concatenate([_changed(batch) for batch in plain]).any()
    for ours, theirs in zip(batches, plain, strict=True):
        assert torch.equal(ours.shielding, theirs.shielding)
        np.testing.assert_array_equal(ours.clothes_classes.numpy() == NO_CLASS, _changed(ours))
        kept = ~_changed(ours)
        assert torch.equal(ours.raw[kept], theirs.raw[kept])
        assert torch.equal(ours.identities, theirs.identities)


def test_threads_resumes_and_ranks_change_nothing() -> None:
    data = _data()
    alone = list(replace(data, loading=LoadingSettings(ahead=0)).epoch(2).batches)
    assert _same(list(replace(data, loading=LoadingSettings(threads=3, ahead=4)).epoch(2).batches), alone)
    assert _same(list(data.epoch(2, start_step=1).batches), alone[1:])
    for batch in alone:
        assert batch.known is not None
        assert batch.known.dressed.tolist() == np.flatnonzero(batch.clothes_classes.numpy() != NO_CLASS).tolist()
    halves = [list(data.epoch(2, rank=rank, world=2).batches) for rank in range(2)]
    assert all(batch.known is None for half in halves for batch in half), "what other ranks wear is not known to one"
    for whole, first, second in zip(alone, *halves, strict=True):
        by_row = {int(row): place for place, row in enumerate(whole.rows)}
        places = [by_row[int(row)] for row in torch.cat([first.rows, second.rows])]
        assert torch.equal(torch.cat([first.raw, second.raw]), whole.raw[places])
        assert torch.equal(torch.cat([first.clothes_classes, second.clothes_classes]), whole.clothes_classes[places])
    assert not torch.equal(alone[0].raw, next(iter(data.epoch(3).batches)).raw)


def test_several_identities_of_a_batch_wear_the_same() -> None:
    batch = next(iter(_data(redress=1, redress_outfits=1, redress_kinds=("colour",)).epoch(1).batches))
    worn = batch.raw.numpy()[_changed(batch)][:, :, 11:15, 6:10].mean(axis=(2, 3))
    assert len(worn) > 4
    assert np.ptp(worn, axis=0).max() < 25  # of one colour, but for light and folds


def test_a_donor_gives_its_class_where_that_is_asked_for() -> None:
    data = _data(redress=1, redress_kinds=("donor",), redress_classes="donor")
    batch = next(iter(data.epoch(0).batches))
    settings = RedressSettings(redress=1, redress_kinds=("donor",), redress_outfits=3)
    drawn = draw_batch(settings, [5, 0, 0], len(batch.rows), IMAGES)
    expected = np.where(batch.rows.numpy() == 0, CLASSES[0], CLASSES[drawn.donor[drawn.outfit]])
    shown = drawn.donor[drawn.outfit] != 0  # the first image has nothing to lend
    np.testing.assert_array_equal(batch.clothes_classes.numpy()[shown], expected[shown])
    mixed = _data(redress=1, redress_kinds=("colour",), redress_classes="donor")
    classes = next(iter(mixed.epoch(0).batches)).clothes_classes
    assert set(classes.tolist()) <= {NO_CLASS, int(CLASSES[0])}  # nobody lent these, and the first wears its own


def test_what_has_no_garment_keeps_its_class_and_what_has_no_class_gets_none() -> None:
    store = ImageStore(_People(), SIZE, threads=1)
    settings = RedressSettings(redress=1, redress_kinds=("donor",), redress_classes="donor")
    dresser = Dresser(settings, _People(), store, np.arange(1, IMAGES), CLASSES[1:])
    rows = np.array([0, 1, 2])
    raw = store.planes(("raw",), rows)[0]
    done = dresser.dress(raw, rows, np.array([7, NO_CLASS, 3]), [0, 0, 0])
    assert done.clothes_classes[0] == 7
    assert done.clothes_classes[1] == NO_CLASS
    assert done.clothes_classes[2] >= 0


def test_foreign_clothes_are_among_cals_positives() -> None:
    own = positive_clothes(torch.tensor([0]), torch.tensor([[0, 1]]), 4)
    classes, logits = torch.tensor([3]), torch.tensor([[1.0, 2.0, 0.5, 1.5]])
    positives = own.scatter(1, classes[:, None], True)
    loss = clothes_adversarial_loss(logits, classes, positives, 0.1)
    negatives = np.exp(0.5)
    terms = {k: np.log(np.exp(z) / (np.exp(z) + negatives)) for k, z in ((0, 1.0), (1, 2.0), (3, 1.5))}
    wanted = -(0.1 / 3 * sum(terms.values()) + 0.9 * terms[3])
    assert float(loss) == pytest.approx(wanted, abs=1e-6)


def test_garments_by_option() -> None:
    assert region_table(LIP.labels, (*CLOTHES, "shoes", "hat")).numbers.astype(bool).sum() == 9
