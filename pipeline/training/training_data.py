"""What both training stages read: the training images of the shards."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.features.rows import training_rows
from pipeline.shards.dataset import open_shards
from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import ImageStore, open_store
from pipeline.training.classes import ClassIndex, Labels, index_classes


@dataclass(frozen=True)
class TrainingData:
    """The training images of a data set.

    Attributes:
        reader: The shards.
        facts: Of the data set.
        store: Their images at the model's size.
        rows: Index in the shards of each training image, (N,).
        identities: Identity classes of the training images.
        clothes_ids: Clothes ids of the training images, -1 where there is none, (N,).
        camera_ids: Camera ids of the training images, -1 where there is none, (N,).
        has_clothes: Whether the mask of each training image has any pixel, (N,).
        dropped: Training images that were left out because their parse has no clothes.
    """

    reader: ShardReader
    facts: DatasetFacts
    store: ImageStore
    rows: Labels
    identities: ClassIndex
    clothes_ids: Labels
    camera_ids: Labels
    has_clothes: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
    dropped: int


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
        dataset: Name or file of the data set; see :func:`find_facts`.
        image_size: Height and width of the model's input in pixels.
        drop_without_clothes: Leave images out whose parse has no clothes.
        loading: How images come from the shards; None: as the parameters' defaults say.
        quiet: No progress line.

    Raises:
        InputError: The data set has no training split, or fewer than two training identities.
        WorkError: There is no room for local copies.
    """
    loading = loading or LoadingSettings()
    reader, facts = open_shards(shards, dataset)
    rows = training_rows(reader, facts, drop_without_clothes)
    identities = index_classes(reader.ids.person_id[rows])
    if len(identities) < 2:
        raise InputError(f"the shards in {shards} have {len(identities)} training identities; at least 2 are needed")
    return TrainingData(
        reader=reader,
        facts=facts,
        store=open_store(reader, rows, image_size, loading, quiet=quiet),
        rows=rows,
        identities=identities,
        clothes_ids=reader.ids.clothes_id[rows],
        camera_ids=reader.ids.camera_id[rows].astype(np.int64),
        has_clothes=reader.ids.clothes_fraction[rows] > 0,
        dropped=len(training_rows(reader, facts)) - len(rows),
    )
