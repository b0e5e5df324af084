"""What both stages of training keep beside their weights: record, timings, and the settings of their states."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.files import sha256_of_value, write_json
from pipeline.trainer.engine import TrainingRun
from pipeline.trainer.record import hardware, timings_summary, versions
from pipeline.trainer.states import ResumeSettings
from pipeline.trainer.tensorboard import EventWriter


def state_folder(out: Path) -> Path:
    """Where the state of a training that writes ``out`` is kept."""
    return out.with_name(f"{out.name}.partial")


def state_settings(parameters: Parameters, out: Path, made_of: Mapping[str, Any]) -> ResumeSettings:
    """States of a training that writes ``out``; ``made_of`` decides its result."""
    return ResumeSettings(
        state_folder(out),
        sha256_of_value(made_of),
        seconds=60.0 * parameters.training.save_minutes,
        steps=parameters.training.save_steps,
        config=made_of,
    )


def epoch_hook(parameters: Parameters, out: Path, epochs: int) -> Callable[[TrainingRun], None]:
    """What is done after each epoch: TensorBoard's curves, if wanted.

    Raises:
        InputError: They are wanted and cannot be written.
    """
    if not parameters.training.tensorboard:
        return lambda _: None
    return EventWriter(out.with_name(f"{out.name}-tensorboard"), epochs)


def record_text(
    parameters: Parameters,
    section: str,
    made_of: Mapping[str, Any],
    counts: Mapping[str, Any],
    device: str,
    workers: int,
) -> str:
    """The record of a run as JSON text."""
    record = {
        "parameters": {
            "device": parameters.device,
            "threads": parameters.threads,
            "seed": parameters.seed,
            **{
                name: getattr(parameters, name).model_dump(mode="json")
                for name in ("data", "model", section, "training")
            },
        },
        "made_of": dict(made_of),
        "counts": dict(counts),
        "workers": workers,
        "hardware": hardware(device),
        "versions": versions(),
    }
    return json.dumps(record, indent=2, sort_keys=True) + "\n"


def write_timings(out: Path, run: TrainingRun, images_per_step: int, device: str) -> None:
    """Write where the time went beside ``out``, not into it: equal runs give equal checkpoints."""
    write_json(out.with_name(f"{out.name}-timings.json"), timings_summary(run.timings, images_per_step, device))
