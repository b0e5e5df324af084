"""The prompts that Figure 5 compares, and features of the training images that they are compared with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.features.extraction import encode_images
from pipeline.features.feature_set import Floats, Integers
from pipeline.features.rows import training_rows
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.clip import Clip
from pipeline.reporting.figures.groups import FigureGroups
from pipeline.reporting.figures.prompt_distances import PromptFeatures
from pipeline.reporting.figures.subjects import names_of
from pipeline.shards.reader import ShardReader
from pipeline.shards.store import open_store
from pipeline.training.learned_prompts import MADE_BY, check_learned_prompts, read_learned_prompts

_SEED_PROMPT_IMAGES = 35
_NEEDED = {
    "shards_sha256", "clip_sha256", "model", "parameters", "identity_ids", "identity_texts", "image_clothes_classes",
}  # fmt: skip
"""Configuration and tensors of a prompts checkpoint that the figures read."""


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


def _prompt_features(prompts: Checkpoint, reader: ShardReader, facts: DatasetFacts, drawn: Integers) -> PromptFeatures:
    """Text features, and the classes of the images ``drawn`` (indices in the shards)."""
    identities = np.asarray(prompts.config["identity_ids"], dtype=np.int64)
    if not len(identities) or len(identities) != len(prompts.tensors["identity_texts"]):
        raise InputError(f"the prompts in {prompts.folder} are damaged (identity_ids): run `{MADE_BY}` again")
    people = reader.ids.person_id[drawn]
    places = np.searchsorted(identities, people).clip(max=len(identities) - 1)
    dropped = prompts.config["parameters"].get("without_clothes") == "drop"
    rows = training_rows(reader, facts, dropped)
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
    reader: ShardReader,
    facts: DatasetFacts,
    folders: Sequence[Path],
    clip: Clip,
    groups: FigureGroups,
    *,
    device: str,
    quiet: bool,
) -> PromptSubjects:
    """Prompts, and frozen features of training images whose mask is not empty.

    Args:
        reader: The shards.
        facts: Of the data set.
        folders: Prompts checkpoints.
        clip: The CLIP that they were learned with.
        groups: The parameters.
        device: Where the CLIP runs.
        quiet: No progress line.

    Raises:
        InputError: Prompts are missing or of other inputs, or no training image shows clothes.
    """
    prompts = [read_learned_prompts(folder, _NEEDED) for folder in folders]
    for item in prompts:
        check_learned_prompts(item, reader, clip)
    rows = training_rows(reader, facts, drop_without_clothes=True)
    if not len(rows):
        raise InputError("no training image has a clothes mask: there is nothing to compare with the prompts")
    most, loading = groups.figures.prompt_images, groups.loading
    generator = np.random.default_rng([groups.seed, _SEED_PROMPT_IMAGES])
    drawn = rows if len(rows) <= most else np.sort(generator.choice(rows, most, replace=False))
    store = open_store(
        reader,
        drawn,
        clip.spec.image_size,
        views=("shielding", "clothes"),
        loading=loading,
        build=False,
        quiet=quiet,
    )
    clip.image_encoder.to(device)

    def encode(load: Callable[[Sequence[int]], Tensor], what: str) -> Floats:
        features: Floats = encode_images(
            clip.image_encoder, load, drawn.tolist(), lambda item: item.projected,
            mean=clip.spec.pixel_mean, std=clip.spec.pixel_std, batch_size=groups.evaluate.batch_size,
            device=device, what=what, quiet=quiet,
        ).numpy()  # fmt: skip
        return features

    named = zip(names_of(folders), prompts, strict=True)
    return PromptSubjects(
        prompts={name: _prompt_features(item, reader, facts, drawn) for name, item in named},
        shielding=encode(store.shielding, "shielding images"),
        clothes=encode(store.clothes, "clothes images"),
    )
