"""The usual training in one call: a task, an optimizer, epochs that are made from their number, a rate by position."""

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from pipeline.trainer.curves import CurveRow
from pipeline.trainer.engine import Engine
from pipeline.trainer.gradients import weighted_sum
from pipeline.trainer.loop import train
from pipeline.trainer.schedule import RateAt
from pipeline.trainer.states import ResumeSettings, StateFolder
from pipeline.trainer.task import BatchT, Epoch, FeaturesT, LabelsT, Plan, Task


def run_epochs(
    task: Task[BatchT, FeaturesT, LabelsT],
    optimizer: torch.optim.Optimizer,
    epochs: int,
    epoch_of: Callable[[int], Epoch[BatchT]],
    rate_at: RateAt,
    *,
    what: str,
    loss_weights: Mapping[str, float] | None = None,
    resume: ResumeSettings | None = None,
    quiet: bool = False,
) -> list[CurveRow]:
    """:func:`train` with every default, for epochs that are made from their number alone; returns the curves.

    Args:
        task: What is trained.
        optimizer: See :func:`train`.
        epochs: How many.
        epoch_of: Batches of an epoch by its number; to go on inside an epoch the first ones are made and left out.
        rate_at: Learning rate by position in the run, in epochs.
        what: Name for the progress line.
        loss_weights: Weights of losses in the sum; 1 where not named.
        resume: Keep the state, and go on from it.
        quiet: No progress line.

    Raises:
        WorkError: See :func:`train`.
        InputError: See :func:`train`.
    """
    weights = loss_weights or {}

    def weigh(_epoch: int, _step: int, losses: Mapping[str, Tensor]) -> Tensor | None:
        return weighted_sum(losses, {name: weights.get(name, 1.0) for name in losses})

    device = str(next(task.parameters()).device)
    plan = Plan(what, epochs, lambda number, start: skip(epoch_of(number), start), rate_at, weigh)
    return train(task, optimizer, plan, Engine(device=device, resume=resume, quiet=quiet)).curves


def skip(epoch: Epoch[BatchT], steps: int) -> Epoch[BatchT]:
    """The epoch without its first batches, which are made and left out."""
    return Epoch(epoch.steps, islice(epoch.batches, steps, None))


def has_state(folder: Path) -> bool:
    """Whether a training left a state there to go on from."""
    return StateFolder(folder, "").last() is not None


def check_progress(folder: Path) -> None:
    """Refuse a folder for states that holds more than trainings keep there.

    Raises:
        InputError: It does.
    """
    StateFolder(folder, "").check()


def forget_progress(folder: Path) -> None:
    """Remove the state of a run whose result is written; what is no training's own stays."""
    StateFolder(folder, "").clear()
