"""``ccaf-pipeline synth``: renders walkers, the embedded data set, and the captioned images for CLIP pre-training."""

import os
from pathlib import Path
from typing import Annotated

import typer

from pipeline.config import Parameters
from stages.options import JsonOption, ParamsOption, QuietOption, SeedOption, SetOption, make_context

DATA_VARIABLE = "CCAF_DATA"
DEFAULT_ROOT = "data"
WALKERS_FOLDER = "walkers"
PRETRAIN_FOLDER = "walkers-pretrain"


def default_root(parameters: Parameters) -> Path:
    """Folder of the data sets: data.root, else $CCAF_DATA, else ``data``."""
    return Path(parameters.data.root or os.environ.get(DATA_VARIABLE) or DEFAULT_ROOT)


def command(
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Folder of data sets to write into. Default: data.root, else $CCAF_DATA, else data.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Rendering processes. Default: one a core.", show_default=False),
    ] = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Render walkers: pedestrians who change clothes, with exact label maps; the same seed gives the same files."""
    context = make_context(params, overrides, seed=seed, quiet=quiet, as_json=as_json)
    from pipeline.datasets.walkers.population import WalkerSettings, plan_walkers
    from pipeline.datasets.walkers.writer import render_pretraining, render_walkers
    from pipeline.progress import Progress

    parameters, console = context.parameters, context.console
    settings = WalkerSettings(seed=parameters.seed, **parameters.synth.model_dump())
    root = out or default_root(parameters)
    folder, pretrain_folder = root / WALKERS_FOLDER, root / PRETRAIN_FOLDER
    processes = workers or os.cpu_count() or 1
    total = len(plan_walkers(settings)) + settings.pretrain_images
    with Progress(total, "synth", "image", quiet=quiet) as progress:
        counts = render_walkers(folder, settings, workers=processes, advance=progress.advance)
        counts |= render_pretraining(pretrain_folder, settings, workers=processes, advance=progress.advance)
    text = "\n".join(
        [
            f"{folder}: {counts['train']} training images of {counts['train_identities']} people, "
            f"{counts['query']} queries and {counts['gallery']} gallery images of {counts['test_identities']} others, "
            f"{counts['outfits']} outfits",
            f"{pretrain_folder}: {counts['pretrain']} captioned images of as many other people",
        ]
    )
    result = {**counts, "walkers": str(folder), "walkers_pretrain": str(pretrain_folder), "seed": settings.seed}
    console.result(result, text)
    console.say("next: ccaf-pipeline pretrain-clip, or ccaf-pipeline manifest --dataset walkers")
