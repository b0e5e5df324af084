"""The encoders that the figures compare, each with its features of the test images."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError, WorkError
from pipeline.features.builder import PRECISION_KEY, build_features, images_of_shards, made_of, open_raw_store
from pipeline.features.encoders import FROZEN, ChosenEncoder, frozen_encoder, trained_encoder
from pipeline.features.feature_set import FeatureSet, read_features
from pipeline.features.rows import FeatureRows, feature_rows
from pipeline.features.settings import FeatureSettings
from pipeline.reporting.figures.attention_share import MapModel
from pipeline.reporting.figures.groups import FigureGroups
from pipeline.shards.reader import ShardReader
from pipeline.workspace import Workspace


@dataclass(frozen=True)
class Subject:
    """One of the two that are compared.

    Attributes:
        name: For people.
        chosen: The encoder.
        features: Of the query and gallery images, in the order of the shards.
        model: For maps.
    """

    name: str
    chosen: ChosenEncoder
    features: FeatureSet
    model: MapModel


def names_of(places: Sequence[Path]) -> list[str]:
    """Names of folders: the folders' own, or with their parents where these are alike."""
    short = [place.name or str(place) for place in places]
    return short if len(set(short)) == len(short) else [str(place) for place in places]


def real_people(features: FeatureSet, no_person_ids: Sequence[int]) -> FeatureSet:
    """Images of people, without those whose id stands for nobody."""
    return features.take((features.person_id >= 0) & ~np.isin(features.person_id, list(no_person_ids)))


def stored_features(
    path: Path,
    chosen: ChosenEncoder,
    reader: ShardReader,
    rows: FeatureRows,
    settings: FeatureSettings,
    device: str = "cpu",
) -> FeatureSet | None:
    """Features that extract wrote of these very images with this very encoder; None where there are none.

    Args:
        path: Feature file, which may be absent.
        chosen: The encoder; random weights have no hash by which their features could be known again.
        reader: The shards.
        rows: The images.
        settings: How the features should be made.
        device: Where they would be made here.
    """
    if not path.is_file() or not chosen.sha256:
        return None
    try:
        features, metadata = read_features(path)
    except InputError:
        return None
    wanted = made_of(chosen, reader, settings, device)
    if settings.precision == "auto":  # what another device made of it will do
        metadata, wanted = ({**known, PRECISION_KEY: ""} for known in (metadata, wanted))
    if metadata != wanted:
        return None
    if features.image_id.tolist() != reader.ids.image_id[rows.index].tolist():
        return None
    return features


def read_subjects(
    groups: FigureGroups,
    reader: ShardReader,
    facts: DatasetFacts,
    workspace: Workspace,
    places: Sequence[Path],
    *,
    device: str,
    quiet: bool,
) -> list[Subject]:
    """The encoders to compare, with features of the test images: extract's own where they are there, else made here.

    Args:
        groups: The parameters.
        reader: The shards.
        facts: Of the data set.
        workspace: Where extract's files may be.
        places: Checkpoint folders; ``frozen`` is the CLIP of the parameters.
        device: Where the encoders run.
        quiet: No progress line.

    Raises:
        InputError: A checkpoint is wrong, or the data set has no query and gallery.
        WorkError: Features are not finite, or memory does not suffice.
    """
    settings = groups.evaluate
    rows = feature_rows(reader, facts)
    subjects = []
    for place, name in zip(places, names_of(places), strict=True):
        frozen = str(place) == FROZEN
        chosen = frozen_encoder(groups.model, groups.seed) if frozen else trained_encoder(place)
        chosen.encoder.to(device).eval()
        store = open_raw_store(chosen.spec, reader, rows, groups.loading, quiet)
        kept = workspace.frozen_features if frozen else workspace.features
        features = stored_features(kept, chosen, reader, rows, settings, device)
        if features is None:
            images = images_of_shards(reader, rows, store)
            made = build_features(chosen.encoder, chosen.spec, images, settings, device=device, quiet=quiet)
            features = made.normalised()
        if not np.isfinite(features.features).all():
            raise WorkError(f"the encoder {place} gives features that are not finite: its training has failed")
        model = MapModel(
            encoder=chosen.encoder,
            load=store.raw,
            image_size=chosen.spec.image_size,
            mean=chosen.spec.pixel_mean,
            std=chosen.spec.pixel_std,
            feature=settings.feature,
            device=device,
        )
        label = f"{name} ({chosen.method})" if chosen.method and chosen.method != name else name
        subjects.append(Subject(label, chosen, features, model))
    return subjects
