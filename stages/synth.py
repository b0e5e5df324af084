"""The synth stage: renders walkers, the embedded data set, and the captioned images for CLIP pre-training."""

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.datasets.catalog import data_root
from pipeline.datasets.walkers.population import plan_walkers
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.datasets.walkers.writer import check_renderable, render_pretraining, render_walkers
from pipeline.locks import hold
from pipeline.outputs import check_writable
from pipeline.progress import Progress
from pipeline.workspace import RenderedPart
from stages.console import Console

DEFAULT_ROOT = "data"


def default_root(parameters: Parameters) -> Path:
    """Folder of the data sets: data.root, else $CCAF_DATA, else ``data``."""
    return Path(data_root(parameters.data.root, os.environ) or DEFAULT_ROOT)


def run(
    parameters: Parameters, console: Console, root: Path, only: RenderedPart | None = None, workers: int | None = None
) -> dict[RenderedPart, dict[str, Any]]:
    """Render one part or both; returns the folder and the numbers of everything, by part.

    Args:
        parameters: ``synth`` says what is rendered, ``seed`` decides it.
        console: For remarks.
        root: Folder of data sets to write into.
        only: The part; None: both.
        workers: Rendering processes; None: one per core.

    Raises:
        InputError: A folder holds what was not rendered, cannot be written, or another run is writing it.
        DiskError: The disk is full.
    """
    settings, seed = parameters.synth, parameters.seed
    parts = [only] if only else list(RenderedPart)
    images = {RenderedPart.WALKERS: len(plan_walkers(settings, seed)), RenderedPart.PRETRAIN: settings.pretrain_images}
    rendered: dict[RenderedPart, dict[str, Any]] = {}
    with ExitStack() as stack:
        for part in parts:
            check_writable(root / part)
            stack.enter_context(hold(root / part))
            check_renderable(root / part)
        total = sum(images[part] for part in parts)
        progress = stack.enter_context(Progress(total, "synth", "image", quiet=console.quiet))
        for part in parts:
            counts = _render(part, root / part, settings, seed, workers or os.cpu_count() or 1, progress.advance)
            rendered[part] = {"folder": str(root / part), **counts}
    return rendered


def _render(
    part: RenderedPart, folder: Path, settings: SynthSettings, seed: int, workers: int, advance: Callable[[int], None]
) -> dict[str, int]:
    render = render_walkers if part is RenderedPart.WALKERS else render_pretraining
    return render(folder, settings, seed, workers=workers, advance=advance)
