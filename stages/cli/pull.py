"""``ccaf-pipeline pull``: an encoder from the Hugging Face Hub, checked as anything of a stranger."""

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import Context, shared_options


@shared_options("dataset")
def command(
    context: Context,
    repository: Annotated[str, typer.Argument(help="Repository of the hub: OWNER/NAME.")],
    revision: Annotated[
        str | None,
        typer.Option("--revision", help="Branch, tag or commit. Default: the main one.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the checkpoint. Default: artifacts/<data set>/pulled.")
    ] = None,
) -> None:
    """Fetch an encoder from the Hugging Face Hub as a checkpoint, for extract, export and every other command.

    Only safetensors and JSON are read and nothing is unpickled; hashes, bounds and every field are checked first.
    """
    from stages import share

    result = share.pull(context.console, repository, revision, out or context.workspace.pulled)
    context.console.result(result, f"{result['out']}: {repository} at {result['commit']}")
