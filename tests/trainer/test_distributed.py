"""Two processes that share a batch get the gradients of one that has all of it (gloo, on the CPU)."""

from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d, SplitBatchNorm2d
from timm.models.efficientnet import EfficientNet, decode_arch_def
from torch import nn

from pipeline.errors import InputError
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


class Activated(ImageEncoder):
    """Batch norms of timm, which have activations: an EfficientNet, after one that drops and then learns."""

    def __init__(self) -> None:
        torch.manual_seed(3)
        norm = BatchNormAct2d(4, drop_layer=nn.Hardtanh, act_layer=nn.PReLU)
        blocks = decode_arch_def([["ds_r1_k3_s1_e1_c8"], ["ir_r2_k3_s1_e4_c8_se0.25"]])
        net = EfficientNet(
            blocks, num_classes=0, num_features=2, in_chans=4, stem_size=8, act_layer=nn.SiLU, global_pool=""
        )
        super().__init__(nn.Sequential(nn.Conv2d(3, 4, 3), norm, net))


NETS = {"plain": Net, "activated": Activated}


class Task(nn.Module):
    def __init__(self, net: str = "plain") -> None:
        super().__init__()
        self.encoder = NETS[net]()
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
    for net in NETS:
        torch.save(work_on(net, ranks), f"{folder}/{net}-{rank}.pt")
    dist.destroy_process_group()


def work_on(net: str, ranks: Ranks) -> dict[str, torch.Tensor]:
    task, rank = Task(net), ranks.rank
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
    buffers = {name: buffer.clone() for name, buffer in task.named_buffers()}
    with torch.no_grad():
        trained = task.encoder.tower(images)
        evaluated = task.eval().encoder.tower(images)
    return {**found, **buffers, "trained": trained, "evaluated": evaluated}


@pytest.fixture(scope="module")
def found_of(tmp_path_factory, prepared_processes) -> dict[str, list[dict[str, torch.Tensor]]]:
    folder = tmp_path_factory.mktemp("ranks")
    processes = [
        prepared_processes.Process(target=work, args=(rank, str(folder)), daemon=True) for rank in range(WORLD)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
        assert process.exitcode == 0
    return {
        net: [torch.load(Path(folder) / f"{net}-{rank}.pt", weights_only=True) for rank in range(WORLD)] for net in NETS
    }


@pytest.fixture(params=NETS)
def net(request) -> str:
    return request.param


@pytest.fixture
def found(found_of, net) -> list[dict[str, torch.Tensor]]:
    return found_of[net]


def test_loss_gradients_and_running_statistics_equal_those_of_one_process(found, net):
    task = Task(net)
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


def test_features_in_training_and_in_evaluation_equal_those_of_one_process(found, net):
    task = Task(net)
    images, labels = make_batch()
    task.loss(images, labels, ALONE)  # moves the running statistics, as the ranks' first pass did
    with torch.no_grad():
        trained = task.encoder.tower(images)
        evaluated = task.eval().encoder.tower(images)
    for name, ours in (("trained", trained), ("evaluated", evaluated)):
        torch.testing.assert_close(torch.cat([rank[name] for rank in found]), ours, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(trained, evaluated, atol=1e-2)


def test_all_ranks_have_the_same_bits(found):
    for name in found[0].keys() - {"trained", "evaluated"}:  # of the rank's own images
        value = found[0][name]
        assert torch.equal(found[1][name], value), name


def test_alone_nothing_is_gathered_or_changed(net):
    rows = Rows(torch.ones(2, 3), torch.ones(2, 3), torch.ones(2))
    assert gather_rows(rows, ALONE) is rows
    task = Task(net)
    keys = deepcopy(task.state_dict()).keys()
    join_batch_norms(task, ALONE)
    assert not any(isinstance(module, GlobalBatchNorm2d) for module in task.modules())
    join_batch_norms(task, Ranks(0, 2))
    assert any(isinstance(module, GlobalBatchNorm2d) for module in task.modules())
    assert task.state_dict().keys() == keys


def test_a_batch_norm_of_an_unknown_kind_is_refused_and_nothing_is_changed():
    task = Task()
    task.encoder.tower.append(SplitBatchNorm2d(2))
    with pytest.raises(InputError, match=r"batch norm of the kind SplitBatchNorm2d.*with one worker"):
        join_batch_norms(task, Ranks(0, 2))
    assert not any(isinstance(module, GlobalBatchNorm2d) for module in task.modules())
    join_batch_norms(task, ALONE)


def test_in_evaluation_a_global_batch_norm_is_a_plain_one(net):
    task = Task(net)
    images = make_batch()[0]
    expected = task.eval().encoder.tower(images)
    join_batch_norms(task, Ranks(0, 2))
    assert torch.equal(task.encoder.tower(images), expected)
