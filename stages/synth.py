"""The synth stage: renders walkers, the embedded data set, and the captioned images for CLIP pre-training."""

import os
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.datasets.walkers.population import WalkerSettings, plan_walkers
from pipeline.datasets.walkers.writer import render_pretraining, render_walkers
from pipeline.progress import Progress
from stages.console import Console

DATA_VARIABLE = "CCAF_DATA"
DEFAULT_ROOT = "data"
WALKERS_FOLDER = "walkers"
PRETRAIN_FOLDER = "walkers-pretrain"


def default_root(parameters: Parameters) -> Path:
    """Folder of the data sets: data.root, else $CCAF_DATA, else ``data``."""
    return Path(parameters.data.root or os.environ.get(DATA_VARIABLE) or DEFAULT_ROOT)


def run(parameters: Parameters, console: Console, root: Path, workers: int | None = None) -> dict[str, Any]:
    """Render both populations; returns how many there are of everything, and where.

    Args:
        parameters: ``synth`` says what is rendered, ``seed`` decides it.
        console: For remarks.
        root: Folder of data sets to write into.
        workers: Rendering processes; None: one a core.
    """
    settings = WalkerSettings(seed=parameters.seed, **parameters.synth.model_dump())
    folder, pretrain_folder = root / WALKERS_FOLDER, root / PRETRAIN_FOLDER
    processes = workers or os.cpu_count() or 1
    total = len(plan_walkers(settings)) + settings.pretrain_images
    with Progress(total, "synth", "image", quiet=console.quiet) as progress:
        counts = render_walkers(folder, settings, workers=processes, advance=progress.advance)
        counts |= render_pretraining(pretrain_folder, settings, workers=processes, advance=progress.advance)
    return {**counts, "walkers": str(folder), "walkers_pretrain": str(pretrain_folder), "seed": settings.seed}
