"""The usual training in one call: a task, an optimizer, epochs that are made from their number, a rate by position."""

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from pipeline.trainer.curves import CURVES_NAME, CurveRow, curves_as_csv
from pipeline.trainer.engine import Engine, Epoch
from pipeline.trainer.gradients import weighted_sum
from pipeline.trainer.loop import train
from pipeline.trainer.schedule import RateAt
from pipeline.trainer.states import ResumeSettings, StateFolder

__all__ = [
    "CURVES_NAME",
    "CurveRow",
    "Epoch",
    "ResumeSettings",
    "curves_as_csv",
    "forget_progress",
    "has_state",
    "run_epochs",
]

BatchT = TypeVar("BatchT")


def run_epochs(
    task: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    epoch_of: Callable[[int], Epoch[BatchT]],
    rate_at: RateAt,
    *,
    what: str,
    loss_weights: Mapping[str, float] | None = None,
    weights_at: Callable[[int, int], Mapping[str, float]] | None = None,
    resume: ResumeSettings | None = None,
    quiet: bool = False,
) -> list[CurveRow]:
    """:func:`train` with every default, for epochs that are made from their number alone; returns the curves.

    Args:
        task: See :func:`train`.
        optimizer: See :func:`train`.
        epochs: See :func:`train`.
        epoch_of: Batches of an epoch by its number; to go on inside an epoch the first ones are made and left out.
        rate_at: See :func:`train`.
        what: See :func:`train`.
        loss_weights: Weights of losses in the sum; 1 where not named.
        weights_at: In its place: epoch, step of the run -> weights of the losses in the sum; the others are not in it.
        resume: See :func:`train`.
        quiet: See :func:`train`.

    Raises:
        WorkError: See :func:`train`.
        InputError: See :func:`train`.
    """
    weights = loss_weights or {}

    def weigh(epoch: int, step: int, losses: Mapping[str, Tensor]) -> Tensor | None:
        if weights_at is not None:
            return weighted_sum(losses, weights_at(epoch, step))
        return weighted_sum(losses, {name: weights.get(name, 1.0) for name in losses})

    def from_step(number: int, start: int) -> Epoch[BatchT]:
        epoch = epoch_of(number)
        return Epoch(epoch.steps, islice(epoch.batches, start, None))

    engine = Engine(device=str(next(task.parameters()).device))
    return train(
        task, optimizer, epochs, from_step, rate_at, what=what, weigh=weigh, engine=engine, resume=resume, quiet=quiet
    ).curves


def has_state(folder: Path) -> bool:
    """Whether a training left a state there to go on from."""
    return StateFolder(folder, "").last() is not None


def forget_progress(folder: Path) -> None:
    """Remove the state of a run whose result is written."""
    StateFolder(folder, "").clear()
