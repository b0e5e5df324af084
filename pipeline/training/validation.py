"""Checks between the epochs of stage 2: features of held-out images, one protocol, a few figures."""

from dataclasses import dataclass

import numpy as np

from pipeline.errors import InputError
from pipeline.evaluation.metrics import evaluate_selected
from pipeline.evaluation.protocols import Protocol, has_good_items, why_no_good_items
from pipeline.evaluation.scoring import select_scored
from pipeline.features.builder import FeatureImages, build_features, images_of_shards
from pipeline.features.rows import FeatureRows, feature_rows
from pipeline.features.settings import FeatureSettings
from pipeline.models.clip import ClipSpec
from pipeline.models.image_encoder import ImageEncoder
from pipeline.trainer.engine import Validation
from pipeline.training.settings import ValidationSettings
from pipeline.training.training_data import TrainingData
from pipeline.training.validation_images import choose_protocol, share_out

FIGURES = ("mAP", "mINP", "rank1")


def _split_validation(rows: FeatureRows, data: TrainingData, protocol: Protocol) -> FeatureRows:
    ids, index = data.reader.ids, rows.index
    role = share_out(ids.person_id[index], ids.camera_id[index].astype(np.int64), ids.clothes_id[index], protocol)
    return FeatureRows(index, role)


def _choose_rows(settings: ValidationSettings, data: TrainingData, protocol: Protocol) -> FeatureRows:
    if settings.evaluate_split == "val":
        return _split_validation(feature_rows(data.reader, data.facts, ["val"]), data, protocol)
    return feature_rows(data.reader, data.facts)


@dataclass
class _Checker:
    """Scores an encoder on fixed images."""

    encoder: ImageEncoder
    spec: ClipSpec
    images: FeatureImages
    protocol: Protocol
    settings: FeatureSettings
    seed: int
    device: str

    def check(self, split: str) -> None:
        """Refuse before the training what could not be scored after hours.

        Raises:
            InputError: The split has no query, no gallery, or no query with a good item.
        """
        stand_in = np.zeros((len(self.images), 1), dtype=np.float32)
        try:
            query, gallery, _ = select_scored(self.images.with_features(stand_in), self.protocol)
        except InputError as error:
            raise InputError(f"training.evaluate_every: {error}") from None
        if not has_good_items(query, gallery, self.protocol):
            raise InputError(
                f"training.evaluate_every: split {split}, protocol "
                f"{self.protocol.name}: {why_no_good_items(query, gallery, self.protocol)}; "
                f"set training.evaluate_protocol or training.evaluate_split"
            )

    def __call__(self) -> dict[str, float]:
        items = build_features(self.encoder, self.spec, self.images, self.settings, device=self.device)
        query, gallery, _ = select_scored(items.normalised(), self.protocol)
        entry, _ = evaluate_selected(query, gallery, self.protocol, 0, self.seed)
        return {name: float(entry[name]) for name in FIGURES}


def make_validation(
    settings: ValidationSettings,
    features: FeatureSettings,
    data: TrainingData,
    encoder: ImageEncoder,
    spec: ClipSpec,
    *,
    seed: int,
    device: str,
) -> tuple[Validation | None, dict[str, str]]:
    """The checks that the settings ask for, and what chose the best weights, for the record.

    Args:
        settings: When and on which images, by which protocol and figure.
        features: How features are made: as extract makes those that are evaluated in the end.
        data: The training images, of whose shards the checked ones are.
        encoder: That is trained.
        spec: Its architecture.
        seed: Of protocols that draw their gallery.
        device: Where the encoder is.

    Raises:
        InputError: The data set has no such split or protocol, or nothing in it can be scored.
    """
    if settings.evaluate_every == 0:
        return None, {}
    try:
        protocol = choose_protocol(settings, data.facts)
        rows = _choose_rows(settings, data, protocol)
    except InputError as error:
        raise InputError(f"training.evaluate_protocol, training.evaluate_split: {error}") from None
    images = images_of_shards(data.reader, rows, data.store)
    checker = _Checker(encoder, spec, images, protocol, features, seed, device)
    checker.check(settings.evaluate_split)
    chosen_by = {"protocol": protocol.name, "split": settings.evaluate_split, "metric": settings.evaluate_metric}
    return Validation(settings.evaluate_every, checker, settings.evaluate_metric), chosen_by
