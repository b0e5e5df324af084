"""Two processes that share a batch get the gradients of one that has all of it (gloo, on the CPU)."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn

from pipeline.models.image_encoder import ImageEncoder
from pipeline.trainer.distributed import (
    ALONE,
    GlobalBatchNorm2d,
    GradientMean,
    Ranks,
    current_ranks,
    first_rank_says,
    gather_rows,
    join_batch_norms,
    share_weights,
)

WORLD = 2


@dataclass(frozen=True)
class Rows:
    long: torch.Tensor
    deep: torch.Tensor
    numbers: torch.Tensor
    absent: torch.Tensor | None = None


class Net(ImageEncoder):
    """A convolution, batch norm, and a head with batch norm over the global batch."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        norm = nn.BatchNorm2d(4, momentum=0.3)
        super().__init__(nn.Sequential(nn.Conv2d(3, 4, 3), norm, nn.ReLU(), nn.Conv2d(4, 2, 3)))


class Task(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = Net()
        torch.manual_seed(4)
        self.head = nn.Sequential(nn.BatchNorm1d(8), nn.Linear(8, 3))
        self.only_head = nn.Parameter(torch.ones(8))

    def loss(self, images: torch.Tensor, labels: torch.Tensor, ranks: Ranks) -> torch.Tensor:
        features = self.encoder.tower(images)
        rows = gather_rows(Rows(features.mean(dim=(2, 3)), features[:, :, :2, :2], labels), ranks)
        vectors = rows.deep.flatten(1) * self.only_head
        contrast = (rows.long @ rows.long.T).logsumexp(dim=1).mean()
        return nn.functional.cross_entropy(self.head(vectors), rows.numbers) + contrast


def make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(8, 3, 8, 6, generator=torch.Generator().manual_seed(5)), torch.arange(8) % 3


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=WORLD)
    ranks = current_ranks()
    assert ranks == Ranks(rank, WORLD)
    assert first_rank_says(rank, ranks) == 0
    task = Task()
    if rank:
        with torch.no_grad():
            task.only_head.zero_()
    share_weights(task, ranks)
    join_batch_norms(task, ranks)
    images, labels = (part.chunk(WORLD)[rank] for part in make_batch())
    loss = task.loss(images, labels, ranks)
    with GradientMean(task.parameters(), ranks).during(loss):
        loss.backward()
    found = {"loss": loss.detach(), **{name: parameter.grad for name, parameter in task.named_parameters()}}
    torch.save({**found, **dict(task.named_buffers())}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory, prepared_processes) -> list[dict[str, torch.Tensor]]:
    folder = tmp_path_factory.mktemp("ranks")
    processes = [prepared_processes.Process(target=work, args=(rank, str(folder))) for rank in range(WORLD)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(WORLD)]


def test_loss_gradients_and_running_statistics_equal_those_of_one_process(found):
    task = Task()
    loss = task.loss(*make_batch(), ALONE)
    loss.backward()
    for ours in found:
        torch.testing.assert_close(ours["loss"], loss.detach(), rtol=0, atol=1e-6)
        for name, parameter in task.named_parameters():
            torch.testing.assert_close(
                ours[name], parameter.grad, rtol=1e-5, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
            )
        for name, buffer in task.named_buffers():
            torch.testing.assert_close(ours[name], buffer, rtol=1e-5, atol=1e-6)


def test_all_ranks_have_the_same_bits(found):
    for name, value in found[0].items():
        assert torch.equal(found[1][name], value), name


def test_alone_nothing_is_gathered_or_changed():
    rows = Rows(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2))
    assert gather_rows(rows, ALONE) is rows
    task = Task()
    keys = deepcopy(task.state_dict()).keys()
    join_batch_norms(task, ALONE)
    assert not any(isinstance(module, GlobalBatchNorm2d) for module in task.modules())
    join_batch_norms(task, Ranks(0, 2))
    assert any(isinstance(module, GlobalBatchNorm2d) for module in task.modules())
    assert task.state_dict().keys() == keys


def test_in_evaluation_a_global_batch_norm_is_a_plain_one():
    task = Task()
    images = make_batch()[0]
    expected = task.eval().encoder.tower(images)
    join_batch_norms(task, Ranks(0, 2))
    assert torch.equal(task.encoder.tower(images), expected)
