"""Scores features under protocols: which protocols a data set and its ids allow, and the entries of each."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.evaluation import checks
from pipeline.evaluation.cost import tell_cost
from pipeline.evaluation.metrics import evaluate_selected
from pipeline.evaluation.per_query import ScoredQueries
from pipeline.evaluation.protocols import (
    CLOTHES_CHANGING,
    GENERAL,
    SAME_CLOTHES,
    Protocol,
    find_protocols,
    has_good_items,
    select,
    why_no_good_items,
)
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.features.feature_set import NO_ID, FeatureSet


def named_protocols(names: list[str] | None, facts: DatasetFacts | None) -> list[Protocol]:
    """The protocols of some names, whether the data set defines them or not, or those of the data set.

    None if neither says any. Whether a protocol can be used is a matter of the labels that the images have.

    Raises:
        InputError: A name is unknown.
    """
    chosen = names or (list(facts.protocols) if facts else [])
    found = {protocol.name: protocol for name in chosen for protocol in find_protocols(name)}
    return list(found.values())


def is_foreign(protocol: Protocol, facts: DatasetFacts | None) -> bool:
    """Whether the data set defines protocols and this one is none of them."""
    if facts is None:
        return False
    return protocol.name not in {own.name for name in facts.protocols for own in find_protocols(name)}


def foreign_warning(protocol: Protocol, facts: DatasetFacts) -> str:
    """A sentence about a protocol that was asked for by name and is none of the data set's own."""
    own = ", ".join(facts.protocols)
    return f"protocol {protocol.name} is not one that data set {facts.name} defines ({own}): the labels allow it"


def possible_protocols(items: FeatureSet, facts: DatasetFacts | None) -> tuple[list[Protocol], list[str]]:
    """Where none was named: those of the data set, or general, cc and sc; as far as ids and good items allow.

    The second value says what was left out, and why. The first protocol is never left out.
    """
    first, *others = named_protocols(None, facts) or [GENERAL, CLOTHES_CHANGING, SAME_CLOTHES]
    chosen: list[Protocol] = [first]
    remarks: list[str] = []
    if facts is None and (items.clothes_id == NO_ID).all():
        return chosen, remarks
    for protocol in others:
        try:
            query, gallery = select(items, protocol)
            possible = has_good_items(query, gallery, protocol)
            reason = "" if possible else f"protocol {protocol.name}: {why_no_good_items(query, gallery, protocol)}"
        except InputError as error:
            possible, reason = False, str(error)
        if possible:
            chosen.append(protocol)
        else:
            remarks.append(f"{reason}; left out")
    return chosen, remarks


def select_scored(items: FeatureSet, protocol: Protocol) -> tuple[FeatureSet, FeatureSet, NDArray[np.int64]]:
    """Queries and gallery as a protocol scores them, and which gallery images were left out as copies of queries.

    The third value has their positions in the gallery as :func:`select` gives it.

    Raises:
        InputError: A side is empty, the protocol would rank copies of queries, or the gallery has nothing else.
    """
    query, gallery = select(items, protocol)
    copies = checks.check_shared_images(query, gallery, protocol)
    if len(copies) == len(gallery):
        raise InputError(f"protocol {protocol.name}: all {len(copies)} gallery images are queries as well")
    if len(copies):
        gallery = gallery.take(np.setdiff1d(np.arange(len(gallery)), copies))
    return query, gallery, copies


def score_protocol(
    items: FeatureSet,
    train: FeatureSet,
    protocol: Protocol,
    settings: EvaluateSettings,
    seed: int,
    rerank: bool,
    depth: int,
    quiet: bool,
    *,
    facts: DatasetFacts | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> tuple[list[dict[str, Any]], list[str], list[ScoredQueries]]:
    """Entries of one protocol (plain, and re-ranked if asked for), warnings, and the results of its queries.

    An entry has ``n_query_copies`` where copies of queries were left out of the gallery, and ``of_dataset`` false
    where the protocol is none of the data set's.
    """
    query, gallery, copies = select_scored(items, protocol)
    foreign = is_foreign(protocol, facts)
    tell_cost(query, gallery, protocol, rerank, say)
    warnings = [
        foreign_warning(protocol, facts) if foreign and facts else None,
        checks.copies_warning(copies, protocol),
        checks.missing_cameras_warning(items, protocol),
        checks.repeated_names_warning(gallery, protocol),
        checks.training_identities_warning(query, train, protocol),
    ]
    entries, queries = [], []
    for method in (None, settings) if rerank else (None,):
        entry, retrievals = evaluate_selected(
            query,
            gallery,
            protocol,
            settings.bootstrap,
            seed,
            reranking=method,
            depth=0 if protocol.single_shot else depth,
            quiet=quiet,
        )
        if len(copies):
            entry["n_query_copies"] = len(copies)
        if foreign:
            entry["of_dataset"] = False
        entries.append(entry)
        if method is None:
            warnings.append(checks.swapped_warning(protocol.name, retrievals[0]))
        if not protocol.single_shot:  # each draw would rank another gallery
            queries.append(ScoredQueries(protocol.name, method is not None, retrievals[0]))
    return entries, [warning for warning in warnings if warning], queries
