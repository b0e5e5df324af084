"""The evaluate stage: scores features under named protocols and writes metrics.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.datasets.catalog import DatasetFacts
from pipeline.device import set_threads
from pipeline.errors import InputError
from pipeline.evaluation.cost import check_reranking
from pipeline.evaluation.per_query import DEPTH, PER_QUERY_SCHEMA, write_per_query
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.evaluation.scoring import named_protocols, possible_protocols, score_protocol
from pipeline.features.feature_set import CHECKPOINT_KEY, FeatureSet, concatenate, read_features
from pipeline.files import write_json
from pipeline.outputs import check_output
from pipeline.shards.dataset import find_facts
from stages.console import Console


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


def _read(features: Path | None, query: Path | None, gallery: Path | None) -> tuple[FeatureSet, dict[str, str]]:
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


def _facts(dataset: str | None, metadata: dict[str, str], shards: Path | None) -> DatasetFacts | None:
    """The data set that was named, else the one that the feature file names, if it is known here."""
    named = metadata.get("dataset")
    if dataset is not None:
        facts = find_facts(dataset, shards)
        if named is not None and named != facts.name:
            raise InputError(f"the features are of the data set {named}, not of {facts.name}")
        return facts
    try:
        return None if named is None else find_facts(named, shards)
    except InputError:
        return None


def check_outputs(out: Path, per_query: Path | None = None, inputs: Sequence[Path | None] = ()) -> None:
    """Refuse places that cannot be written or hold other things, before anything is read or ranked.

    Raises:
        InputError: One is such a place.
    """
    check_output(out, "json", ["protocols"], inputs)
    if per_query is not None:
        check_output(per_query, "parquet", PER_QUERY_SCHEMA.names, [*inputs, out])


def run(
    parameters: Parameters,
    console: Console,
    scored: Scored,
    out: Path,
    *,
    dataset: str | None = None,
    shards: Path | None = None,
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
        shards: Whose record may know the data set; None: at their usual place.
        protocols: Names; None: as the parameters say, else those of the data set.
        rerank: Score the re-ranking as well.
        per_query: File for each query's results.

    Raises:
        InputError: The features, a protocol or a parameter is wrong, or a place cannot be written.
    """
    check_outputs(out, per_query, [scored.features, scored.query, scored.gallery, scored.train])
    settings = parameters.evaluate
    set_threads(parameters.threads)
    tested = [role for known in PROTOCOLS.values() for role in (*known.query_roles, *known.gallery_roles)]
    items, metadata = _read(scored.features, scored.query, scored.gallery)
    facts = _facts(dataset, metadata, shards)
    problems: list[str] = []
    named = protocols or settings.protocols
    if named:
        chosen = named_protocols(named, facts)
    else:
        chosen, problems = possible_protocols(items, facts)
    train = items if scored.train is None else read_features(scored.train, "train", tested)[0]
    rerank = rerank or settings.rerank
    if rerank:
        check_reranking(items, chosen, settings)
    entries, results = [], []
    for protocol in chosen:
        new, warnings, queries = score_protocol(
            items,
            train.with_role("train"),
            protocol,
            settings,
            parameters.seed,
            rerank,
            DEPTH if per_query else 0,
            console.quiet,
            facts=facts,
            say=console.say,
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
    if rerank:
        result["reranked"] = {entry["name"]: entry for entry in entries if "reranking" in entry}
    write_json(out, result)
    for problem in problems:
        console.say(f"warning: {problem}")
    if per_query is not None:
        write_per_query(per_query, results)
    return result
