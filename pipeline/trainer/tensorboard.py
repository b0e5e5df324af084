"""Curves of a running training for TensorBoard."""

from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.trainer.engine import TrainingRun


class EventWriter:
    """Writes the latest row of the curves, and of the checks, after each epoch.

    Args:
        folder: Of the event files; those of an interrupted run are continued.
        epochs: Of the run; after the last one the file is complete.

    Raises:
        InputError: The package that writes them is not installed.
    """

    def __init__(self, folder: Path, epochs: int) -> None:
        try:
            from tensorboardX import SummaryWriter
        except ImportError as error:
            raise InputError(
                "training.tensorboard needs the package tensorboardX: install it, or set training.tensorboard to false"
            ) from error
        self._make: Any = SummaryWriter
        self._folder = folder
        self._epochs = epochs
        self._writer: Any = None

    def __call__(self, run: TrainingRun) -> None:
        """Write what the last epoch gave."""
        epoch = int(run.curves[-1]["epoch"])
        values = {name: value for name, value in run.curves[-1].items() if name not in ("epoch", "seconds")}
        if run.validations and run.validations[-1]["epoch"] == epoch:
            values |= {f"validation/{name}": value for name, value in run.validations[-1].items() if name != "epoch"}
        if self._writer is None:  # what an interrupted run wrote of this epoch and later ones is void
            self._writer = self._make(str(self._folder), purge_step=epoch, filename_suffix=f".from-epoch-{epoch}")
        for name, value in values.items():
            self._writer.add_scalar(name, value, epoch)
        if epoch + 1 == self._epochs:
            self._writer.close()
