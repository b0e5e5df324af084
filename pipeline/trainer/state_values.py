"""The loop's own values in a training state, with their types."""

from typing import Self

from pydantic import model_validator

from pipeline.artifacts import Artifact, Count, Word

Numbers = dict[Word, float]
_SCALER = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}


class _Sums(Artifact):
    sums: Numbers
    counts: dict[Word, Count]

    @model_validator(mode="after")
    def _paired(self) -> Self:
        if self.sums.keys() != self.counts.keys() or not all(self.counts.values()):
            raise ValueError("sums and counts are not of the same losses")
        return self


class StateValues(Artifact):
    """Where a run stands, and what it has noted so far."""

    epoch: Count
    step: Count
    done: Count
    sums: _Sums
    curves: list[Numbers]
    timings: list[Numbers]
    validations: list[Numbers]
    best: Numbers | None
    scaler: dict[Word, int | float]
    spent: Numbers

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if any("steps" not in row for row in self.timings):
            raise ValueError("timings: a row has no steps")
        if any(row.keys() != self.validations[0].keys() or "epoch" not in row for row in self.validations):
            raise ValueError("validations: the rows are not of the same figures")
        if self.best is not None and self.best not in self.validations:
            raise ValueError("best: it is none of the validations")
        if self.scaler and self.scaler.keys() != _SCALER:
            raise ValueError(f"scaler: expected {', '.join(sorted(_SCALER))}")
        return self
