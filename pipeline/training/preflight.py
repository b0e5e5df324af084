"""What a whole pipeline will need of a data set's labels, checked before any of it runs: training, then evaluation.

The labels come from a manifest, before parsing, or from shards, before training. One image in query and gallery is
found by its path, or by a file name that occurs once on each side and equal content.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.evaluation.protocols import Protocol, has_good_items, why_no_good_items
from pipeline.evaluation.scoring import named_protocols, select_scored
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.features.feature_set import NO_ID, FeatureSet
from pipeline.models.settings import ModelSettings
from pipeline.shards.reader import ShardReader
from pipeline.training.classes import choose_clothes_source, index_classes
from pipeline.training.sampler import IdentitySampler
from pipeline.training.settings import EncoderSettings, PromptSettings, ValidationSettings
from pipeline.training.term_checks import check_terms
from pipeline.training.validation_images import choose_protocol, share_out


@dataclass(frozen=True)
class Obstacles:
    """What will not work, one sentence each.

    Attributes:
        training: In stage 1 or 2, checks between epochs included.
        evaluation: In the protocols.
        remarks: Protocols of the data set that will be left out.
    """

    training: tuple[str, ...]
    evaluation: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def refuse(self) -> None:
        """Raise the first one, with the number of the others.

        Raises:
            InputError: There are any.
        """
        found = [*self.training, *self.evaluation]
        if found:
            more = f" (and {len(found) - 1} more: ccaf-pipeline manifest tells them)" if len(found) > 1 else ""
            raise InputError(f"{found[0]}{more}")


def _labels(facts: DatasetFacts, split: NDArray[np.str_], path: Sequence[str], **ids: NDArray[np.int64]) -> FeatureSet:
    """Images that have a role, with empty features; roles are named as ``extract`` names them."""
    names = {
        name: role if len(splits) == 1 else name for role, splits in facts.roles.items() for name in splits
    }  # two query sets keep their own names
    return FeatureSet(
        features=np.zeros((len(split), 0), dtype=np.float32),
        image_id=np.asarray(path, dtype=np.str_),
        role=np.asarray([names.get(name, "") for name in split.tolist()], dtype=np.str_),
        **ids,
    )


def labels_of_manifest(table: pa.Table, facts: DatasetFacts, folder: Path | None) -> FeatureSet:
    """Labels of a manifest's images.

    Args:
        table: The manifest.
        facts: Of its data set.
        folder: Where the images are, to tell copies; None: copies are found by path alone.
    """
    ids = {
        name: table[name].cast(pa.int64()).fill_null(NO_ID).to_numpy()
        for name in ("person_id", "camera_id", "clothes_id", "tracklet_id")
    }
    path = table["path"].to_pylist()
    labels = _labels(facts, np.asarray(table["split"].to_pylist(), dtype=np.str_), path, **ids)
    if folder is None:
        return labels
    return _with_one_name(labels, facts, lambda row: _file_bytes(folder / path[row]))


def _file_bytes(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def labels_of_shards(reader: ShardReader, facts: DatasetFacts, drop_without_clothes: bool = False) -> FeatureSet:
    """Labels of the images in shards.

    Args:
        reader: The shards.
        facts: Of their data set.
        drop_without_clothes: Leave out training images whose parse has no clothes.
    """
    ids = reader.ids
    labels = _labels(
        facts,
        np.asarray(ids.split, dtype=np.str_),
        ids.path.tolist(),
        person_id=ids.person_id,
        camera_id=ids.camera_id.astype(np.int64),
        clothes_id=ids.clothes_id,
        tracklet_id=ids.tracklet_id,
    )
    labels = _with_one_name(labels, facts, reader.encoded)
    if not drop_without_clothes:
        return labels
    return labels.take(~np.isin(labels.role, _roles_of(facts, "train")) | (ids.clothes_fraction > 0))


def _with_one_name(labels: FeatureSet, facts: DatasetFacts, content: Callable[[int], bytes | None]) -> FeatureSet:
    """Give copies of a query in the gallery, of the same file name and content, the query's path as their name."""
    sides = [np.flatnonzero(np.isin(labels.role, _roles_of(facts, role))) for role in ("query", "gallery")]
    by_name: list[dict[str, int]] = []
    for rows in sides:
        names = np.asarray([str(path).rpartition("/")[2] for path in labels.image_id[rows].tolist()], dtype=np.str_)
        found, first, count = np.unique(names, return_index=True, return_counts=True)
        by_name.append(dict(zip(found[count == 1].tolist(), rows[first[count == 1]].tolist(), strict=True)))
    image_id = labels.image_id.astype(np.object_)
    for name in by_name[0].keys() & by_name[1].keys():
        query, gallery = by_name[0][name], by_name[1][name]
        if image_id[query] != image_id[gallery]:
            data = content(query)
            if data and data == content(gallery):
                image_id[gallery] = image_id[query]
    return replace(labels, image_id=image_id.astype(np.str_))


def _roles_of(facts: DatasetFacts, role: str) -> list[str]:
    """How the images of a role are called, see :func:`_labels`."""
    splits = next((splits for known, splits in facts.roles.items() if known == role), ())
    return [role] if len(splits) == 1 else list(splits)


def find_obstacles(
    labels: FeatureSet,
    facts: DatasetFacts,
    *,
    model: ModelSettings,
    encoder: EncoderSettings,
    prompts: PromptSettings,
    validation: ValidationSettings,
    evaluate: EvaluateSettings,
    workers: int = 1,
) -> Obstacles:
    """Find what training and evaluation would be refused for.

    Args:
        labels: As :func:`labels_of_manifest` or :func:`labels_of_shards` gives them.
        facts: Of the data set; one without a training split is not asked about training.
        model: The network.
        encoder: Stage 2.
        prompts: Stage 1.
        validation: Checks between epochs.
        evaluate: The protocols.
        workers: Processes of stage 2.
    """
    training: list[str] = []
    if facts.roles.get("train"):
        train = labels.with_role(*_roles_of(facts, "train"))
        train = train.take(train.person_id >= 0)
        training += _training(train, encoder.of_all(workers), prompts, workers)
        if model.camera_embedding and (train.camera_id == NO_ID).all():
            training.append("model.camera_embedding is set, but the training images have no camera_id")
        if validation.evaluate_every:
            training += _validation(labels, facts, validation)
    evaluation, remarks = _evaluation(labels, facts, evaluate)
    return Obstacles(tuple(training), tuple(evaluation), tuple(remarks))


def _training(train: FeatureSet, encoder: EncoderSettings, prompts: PromptSettings, workers: int) -> list[str]:
    """By the very code that stage 2 and stage 1 would be refused by."""
    found = []
    outfits = train.clothes_id
    if prompts.clothes_classes != "none" and (outfits == NO_ID).all():
        outfits = np.arange(len(train))  # stage 1 will find classes of clothes
    try:
        check_terms(encoder)
    except InputError as error:
        found.append(str(error))
    try:
        sampler = IdentitySampler(
            index_classes(train.person_id).labels,
            encoder.identities_per_batch,
            encoder.images_per_identity,
            0,
            spread=encoder.spread,
            outfits=outfits,
            cameras=train.camera_id,
        )
        sampler.epoch(0, world=workers)
    except InputError as error:
        found.append(str(error))
    try:
        choose_clothes_source(prompts.clothes_classes, train.clothes_id)
    except InputError as error:
        found.append(str(error))
    return found


def _refusal(labels: FeatureSet, protocol: Protocol) -> str | None:
    """Why nothing can be scored under a protocol."""
    try:
        query, gallery, _ = select_scored(labels, protocol)
    except InputError as error:
        return str(error)
    if not has_good_items(query, gallery, protocol):
        return f"protocol {protocol.name}: {why_no_good_items(query, gallery, protocol)}"
    return None


def _validation(labels: FeatureSet, facts: DatasetFacts, settings: ValidationSettings) -> list[str]:
    """As the checks between epochs choose protocol and images."""
    try:
        protocol = choose_protocol(settings, facts)
    except InputError as error:
        return [f"training.evaluate_protocol: {error}"]
    if settings.evaluate_split == "val":
        labels = labels.with_role(*_roles_of(facts, "val"))
        if not len(labels):
            return ["training.evaluate_split is val, but the data set has no validation images"]
        role = share_out(labels.person_id, labels.camera_id, labels.clothes_id, protocol)
        labels = replace(labels, role=role.astype(np.str_))
    reason = _refusal(labels, protocol)
    return [] if reason is None else [f"training.evaluate_every: {reason}"]


def _evaluation(labels: FeatureSet, facts: DatasetFacts, settings: EvaluateSettings) -> tuple[list[str], list[str]]:
    """Obstacles, and remarks on protocols that are left out: all but the first, where none is named."""
    try:
        protocols = named_protocols(settings.protocols, facts)
    except InputError as error:
        return [str(error)], []
    if not any(facts.roles.get(role) for role in ("query", "gallery")):
        return [], ["the data set has neither queries nor a gallery: it can be trained on, but not evaluated"]
    obstacles: list[str] = []
    remarks: list[str] = []
    for number, protocol in enumerate(protocols):
        reason = _refusal(labels, protocol)
        if reason is None:
            continue
        left_out = settings.protocols is None and number > 0 and "both query and gallery" not in reason
        (remarks if left_out else obstacles).append(f"{reason}; left out" if left_out else reason)
    return obstacles, remarks
