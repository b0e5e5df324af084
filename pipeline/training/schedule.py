"""Learning rates over a run."""

import math


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
