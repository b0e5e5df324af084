"""Stage 2 in two real processes (gloo): each decodes its own share, and losses and gradients are the whole batch's."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from test_encoder_training import HALF, make_task

from pipeline.errors import InputError
from pipeline.precision import Precision
from pipeline.shards.store import ImageStore
from pipeline.trainer import distributed
from pipeline.trainer.distributed import ALONE, GradientMean, Ranks, current_ranks, join_shares, share_of
from pipeline.trainer.gradients import GradientMaker, weighted_sum
from pipeline.training.batches import EncoderBatch, EncoderData
from pipeline.training.encoder_task import EncoderTask
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import SamplerSettings, ViewSettings
from pipeline.transfer import Carrier

WORLD = 2
SIZE = (64, 32)
IDENTITIES = np.repeat(np.arange(4), 4)
CLOTHES = np.where(np.arange(16) % 4 == 3, -1, np.arange(16) // 2)
EPOCH = 3

CASES = {
    "whole": ("ccaf", 1, ()),
    "in two parts": ("ccaf", 2, ()),
    "examining": ("cal", 1, ("cal_classifier",)),
    "the others of the same method": ("cal", 1, ("identity", "cal_adversarial")),
}
"""Method, parts of a batch, and the terms of the step; none named: all."""


class Photographs:
    """Sixteen random pictures with masks; notes which were decoded."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (16, *SIZE, 3), dtype=np.uint8)
        self.decoded: Counter[int] = Counter()

    def image(self, index):
        self.decoded[int(index)] += 1
        return self.images[index]

    def mask(self, index):
        return np.indices(SIZE)[0] > 20 + index


def make_data(source: Photographs) -> EncoderData:
    return EncoderData(
        store=ImageStore(source, SIZE),
        rows=np.arange(16),
        identities=IDENTITIES,
        clothes_classes=CLOTHES,
        sampler=IdentitySampler(IDENTITIES, 4, 2, seed=5),
        mean=HALF,
        std=HALF,
        views=ViewSettings(pad=3),
        seed=5,
    )


def first_batch(data: EncoderData, ranks: Ranks = ALONE) -> EncoderBatch:
    batches = data.epoch(EPOCH, 0, ranks.rank, ranks.world).batches
    batch = next(batches)
    batches.close()
    return batch


def case(name: str, config: str) -> tuple[EncoderTask, int, dict[str, float]]:
    method, parts, chosen = CASES[name]
    task = make_task(Path(config), method).train()
    weights = {term: weight for term, weight in task.loss_weights.items() if not chosen or term in chosen}
    return task, parts, weights


def step(task: EncoderTask, batch: EncoderBatch, ranks: Ranks, parts: int, weights: dict[str, float]) -> dict:
    """Losses and gradients, and of each message whether it left before the backward pass had come to its end."""
    last = next(task.image_encoder.parameters())
    left: list[bool] = []
    send = dist.all_reduce

    def all_reduce(tensor, **options):
        left.append(last.grad is None)
        return send(tensor, **options)

    maker = GradientMaker(task, Precision(), parts, ranks)
    losses, cached = maker.losses(batch)
    distributed.dist.all_reduce = all_reduce
    try:
        maker.backward(weighted_sum(losses, weights), cached)
    finally:
        distributed.dist.all_reduce = send
    return {
        "losses": {name: loss.item() for name, loss in losses.items()},
        "gradients": {name: parameter.grad for name, parameter in task.named_parameters()},
        "left early": left,
    }


def work(rank: int, folder: str, config: str) -> None:
    torch.set_num_threads(1)
    distributed.BUCKET_NUMBERS = 5_000
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    ranks = current_ranks()
    found: dict[str, object] = {}
    for name in CASES:
        source = Photographs()
        task, parts, weights = case(name, config)
        data = replace(make_data(source), shielding=task.uses_shielding_images)
        batch = first_batch(replace(data, loading=data.loading.model_copy(update={"ahead": 1})), ranks)
        found[name] = step(task, batch, ranks, parts, weights) | {"rows": batch.rows.tolist()}
    source = Photographs()
    data = make_data(source)
    data._make(Carrier("cpu"), (EPOCH, 0), *positions(data, rank), rank, WORLD)
    own = torch.arange(7.0)[share_of(7, ranks)].reshape(-1, 1) * torch.ones(1, 3)
    found |= {"decoded": dict(source.decoded), "joined": join_shares(own, 7, ranks)}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def positions(data: EncoderData, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the first batch: a rank's share, and all."""
    return data.sampler.epoch(EPOCH, rank, WORLD)[0], data.sampler.epoch(EPOCH)[0]


@pytest.fixture(scope="module")
def found(tmp_path_factory, prepared_processes, tiny_clip_config) -> list[dict]:
    folder = tmp_path_factory.mktemp("ranks")
    arguments = (str(folder), str(tiny_clip_config))
    processes = [prepared_processes.Process(target=work, args=(rank, *arguments), daemon=True) for rank in range(WORLD)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


@pytest.mark.parametrize("name", CASES)
def test_losses_and_gradients_of_two_ranks_are_those_of_the_whole_batch(found, tiny_clip_config, name):
    """Against plain autograd on the whole batch, without a line of the code that trains."""
    task, _, weights = case(name, str(tiny_clip_config))
    batch = first_batch(replace(make_data(Photographs()), shielding=task.uses_shielding_images))
    losses = task.losses(task.encode(batch), task.labels(batch))
    wanted = {key: parameter for key, parameter in task.named_parameters() if parameter.requires_grad}
    total = sum(weights[term] * losses[term] for term in weights)
    expected = torch.autograd.grad(total, list(wanted.values()), allow_unused=True)
    moved = [key for key, gradient in zip(wanted, expected, strict=True) if gradient is not None]
    assert moved
    assert len(moved) < len(wanted) or name in ("whole", "in two parts")
    for ours in (rank[name] for rank in found):
        assert ours["losses"] == pytest.approx({term: loss.item() for term, loss in losses.items()}, rel=1e-5)
        assert [key for key in wanted if ours["gradients"][key] is not None] == moved
        for key, gradient in zip(wanted, expected, strict=True):
            if gradient is not None:
                torch.testing.assert_close(
                    ours["gradients"][key], gradient, rtol=1e-4, atol=1e-6, msg=lambda text, at=key: f"{at}: {text}"
                )
    assert all(
        gradient is None or torch.equal(gradient, found[1][name]["gradients"][key])
        for key, gradient in found[0][name]["gradients"].items()
    )


@pytest.mark.parametrize("name", ["whole", "the others of the same method"])
def test_messages_leave_while_the_backward_pass_goes_on(found, name):
    for rank in found:
        left = rank[name]["left early"]
        assert left == sorted(left, reverse=True)
        assert sum(left) >= 3
        assert len(left) - sum(left) <= 2, "only those with the encoder's first layers wait for its end"


def test_each_rank_decodes_its_own_share_only(found):
    sampler = make_data(Photographs()).sampler
    whole = sampler.epoch(EPOCH)[0].tolist()
    assert found[0]["whole"]["rows"] + found[1]["whole"]["rows"] == whole
    assert len(set(whole)) == len(whole) == 8
    for rank in range(WORLD):
        assert found[rank]["decoded"] == dict.fromkeys(sampler.epoch(EPOCH, rank, WORLD)[0].tolist(), 1)


def test_shares_of_what_all_compute_together_are_joined_in_order(found):
    for rank in found:
        assert rank["joined"].tolist() == [[float(row)] * 3 for row in range(7)]
    assert [share_of(3, Ranks(rank, 4)) for rank in range(4)] == [slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 3)]
    assert share_of(9, ALONE) == slice(0, 9)


def test_one_rank_sends_nothing_and_has_no_hooks():
    parameter = torch.nn.Parameter(torch.ones(2))
    mean = GradientMean([parameter])
    with mean.during(total := parameter.sum()):
        total.backward()
    assert parameter.grad.tolist() == [1, 1]
    assert not parameter._post_accumulate_grad_hooks


def test_a_batch_per_worker_makes_the_batch_of_all_larger():
    settings = SamplerSettings(identities_per_batch=4, batch_per_worker=True)
    assert settings.of_all(3) == SamplerSettings(identities_per_batch=12)
    assert settings.of_all(1) == SamplerSettings(identities_per_batch=4)
    shared = SamplerSettings(identities_per_batch=4)
    assert shared.of_all(3) == shared
    sampler = IdentitySampler(IDENTITIES, settings.of_all(2).identities_per_batch // 2, 2, seed=5)
    assert sampler.epoch(0, 1, 2).shape[1] == 4
    with pytest.raises(InputError, match="identities_per_batch = 12, but the training images have 4"):
        IdentitySampler(IDENTITIES, settings.of_all(3).identities_per_batch, 2, seed=5)
