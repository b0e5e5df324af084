"""How a training computes and what it gives back: precision, memory, processes, states, checks on the way."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import Tensor

from pipeline.errors import WorkError
from pipeline.precision import Precision
from pipeline.trainer.curves import TOTAL, CurveRow
from pipeline.trainer.distributed import ALONE, Ranks
from pipeline.trainer.states import ResumeSettings
from pipeline.trainer.timing import Timings


@dataclass(frozen=True)
class Validation:
    """A check on held-out images between epochs.

    Attributes:
        every: Epochs between two checks; the last epoch is always checked.
        score: Measures the task as it is: figures by name.
        metric: Name of the figure whose highest value chooses the best weights.
    """

    every: int
    score: Callable[[], dict[str, float]]
    metric: str


@dataclass(frozen=True)
class Engine:
    """How steps are computed, kept and checked.

    Attributes:
        precision: Numbers to compute with.
        device: Torch device of the task.
        parts: Parts in which a batch goes through the encoders (exact, see :mod:`pipeline.trainer.gradients`).
        clip: Largest norm of all gradients together; None: any.
        ranks: The processes that train together.
        seed: Makes torch's own random numbers (dropout) a function of seed and step; None: they are left alone.
        tell: Receives remarks for a person.
        tick: Called after each step with epoch, steps done, steps expected and the latest loss that is known, None
            before the first look at one.
        stop: Looked at on the first rank after each step; true: the state is kept, and the training ends as one that is
            interrupted. A request by a signal does the same.
        epoch_done: Called on the first rank after each epoch with the run so far.
        resume: Keep the state, and go on from it; None: neither.
        validation: Score the task between epochs and remember the best weights; None: never.
        quiet: No progress line.
    """

    precision: Precision = field(default_factory=Precision)
    device: str = "cpu"
    parts: int = 1
    clip: float | None = None
    ranks: Ranks = ALONE
    seed: int | None = None
    tell: Callable[[str], None] = lambda _: None
    tick: Callable[[int, int, int, float | None], None] = lambda *_: None
    stop: Callable[[], bool] = lambda: False
    epoch_done: "Callable[[TrainingRun], None]" = lambda _: None
    resume: ResumeSettings | None = None
    validation: Validation | None = None
    quiet: bool = False


@dataclass
class TrainingRun:
    """How a training went.

    Attributes:
        curves: A row an epoch: ``epoch``, ``learning_rate``, ``total``, each loss (means), ``seconds``.
        timings: A row an epoch: seconds by phase, ``steps``, ``saving``, ``validation``.
        validations: A row a check: ``epoch`` and its figures.
        best: The row of the best check.
        best_weights: The task's weights at it.
    """

    curves: list[CurveRow] = field(default_factory=list)
    timings: list[Timings] = field(default_factory=list)
    validations: list[CurveRow] = field(default_factory=list)
    best: CurveRow | None = None
    best_weights: dict[str, Tensor] | None = None

    @property
    def loss(self) -> float:
        """The total of the last epoch that has one.

        Raises:
            WorkError: No step of the run had a loss to train on.
        """
        for row in reversed(self.curves):
            if TOTAL in row:
                return row[TOTAL]
        raise WorkError("no step had a loss: no image has what the terms of this training are about")
