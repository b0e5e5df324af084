"""The contract between a training and what it trains: an expensive part and losses, apart; nothing else is known."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor, nn

from pipeline.trainer.schedule import RateAt

BatchT = TypeVar("BatchT")
FeaturesT = TypeVar("FeaturesT")
LabelsT = TypeVar("LabelsT")
_BatchT = TypeVar("_BatchT", contravariant=True)


class Weights(Protocol):
    """What of :class:`torch.nn.Module` a training needs."""

    training: bool

    def parameters(self) -> Iterator[nn.Parameter]:
        """The weights that may move."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The same with their names."""

    def buffers(self) -> Iterator[Tensor]:
        """Tensors of the state that are no weights, such as those of batch norm."""

    def modules(self) -> Iterator[nn.Module]:
        """All parts, itself first."""

    def state_dict(self) -> Mapping[str, Tensor]:
        """The state by name."""

    def load_state_dict(self, state_dict: Mapping[str, Tensor], strict: bool = True) -> object:
        """Inverse of :meth:`state_dict`."""

    def train(self, mode: bool = True) -> object:
        """To training mode."""

    def eval(self) -> object:
        """To evaluation mode."""


class Task(Weights, Protocol[_BatchT, FeaturesT, LabelsT]):
    """What is trained: a module that computes features of a batch, and losses of features.

    Features and labels are frozen dataclasses of tensors, so that they can be turned into another number format, split
    into parts and gathered from several processes.

    Attributes:
        splits: Whether :meth:`encode` treats each row of a batch alone. Only then may a batch go through in parts, and
            through several processes; the first dimension of each tensor of batch, features and labels is then the row.
    """

    splits: bool

    def encode(self, batch: _BatchT) -> FeaturesT:
        """The expensive part, which computes in the precision of the run."""

    def labels(self, batch: _BatchT) -> LabelsT:
        """What the losses need of a batch besides features."""

    def losses(self, features: FeaturesT, labels: LabelsT) -> Mapping[str, Tensor]:
        """The losses of the whole (global) batch by name, scalars, in float32."""


Weigh = Callable[[int, int, Mapping[str, Tensor]], Tensor | None]
"""Epoch, step of the run (both from 0), losses -> their sum; None: the step does nothing."""


@dataclass(frozen=True)
class Epoch(Generic[BatchT]):
    """The batches of one epoch, made while they are used.

    Attributes:
        steps: How many the whole epoch has.
        batches: Makes them in order, from the step that was asked for.
    """

    steps: int
    batches: Iterator[BatchT]


@dataclass(frozen=True)
class Plan(Generic[BatchT]):
    """What a training does, from the first step to the last.

    Attributes:
        what: Name for the progress line and the states.
        epochs: How many.
        epoch_of: Batches of an epoch by its number, from a step on; equal numbers give equal batches.
        rate_at: Learning rate by position in the run, in epochs.
        weigh: See :data:`Weigh`.
    """

    what: str
    epochs: int
    epoch_of: Callable[[int, int], Epoch[BatchT]]
    rate_at: RateAt
    weigh: Weigh
