"""Several ranks as one: gathered features with gradients, summed gradients, batch norm over the global batch.

Every rank computes the same losses on the same gathered batch. A rank's gradient of an encoder comes from its own rows
only; :func:`gather_rows` scales it by the number of ranks, so that the MEAN over ranks, which
:func:`average_gradients` takes of every parameter alike, is the gradient of the global batch, for encoders (a sum of
parts) and for heads (equal on all ranks) at once.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.models.image_encoder import ImageEncoder
from pipeline.trainer.task import Weights

BUCKET_NUMBERS = 8 * 1024 * 1024  # gradients of 32 MiB in one message

RowsT = TypeVar("RowsT")
ValueT = TypeVar("ValueT")


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes:
        rank: Its number, from 0; the first one writes.
        world: How many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes checkpoints and progress."""
        return self.rank == 0


ALONE = Ranks()


def current_ranks() -> Ranks:
    """The ranks of torch's process group; one where there is none."""
    if not dist.is_available() or not dist.is_initialized():
        return ALONE
    return Ranks(dist.get_rank(), dist.get_world_size())


def first_rank_says(value: ValueT, ranks: Ranks) -> ValueT:
    """The first rank's value, on all ranks."""
    if ranks.world == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


class _GatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, ranks: Ranks) -> Tensor:
        ctx.ranks = ranks
        parts = [torch.empty_like(rows) for _ in range(ranks.world)]
        dist.all_gather(parts, rows.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        ranks: Ranks = ctx.ranks
        return gradients[0].chunk(ranks.world)[ranks.rank] * ranks.world, None


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        summed = values.clone()
        dist.all_reduce(summed)
        return summed

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        summed = gradients[0].contiguous().clone()
        dist.all_reduce(summed)
        return summed


def tensor_fields(value: Any) -> dict[str, Tensor]:
    """The tensors of a frozen dataclass by name; fields that are None are left out."""
    found = {field.name: getattr(value, field.name) for field in fields(value)}
    return {name: item for name, item in found.items() if isinstance(item, Tensor)}


def gather_rows(value: RowsT, ranks: Ranks) -> RowsT:
    """A dataclass of tensors (B, ...) of this rank -> the same of all ranks, (world * B, ...), in rank order.

    Gradients flow back to this rank's rows, times the number of ranks (see the module's docstring). Tensors of one type
    travel in one message. Every rank must have the same B.
    """
    if ranks.world == 1:
        return value
    gathered: dict[str, Tensor] = {}
    tensors = tensor_fields(value)
    for kind in {tensor.dtype: None for tensor in tensors.values()}:
        group = {name: tensor for name, tensor in tensors.items() if tensor.dtype == kind}
        flat = torch.cat([tensor.reshape(len(tensor), -1) for tensor in group.values()], dim=1)
        widths = [tensor[0].numel() for tensor in group.values()]
        whole: Tensor = _GatherRows.apply(flat, ranks)
        columns = torch.split(whole, widths, 1)
        for (name, tensor), column in zip(group.items(), columns, strict=True):
            gathered[name] = column.reshape(-1, *tensor.shape[1:])
    return replace(value, **gathered)  # type: ignore[type-var]


def _buckets(gradients: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    size = 0
    for gradient in gradients:
        bucket.append(gradient)
        size += gradient.numel()
        if size >= BUCKET_NUMBERS:
            yield bucket
            bucket, size = [], 0
    if bucket:
        yield bucket


def average_gradients(parameters: Iterable[nn.Parameter], ranks: Ranks) -> None:
    """Replace every gradient by its mean over the ranks; a parameter must have one on all ranks or on none."""
    if ranks.world == 1:
        return
    sent = []
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    for bucket in _buckets(gradients):
        flat = torch.cat([gradient.reshape(-1) for gradient in bucket])
        sent.append((dist.all_reduce(flat, async_op=True), flat, bucket))
    for work, flat, bucket in sent:
        if work is not None:
            work.wait()
        flat /= ranks.world
        for gradient, part in zip(bucket, torch.split(flat, [item.numel() for item in bucket]), strict=True):
            gradient.copy_(part.view_as(gradient))


def share_weights(module: Weights, ranks: Ranks) -> None:
    """Give all ranks the first one's weights and buffers."""
    if ranks.world == 1:
        return
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, src=0)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose mean and variance, in training, are those of the images of all ranks together."""

    ranks: Ranks = ALONE

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) of this rank -> the same, normalised over all ranks."""
        if not self.training:
            return super().forward(input)
        images = input.float()
        count = images.numel() // images.shape[1] * self.ranks.world
        mean: Tensor = _SumOverRanks.apply(images.sum((0, 2, 3))) / count
        centred = images - mean[:, None, None]
        variance: Tensor = _SumOverRanks.apply(centred.square().sum((0, 2, 3))) / count
        self._track(mean.detach(), variance.detach() * (count / max(count - 1, 1)))
        scale = self.weight / (variance + self.eps).sqrt()
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


def _global_batch_norm(norm: nn.BatchNorm2d, ranks: Ranks) -> GlobalBatchNorm2d:
    made = GlobalBatchNorm2d(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made._parameters, made._buffers = norm._parameters, norm._buffers  # the same tensors, not copies
    made.ranks = ranks
    return made.train(norm.training)


def join_batch_norms(task: Weights, ranks: Ranks) -> None:
    """Let the batch norms inside the task's image encoders see the global batch; heads see it anyway."""
    if ranks.world == 1:
        return
    for encoder in (part for part in task.modules() if isinstance(part, ImageEncoder)):
        for parent in list(encoder.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.BatchNorm2d) and not isinstance(child, GlobalBatchNorm2d):
                    setattr(parent, name, _global_batch_norm(child, ranks))
