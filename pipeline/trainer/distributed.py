"""Several ranks as one: gathered features with gradients, summed gradients, batch norm over the global batch.

Every rank computes the same losses on the same gathered batch. A rank's gradient of an encoder comes from its own rows
only; :func:`gather_rows` scales it by the number of ranks, so that the MEAN over ranks, which
:class:`GradientMean` takes of every parameter alike, is the gradient of the global batch, for encoders (a sum of
parts) and for heads (equal on all ranks) at once.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.image_encoder import ImageEncoder
from pipeline.trainer.task import Weights

BUCKET_NUMBERS = 8 * 1024 * 1024
"""Gradients in one message, 32 MiB, at the least; the last one of a step may have fewer."""

JOINED_NORMS: Final = (nn.BatchNorm2d, BatchNormAct2d)
"""Batch norms that :func:`join_batch_norms` can join: torch's, and timm's, which has an activation."""

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


def share_of(count: int, ranks: Ranks) -> slice:
    """The rows that a rank makes of ``count`` that the ranks make together, as :func:`join_shares` joins them."""
    size = -(-count // ranks.world)
    return slice(min(ranks.rank * size, count), min((ranks.rank + 1) * size, count))


def join_shares(rows: Tensor, count: int, ranks: Ranks) -> Tensor:
    """The rows of all ranks, (count, ...), from those of each, see :func:`share_of`; without gradients."""
    if ranks.world == 1:
        return rows
    padded = rows.new_zeros((-(-count // ranks.world), *rows.shape[1:]))
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in range(ranks.world)]
    dist.all_gather(parts, padded)
    return torch.cat(parts)[:count]


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
    found = {each.name: getattr(value, each.name) for each in fields(value)}
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


@dataclass
class _Bucket:
    """Parameters whose gradients travel in one message.

    Attributes:
        parameters: In the order of the message.
        missing: How many of their gradients have not come yet.
    """

    parameters: list[nn.Parameter] = field(default_factory=list)
    missing: int = 0


@dataclass(frozen=True)
class _Message:
    """Gradients on their way: of which the sum over the ranks lies in ``flat`` when ``work`` is done."""

    work: Any
    flat: Tensor
    gradients: list[Tensor]


def _reached(roots: Iterable[Tensor]) -> set[int]:
    """The parameters, by ``id``, that a backward pass from the roots gives gradients to."""
    found: set[int] = set()
    nodes = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        leaf = getattr(node, "variable", None)  # of a node that adds to the gradient of a leaf
        if leaf is not None:
            found.add(id(leaf))
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                nodes.append(following)
    return found


class GradientMean:
    """Replaces gradients by their mean over the ranks, in messages that travel while the backward pass goes on.

    A message holds some parameters, from the last one registered to the first, which is about the order in which a
    backward pass comes by them; it leaves as soon as the gradients of all of them are there, and after the messages
    before it, so that all ranks send the same messages in the same order. Which parameters a pass comes by is read from
    its graph: terms that take turns or begin later (``encoder.alternate``) cost no waiting.

    Args:
        parameters: Those of the task, in an order that is the same on all ranks.
        ranks: The processes that train together; a single one sends nothing.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], ranks: Ranks = ALONE) -> None:
        self._ranks = ranks
        self._parameters: list[nn.Parameter] = []
        self._waiting: dict[int, _Bucket] = {}
        self._buckets: deque[_Bucket] = deque()
        self._sent: list[_Message] = []
        if ranks.world > 1:
            self._parameters = [parameter for parameter in parameters if parameter.requires_grad][::-1]
            for parameter in self._parameters:
                parameter.register_post_accumulate_grad_hook(self._arrived)  # type: ignore[no-untyped-call]

    @contextmanager
    def during(self, *roots: Tensor) -> Iterator[None]:
        """The last backward pass of a step goes on inside; afterwards every gradient is the mean over the ranks.

        Args:
            roots: What the pass starts from. Gradients that earlier passes of the step have left are averaged as well;
                a parameter must have one on all ranks or on none.
        """
        if self._ranks.world == 1:
            yield
            return
        self._prepare(_reached(roots))
        try:
            self._send_complete()
            yield
            while self._buckets:
                self._send(self._buckets.popleft())  # a gradient that was promised has not come, on no rank
            self._receive()
        finally:
            self._waiting.clear()
            self._buckets.clear()
            self._sent.clear()

    def _prepare(self, reached: set[int]) -> None:
        bucket, size = _Bucket(), 0
        for parameter in self._parameters:
            comes = id(parameter) in reached
            if not comes and parameter.grad is None:
                continue
            bucket.parameters.append(parameter)
            size += parameter.numel()
            if comes:
                bucket.missing += 1
                self._waiting[id(parameter)] = bucket
            if size >= BUCKET_NUMBERS:
                self._buckets.append(bucket)
                bucket, size = _Bucket(), 0
        if bucket.parameters:
            self._buckets.append(bucket)

    def _arrived(self, parameter: Tensor) -> None:
        bucket = self._waiting.pop(id(parameter), None)
        if bucket is not None:
            bucket.missing -= 1
            self._send_complete()

    def _send_complete(self) -> None:
        while self._buckets and not self._buckets[0].missing:
            self._send(self._buckets.popleft())

    @torch.no_grad()
    def _send(self, bucket: _Bucket) -> None:
        gradients = [parameter.grad for parameter in bucket.parameters if parameter.grad is not None]
        if gradients:
            flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
            self._sent.append(_Message(dist.all_reduce(flat, async_op=True), flat, gradients))

    @torch.no_grad()
    def _receive(self) -> None:
        for message in self._sent:
            if message.work is not None:
                message.work.wait()  # on a GPU only its queue waits, not the CPU
            message.flat.div_(self._ranks.world)
            parts = torch.split(message.flat, [gradient.numel() for gradient in message.gradients])
            for gradient, part in zip(message.gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))


def share_weights(module: Weights, ranks: Ranks) -> None:
    """Give all ranks the first one's weights and buffers."""
    if ranks.world == 1:
        return
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            dist.broadcast(tensor.data, src=0)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm whose mean and variance, in training, are those of the images of all ranks together.

    What it has as children is done afterwards, in their order: the drop and the activation of timm's batch norm.
    """

    ranks: Ranks = ALONE

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, H, W) of this rank -> the same, normalised over all ranks."""
        features = self._normalised(input) if self.training else super().forward(input)
        for layer in self.children():
            features = layer(features)
        return features

    def _normalised(self, input: Tensor) -> Tensor:
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
    made._modules = norm._modules
    made.ranks = ranks
    return made.train(norm.training)


def join_batch_norms(task: Weights, ranks: Ranks) -> None:
    """Let the batch norms inside the task's image encoders see the global batch; heads see it anyway.

    Raises:
        InputError: An encoder has another batch norm than :data:`JOINED_NORMS`; nothing is changed.
    """
    if ranks.world == 1:
        return
    norms = [
        (parent, name, child)
        for encoder in task.modules()
        if isinstance(encoder, ImageEncoder)
        for parent in encoder.modules()
        for name, child in parent.named_children()
        if isinstance(child, nn.BatchNorm2d) and not isinstance(child, GlobalBatchNorm2d)
    ]
    for _, _, norm in norms:
        if type(norm) not in JOINED_NORMS:  # a class of its own may do more than its parent
            raise InputError(
                f"the image encoder has a batch norm of the kind {type(norm).__name__}, which several workers cannot "
                f"compute together: train it with one worker"
            )
    for parent, name, norm in norms:
        setattr(parent, name, _global_batch_norm(norm, ranks))
