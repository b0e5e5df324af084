"""What the figures are made of: encoders with the features of the test images, and prompts with those of training."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.config import Parameters
from pipeline.errors import InputError, WorkError
from pipeline.features.encoders import (
    FROZEN,
    ChosenEncoder,
    frozen_encoder,
    raw_store,
    retrieval_features,
    trained_encoder,
)
from pipeline.features.extraction import encode_images
from pipeline.features.feature_set import CHECKPOINT_KEY, FeatureSet, Floats, Integers, normalise_rows, read_features
from pipeline.features.rows import FeatureRows, feature_rows
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.clip import Clip
from pipeline.reporting.figures.attention_share import MapModel
from pipeline.reporting.figures.prompt_distances import PromptFeatures
from pipeline.shards.reader import ShardReader
from pipeline.shards.store import open_store
from pipeline.training.learned_prompts import MADE_BY, check_learned_prompts, read_learned_prompts
from pipeline.training.training_data import training_rows
from pipeline.workspace import Workspace

TEST_ROLES = ["query", "gallery"]
_SEED_PROMPT_IMAGES = 35
_NEEDED = {
    "shards_sha256", "clip_sha256", "model", "parameters", "identity_ids", "identity_texts", "image_clothes_classes",
}  # fmt: skip
"""Configuration and tensors of a prompts checkpoint that the figures read."""


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


@dataclass(frozen=True)
class PromptSubjects:
    """Prompts checkpoints, and features of some training images by the frozen encoder.

    Attributes:
        prompts: By name.
        shielding: Features of shielding images, (N, D).
        clothes: Features of clothes images, (N, D).
    """

    prompts: dict[str, PromptFeatures]
    shielding: Floats
    clothes: Floats


def names_of(places: Sequence[Path]) -> list[str]:
    """Names of folders: the folders' own, or with their parents where these are alike."""
    short = [place.name or str(place) for place in places]
    return short if len(set(short)) == len(short) else [str(place) for place in places]


def _stored(
    path: Path, chosen: ChosenEncoder, parameters: Parameters, reader: ShardReader, rows: FeatureRows
) -> FeatureSet | None:
    """Features that extract wrote of these very images with these very weights; None where there are none."""
    if not path.is_file() or not chosen.sha256:
        return None
    try:
        features, metadata = read_features(path)
    except InputError:
        return None
    wanted = {
        CHECKPOINT_KEY: chosen.sha256,
        "shards_sha256": reader.record_sha256,
        "feature": parameters.evaluate.feature,
        "flip": json.dumps(parameters.evaluate.flip),
    }
    if any(metadata.get(key) != value for key, value in wanted.items()):
        return None
    if features.image_id.tolist() != reader.ids.image_id[rows.index].tolist():
        return None
    return features


def _feature_set(matrix: Floats, reader: ShardReader, rows: FeatureRows) -> FeatureSet:
    ids = reader.ids
    return FeatureSet(
        features=normalise_rows(matrix),
        image_id=ids.image_id[rows.index].astype(np.str_),
        role=rows.role.astype(np.str_),
        person_id=ids.person_id[rows.index],
        camera_id=ids.camera_id[rows.index].astype(np.int64),
        clothes_id=ids.clothes_id[rows.index],
        tracklet_id=ids.tracklet_id[rows.index],
    )


def read_subjects(
    parameters: Parameters, reader: ShardReader, workspace: Workspace, places: Sequence[Path], device: str, quiet: bool
) -> list[Subject]:
    """The encoders to compare, with features of the test images: extract's own where they are there, else made here.

    Args:
        parameters: All of them.
        reader: The shards.
        workspace: Where extract's files may be.
        places: Checkpoint folders; ``frozen`` is the CLIP of the parameters.
        device: Where the encoders run.
        quiet: No progress line.

    Raises:
        InputError: A checkpoint is wrong, or the data set has no query and gallery.
        WorkError: Features are not finite.
    """
    rows = feature_rows(reader, parameters.data.dataset, TEST_ROLES)
    subjects = []
    for place, name in zip(places, names_of(places), strict=True):
        is_frozen = str(place) == FROZEN
        chosen = frozen_encoder(parameters) if is_frozen else trained_encoder(place)
        chosen.encoder.to(device).eval()
        store = raw_store(chosen, parameters, reader, rows.index, quiet)
        kept = workspace.frozen_features if is_frozen else workspace.features
        features = _stored(kept, chosen, parameters, reader, rows)
        if features is None:
            matrix = retrieval_features(chosen, parameters, reader, rows.index, store, device, quiet)
            features = _feature_set(matrix, reader, rows)
        if not np.isfinite(features.features).all():
            raise WorkError(f"the encoder {place} gives features that are not finite: its training has failed")
        model = MapModel(
            encoder=chosen.encoder,
            load=store.raw,
            image_size=chosen.spec.image_size,
            mean=chosen.spec.pixel_mean,
            std=chosen.spec.pixel_std,
            feature=parameters.evaluate.feature,
            device=device,
        )
        label = f"{name} ({chosen.method})" if chosen.method and chosen.method != name else name
        subjects.append(Subject(label, chosen, features, model))
    return subjects


def real_people(features: FeatureSet, no_person_ids: Sequence[int]) -> FeatureSet:
    """Images of people, without those whose id stands for nobody."""
    return features.take((features.person_id >= 0) & ~np.isin(features.person_id, list(no_person_ids)))


def _prompt_features(prompts: Checkpoint, reader: ShardReader, dataset: str, drawn: Integers) -> PromptFeatures:
    """Text features, and the classes of the images ``drawn`` (indices in the shards)."""
    identities = np.asarray(prompts.config["identity_ids"], dtype=np.int64)
    people = reader.ids.person_id[drawn]
    places = np.searchsorted(identities, people).clip(max=len(identities) - 1)
    dropped = prompts.config["parameters"]["without_clothes"] == "drop"
    rows = training_rows(reader, dataset, dropped)
    classes = prompts.tensors["image_clothes_classes"].numpy()
    if len(classes) != len(rows):
        raise InputError(f"the prompts in {prompts.folder} are of other training images: run `{MADE_BY}` again")
    of_row = dict(zip(rows.tolist(), classes.tolist(), strict=True))
    texts = prompts.tensors.get("clothes_texts")
    return PromptFeatures(
        identity_texts=prompts.tensors["identity_texts"].float().numpy(),
        identities=np.where(identities[places] == people, places, -1),
        clothes_texts=None if texts is None else texts.float().numpy(),
        clothes=np.array([of_row.get(int(row), -1) for row in drawn], dtype=np.int64),
    )


def read_prompts(
    parameters: Parameters, reader: ShardReader, folders: Sequence[Path], clip: Clip, device: str, quiet: bool
) -> PromptSubjects:
    """Prompts, and frozen features of training images whose mask is not empty.

    Args:
        parameters: All of them.
        reader: The shards.
        folders: Prompts checkpoints.
        clip: The CLIP that they were learned with.
        device: Where it runs.
        quiet: No progress line.

    Raises:
        InputError: Prompts are missing or of other inputs, or no training image shows clothes.
    """
    prompts = [read_learned_prompts(folder, _NEEDED) for folder in folders]
    for item in prompts:
        check_learned_prompts(item, reader, clip)
    dataset = parameters.data.dataset
    rows = training_rows(reader, dataset, drop_without_clothes=True)
    if not len(rows):
        raise InputError("no training image has a clothes mask: there is nothing to compare with the prompts")
    most = parameters.figures.prompt_images
    generator = np.random.default_rng([parameters.seed, _SEED_PROMPT_IMAGES])
    drawn = rows if len(rows) <= most else np.sort(generator.choice(rows, most, replace=False))
    store = open_store(
        reader,
        drawn,
        clip.spec.image_size,
        parameters.loading,
        views=("shielding", "clothes"),
        build=False,
        quiet=quiet,
    )
    clip.image_encoder.to(device)

    def encode(load: Callable[[Sequence[int]], Tensor], what: str) -> Floats:
        features: NDArray[np.float32] = encode_images(
            clip.image_encoder, load, drawn.tolist(), lambda item: item.projected,
            mean=clip.spec.pixel_mean, std=clip.spec.pixel_std, batch_size=parameters.evaluate.batch_size,
            device=device, what=what, quiet=quiet,
        ).numpy()  # fmt: skip
        return features

    named = zip(names_of(folders), prompts, strict=True)
    return PromptSubjects(
        prompts={name: _prompt_features(item, reader, dataset, drawn) for name, item in named},
        shielding=encode(store.shielding, "shielding images"),
        clothes=encode(store.clothes, "clothes images"),
    )
