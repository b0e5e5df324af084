"""What both stages of training keep beside their weights: record, timings, and the settings of their states."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.files import sha256_of_value, write_json
from pipeline.trainer.engine import TrainingRun
from pipeline.trainer.record import hardware, timings_summary, versions
from pipeline.trainer.settings import TrainerSettings
from pipeline.trainer.states import ResumeSettings
from pipeline.trainer.tensorboard import EventWriter


def state_folder(out: Path) -> Path:
    """Where the state of a training that writes ``out`` is kept."""
    return out.with_name(f"{out.name}.partial")


def state_settings(settings: TrainerSettings, out: Path, made_of: Mapping[str, Any]) -> ResumeSettings:
    """States of a training that writes ``out``; ``made_of`` decides its result."""
    return ResumeSettings(
        state_folder(out),
        sha256_of_value(made_of),
        seconds=60.0 * settings.save_minutes,
        steps=settings.save_steps,
        config=made_of,
    )


def epoch_hook(settings: TrainerSettings, out: Path, epochs: int) -> Callable[[TrainingRun], None]:
    """What is done after each epoch: TensorBoard's curves, if wanted.

    Raises:
        InputError: They are wanted and cannot be written.
    """
    if not settings.tensorboard:
        return lambda _: None
    return EventWriter(out.with_name(f"{out.name}-tensorboard"), epochs)


def record_text(
    parameters: Mapping[str, Any],
    made_of: Mapping[str, Any],
    counts: Mapping[str, Any],
    device: str,
    workers: int,
    **more: Any,
) -> str:
    """The record of a run as JSON text.

    Args:
        parameters: Those of the run, JSON-like; see :func:`pipeline.config.deciding.recorded`.
        made_of: What decides the result.
        counts: Of images, identities and classes.
        device: That the networks ran on.
        workers: Processes.
        more: What this training alone has to say, JSON-like.
    """
    record = {
        **more,
        "parameters": dict(parameters),
        "made_of": dict(made_of),
        "counts": dict(counts),
        "workers": workers,
        "hardware": hardware(device),
        "versions": versions(),
    }
    return json.dumps(record, indent=2, sort_keys=True) + "\n"


def timings_place(out: Path) -> Path:
    """Where the timings of a training that writes ``out`` are put."""
    return out.with_name(f"{out.name}-timings.json")


def write_timings(out: Path, run: TrainingRun, images_per_step: int, device: str) -> None:
    """Write where the time went beside ``out``, not into it: equal runs give equal checkpoints."""
    write_json(timings_place(out), timings_summary(run.timings, images_per_step, device))
