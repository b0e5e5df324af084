"""``ccaf-pipeline report``: one self-contained HTML page about a data set's artifacts."""

from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import Context, shared_options


@shared_options("dataset", "shards", "seed")
def command(
    context: Context,
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="Prompts checkpoint. Default: artifacts/<data set>/prompts.")
    ] = None,
    encoder: Annotated[
        Path | None,
        typer.Option("--checkpoint", "--encoder", help="Encoder checkpoint. Default: artifacts/<data set>/encoder."),
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option("--metrics", help="Metrics. Default: artifacts/<data set>/metrics.json.")
    ] = None,
    frozen_metrics: Annotated[
        Path | None,
        typer.Option(
            "--frozen-metrics",
            help="Metrics of the CLIP before training. Default: artifacts/<data set>/metrics-frozen.json.",
        ),
    ] = None,
    features: Annotated[
        Path | None,
        typer.Option(
            "--features", help="Feature file, for the ranked galleries. Default: artifacts/<data set>/features.parquet."
        ),
    ] = None,
    per_query: Annotated[
        Path | None,
        typer.Option(
            "--per-query",
            help="Table of evaluate --per-query: the galleries are taken from it, nothing is ranked again.",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The page. Default: artifacts/<data set>/report.html.")
    ] = None,
) -> None:
    """Write one HTML page: what ran, the numbers, loss curves, parsed images, ranked galleries.

    It needs shards and metrics. What else is missing is named on the page, with the command that makes it; a file that
    is named by an option must be there. The page loads nothing from elsewhere and may be sent as it is: mind that it
    shows images of the data set.
    """
    from stages import report

    given = report.Given(context.shards, prompts, encoder, metrics, frozen_metrics, features, per_query)
    summary = report.run(context.parameters, context.console, context.workspace, given, out)
    context.console.say("open it in a browser")
    context.console.result(summary, f"{summary['out']}: {summary['bytes']:,} bytes")
