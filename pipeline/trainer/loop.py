"""The loop that every training here shares: epochs of steps, curves, states to go on from, a guard, checks."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Generic

import torch
from safetensors.torch import load_file
from torch import nn

from pipeline.errors import InputError, WorkError
from pipeline.progress import Progress
from pipeline.stopping import StopRequest, stop_requests
from pipeline.trainer.curves import TOTAL, CurveRow, LossSums, loss_note
from pipeline.trainer.distributed import share_weights
from pipeline.trainer.engine import Engine, TrainingRun
from pipeline.trainer.gradients import GradientMaker
from pipeline.trainer.state_files import BEST_NAME
from pipeline.trainer.state_values import StateValues
from pipeline.trainer.state_writer import StateWriter
from pipeline.trainer.states import SavedState, Snapshot, StateFolder
from pipeline.trainer.task import BatchT, FeaturesT, LabelsT, Plan, Task
from pipeline.trainer.timing import PhaseTimer, Timings

CUDA_SETTLE_STEPS = 16
"""Steps on CUDA between two looks at the losses: each look waits for the GPU."""
CPU_SETTLE_STEPS = 1


def train(
    task: Task[BatchT, FeaturesT, LabelsT],
    optimizer: torch.optim.Optimizer,
    plan: Plan[BatchT],
    engine: Engine | None = None,
) -> TrainingRun:
    """Train for some epochs.

    Args:
        task: What is trained. Only parameters of the optimizer move.
        optimizer: Its groups may carry ``rate_factor``, a multiple of the scheduled rate.
        plan: Batches, rates and the sum of the losses.
        engine: How steps are computed, kept and checked.

    Raises:
        WorkError: The loss or the weights are not finite; the last state on disk is good.
        InputError: A state on disk is damaged or of another training; or the engine cannot do what it is asked to.
    """
    return _Trainer(task, optimizer, plan, engine or Engine()).run()


@contextmanager
def closing(batches: Iterator[BatchT]) -> Iterator[Iterator[BatchT]]:
    """Close a generator when the block ends; other iterators have nothing to close."""
    try:
        yield batches
    finally:
        close = getattr(batches, "close", None)
        if close is not None:
            close()


class _Trainer(Generic[BatchT, FeaturesT, LabelsT]):
    """The state of a run between its steps."""

    def __init__(
        self,
        task: Task[BatchT, FeaturesT, LabelsT],
        optimizer: torch.optim.Optimizer,
        plan: Plan[BatchT],
        engine: Engine,
    ) -> None:
        self.task, self.optimizer, self.plan, self.engine = task, optimizer, plan, engine
        resume = engine.resume
        self.states = None
        if resume is not None:
            self.states = StateFolder(resume.folder, resume.fingerprint, resume.config)
        self.gradients = GradientMaker(task, engine.precision, engine.parts, engine.ranks)
        self.timer = PhaseTimer(engine.device)
        self.settle_steps = CUDA_SETTLE_STEPS if torch.device(engine.device).type == "cuda" else CPU_SETTLE_STEPS
        self.result = TrainingRun()
        self.epoch = self.step = self.done = 0
        self.sums = LossSums()
        self.spent: Timings = {}
        self.best_file: Path | None = None
        self.best_at_save: CurveRow | None = None
        self.saved_at = time.monotonic()
        self.saved_steps = 0
        self.request = StopRequest()
        self.writer: StateWriter | None = None

    def run(self) -> TrainingRun:
        share_weights(self.task, self.engine.ranks)
        self._restore()
        if self.states is None:
            return self._train()
        # beside a GPU the CPU is free to write; on a CPU a copy of everything would cost as much as it saves
        with StateWriter(self.states, apart=torch.device(self.engine.device).type == "cuda") as self.writer:
            return self._train()

    def _train(self) -> TrainingRun:
        quiet = self.engine.quiet or not self.engine.ranks.first
        per_epoch = math.ceil(self.done / max(self.epoch, 1))
        with (
            stop_requests() as self.request,
            Progress(self.plan.epochs * per_epoch, self.plan.what, "step", quiet, done=self.done) as progress,
        ):
            while self.epoch < self.plan.epochs:
                self._run_epoch(progress)
        self._check_weights()  # the last step's loss was that of the weights before it
        self._written()
        if self.engine.ranks.first and self.best_file is not None and self.result.best_weights is None:
            self.result.best_weights = load_file(self.best_file)  # other ranks do not learn of newer files
        return self.result

    def _run_epoch(self, progress: Progress) -> None:
        epoch = self.plan.epoch_of(self.epoch, self.step)
        expected = self.done + epoch.steps - self.step + (self.plan.epochs - self.epoch - 1) * epoch.steps
        progress.expect(expected)
        with closing(iter(epoch.batches)) as batches:  # threads that make them ahead end with an interruption
            rate = self._run_steps(batches, epoch.steps, expected, progress)
        if self.step != epoch.steps:
            raise WorkError(f"{self.plan.what}: epoch {self.epoch} ended after {self.step} of {epoch.steps} steps")
        self._end_epoch(rate)

    def _run_steps(self, batches: Iterator[BatchT], steps: int, expected: int, progress: Progress) -> float:
        """All steps of an epoch that are left; returns the last learning rate."""
        rate = self.plan.rate_at(self.epoch)
        self.timer.start()
        for batch in batches:
            self.timer.lap("data")
            rate = self.plan.rate_at(self.epoch + self.step / steps)
            self._one_step(batch, rate)
            self.step += 1
            self.done += 1
            progress.advance(1, f"epoch {self.epoch + 1}/{self.plan.epochs}{loss_note(self.sums.last)}")
            self.engine.tick(self.epoch, self.done, expected, self.sums.last)
            if self._is_due() and self.step < steps:
                self._save()
            if self.step < steps:
                self._stop_if_asked()
            if self.writer is not None and self.writer.done:
                self._written()  # what went wrong is said now, not when the next state is due
            self.timer.start()
        return rate

    def _stop_if_asked(self) -> None:
        """Keep the state and end, if a person or the system wants it.

        Raises:
            KeyboardInterrupt: It was asked for.
        """
        if not self.engine.ranks.first or not (self.request or self.engine.stop()):
            return
        if self.saved_steps != self.done:
            self._save()
        self._written()
        self.request.act()

    def _one_step(self, batch: BatchT, rate: float) -> None:
        engine, optimizer = self.engine, self.optimizer
        for group in optimizer.param_groups:
            group["lr"] = rate * group.get("rate_factor", 1.0)
        if engine.seed is not None:
            torch.manual_seed(engine.seed * 1_000_003 + self.done * engine.ranks.world + engine.ranks.rank)
        losses, cached = self.gradients.losses(batch)
        total = self.plan.weigh(self.epoch, self.done, losses)
        if total is None:
            self.timer.lap("forward")
            return
        self.sums.add(self.step, losses, total)
        if len(self.sums) >= self.settle_steps:
            self._settle()
        self.timer.lap("forward")
        optimizer.zero_grad(set_to_none=True)
        self.gradients.backward(total, cached)
        self.timer.lap("backward")
        if engine.clip is not None:
            engine.precision.unscale(optimizer)
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], engine.clip)
        engine.precision.step(optimizer)
        self.timer.lap("optimizer")

    def _settle(self) -> None:
        """Look at the losses since the last look; stop at the first that is not finite."""
        found = self.sums.settle()
        if found is not None:
            step, losses = found
            named = ", ".join(f"{name} {value:.4g}" for name, value in losses.items() if name != TOTAL)
            raise WorkError(f"the loss is not finite at epoch {self.epoch}, step {step} ({named}); {self._advice()}")

    def _advice(self) -> str:
        if self.writer is not None:
            with suppress(InputError, WorkError):  # what stopped the training is the error to tell
                self.writer.finish()
        last = self.states.last() if self.states is not None else None
        kept = f"the last good state is kept in {last}; " if last is not None else ""
        return f"{kept}lower the learning rate, or use similarity: cosine"

    def _end_epoch(self, rate: float) -> None:
        self._settle()
        means = self.sums.means()
        seconds = self._spent()
        row = {"epoch": float(self.epoch), "learning_rate": rate, **means, "seconds": round(sum(seconds.values()), 3)}
        self.result.curves.append(row)
        self.result.timings.append({"epoch": self.epoch, "steps": self.step, **seconds})
        self.epoch, self.step = self.epoch + 1, 0
        self.sums = LossSums(self.sums.last)
        self._validate()
        if self.engine.ranks.first:
            self.engine.epoch_done(self.result)
        if self.epoch < self.plan.epochs and self._is_due():
            self._save()
        self._stop_if_asked()  # after the last epoch as well: the result is not written yet

    def _spent(self) -> Timings:
        """Seconds by phase of the running epoch; begins to count anew."""
        for name, value in self.timer.take().items():
            self.spent[name] = self.spent.get(name, 0.0) + value
        spent, self.spent = self.spent, {}
        return {name: round(value, 4) for name, value in spent.items()}

    def _validate(self) -> None:
        validation = self.engine.validation
        if validation is None or (self.epoch % validation.every and self.epoch < self.plan.epochs):
            return
        self.timer.start()
        if self.engine.ranks.first:
            was_training = self.task.training
            self.task.eval()
            row = {"epoch": float(self.epoch - 1), **validation.score()}
            self.task.train(was_training)
            self.result.validations.append(row)
            best = self.result.best
            if best is None or row[validation.metric] > best[validation.metric]:
                self.result.best = row
                state = self.task.state_dict()
                self.result.best_weights = {
                    key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
                    for key, value in state.items()
                }
                self.best_file = None
        self.timer.lap("validation")
        self.result.timings[-1] |= {name: round(value, 4) for name, value in self.timer.take().items()}

    def _is_due(self) -> bool:
        if self.engine.resume is None or not self.engine.ranks.first:
            return False
        by_steps = self.engine.resume.steps > 0 and self.done - self.saved_steps >= self.engine.resume.steps
        return by_steps or time.monotonic() - self.saved_at >= self.engine.resume.seconds

    def _save(self) -> None:
        """Write the state, unless the weights are not finite: what is on disk stays good."""
        if self.writer is None or not self.engine.ranks.first:
            return
        self._settle()
        self._check_weights()
        self._written()
        self.timer.start()
        values = {
            "what": self.plan.what,
            "epoch": self.epoch,
            "step": self.step,
            "done": self.done,
            "sums": self.sums.state(),
            "curves": self.result.curves,
            "timings": self.result.timings,
            "validations": self.result.validations,
            "best": self.result.best,
            "scaler": self.engine.precision.state(),
            "spent": self._take_spent(),
        }
        best = self.best_file or self.result.best_weights
        self.writer.write(self.done, Snapshot.of(self.task, self.optimizer, self.writer.apart), values, best)
        self.best_at_save = self.result.best
        self.saved_at, self.saved_steps = time.monotonic(), self.done
        self.timer.lap("saving")

    def _written(self) -> None:
        """Wait until the last state is on disk; the best weights lie there then."""
        folder = None if self.writer is None else self.writer.finish()
        if folder is not None and self.best_at_save is not None and self.best_at_save is self.result.best:
            self.best_file = folder / BEST_NAME

    def _check_weights(self) -> None:
        norms = torch._foreach_norm([parameter.detach() for parameter in self.task.parameters()])
        if not bool(torch.isfinite(torch.stack([norm.float() for norm in norms])).all()):
            raise WorkError(f"the weights are not finite after epoch {self.epoch}, step {self.step}; {self._advice()}")

    def _take_spent(self) -> Timings:
        spent = self._spent()
        self.spent = dict(spent)
        return spent

    def _restore(self) -> None:
        if self.states is None:
            return
        state = self.states.find(self.engine.tell, self.engine.ranks)
        if state is None:
            return
        self.states.load(state, self.task, self.optimizer)
        self._read(state)

    def _read(self, state: SavedState) -> None:
        values = StateValues.check(
            state.values, f"training state {state.folder}", f"remove {state.folder} to start anew"
        )
        self.epoch, self.step, self.done = values.epoch, values.step, values.done
        self.saved_steps = self.done
        self.sums = LossSums.from_state(values.sums.model_dump())
        self.result.curves = list(values.curves)
        self.result.timings = list(values.timings)
        self.result.validations = list(values.validations)
        self.result.best = values.best
        self.best_file = state.folder / BEST_NAME if values.best is not None else None
        self.spent = dict(values.spent)
        self.engine.precision.load_state(dict(values.scaler))
