"""The image encoder that a command works with, trained or the CLIP of the parameters as it is, and its features."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.config import Parameters
from pipeline.features.extraction import encode_images, retrieval_feature
from pipeline.models.checkpoint import load_strictly, read_checkpoint
from pipeline.models.clip import ClipSpec, build_image_encoder
from pipeline.models.image_encoder import ImageEncoder
from pipeline.shards.reader import ShardReader
from pipeline.shards.store import ImageStore, open_store
from pipeline.training.training_data import load_model

FROZEN = "frozen"


@dataclass(frozen=True)
class ChosenEncoder:
    """An image encoder and where it came from.

    Attributes:
        encoder: E_v, on the CPU.
        spec: Its architecture.
        sha256: Hash of its weights; empty for random ones.
        method: That trained it; empty where none did.
    """

    encoder: ImageEncoder
    spec: ClipSpec
    sha256: str
    method: str = ""


def trained_encoder(folder: Path) -> ChosenEncoder:
    """The encoder of a checkpoint.

    Raises:
        InputError: It is missing, damaged, or no encoder.
    """
    checkpoint = read_checkpoint(folder, "encoder", "ccaf-pipeline train")
    spec = ClipSpec.from_dict(checkpoint.config["model"])
    encoder = build_image_encoder(spec)
    weights = checkpoint.part("image_encoder")
    if "camera_embedding.cameras" in weights:
        encoder.add_cameras(weights["camera_embedding.cameras"], checkpoint.config["camera_embedding"])
    load_strictly(encoder, weights, f"checkpoint {folder}")
    return ChosenEncoder(encoder, spec, checkpoint.sha256, str(checkpoint.config.get("method", "")))


def frozen_encoder(parameters: Parameters) -> ChosenEncoder:
    """The encoder of the CLIP that the parameters name, before any training.

    Raises:
        InputError: The model or its weights are wrong.
    """
    clip = load_model(parameters.model, parameters.seed)
    return ChosenEncoder(clip.image_encoder, clip.spec, clip.weights_sha256)


def raw_store(chosen: ChosenEncoder, parameters: Parameters, reader: ShardReader, rows: NDArray[np.int64],
              quiet: bool) -> ImageStore:  # fmt: skip
    """Raw images at the encoder's size, for one reading of ``rows``."""
    return open_store(
        reader,
        rows,
        chosen.spec.image_size,
        parameters.loading,
        views=("raw",),
        build=False,
        quiet=quiet,
    )


def retrieval_features(
    chosen: ChosenEncoder,
    parameters: Parameters,
    reader: ShardReader,
    rows: NDArray[np.int64],
    store: ImageStore,
    device: str,
    quiet: bool,
) -> NDArray[np.float32]:
    """The features that are compared at test time, as the section ``evaluate`` says, of some images of the shards.

    Args:
        chosen: The encoder; it is moved to ``device``.
        parameters: All of them.
        reader: The shards.
        rows: Images, (N,).
        store: Raw images at the encoder's size.
        device: Where the encoder runs.
        quiet: No progress line.
    """
    settings, encoder = parameters.evaluate, chosen.encoder
    features: NDArray[np.float32] = encode_images(
        encoder.to(device),
        store.raw,
        rows.tolist(),
        lambda item: retrieval_feature(item, settings.feature),
        mean=chosen.spec.pixel_mean,
        std=chosen.spec.pixel_std,
        cameras=None if encoder.camera_embedding is None else reader.ids.camera_id[rows].tolist(),
        flip=settings.flip,
        batch_size=settings.batch_size,
        device=device,
        quiet=quiet,
    ).numpy()
    return features
