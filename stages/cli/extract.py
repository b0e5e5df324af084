"""``ccaf-pipeline extract``: features of the query and gallery images, from a checkpoint or from the frozen CLIP."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import InputError
from stages.cli.evaluate import score_table
from stages.cli.options import CheckpointOption, Context, FrozenOption, beside_features, shared_options


@shared_options("dataset", "shards", "seed")
def command(
    context: Context,
    checkpoint: CheckpointOption = None,
    frozen: FrozenOption = False,
    roles: Annotated[
        list[str] | None,
        typer.Option(
            "--role", help="Role to extract: train, val, query, gallery. Repeatable. Default: query, gallery."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Feature file. Default: artifacts/<data set>/features.parquet (features-frozen)."),
    ] = None,
    score: Annotated[
        bool, typer.Option("--score", help="Score them as well, as evaluate does: metrics*.json beside the features.")
    ] = False,
) -> None:
    """Write the features of a data set's images, for evaluate or for your own use.

    Only the raw image encoder is used: no mask and no text.
    """
    from stages import evaluate, extract

    if frozen and checkpoint is not None:
        raise InputError(
            f"--frozen and --checkpoint {checkpoint}: give one of the two, for features are of the CLIP before any "
            "training or of a checkpoint"
        )
    workspace = context.workspace
    target = out or (workspace.frozen_features if frozen else workspace.features)
    metrics = beside_features(target, "metrics")
    if score:
        evaluate.check_outputs(metrics, inputs=[target])
    result = extract.run(
        context.parameters,
        context.console,
        context.shards or workspace.shards,
        None if frozen else checkpoint or workspace.encoder,
        target,
        roles,
    )
    text = f"{target}: {result['images']} rows"
    if not score:
        context.console.result(result, text)
        context.say_next("evaluate", "--features", str(target), *context.shards_words)
        return
    scored = evaluate.Scored(features=target)
    dataset = context.parameters.data.dataset
    scores = evaluate.run(context.parameters, context.console, scored, metrics, dataset=dataset, shards=context.shards)
    context.console.result({**result, "metrics": scores}, f"{text}\n{score_table(scores)}")
    context.console.say(f"metrics -> {metrics}")
    context.say_next("report", *context.shards_words)
