"""Checks between the epochs of stage 2: features of held-out images, one protocol, a few figures."""

from dataclasses import dataclass

import numpy as np

from pipeline.config import Parameters
from pipeline.datasets.catalog import load_facts
from pipeline.errors import InputError
from pipeline.evaluation.metrics import evaluate_selected
from pipeline.evaluation.protocols import Protocol, find_protocols, has_good_items, select, why_no_good_items
from pipeline.features.extraction import encode_images, retrieval_feature
from pipeline.features.feature_set import FeatureSet
from pipeline.features.rows import FeatureRows, feature_rows
from pipeline.models.clip import ClipSpec
from pipeline.models.image_encoder import ImageEncoder
from pipeline.trainer.engine import Validation
from pipeline.training.training_data import TrainingData
from stages.device_use import fitting_features

FIGURES = ("mAP", "mINP", "rank1")


def _choose_protocol(parameters: Parameters) -> Protocol:
    names = load_facts(parameters.data.dataset).protocols
    chosen = parameters.training.evaluate_protocol
    if chosen is None:
        chosen = next((name for name in names if name.rpartition(":")[2] == "cc"), names[0])
    return find_protocols(chosen)[0]


def _split_validation(rows: FeatureRows, data: TrainingData, protocol: Protocol) -> FeatureRows:
    """The first image of each person, camera and outfit is a query, the others are the gallery."""
    ids = data.reader.ids
    keys = np.stack([ids.person_id[rows.index], ids.camera_id[rows.index], ids.clothes_id[rows.index]])
    _, first = np.unique(keys, axis=1, return_index=True)
    role = np.full(len(rows.index), protocol.gallery_roles[0], dtype=np.object_)
    role[first] = protocol.query_roles[0]
    return FeatureRows(rows.index, role)


def _choose_rows(parameters: Parameters, data: TrainingData, protocol: Protocol) -> FeatureRows:
    if parameters.training.evaluate_split == "val":
        return _split_validation(feature_rows(data.reader, parameters.data.dataset, ["val"]), data, protocol)
    return feature_rows(data.reader, parameters.data.dataset, ["query", "gallery"])


@dataclass
class _Checker:
    """Scores an encoder on fixed images."""

    encoder: ImageEncoder
    spec: ClipSpec
    data: TrainingData
    rows: FeatureRows
    protocol: Protocol
    parameters: Parameters
    device: str

    def items(self, features: "np.ndarray[tuple[int, int], np.dtype[np.float32]]") -> FeatureSet:
        ids, index = self.data.reader.ids, self.rows.index
        return FeatureSet(
            features=features,
            image_id=np.asarray(ids.image_id[index], dtype=np.str_),
            role=np.asarray(self.rows.role, dtype=np.str_),
            person_id=ids.person_id[index],
            camera_id=ids.camera_id[index].astype(np.int64),
            clothes_id=ids.clothes_id[index],
            tracklet_id=ids.tracklet_id[index],
        )

    def check(self) -> None:
        """Refuse before the training what could not be scored after hours.

        Raises:
            InputError: The split has no query, no gallery, or no query with a good item.
        """
        stand_in = np.zeros((len(self.rows.index), 1), dtype=np.float32)
        try:
            query, gallery = select(self.items(stand_in), self.protocol)
        except InputError as error:
            raise InputError(f"training.evaluate_every: {error}") from None
        if not has_good_items(query, gallery, self.protocol):
            raise InputError(
                f"training.evaluate_every: split {self.parameters.training.evaluate_split}, protocol "
                f"{self.protocol.name}: {why_no_good_items(query, gallery, self.protocol)}; "
                f"set training.evaluate_protocol or training.evaluate_split"
            )

    def __call__(self) -> dict[str, float]:
        settings = self.parameters.evaluate
        with fitting_features(self.parameters, self.device):
            features = encode_images(
                self.encoder,
                self.data.store.raw,
                self.rows.index.tolist(),
                lambda item: retrieval_feature(item, settings.feature),
                mean=self.spec.pixel_mean,
                std=self.spec.pixel_std,
                batch_size=settings.batch_size,
                device=self.device,
                quiet=True,
            )
        query, gallery = select(self.items(features.numpy()), self.protocol)
        entry, _ = evaluate_selected(query, gallery, self.protocol, 0, self.parameters.seed)
        return {name: float(entry[name]) for name in FIGURES}


def make_validation(
    parameters: Parameters, data: TrainingData, encoder: ImageEncoder, spec: ClipSpec, device: str
) -> tuple[Validation | None, dict[str, str]]:
    """The checks that the parameters ask for, and what chose the best weights, for the record.

    Raises:
        InputError: The data set has no such split or protocol, or nothing in it can be scored.
    """
    training = parameters.training
    if training.evaluate_every == 0:
        return None, {}
    try:
        protocol = _choose_protocol(parameters)
        rows = _choose_rows(parameters, data, protocol)
    except InputError as error:
        raise InputError(f"training.evaluate_protocol, training.evaluate_split: {error}") from None
    checker = _Checker(encoder, spec, data, rows, protocol, parameters, device)
    checker.check()
    chosen_by = {"protocol": protocol.name, "split": training.evaluate_split, "metric": training.evaluate_metric}
    return Validation(training.evaluate_every, checker, training.evaluate_metric), chosen_by
