"""The gradients of one step: of a batch as a whole, of parts of it, or of the parts that several ranks hold.

A task whose losses compare images with each other (triplet, contrastive, batch norm in a head) splits into ``encode``,
which sees each image alone, and ``losses``, which must see the whole batch. So a batch that does not fit goes through
the encoders twice, part by part: first without gradients, to have all features; then, once the losses have given the
gradient of each feature, with gradients, which go on from there into the weights. The result is the gradient of the
whole batch, not a mean over parts (the GradCache technique of Gao et al. 2021, arXiv 2101.06983).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from pipeline.errors import InputError
from pipeline.precision import Precision
from pipeline.trainer.distributed import ALONE, GradientMean, Ranks, gather_rows, tensor_fields
from pipeline.trainer.task import BatchT, FeaturesT, LabelsT, Task, Weights

RowsT = TypeVar("RowsT")

SHORT_TYPES = (torch.bfloat16, torch.float16)
RANDOM_BY_NAME = {"PatchDropout": "prob", "DropPath": "drop_prob", "StochasticDepth": "p"}


def weighted_sum(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor | None:
    """The one place where losses are summed: equations (16) and (17).

    Args:
        losses: Scalars by name.
        weights: Weight by name; losses that it does not name are no part of the sum.

    Returns:
        None if no loss is a part of the sum: nothing in this batch is what the step is about.
    """
    parts = [weights[name] * value for name, value in losses.items() if name in weights]
    return torch.stack(parts).sum() if parts else None


def _as_float(features: RowsT) -> RowsT:
    """Features in float32 at the least: losses and heads are computed in it whatever the encoders compute in."""
    short = {name: value.float() for name, value in tensor_fields(features).items() if value.dtype in SHORT_TYPES}
    return replace(features, **short)  # type: ignore[type-var]


def _split(batch: BatchT, parts: int) -> list[BatchT]:
    chunks = {name: tensor.tensor_split(parts) for name, tensor in tensor_fields(batch).items()}
    count = min(parts, min(len(tensor) for tensor in tensor_fields(batch).values()))
    return [replace(batch, **{name: chunk[i] for name, chunk in chunks.items()}) for i in range(count)]  # type: ignore[type-var]


def _is_unsteady(module: nn.Module) -> str | None:
    """Why a module in training gives an image another feature beside other images or at another time, if it does."""
    if isinstance(module, _BatchNorm):
        return "batch norm"
    if isinstance(module, _DropoutNd) and module.p > 0:
        return "dropout"
    if isinstance(module, nn.MultiheadAttention) and module.dropout > 0:
        return "dropout"
    name = type(module).__name__
    if name in RANDOM_BY_NAME and getattr(module, RANDOM_BY_NAME[name], False):
        return name
    return None


def is_steady(network: nn.Module) -> bool:
    """Whether in training a network gives an image the same feature in any part of a batch; else it is not split."""
    return all(_is_unsteady(module) is None for module in network.modules())


@contextmanager
def _refuse_unsteady(task: Weights) -> Iterator[None]:
    """While encoders run in here, modules that would make parts differ from the whole are an error."""

    def refuse(reason: str) -> Callable[..., None]:
        def hook(module: nn.Module, *_: Any) -> None:
            if module.training:
                raise InputError(
                    f"training.accumulation needs encoders that treat each image alone, but this one has {reason} in "
                    f"training mode: set training.accumulation to 1, or choose a plain vision transformer"
                )

        return hook

    with ExitStack() as hooks:
        for module in task.modules():
            reason = _is_unsteady(module)
            if reason is not None:
                hooks.callback(module.register_forward_pre_hook(refuse(reason)).remove)
        yield


class GradientMaker(Generic[BatchT, FeaturesT, LabelsT]):
    """Computes losses and their gradients for batches.

    Args:
        task: What is trained.
        precision: Numbers to compute with.
        parts: Parts in which a batch goes through the encoders; more than 1 needs a second pass through them.
        ranks: The processes that hold parts of the global batch.

    Raises:
        InputError: Parts or ranks are wanted and the task cannot be split.
    """

    def __init__(
        self,
        task: Task[BatchT, FeaturesT, LabelsT],
        precision: Precision,
        parts: int = 1,
        ranks: Ranks = ALONE,
    ) -> None:
        self._task = task
        self._precision = precision
        self._parts = parts
        self._ranks = ranks
        self._checked = False
        self._mean = GradientMean(task.parameters(), ranks)
        if not task.splits and (parts > 1 or ranks.world > 1):
            raise InputError("this training cannot be split: use one worker and training.accumulation 1")

    def losses(self, batch: BatchT) -> tuple[Mapping[str, Tensor], "Cached[BatchT, FeaturesT] | None"]:
        """Losses of the global batch, with what :meth:`backward` needs besides them."""
        cached = Cached(*self._encode_parts(batch)) if self._parts > 1 else None
        if cached is None:
            with self._precision.autocast():
                features = self._task.encode(batch)
            features = _as_float(features)
        else:
            features = cached.features
        labels = gather_rows(self._task.labels(batch), self._ranks)
        return self._task.losses(gather_rows(features, self._ranks), labels), cached

    def backward(self, total: Tensor, cached: "Cached[BatchT, FeaturesT] | None") -> None:
        """Add the gradient of ``total`` to the parameters, averaged over ranks while the backward pass goes on."""
        if cached is None:
            with self._mean.during(total):
                self._pass_back(total)
        else:
            self._pass_back(total)
            self._second_pass(cached)

    def _pass_back(self, total: Tensor) -> None:
        if total.requires_grad:
            self._precision.backward(total)

    def _encode_parts(self, batch: BatchT) -> tuple[list[BatchT], FeaturesT]:
        """First pass: features of all parts, without gradients but ready to receive one."""
        batches = _split(batch, self._parts)
        guard = ExitStack()
        if not self._checked:
            guard.enter_context(_refuse_unsteady(self._task))
        found = []
        with guard, torch.no_grad():
            for part in batches:
                with self._precision.autocast():
                    found.append(_as_float(self._task.encode(part)))
        self._checked = True
        names = tensor_fields(found[0])
        joined = {name: torch.cat([getattr(part, name) for part in found]) for name in names}
        for tensor in joined.values():
            if tensor.is_floating_point():
                tensor.requires_grad_()
        return batches, replace(found[0], **joined)  # type: ignore[type-var]

    def _second_pass(self, cached: "Cached[BatchT, FeaturesT]") -> None:
        gradients = {
            name: tensor.grad for name, tensor in tensor_fields(cached.features).items() if tensor.grad is not None
        }
        chunks = {name: gradient.tensor_split(self._parts) for name, gradient in gradients.items()}
        last = len(cached.parts) - 1 if gradients else -1
        for number, part in enumerate(cached.parts[: last + 1]):
            with self._precision.autocast():
                features = self._task.encode(part)
            pairs = [
                (tensor, chunks[name][number])
                for name, tensor in tensor_fields(_as_float(features)).items()
                if name in chunks and tensor.requires_grad
            ]
            outputs = [tensor for tensor, _ in pairs]
            with self._mean.during(*outputs) if number == last else nullcontext():
                torch.autograd.backward(outputs, [gradient for _, gradient in pairs])
        if not gradients:
            with self._mean.during():
                pass  # only heads have gradients, and they have them already


class Cached(Generic[BatchT, FeaturesT]):
    """Between the two passes: the parts of a batch and the features of all of it, which collect their gradients."""

    def __init__(self, parts: list[BatchT], features: FeaturesT) -> None:
        self.parts = parts
        self.features = features
