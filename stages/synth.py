"""The synth stage: renders walkers, the embedded data set, and the captioned images for CLIP pre-training."""

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.datasets.walkers.population import plan_walkers
from pipeline.datasets.walkers.settings import SynthSettings
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


class Part(StrEnum):
    """What is rendered, by the name of its folder."""

    WALKERS = WALKERS_FOLDER
    PRETRAIN = PRETRAIN_FOLDER


def run(
    parameters: Parameters, console: Console, root: Path, only: Part | None = None, workers: int | None = None
) -> dict[Part, dict[str, Any]]:
    """Render one part or both; returns the folder and the numbers of everything, by part.

    Args:
        parameters: ``synth`` says what is rendered, ``seed`` decides it.
        console: For remarks.
        root: Folder of data sets to write into.
        only: The part; None: both.
        workers: Rendering processes; None: one per core.
    """
    settings, seed = parameters.synth, parameters.seed
    parts = [only] if only else list(Part)
    images = {Part.WALKERS: len(plan_walkers(settings, seed)), Part.PRETRAIN: settings.pretrain_images}
    rendered: dict[Part, dict[str, Any]] = {}
    with Progress(sum(images[part] for part in parts), "synth", "image", quiet=console.quiet) as progress:
        for part in parts:
            counts = _render(part, root / part, settings, seed, workers or os.cpu_count() or 1, progress.advance)
            rendered[part] = {"folder": str(root / part), **counts}
    return rendered


def _render(
    part: Part, folder: Path, settings: SynthSettings, seed: int, workers: int, advance: Callable[[int], None]
) -> dict[str, int]:
    render = render_walkers if part is Part.WALKERS else render_pretraining
    return render(folder, settings, seed, workers=workers, advance=advance)
