"""``ccaf-pipeline evaluate``: scores features under named protocols and writes metrics.json."""

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.columns import as_columns
from stages.cli.options import Context, beside_features, shared_options

COLUMNS = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")


@shared_options("dataset", "shards", "seed")
def command(
    context: Context,
    features: Annotated[
        Path | None,
        typer.Option("--features", help="Feature file. Default: artifacts/<data set>/features.parquet."),
    ] = None,
    query: Annotated[Path | None, typer.Option("--query", help="Feature file of the queries alone.")] = None,
    gallery: Annotated[Path | None, typer.Option("--gallery", help="Feature file of the gallery alone.")] = None,
    train_features: Annotated[
        Path | None,
        typer.Option("--train-features", help="Feature file of the training images: warns of shared identities."),
    ] = None,
    protocols: Annotated[
        list[str] | None,
        typer.Option(
            "--protocol",
            help="Protocol, such as cc. Repeatable. Default: those of the data set, else general, cc, sc as ids allow.",
        ),
    ] = None,
    rerank: Annotated[
        bool, typer.Option("--rerank", help="Also score the k-reciprocal re-ranking; the results tell the two apart.")
    ] = False,
    per_query: Annotated[
        Path | None,
        typer.Option("--per-query", help="Parquet file for each query's AP, first good rank and best gallery images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Metrics file. Default: metrics*.json beside features*.parquet.")
    ] = None,
) -> None:
    """Score features: CMC, mAP and mINP in percent, with 95% bootstrap intervals over query identities.

    Any model's features can be scored: a Parquet file with the columns feature (lists of numbers), role or split
    (query, gallery; test_a, test_b, test_c for PRCC), person_id, and as far as the protocol needs them camera_id,
    clothes_id, tracklet_id, image_id. An image without a camera counts as taken by one of its own. Equal distances rank
    in the order of the gallery's rows.
    """
    from stages import evaluate

    dataset = context.dataset
    if features is None and query is None and gallery is None:
        features = context.workspace.features
        dataset = context.parameters.data.dataset
    target = out or beside_features(features or query or Path("features.parquet"), "metrics")
    result = evaluate.run(
        context.parameters,
        context.console,
        evaluate.Scored(features, query, gallery, train_features),
        target,
        dataset=dataset,
        shards=context.shards,
        protocols=protocols,
        rerank=rerank,
        per_query=per_query,
    )
    context.console.result(result, score_table(result))
    context.console.say(f"metrics -> {target}")
    if per_query is not None:
        context.console.say(f"results of each query -> {per_query}")
    context.say_next("report", *context.shards_words)


def score_table(result: dict[str, Any]) -> str:
    """The figures of a scoring in percent, aligned; a re-ranked row below its plain one."""
    reranked = result.get("reranked", {})
    entries = [part[name] for name in result["protocols"] for part in (result["protocols"], reranked) if name in part]
    lines = [["protocol", *COLUMNS, "queries", "skipped", "gallery"]]
    for entry in entries:
        name = entry["name"] + (", re-ranked" if "reranking" in entry else "")
        counts = [str(entry[key]) for key in ("n_query", "n_skipped", "n_gallery")]
        lines.append([name, *(f"{entry[column]:.1f}" for column in COLUMNS), *counts])
    return as_columns(lines)
