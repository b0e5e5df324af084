"""The record of a run: what it was made with. Wall-clock times are apart, so that equal runs give equal bytes."""

import os
import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from pipeline import __version__
from pipeline.trainer.timing import PHASES, Timings

RECORD_NAME = "record.json"
VALIDATIONS_NAME = "validations.csv"
PACKAGES = ("torch", "open_clip_torch", "safetensors", "numpy", "opencv-python-headless", "pyarrow", "ray")


def versions() -> dict[str, str]:
    """Of Python, the project and the packages that decide a result."""
    return {
        "python": platform.python_version(),
        "ccaf-pipeline": __version__,
        **{name: version(name) for name in PACKAGES},
    }


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def hardware(device: str) -> dict[str, Any]:
    """What the run's first process computes on."""
    found: dict[str, Any] = {
        "device": device,
        "cpu": _cpu_name(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "system": platform.system(),
    }
    if torch.device(device).type == "cuda":
        found["gpu"] = torch.cuda.get_device_name(device)
    return found


def peak_memory(device: str) -> dict[str, int]:
    """Largest memory of this process so far, in bytes."""
    unit = 1 if sys.platform == "darwin" else 1024
    found = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if torch.device(device).type == "cuda":
        found["cuda"] = torch.cuda.max_memory_allocated(device)
    return found


def timings_summary(rows: Sequence[Timings], images_per_step: int, device: str) -> dict[str, Any]:
    """Where the time of a run went.

    Args:
        rows: One an epoch: ``epoch``, ``steps`` and seconds by phase.
        images_per_step: Images of the global batch.
        device: Of the run.

    Returns:
        ``milliseconds_per_step`` and ``share_of_step`` by phase, seconds of ``saving`` and ``validation``,
        ``images_per_second``, ``peak_memory`` and the rows.
    """
    steps = sum(row["steps"] for row in rows)
    spent = {name: sum(row.get(name, 0.0) for row in rows) for name in (*PHASES, "saving", "validation")}
    total = sum(spent[name] for name in PHASES)
    return {
        "steps": int(steps),
        "milliseconds_per_step": {name: round(1000 * spent[name] / max(steps, 1), 3) for name in PHASES},
        "share_of_step": {name: round(spent[name] / max(total, 1e-9), 4) for name in PHASES},
        "seconds": {name: round(value, 3) for name, value in spent.items()},
        "images_per_second": round(images_per_step * steps / max(total, 1e-9), 2),
        "peak_memory_bytes": peak_memory(device),
        "epochs": list(rows),
    }


def validations_as_csv(rows: Sequence[Mapping[str, float]]) -> str:
    """Checks between epochs as CSV text for ``dvc plots``."""
    names = ["epoch", *sorted(rows[0].keys() - {"epoch"})]
    return "\n".join([",".join(names), *(",".join(f"{row[name]:.8g}" for name in names) for row in rows)]) + "\n"
