"""The leakage stage: what frozen test features tell of clothes and of the identity, with chance levels."""

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Parameters
from pipeline.device import set_threads
from pipeline.errors import InputError
from pipeline.evaluation.leakage.measure import measure_leakage, tested_items
from pipeline.evaluation.leakage.walkers_factors import WALKERS_READER, walkers_factors
from pipeline.features.feature_set import CHECKPOINT_KEY, read_features
from pipeline.files import write_json
from pipeline.outputs import check_output
from pipeline.shards.dataset import find_facts
from stages.console import Console


def run(
    parameters: Parameters, console: Console, features: Path, out: Path, shards: Path | None = None
) -> dict[str, Any]:
    """Measure leakage and write it to ``out`` as JSON; returns what was written.

    Args:
        parameters: ``data`` says the data set and where it lies, ``leakage`` how to probe, ``seed`` the folds.
        console: For remarks.
        features: Feature file with test images.
        out: JSON file.
        shards: Whose record may know the data set; None: at their usual place.

    Raises:
        InputError: The features are of another data set or rendering, or nothing can be measured.
        WorkError: A regression did not reach its minimum.
    """
    check_output(out, "json", ["headline"], [features])
    settings = parameters.leakage
    set_threads(parameters.threads)
    facts = find_facts(parameters.data.dataset, shards)
    items, metadata = read_features(features)
    named = metadata.get("dataset")
    if named not in (None, facts.name):
        raise InputError(f"the features in {features} are of the data set {named}, not of {facts.name}: set --dataset")
    items = tested_items(items.take(~np.isin(items.person_id, facts.no_person_ids)))
    factors = None
    if facts.reader == WALKERS_READER:
        factors = walkers_factors(items, facts, parameters.data.root, features)
    measured = measure_leakage(items, factors, settings, parameters.seed)
    result = {
        "dataset": facts.name,
        CHECKPOINT_KEY: metadata.get(CHECKPOINT_KEY),
        "oracle": metadata.get("oracle"),
        "seed": parameters.seed,
        "parameters": settings.model_dump(mode="json"),
        **measured,
    }
    write_json(out, result)
    for name, reason in measured["left_out"].items():
        console.say(f"warning: {name} was left out: {reason}")
    console.say(f"leakage -> {out}")
    return result
