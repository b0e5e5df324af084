"""Losses by name over a run: sums of the running epoch, a row an epoch, CSV for ``dvc plots``."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

CURVES_NAME = "curves.csv"
"""Under this name every training writes its curves into its checkpoint."""

TOTAL = "total"
FIRST = ("epoch", "learning_rate", TOTAL)

CurveRow = dict[str, float]


class LossSums:
    """Adds up the losses of an epoch. Values stay on the device until they are asked for: no wait in every step.

    Args:
        last: The latest total that is known from before; None: none is.
    """

    def __init__(self, last: float | None = None) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.last = last
        self._pending: list[tuple[int, tuple[str, ...], Tensor]] = []

    def __len__(self) -> int:
        return len(self._pending)

    def add(self, step: int, losses: Mapping[str, Tensor], total: Tensor) -> None:
        """Keep the losses (scalars) of a step."""
        values = torch.stack([total.detach(), *(loss.detach() for loss in losses.values())]).float()
        self._pending.append((step, (TOTAL, *losses), values))

    def settle(self) -> tuple[int, dict[str, float]] | None:
        """Fetch what is pending and add it up; the first step whose losses are not all finite, if there is one."""
        pending, self._pending = self._pending, []
        if not pending:
            return None
        fetched = torch.cat([values for _, _, values in pending]).tolist()
        start = 0
        for step, names, values in pending:
            losses = dict(zip(names, fetched[start : start + len(values)], strict=True))
            start += len(values)
            if not all(map(math.isfinite, losses.values())):
                return step, losses
            for name, value in losses.items():
                self.sums[name] = self.sums.get(name, 0.0) + value
                self.counts[name] = self.counts.get(name, 0) + 1
            self.last = losses[TOTAL]
        return None

    def means(self) -> CurveRow:
        """Mean of each loss over the steps that had it; without a total if no step had a sum."""
        return {name: value / self.counts[name] for name, value in self.sums.items()}

    def state(self) -> dict[str, Any]:
        """JSON form; floats survive it exactly."""
        return {"sums": self.sums, "counts": self.counts}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "LossSums":
        """Inverse of :meth:`state`."""
        made = cls()
        made.sums = dict(state["sums"])
        made.counts = dict(state["counts"])
        return made


def loss_note(loss: float | None) -> str:
    """The latest loss as the end of a progress line; nothing where none is known."""
    return "" if loss is None else f", loss {loss:.3f}"


def curves_as_csv(rows: Sequence[CurveRow]) -> str:
    """Curves as CSV text for ``dvc plots``; wall-clock times are left out, so that equal runs give equal bytes.

    A loss that an epoch does not have is ``nan`` there.
    """
    names = [*FIRST, *sorted(set().union(*rows) - {*FIRST, "seconds"})]
    lines = [",".join(names)]
    lines += [",".join(f"{row.get(name, math.nan):.8g}" for name in names) for row in rows]
    return "\n".join(lines) + "\n"
