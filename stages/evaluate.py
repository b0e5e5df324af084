"""``ccaf-pipeline evaluate``: scores features under named protocols and writes metrics.json."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.config import Parameters
from stages.console import Console
from stages.options import (
    DatasetOption,
    JsonOption,
    ParamsOption,
    QuietOption,
    SeedOption,
    SetOption,
    dataset_workspace,
    make_context,
)

if TYPE_CHECKING:
    from pipeline.datasets.catalog import DatasetFacts
    from pipeline.evaluation.features import FeatureSet
    from pipeline.evaluation.per_query import ScoredQueries
    from pipeline.evaluation.protocols import Protocol
    from pipeline.evaluation.rerank import Reranking


@dataclass(frozen=True)
class Scored:
    """Features to score: one file, or queries and gallery apart.

    Attributes:
        features: Both in one file.
        query: The queries alone.
        gallery: The gallery alone.
        train: Features of the training images: shared identities are warned of.
    """

    features: Path | None = None
    query: Path | None = None
    gallery: Path | None = None
    train: Path | None = None


COLUMNS = ("rank1", "rank5", "rank10", "rank20", "mAP", "mINP")


def _read(features: Path | None, query: Path | None, gallery: Path | None) -> "tuple[FeatureSet, dict[str, str]]":
    from pipeline.errors import InputError
    from pipeline.evaluation.features import CHECKPOINT_KEY, concatenate, read_features
    from pipeline.evaluation.protocols import PROTOCOLS

    if features is not None and (query or gallery):
        raise InputError("give either --features, or --query and --gallery, not both")
    if features is not None:
        return read_features(features)
    if query is None or gallery is None:
        raise InputError("give --features FILE, or both --query FILE and --gallery FILE")
    finer_query = [role for protocol in PROTOCOLS.values() for role in protocol.query_roles]
    finer_gallery = [role for protocol in PROTOCOLS.values() for role in protocol.gallery_roles]
    queries, metadata = read_features(query, "query", finer_query)
    items, other = read_features(gallery, "gallery", finer_gallery)
    for key in (CHECKPOINT_KEY, "dataset"):
        if key in metadata and key in other and metadata[key] != other[key]:
            raise InputError(f"{query} and {gallery} differ in {key}: {metadata[key]} and {other[key]}")
    return concatenate([queries, items]), other | metadata


def _facts(dataset: str | None, metadata: dict[str, str]) -> "DatasetFacts | None":
    """The data set that was named, else the one that the feature file names, if it is known here."""
    from pipeline.datasets.catalog import load_facts
    from pipeline.errors import InputError

    named = metadata.get("dataset")
    if dataset is not None:
        facts = load_facts(dataset)
        if named is not None and named != facts.name:
            raise InputError(f"the features are of the data set {named}, not of {facts.name}")
        return facts
    try:
        return None if named is None else load_facts(named)
    except InputError:
        return None


def _protocols(names: list[str] | None, facts: "DatasetFacts | None") -> "list[Protocol]":
    """The protocols of some names, or of the data set; none if neither says any.

    Raises:
        InputError: A name is unknown, or the data set does not define it.
    """
    from pipeline.errors import InputError
    from pipeline.evaluation.protocols import find_protocols

    chosen = names or (list(facts.protocols) if facts else [])
    found = {protocol.name: protocol for name in chosen for protocol in find_protocols(name)}
    if facts is not None:
        defined = {protocol.name for name in facts.protocols for protocol in find_protocols(name)}
        for name in found:
            if name not in defined:
                raise InputError(
                    f"data set {facts.name} does not define the protocol {name}; "
                    f"it defines: {', '.join(facts.protocols)}"
                )
    return list(found.values())


def _possible_protocols(items: "FeatureSet", facts: "DatasetFacts | None") -> "tuple[list[Protocol], list[str]]":
    """Where none was named: those of the data set, or general, cc and sc; as far as ids and good items allow.

    The second value says what was left out, and why. The first protocol is never left out.
    """
    from pipeline.errors import InputError
    from pipeline.evaluation.features import NO_ID
    from pipeline.evaluation.protocols import CLOTHES_CHANGING, GENERAL, SAME_CLOTHES, has_good_items, select

    first, *others = _protocols(None, facts) or [GENERAL, CLOTHES_CHANGING, SAME_CLOTHES]
    chosen: list[Protocol] = [first]
    remarks: list[str] = []
    if facts is None and (items.clothes_id == NO_ID).all():
        return chosen, remarks
    for protocol in others:
        try:
            possible = has_good_items(*select(items, protocol), protocol)
            reason = "" if possible else f"protocol {protocol.name}: no query has a good gallery item"
        except InputError as error:
            possible, reason = False, str(error)
        if possible:
            chosen.append(protocol)
        else:
            remarks.append(f"{reason}; left out")
    return chosen, remarks


def table_of(result: dict[str, Any]) -> str:
    """The figures of :func:`run` in percent, aligned; a re-ranked row below its plain one."""
    from pipeline.datasets.counts import as_columns

    reranked = result.get("reranked", {})
    entries = [part[name] for name in result["protocols"] for part in (result["protocols"], reranked) if name in part]
    lines = [["protocol", *COLUMNS, "queries", "skipped", "gallery"]]
    for entry in entries:
        name = entry["name"] + (", re-ranked" if "reranking" in entry else "")
        counts = [str(entry[key]) for key in ("n_query", "n_skipped", "n_gallery")]
        lines.append([name, *(f"{entry[column]:.1f}" for column in COLUMNS), *counts])
    return as_columns(lines)


def _score(
    items: "FeatureSet",
    train: "FeatureSet",
    protocol: "Protocol",
    parameters: Parameters,
    reranking: "Reranking | None",
    depth: int,
    quiet: bool,
) -> "tuple[list[dict[str, Any]], list[str], list[ScoredQueries]]":
    """Entries of one protocol (plain, and re-ranked if asked for), warnings, and the results of its queries."""
    from pipeline.evaluation import checks
    from pipeline.evaluation.metrics import evaluate_selected
    from pipeline.evaluation.per_query import ScoredQueries
    from pipeline.evaluation.protocols import select

    query, gallery = select(items, protocol)
    checks.check_shared_images(query, gallery, protocol)
    warnings = [
        checks.missing_cameras_warning(items, protocol),
        checks.repeated_names_warning(gallery, protocol),
        checks.training_identities_warning(query, train, protocol),
    ]
    entries, queries = [], []
    for method in (None, reranking) if reranking else (None,):
        entry, retrievals = evaluate_selected(
            query,
            gallery,
            protocol,
            parameters.evaluate.bootstrap,
            parameters.seed,
            reranking=method,
            depth=0 if protocol.single_shot else depth,
            quiet=quiet,
        )
        entries.append(entry)
        if method is None:
            warnings.append(checks.swapped_warning(protocol.name, retrievals[0]))
        if not protocol.single_shot:  # each draw would rank another gallery
            queries.append(ScoredQueries(protocol.name, method is not None, retrievals[0]))
    return entries, [warning for warning in warnings if warning], queries


def default_target(features: Path) -> Path:
    """``features-frozen.parquet`` -> ``metrics-frozen.json``; a file of another name -> ``metrics.json``."""
    name = features.stem.replace("features", "metrics", 1) if features.stem.startswith("features") else "metrics"
    return features.with_name(f"{name}.json")


def command(
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
        bool, typer.Option("--rerank", help="Score the k-reciprocal re-ranking as well, told apart in the results.")
    ] = False,
    per_query: Annotated[
        Path | None,
        typer.Option("--per-query", help="Parquet file for each query's AP, first good rank and best gallery images."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Metrics file. Default: metrics*.json beside features*.parquet.")
    ] = None,
    dataset: DatasetOption = None,
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Score features: CMC, mAP and mINP in percent, with 95% bootstrap intervals over query identities.

    Any model's features can be scored: a Parquet file with the columns feature (lists of numbers), role or split
    (query, gallery; test_a, test_b, test_c for PRCC), person_id, and as far as the protocol needs them camera_id,
    clothes_id, tracklet_id, image_id. An image without a camera counts as taken by one of its own. Equal distances rank
    in the order of the gallery's rows.
    """
    context = make_context(params, overrides, seed=seed, dataset=dataset, quiet=quiet, as_json=as_json)
    if features is None and query is None and gallery is None:
        features = dataset_workspace(context).features
        dataset = context.parameters.data.dataset
    target = out or default_target(features or query or Path("features.parquet"))
    result = run(
        context.parameters,
        context.console,
        Scored(features, query, gallery, train_features),
        target,
        dataset=dataset,
        protocols=protocols,
        rerank=rerank,
        per_query=per_query,
    )
    context.console.result(result, table_of(result))
    context.console.say(f"metrics -> {target}")
    if per_query is not None:
        context.console.say(f"results of each query -> {per_query}")
    context.say_next("report")


def run(
    parameters: Parameters,
    console: Console,
    scored: Scored,
    out: Path,
    *,
    dataset: str | None = None,
    protocols: list[str] | None = None,
    rerank: bool = False,
    per_query: Path | None = None,
) -> dict[str, Any]:
    """Score features and write metrics.json; returns what it holds.

    Args:
        parameters: All of them.
        console: For remarks.
        scored: What to score.
        out: Metrics file to write.
        dataset: Name or file of the data set; None: the one that the features name.
        protocols: Names; None: as the parameters say, else those of the data set.
        rerank: Score the re-ranking as well.
        per_query: File for each query's results.

    Raises:
        InputError: The features, a protocol or a parameter is wrong.
    """
    from pipeline.device import set_threads
    from pipeline.evaluation.features import CHECKPOINT_KEY, read_features
    from pipeline.evaluation.per_query import DEPTH, write_per_query
    from pipeline.evaluation.protocols import PROTOCOLS
    from pipeline.evaluation.rerank import Reranking
    from pipeline.files import write_json

    settings = parameters.evaluate
    set_threads(parameters.threads)
    tested = [role for known in PROTOCOLS.values() for role in (*known.query_roles, *known.gallery_roles)]
    items, metadata = _read(scored.features, scored.query, scored.gallery)
    facts = _facts(dataset, metadata)
    problems: list[str] = []
    named = protocols or settings.protocols
    if named:
        chosen = _protocols(named, facts)
    else:
        chosen, problems = _possible_protocols(items, facts)
    train = items if scored.train is None else read_features(scored.train, "train", tested)[0]
    reranking = None
    if rerank or settings.rerank:
        reranking = Reranking(
            settings.rerank_neighbours, settings.rerank_averaged, settings.rerank_lambda, settings.rerank_gigabytes
        )
    entries, results = [], []
    for protocol in chosen:
        new, warnings, queries = _score(
            items,
            train.with_role("train"),
            protocol,
            parameters,
            reranking,
            DEPTH if per_query else 0,
            console.quiet,
        )
        entries += new
        problems += warnings
        results += queries
    result: dict[str, Any] = {
        "dataset": facts.name if facts else metadata.get("dataset"),
        CHECKPOINT_KEY: metadata.get(CHECKPOINT_KEY),
        "seed": parameters.seed,
        "bootstrap": settings.bootstrap,
        "protocols": {entry["name"]: entry for entry in entries if "reranking" not in entry},
        "warnings": problems,
    }
    if reranking is not None:
        result["reranked"] = {entry["name"]: entry for entry in entries if "reranking" in entry}
    write_json(out, result)
    for problem in problems:
        console.say(f"warning: {problem}")
    if per_query is not None:
        write_per_query(per_query, results)
    return result
