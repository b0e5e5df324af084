"""The one way from images to the features that are compared: extract, checks between epochs and figures all use it."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.arithmetic import arithmetic
from pipeline.device_faults import fitting, half
from pipeline.features.encoders import ChosenEncoder
from pipeline.features.extraction import BatchEncoder, encode_images
from pipeline.features.feature_set import CHECKPOINT_KEY, FeatureSet, Floats, Integers
from pipeline.features.rows import FeatureRows
from pipeline.features.settings import FeatureSettings
from pipeline.files import sha256_of_value
from pipeline.models.clip import ClipSpec
from pipeline.models.image_encoder import ImageEncoder
from pipeline.precision import check_precision, resolve_precision
from pipeline.shards.reader import ShardReader
from pipeline.shards.settings import LoadingSettings
from pipeline.shards.store import ImageStore, open_store

PRECISION_KEY: Final = "precision"
"""Metadata of features that were not computed in float32."""


@dataclass(frozen=True)
class FeatureImages:
    """Images that get a feature, wherever they come from, and what is known of each.

    Attributes:
        load: Row numbers of these images -> uint8 images (B, H, W, 3) at the encoder's size.
        image_id: Names, (N,).
        role: ``query``, ``gallery`` or another role, (N,).
        person_id: (N,).
        camera_id: (N,), ``NO_ID`` where there is none; an encoder with a camera embedding uses them.
        clothes_id: (N,), ``NO_ID`` where there is none.
        tracklet_id: (N,), ``NO_ID`` where there is none.
    """

    load: Callable[[Sequence[int]], Tensor]
    image_id: NDArray[np.str_]
    role: NDArray[np.str_]
    person_id: Integers
    camera_id: Integers
    clothes_id: Integers
    tracklet_id: Integers

    def __len__(self) -> int:
        return len(self.image_id)

    def with_features(self, features: Floats) -> FeatureSet:
        """These images with a feature each, (N, D)."""
        return FeatureSet(
            features=features,
            image_id=self.image_id,
            role=self.role,
            person_id=self.person_id,
            camera_id=self.camera_id,
            clothes_id=self.clothes_id,
            tracklet_id=self.tracklet_id,
        )


def images_of_shards(reader: ShardReader, rows: FeatureRows, store: ImageStore) -> FeatureImages:
    """Images of the shards; ``store`` gives them at the encoder's size."""
    ids, index = reader.ids, rows.index
    return FeatureImages(
        load=lambda numbers: store.raw(index[list(numbers)]),
        image_id=ids.image_id[index].astype(np.str_),
        role=rows.role.astype(np.str_),
        person_id=ids.person_id[index],
        camera_id=ids.camera_id[index].astype(np.int64),
        clothes_id=ids.clothes_id[index],
        tracklet_id=ids.tracklet_id[index],
    )


def open_raw_store(
    spec: ClipSpec, reader: ShardReader, rows: FeatureRows, loading: LoadingSettings, quiet: bool = True
) -> ImageStore:
    """Raw images of the shards at the encoder's size, for one reading of ``rows``.

    Raises:
        InputError, WorkError: See :func:`open_store`.
    """
    return open_store(
        reader,
        rows.index,
        spec.image_size,
        views=("raw",),
        loading=loading,
        build=False,
        quiet=quiet,
    )


def fitting_features(spec: ClipSpec, settings: FeatureSettings, device: str) -> AbstractContextManager[None]:
    """:func:`fitting` for features of images without gradients."""
    height, width = spec.image_size
    tried = f"features by {spec.name} at {height}x{width}, evaluate.batch_size={settings.batch_size}"
    return fitting(tried, device, half("evaluate.batch_size", settings.batch_size))


def _encoding(encoder: ImageEncoder, spec: ClipSpec, settings: FeatureSettings, device: str) -> dict[str, Any]:
    """The arguments of :class:`BatchEncoder` and of :func:`encode_images`.

    Raises:
        InputError: The device cannot do the precision.
    """
    if settings.precision != "auto":
        check_precision(settings.precision, device, "evaluate.precision")
    return {
        "encoder": encoder.to(device),
        "select": lambda item: encoder.compared(item, settings.feature),
        "mean": spec.pixel_mean,
        "std": spec.pixel_std,
        "flip": settings.flip,
        "device": device,
        "precision": resolve_precision(settings.precision, device),
    }


def launch_features(
    encoder: ImageEncoder,
    spec: ClipSpec,
    pixels: Tensor,
    cameras: Integers,
    settings: FeatureSettings,
    *,
    device: str = "cpu",
) -> Callable[[], Floats]:
    """Begin to compute the features of one batch as :func:`build_features` does; what is returned waits for them.

    Args:
        encoder: E_v, in evaluation mode.
        spec: Its architecture.
        pixels: uint8 (B, H, W, 3) at the encoder's size.
        cameras: Camera ids, (B,), ``NO_ID`` where not known.
        settings: See :func:`build_features`.
        device: Where the encoder runs.

    Raises:
        InputError, WorkError: As :func:`build_features`; memory may also be found not to suffice when they are waited
            for.
    """
    with arithmetic(device), fitting_features(spec, settings, device):
        batches = BatchEncoder(**_encoding(encoder, spec, settings, device))
        known = None if encoder.camera_embedding is None else cameras.tolist()
        launched = batches.launch(batches.send(pixels, known))

    def take() -> Floats:
        with fitting_features(spec, settings, device):
            features: Floats = launched().numpy()
        return features

    return take


def build_features(
    encoder: ImageEncoder,
    spec: ClipSpec,
    images: FeatureImages,
    settings: FeatureSettings,
    *,
    device: str = "cpu",
    quiet: bool = True,
) -> FeatureSet:
    """The features that are compared at test time.

    Every use of features comes from here, so that what chooses weights, what is written and what is shown are the same.
    However a training around it computes, they are computed with ``settings.precision`` and are float32.

    Args:
        encoder: E_v; it is moved to ``device``. One with a camera embedding gets the images' cameras.
        spec: Its architecture.
        images: The images.
        settings: Which feature, whether mirrored images count, how many images at once.
        device: Where the encoder runs.
        quiet: No progress line.

    Returns:
        Features as a feature file holds them, in the order of the images; to score or show them, take
        :meth:`FeatureSet.normalised`.

    Raises:
        InputError: The device cannot do the precision.
        WorkError: Memory does not suffice.
    """
    with arithmetic(device), fitting_features(spec, settings, device):
        features: Floats = encode_images(
            load=images.load,
            rows=range(len(images)),
            cameras=None if encoder.camera_embedding is None else images.camera_id.tolist(),
            batch_size=settings.batch_size,
            quiet=quiet,
            **_encoding(encoder, spec, settings, device),
        ).numpy()
    return images.with_features(features)


def made_by(chosen: ChosenEncoder, settings: FeatureSettings, device: str = "cpu") -> dict[str, str]:
    """What decides the features of an image: a feature file's metadata, by which they are known again.

    The hash of a trained encoder's weights stands for all that its checkpoint says, but for the camera embedding's
    scale; an encoder that was not trained is whatever the parameters make of its weights. What ``auto`` makes of the
    precision depends on the device.
    """
    known = {CHECKPOINT_KEY: chosen.sha256, "feature": settings.feature, "flip": json.dumps(settings.flip)}
    precision = resolve_precision(settings.precision, device)
    if precision != "fp32":  # so that features of earlier versions, which were all in fp32, are known again
        known[PRECISION_KEY] = precision
    if not chosen.trained:
        known["model_sha256"] = sha256_of_value(chosen.spec.to_dict())
    cameras = chosen.encoder.camera_embedding
    if cameras is not None:
        known["camera_embedding"] = json.dumps(cameras.scale)
    return known


def made_of(
    chosen: ChosenEncoder, reader: ShardReader, settings: FeatureSettings, device: str = "cpu"
) -> dict[str, str]:
    """What decides the features of the shards' images; see :func:`made_by`."""
    of_shards = {"dataset": reader.metadata.dataset, "shards_sha256": reader.record_sha256}
    made = made_by(chosen, settings, device)
    first = {CHECKPOINT_KEY: made.pop(CHECKPOINT_KEY)}
    return {**first, **of_shards, **made}
