"""What both training stages read: the training images of the shards and the CLIP to start from."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.datasets.catalog import load_facts
from pipeline.errors import InputError
from pipeline.models.clip import Clip, load_clip
from pipeline.models.settings import ModelSettings
from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import ImageStore, open_store
from pipeline.training.classes import ClassIndex, Labels, index_classes


@dataclass(frozen=True)
class TrainingData:
    """The training images of a data set.

    Attributes:
        reader: The shards.
        store: Their images at the model's size.
        rows: Index in the shards of each training image, (N,).
        identities: Identity classes of the training images.
        clothes_ids: Clothes ids of the training images, -1 where there is none, (N,).
        camera_ids: Camera ids of the training images, -1 where there is none, (N,).
        has_clothes: Whether the mask of each training image has any pixel, (N,).
        dropped: Training images that were left out because their parse has no clothes.
    """

    reader: ShardReader
    store: ImageStore
    rows: Labels
    identities: ClassIndex
    clothes_ids: Labels
    camera_ids: Labels
    has_clothes: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    dropped: int


def open_shards(shards: Path, dataset: str) -> ShardReader:
    """Open the shards and check that they are of the data set that the parameters name.

    Raises:
        InputError: They are missing, damaged, or of another data set.
    """
    name = load_facts(dataset).name
    reader = ShardReader(shards)
    if reader.metadata.dataset != name:
        raise InputError(
            f"the shards in {shards} are of data set {reader.metadata.dataset}, not of {name}: set --dataset"
        )
    return reader


def training_rows(reader: ShardReader, dataset: str, drop_without_clothes: bool = False) -> NDArray[np.int64]:
    """Training images in the shards, (N,): those of people, with clothes or without as asked.

    Raises:
        InputError: The data set has no training split.
    """
    splits = load_facts(dataset).roles.get("train", ())
    if not splits:
        raise InputError(f"data set {dataset} has no training split: it can be evaluated, but not trained on")
    rows = reader.select(list(splits))
    rows = rows[reader.ids.person_id[rows] >= 0]
    return rows[reader.ids.clothes_fraction[rows] > 0] if drop_without_clothes else rows


def read_training_data(
    shards: Path,
    dataset: str,
    image_size: tuple[int, int],
    drop_without_clothes: bool = False,
    *,
    loading: LoadingSettings | None = None,
    quiet: bool = True,
) -> TrainingData:
    """Find the training images of a data set in its shards, and decode them to local disk if ``loading`` says so.

    Args:
        shards: Folder of the shards.
        dataset: Name or file of the data set.
        image_size: Height and width of the model's input in pixels.
        drop_without_clothes: Leave images out whose parse has no clothes.
        loading: How images come from the shards; None: as the parameters' defaults say.
        quiet: No progress line.

    Raises:
        InputError: The data set has no training split, or fewer than two training identities.
        WorkError: There is no room for local copies.
    """
    loading = loading or LoadingSettings()
    reader = open_shards(shards, dataset)
    rows = training_rows(reader, dataset, drop_without_clothes)
    identities = index_classes(reader.ids.person_id[rows])
    if len(identities) < 2:
        raise InputError(f"the shards in {shards} have {len(identities)} training identities; at least 2 are needed")
    return TrainingData(
        reader=reader,
        store=open_store(reader, rows, image_size, loading, quiet=quiet),
        rows=rows,
        identities=identities,
        clothes_ids=reader.ids.clothes_id[rows],
        camera_ids=reader.ids.camera_id[rows].astype(np.int64),
        has_clothes=reader.ids.clothes_fraction[rows] > 0,
        dropped=len(training_rows(reader, dataset)) - len(rows),
    )


def load_model(parameters: ModelSettings, seed: int) -> Clip:
    """The CLIP that the parameters name."""
    return load_clip(parameters, seed)
