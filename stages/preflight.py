"""The preflight: whether the labels of a data set allow what the parameters ask of the whole pipeline."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from pipeline.config import Parameters
from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.features.feature_set import FeatureSet
from pipeline.features.rows import training_rows
from pipeline.redress.regions import region_table
from pipeline.shards.dataset import open_shards
from pipeline.shards.reader import ShardReader
from pipeline.training.captions import find_captions
from pipeline.training.preflight import Obstacles, find_obstacles, labels_of_manifest, labels_of_shards


def _find(parameters: Parameters, labels: FeatureSet, facts: DatasetFacts, workers: int = 1) -> Obstacles:
    return find_obstacles(
        labels,
        facts,
        model=parameters.model,
        encoder=parameters.encoder,
        prompts=parameters.prompts,
        validation=parameters.training,
        evaluate=parameters.evaluate,
        workers=workers,
    )


def check_listing(parameters: Parameters, facts: DatasetFacts, manifest: pa.Table, folder: Path) -> Obstacles:
    """What will not work with the images of a manifest.

    Args:
        parameters: All of them.
        facts: Of the data set.
        manifest: Its images.
        folder: Where they are.
    """
    return _find(parameters, labels_of_manifest(manifest, facts, folder), facts)


def check_shards(parameters: Parameters, shards: Path, workers: int = 1) -> Obstacles:
    """What will not work with the images of shards.

    Args:
        parameters: All of them.
        shards: Their folder.
        workers: Processes of stage 2.

    Raises:
        InputError: The shards are missing, damaged, or of another data set.
    """
    reader, facts = open_shards(shards, parameters.data.dataset)
    drop = parameters.prompts.without_clothes == "drop"
    found = _find(parameters, labels_of_shards(reader, facts, drop), facts, workers)
    if not facts.roles.get("train"):
        return found
    return replace(found, training=(*found.training, *_of_shards(parameters, reader, facts)))


def _of_shards(parameters: Parameters, reader: ShardReader, facts: DatasetFacts) -> list[str]:
    """What only the shards tell: whether their labels know the garments that redressed views change, and whether the
    texts of single images are there for each training image.
    """
    found = []
    if parameters.encoder.redress:
        try:
            region_table(reader.metadata.labels, parameters.encoder.redress_regions)
        except InputError as error:
            found.append(f"encoder.redress: {error}")
    try:
        rows = training_rows(reader, facts, parameters.prompts.without_clothes == "drop")
        find_captions(parameters.encoder, reader.ids.image_id[rows].tolist())
    except InputError as error:
        found.append(str(error))
    return found
