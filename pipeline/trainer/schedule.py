"""Learning rates over a run: cosine or steps, with a linear warm-up, by the step or by the epoch."""

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Literal

RateAt = Callable[[float], float]
"""Learning rate by position in the run, in epochs (a fraction within an epoch)."""

Every = Literal["step", "epoch"]


def cosine_rate(
    position: float, total: float, base: float, final: float = 0.0, warmup: float = 0.0, warmup_start: float = 0.0
) -> float:
    """Linear warm-up, then cosine decay.

    Args:
        position: Where the run is, in any unit (epochs, steps).
        total: Length of the run in that unit.
        base: Rate at the end of the warm-up.
        final: Rate at the end of the run.
        warmup: Length of the warm-up in that unit.
        warmup_start: Rate at the start of the warm-up.
    """
    if position < warmup:
        return warmup_start + (base - warmup_start) * position / warmup
    share = (position - warmup) / (total - warmup) if total > warmup else 1.0
    return final + 0.5 * (base - final) * (1.0 + math.cos(math.pi * min(share, 1.0)))


def step_rate(
    position: float,
    milestones: Sequence[float],
    base: float,
    factor: float = 0.1,
    warmup: float = 0.0,
    warmup_start: float = 0.0,
) -> float:
    """Linear warm-up, then the base rate, multiplied by ``factor`` at each milestone that is reached.

    CLIP-ReID's stage 2 is milestones 30 and 50, factor 0.1 and 10 epochs of warm-up from 0.1 x the rate. A milestone
    within the warm-up counts there as well.

    Args:
        position: Where the run is, in any unit.
        milestones: Positions, ascending.
        base: Rate after the warm-up.
        factor: Multiplies the rate at a milestone.
        warmup: Length of the warm-up in that unit.
        warmup_start: Rate at the start of the warm-up.
    """
    rate = warmup_start + (base - warmup_start) * position / warmup if position < warmup else base
    return rate * factor ** bisect_right(milestones, position)


def by_epoch(rate_at: RateAt, every: Every) -> RateAt:
    """With ``epoch`` one rate holds in a whole epoch: the n-th (from 1) has the schedule's rate at n, as in CLIP-ReID.

    With ``step`` the schedule is read at every step.
    """
    if every == "step":
        return rate_at
    return lambda position: rate_at(math.floor(position) + 1)
