"""What a training stage left: its checkpoint's configuration and the curves of its losses."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from pipeline.errors import InputError
from pipeline.limited_reading import read_limited
from pipeline.models.checkpoint import read_config
from pipeline.reporting.plots import curve
from pipeline.trainer.curves import CURVES_NAME

EPOCH = "epoch"
MOST_CURVES_BYTES = 64 << 20
"""A row has a few hundred bytes, and there is one for each epoch."""


@dataclass(frozen=True)
class Run:
    """A finished stage of training.

    Attributes:
        folder: Its checkpoint.
        config: What made it.
        epochs: Numbers of the epochs.
        curves: By name, a value each epoch; the losses, ``total`` and ``learning_rate``.
    """

    folder: Path
    config: dict[str, Any]
    epochs: tuple[float, ...]
    curves: dict[str, tuple[float, ...]]


@dataclass(frozen=True)
class Panel:
    """One curve on the page.

    Attributes:
        name: Of the column.
        meaning: What it is, with the paper's equation; may be empty.
        first: Value of the first epoch.
        last: Value of the last epoch.
        plot: Inline SVG.
    """

    name: str
    meaning: str
    first: float
    last: float
    plot: Markup


def read_run(folder: Path, kind: str, made_by: str) -> Run:
    """Read a checkpoint's configuration and curves; its weights are not read.

    Args:
        folder: The checkpoint.
        kind: ``prompts`` or ``encoder``.
        made_by: The command that makes it, for messages.

    Raises:
        InputError: It is missing, damaged, or of another kind.
    """
    config = read_config(folder, kind, made_by)
    epochs, curves = _read_curves(folder / CURVES_NAME, made_by)
    return Run(folder, config, epochs, curves)


def _read_curves(path: Path, made_by: str) -> tuple[tuple[float, ...], dict[str, tuple[float, ...]]]:
    try:
        text = read_limited(path, MOST_CURVES_BYTES).decode()
        rows = list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        columns = {name: tuple(float(row[name]) for row in rows) for name in (rows[0] if rows else {})}
    except (OSError, UnicodeDecodeError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"curves {path} cannot be read ({error}): run `{made_by}` again") from error
    epochs = columns.pop(EPOCH, ())
    if not epochs:
        raise InputError(f"curves {path} have no epochs: run `{made_by}` again")
    return epochs, columns


def make_panels(run: Run, meanings: Mapping[str, str]) -> tuple[Panel, ...]:
    """Draw every curve of a run, in the order of ``meanings``; columns that it does not name come last.

    Epochs without a value (NaN) are left out of a curve; a curve without any value is left out as a whole.

    Args:
        run: The run.
        meanings: What a column is, by its name.
    """
    names = [name for name in meanings if name in run.curves]
    panels = []
    for name in [*names, *sorted(set(run.curves) - set(names))]:
        points = [(x, y) for x, y in zip(run.epochs, run.curves[name], strict=True) if math.isfinite(y)]
        if points:
            values = [value for _, value in points]
            plot = curve(f"{name} by epoch", [epoch for epoch, _ in points], values)
            panels.append(Panel(name, meanings.get(name, ""), values[0], values[-1], plot))
    return tuple(panels)
