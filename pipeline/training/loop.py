"""The epoch loop that both stages share: losses by name, one sum, curves, and a resume at epoch boundaries."""

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from pipeline.errors import WorkError
from pipeline.progress import Progress
from pipeline.training.resume import load_progress, save_progress

BatchT = TypeVar("BatchT")
CURVES_NAME = "curves.csv"
"""Under this name every training writes its curves into its checkpoint."""

CurveRow = dict[str, float]


@dataclass(frozen=True)
class Epoch(Generic[BatchT]):
    """The batches of one epoch, made while they are used.

    Attributes:
        steps: How many there are.
        batches: Makes them in order.
    """

    steps: int
    batches: Iterator[BatchT]


@dataclass(frozen=True)
class ResumeSettings:
    """Where and how often the state of a run is kept.

    Attributes:
        folder: Written beside the result; removed when the run ends.
        fingerprint: Of the parameters and inputs; the state of another fingerprint is not used.
        seconds: Least time between two states.
    """

    folder: Path
    fingerprint: str
    seconds: float = 60.0


def _total(losses: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """The one place where losses are summed: equations (16) and (17)."""
    return torch.stack([weights.get(name, 1.0) * value for name, value in losses.items()]).sum()


def run_epochs(
    task: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs: int,
    epoch_of: Callable[[int], Epoch[BatchT]],
    rate_at: Callable[[float], float],
    *,
    what: str,
    loss_weights: Mapping[str, float] | None = None,
    weights_at: Callable[[int], Mapping[str, float]] | None = None,
    resume: ResumeSettings | None = None,
    quiet: bool = False,
) -> list[CurveRow]:
    """Train for some epochs and return the curves, one row an epoch.

    Args:
        task: Called with a batch, returns its losses by name (scalars). Only parameters of the optimizer move.
        optimizer: Its groups may carry ``rate_factor``, a multiple of the scheduled rate.
        epochs: How many.
        epoch_of: Batches of an epoch by its number; the same number gives the same batches.
        rate_at: Learning rate by position in the run, in epochs.
        what: Name for the progress line.
        loss_weights: Weights of losses in the sum; 1 where not named.
        weights_at: In its place: step of the run -> weights of the losses that enter the sum; the others do not.
        resume: Keep the state, and go on from it.
        quiet: No progress line.

    Returns:
        Rows with ``epoch``, ``learning_rate``, ``total``, each loss (means over the epoch) and ``seconds``.

    Raises:
        WorkError: The loss is not finite.
    """
    weights = loss_weights or {}
    done = 0
    rows: list[CurveRow] = []
    if resume is not None:
        done, rows = load_progress(resume.folder, task, optimizer, resume.fingerprint)
    saved_at = time.monotonic()
    with Progress(epochs, what, "epoch", quiet) as progress:
        progress.advance(done)
        for number in range(done, epochs):
            row = _run_epoch(task, optimizer, number, epoch_of(number), rate_at, weights, weights_at)
            rows.append(row)
            progress.advance(1, f"loss {row['total']:.3f}")
            if resume is not None and number + 1 < epochs and time.monotonic() - saved_at >= resume.seconds:
                save_progress(resume.folder, task, optimizer, number + 1, resume.fingerprint, rows)
                saved_at = time.monotonic()
    return rows


def forget_progress(folder: Path) -> None:
    """Remove the state of a run whose result is written."""
    shutil.rmtree(folder, ignore_errors=True)


def _run_epoch(
    task: nn.Module,
    optimizer: torch.optim.Optimizer,
    number: int,
    epoch: Epoch[BatchT],
    rate_at: Callable[[float], float],
    weights: Mapping[str, float],
    weights_at: Callable[[int], Mapping[str, float]] | None,
) -> CurveRow:
    started = time.monotonic()
    sums: dict[str, list[float]] = {}
    rate = rate_at(number)
    for step, batch in enumerate(epoch.batches):
        rate = rate_at(number + step / epoch.steps)
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        losses: dict[str, Tensor] = task(batch)
        entering = losses
        if weights_at is not None:
            weights = weights_at(number * epoch.steps + step)
            entering = {name: value for name, value in losses.items() if name in weights}
            if not entering:
                continue  # nothing in this batch is what the step is about
        total = _total(entering, weights)
        if not torch.isfinite(total):
            named = ", ".join(f"{name} {value.item():.4g}" for name, value in losses.items())
            raise WorkError(
                f"the loss is not finite at epoch {number}, step {step} ({named}); lower the learning rate, "
                f"or use similarity: cosine"
            )
        optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        for name, value in {**losses, "total": total}.items():
            sums.setdefault(name, []).append(float(value.detach()))
    means = {name: sum(values) / len(values) for name, values in sums.items()}
    return {"epoch": number, "learning_rate": rate, **means, "seconds": round(time.monotonic() - started, 3)}


def curves_as_csv(rows: Sequence[CurveRow]) -> str:
    """Curves as CSV text for ``dvc plots``; wall-clock times are left out, so that equal runs give equal bytes."""
    first = ("epoch", "learning_rate", "total")
    names = [*first, *sorted(rows[0].keys() - {*first, "seconds"})]
    lines = [",".join(names)]
    lines += [",".join(f"{row[name]:.8g}" for name in names) for row in rows]
    return "\n".join(lines) + "\n"
