"""``ccaf-pipeline push``: an encoder with a model card to the Hugging Face Hub, or into a folder to be reviewed."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError
from stages.cli.options import CheckpointOption, Context, shared_options


@shared_options("dataset", "shards")
def command(
    context: Context,
    repository: Annotated[str, typer.Argument(help="Repository of the hub: OWNER/NAME.")],
    licence: Annotated[
        str,
        typer.Option("--licence", help="Licence of the weights, such as apache-2.0 or cc-by-nc-4.0: yours to say."),
    ],
    checkpoint: CheckpointOption = None,
    metrics: Annotated[
        Path | None,
        typer.Option(
            "--metrics",
            help="For the card. Default without --checkpoint: artifacts/<data set>/metrics.json, if there.",
        ),
    ] = None,
    card: Annotated[
        Path | None, typer.Option("--card", help="Your own model card, in the place of the one that is made.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="If the repository is made now, only you see it.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Push nothing; write into --out what would be pushed, to be reviewed.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="With --dry-run: the folder. Default: artifacts/<data set>/shared.")
    ] = None,
) -> None:
    """Push an encoder to the Hugging Face Hub: weights as safetensors, config.json and a model card.

    The card has the numbers with their intervals, the data set, the method, the parser, the licence, the intended use
    and the limits; review it first by --dry-run. Needs the extra hub and a login (`hf auth login`), but for --dry-run.
    """
    from stages import share

    if out is not None and not dry_run:
        raise InputError(f"--out {out} goes with --dry-run, which writes there and pushes nothing")
    workspace = context.workspace
    usual = {"metrics": workspace.metrics, "shards": workspace.shards}
    found = {name: path if checkpoint is None and path.exists() else None for name, path in usual.items()}
    shared = share.Shared(
        checkpoint or workspace.encoder,
        licence,
        metrics or found["metrics"],
        context.shards or found["shards"],
        card,
        private,
    )
    if shared.metrics is None:
        context.console.say("the card will have no numbers: name them by --metrics")
    if shared.shards is None:
        context.console.say("the card will not name the parser: name the shards by --shards")
    dry = (out or workspace.shared) if dry_run else None
    result = share.push(context.console, repository, shared, dry)
    context.console.result(result, f"{result.get('url') or result['out']}: {', '.join(result['files'])}")
    if dry is not None:
        context.console.say(f"review {dry / 'README.md'}, then give it by --card and leave --dry-run out")
