"""Mistakes that change published numbers, caught before or after scoring."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.features import FeatureSet
from pipeline.evaluation.protocols import Protocol, select

SHOWN = 5


def check_shared_images(features: FeatureSet, protocol: Protocol) -> None:
    """Refuse a gallery that holds a query's own image: it would be found at rank 1.

    Raises:
        InputError: Image ids are shared.
    """
    query, gallery = select(features, protocol)
    shared = np.intersect1d(query.image_id[query.image_id != ""], gallery.image_id)
    if len(shared):
        raise InputError(
            f"protocol {protocol.name}: {len(shared)} image ids are both query and gallery "
            f"(such as {', '.join(shared[:SHOWN])}); an image must not be searched among itself"
        )


def training_identities_warning(features: FeatureSet, train: FeatureSet) -> str | None:
    """A sentence if identities of the training rows are scored as well."""
    tested = features.person_id[(features.role != "train") & (features.person_id > 0)]
    shared = np.intersect1d(tested, train.person_id)
    if not len(shared):
        return None
    names = ", ".join(map(str, shared[:SHOWN]))
    return f"{len(shared)} identities are in training and test (such as {names}): the numbers are flattering"


def swapped_warning(entry: Mapping[str, Any]) -> str | None:
    """A sentence if the result is far below chance, as when distance and similarity were swapped."""
    chance = 100.0 / max(entry["n_gallery"], 1)
    if entry["n_gallery"] > 20 and entry["rank20"] == 0 and entry["mAP"] < 20 * chance:
        return (
            f"protocol {entry['name']}: every AP is near zero (mAP {entry['mAP']:.2f}); "
            "were distances written as features, or similarity and distance swapped?"
        )
    return None
