"""One step of a study: the stage that does it, what its artifact is, and the process on Ray that runs it."""

import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.deciding import Kind
from pipeline.datasets.walkers.writer import PRETRAIN_NAME, render_pretraining, render_walkers
from pipeline.errors import InputError, PipelineError
from pipeline.files import locked, sha256_of_file, sha256_of_value, write_json
from pipeline.location import locate
from pipeline.models.checkpoint import CONFIG_NAME, WEIGHTS_NAME, checkpoint_files
from pipeline.ownership import remove_listed
from pipeline.shards.making.folder import remove_own
from pipeline.shards.record import read_record
from pipeline.studies.rows import WALKERS
from pipeline.studies.steps import Step
from pipeline.trainer.epochs import forget_progress
from pipeline.training.run_record import state_folder
from stages import blend, encoder_run, evaluate, extract, leakage, oracle, parse, pretrain_clip, prompts
from stages.console import Console


def _population(step: Step, console: Console) -> None:
    render_pretraining(step.out, step.parameters.synth, step.parameters.seed)


def _data(step: Step, console: Console) -> None:
    render_walkers(step.out / WALKERS, step.parameters.synth, step.parameters.seed)


def _clip(step: Step, console: Console) -> None:
    pretrain_clip.run(step.parameters, console, step.places["population"], step.out)


def _shards(step: Step, console: Console) -> None:
    own = step.of_rendered
    parse.run(step.parameters, console, step.out, workers=1 if own else 0, overwrite=own)


def _prompts(step: Step, console: Console) -> None:
    prompts.run(step.parameters, console, step.places["shards"], step.out, keep=True)


def _encoder(step: Step, console: Console) -> None:
    encoder_run.run(step.parameters, console, step.places["shards"], step.places["prompts"], step.out)


def _blend(step: Step, console: Console) -> None:
    blend.run(step.parameters, console, step.places["encoder"], step.out)


def _features(step: Step, console: Console) -> None:
    extract.run(step.parameters, console, step.places["shards"], step.places.get("encoder"), step.out)


def _metrics(step: Step, console: Console) -> None:
    scored = evaluate.Scored(features=step.places["features"])
    evaluate.run(step.parameters, console, scored, step.out, dataset=step.parameters.data.dataset)


def _oracle(step: Step, console: Console) -> None:
    oracle.run(step.parameters, console, str(step.made_of["oracle"]), step.out)


def _leakage(step: Step, console: Console) -> None:
    try:
        leakage.run(step.parameters, console, step.places["features"], step.out)
    except InputError as error:
        if step.of_rendered:
            raise
        console.say(f"without leakage: {error}")  # a data set without clothes ids has none that could be measured
        write_json(step.out, {"headline": {}, "left_out": {"leakage": str(error)}})


_WORK: Mapping[Kind, Callable[[Step, Console], None]] = {
    "population": _population,
    "data": _data,
    "clip": _clip,
    "shards": _shards,
    "prompts": _prompts,
    "encoder": _encoder,
    "blend": _blend,
    "features": _features,
    "metrics": _metrics,
    "leakage": _leakage,
    "oracle": _oracle,
}


def _of_folder(folder: Path) -> str | None:
    """Hash over names and bytes of all files."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return sha256_of_value([[str(path.relative_to(folder)), sha256_of_file(path)] for path in files]) if files else None


def identify(step: Step) -> str | None:
    """Hash of a step's artifact as it is on disk; None if there is none, or it is not whole."""
    try:
        if step.kind == "data":
            return _of_folder(step.out / WALKERS)
        if step.kind == "population":
            return sha256_of_file(step.out / PRETRAIN_NAME)
        if step.kind == "shards":
            return read_record(step.out).sha256
        if step.kind in ("clip", "prompts", "encoder", "blend"):  # the configuration holds the hash of the weights
            present = (step.out / WEIGHTS_NAME).is_file()
            return sha256_of_file(step.out / CONFIG_NAME) if present else None
        return sha256_of_file(step.out)
    except (OSError, InputError):
        return None


@dataclass(frozen=True)
class Task:
    """A step as a worker gets it.

    Attributes:
        step: What is to be done.
        inputs: Hashes of the artifacts that it reads, by role.
        log: File that everything it says is added to.
        state: File without ending that its lock and the mark of its beginning are named after.
        folder: Where the command was given; paths in the parameters may be relative to it.
    """

    step: Step
    inputs: Mapping[str, str]
    log: Path
    state: Path
    folder: Path


@dataclass(frozen=True)
class Outcome:
    """What a worker made of a step: the hash of the artifact, or why there is none."""

    output: str | None
    seconds: float
    error: str | None = None


@contextmanager
def _output_to(log: Path) -> Iterator[None]:
    """Everything that this process and its libraries print goes to the end of a file while this lasts."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with log.open("ab") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in enumerate(kept, start=1):
            os.dup2(descriptor, number)
            os.close(descriptor)


def forget_others_work(task: Task) -> None:
    """Remove what a step would go on with if it was of other parameters, inputs or program than these.

    That is the state of an unfinished training, and prompts and shards, whose stages keep what they made of the same
    parameters and do not know which program made it.
    """
    step = task.step
    mark = task.state.with_name(f"{task.state.name}.begun")
    own = sha256_of_value([step.fingerprint, dict(task.inputs)])
    if mark.is_file() and mark.read_text() == own:
        return
    forget_progress(state_folder(step.out))
    if step.kind == "prompts" and (step.out / CONFIG_NAME).is_file():
        remove_listed(step.out, checkpoint_files(step.out))
    elif step.kind == "shards" and step.of_rendered:
        remove_own(locate(step.out))
    mark.write_text(own)


def do_task(task: Task) -> Outcome:
    """Do a step in this process; errors are part of the outcome, and are told in the log.

    A worker whose driver was killed may live on for a moment: the lock lets nobody else do the same step meanwhile.
    """
    try:
        for path in (task.log, task.state):
            path.parent.mkdir(parents=True, exist_ok=True)
        os.chdir(task.folder)
        with locked(task.state.with_name(f"{task.state.name}.lock")), _output_to(task.log):
            return _do(task)
    except OSError as error:
        return Outcome(None, 0.0, f"{error.filename}: {error.strerror or error}")


def _do(task: Task) -> Outcome:
    step, started, worked = task.step, time.monotonic(), time.process_time()
    console = Console()
    console.say(f"{step.kind} {step.name}")
    try:
        if step.kind in ("clip", "shards", "prompts", "encoder"):
            forget_others_work(task)
        _WORK[step.kind](step, console)
        output = identify(step)
        if output is None:
            raise InputError(f"{step.out} is not there after the step that makes it")
    except PipelineError as error:
        console.say(f"error: {error}")
        return Outcome(None, time.monotonic() - started, str(error))
    except Exception as error:
        traceback.print_exc()
        return Outcome(None, time.monotonic() - started, f"{type(error).__name__}: {error} (see {task.log})")
    seconds = time.monotonic() - started
    console.say(f"done in {seconds:.1f} s, of which this process worked {time.process_time() - worked:.1f} s")
    return Outcome(output, seconds)
