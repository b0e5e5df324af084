"""Curves of a running training for TensorBoard."""

from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.training.engine import TrainingRun


class EventWriter:
    """Writes the latest row of the curves, and of the checks, after each epoch.

    Args:
        folder: Of the event files; those of an interrupted run are continued.

    Raises:
        InputError: The package that writes them is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise InputError(
                "training.tensorboard needs the package tensorboardX: install it, or set training.tensorboard to false"
            ) from error
        self._make: Any = SummaryWriter
        self._folder = folder

    def __call__(self, run: TrainingRun) -> None:
        """Write what the last epoch gave."""
        epoch = int(run.curves[-1]["epoch"])
        values = {name: value for name, value in run.curves[-1].items() if name not in ("epoch", "seconds")}
        if run.validations and run.validations[-1]["epoch"] == epoch:
            values |= {f"validation/{name}": value for name, value in run.validations[-1].items() if name != "epoch"}
        with self._make(str(self._folder), purge_step=epoch) as writer:
            for name, value in values.items():
                writer.add_scalar(name, value, epoch)
