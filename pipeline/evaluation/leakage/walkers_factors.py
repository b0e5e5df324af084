"""What the attributes of rendered people say for probes of leakage: factors of clothes and of identity."""

import os
from pathlib import Path

from pipeline.datasets.catalog import DatasetFacts, dataset_folder
from pipeline.datasets.walkers.attributes import factor_values, find_rows, read_attributes
from pipeline.datasets.walkers.factors import FACTORS
from pipeline.evaluation.leakage.measure import Factors
from pipeline.features.feature_set import FeatureSet

WALKERS_READER = "walkers"
HEADLINE = "upper_colour"
GARMENTS = {
    "upper_colour": ("upper_colour",),
    "upper_garment": ("upper_colour", "upper_type"),
    "lower_garment": ("lower_colour", "lower_type"),
}


def walkers_factors(items: FeatureSet, facts: DatasetFacts, root: str | None, features: Path) -> Factors:
    """Every factor of the people and outfits in ``items``, as the walkers' attributes say.

    Args:
        items: Features of walkers.
        facts: Of the data set.
        root: Folder that holds the data sets.
        features: Where the features came from, for messages.

    Raises:
        InputError: The attributes are missing, or the features are of another rendering.
    """
    table = read_attributes(dataset_folder(facts, root, os.environ))
    ids = {"person_id": items.person_id, "clothes_id": items.clothes_id}
    values = factor_values(table, find_rows(table, items.image_id, ids, str(features)))
    return Factors(
        clothes={name: values[name] for name, factor in FACTORS.items() if factor.of_clothes},
        identity={name: values[name] for name, factor in FACTORS.items() if not factor.of_clothes},
        headline=HEADLINE,
        garments=GARMENTS,
    )
