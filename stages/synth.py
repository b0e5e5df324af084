"""``ccaf-pipeline synth``: renders walkers, the embedded data set, and the captioned images for CLIP pre-training."""

import os
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.config import Parameters
from stages.options import JsonOption, ParamsOption, QuietOption, SeedOption, SetOption, make_context

if TYPE_CHECKING:
    from pipeline.datasets.walkers.population import WalkerSettings

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


NEXT = {
    Part.PRETRAIN: "ccaf-pipeline pretrain-clip",
    Part.WALKERS: "ccaf-pipeline manifest --dataset walkers",
}
"""What is usually run after a part."""


def command(
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    only: Annotated[
        Part | None,
        typer.Option(
            "--only",
            help="Render one of the two: walkers, the data set, or walkers-pretrain, the people for pretrain-clip. "
            "Default: both.",
            show_default=False,
        ),
    ] = None,
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
    """Render walkers: pedestrians who change clothes, with exact label maps; the same seed gives the same files.

    Beside the data set, in walkers-pretrain, come captioned images of other people, from which pretrain-clip trains a
    small CLIP. Weights made so are in the package (model.pretrained: builtin:walker-clip), so that most need only
    --only walkers.
    """
    context = make_context(params, overrides, seed=seed, quiet=quiet, as_json=as_json)
    from pipeline.datasets.walkers.population import WalkerSettings, plan_walkers
    from pipeline.progress import Progress

    parameters, console = context.parameters, context.console
    settings = WalkerSettings(seed=parameters.seed, **parameters.synth.model_dump())
    root = out or default_root(parameters)
    parts = [only] if only else list(Part)
    images = {Part.WALKERS: len(plan_walkers(settings)), Part.PRETRAIN: settings.pretrain_images}
    result: dict[str, Any] = {"seed": settings.seed}
    lines = []
    with Progress(sum(images[part] for part in parts), "synth", "image", quiet=quiet) as progress:
        for part in parts:
            folder = root / part
            counts = _render(part, folder, settings, workers or os.cpu_count() or 1, progress.advance)
            result |= {**counts, part.replace("-", "_"): str(folder)}
            lines.append(f"{folder}: {_describe(part, counts)}")
    console.result(result, "\n".join(lines))
    console.say("next: " + ", or ".join(text for part, text in NEXT.items() if part in parts))


def _render(
    part: Part, folder: Path, settings: "WalkerSettings", workers: int, advance: Callable[[int], None]
) -> dict[str, int]:
    from pipeline.datasets.walkers.writer import render_pretraining, render_walkers

    render = render_walkers if part is Part.WALKERS else render_pretraining
    return render(folder, settings, workers=workers, advance=advance)


def _describe(part: Part, counts: dict[str, int]) -> str:
    if part is Part.PRETRAIN:
        return f"{counts['pretrain']} captioned images of as many other people"
    return (
        f"{counts['train']} training images of {counts['train_identities']} people, "
        f"{counts['query']} queries and {counts['gallery']} gallery images of {counts['test_identities']} others, "
        f"{counts['outfits']} outfits"
    )
