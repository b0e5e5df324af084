"""What a program of one's own uses of this library; :mod:`pipeline` offers it, imported when it is first used."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.device import choose_device
from pipeline.errors import BadImageError, InputError
from pipeline.evaluation.scoring import named_protocols, possible_protocols, score_protocol
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.features.builder import FeatureImages, build_features
from pipeline.features.encoders import ChosenEncoder, trained_encoder
from pipeline.features.feature_set import NO_ID, FeatureSet, Floats, read_features
from pipeline.features.settings import FeatureSettings
from pipeline.images import RgbImage, decode_image, read_bytes, resize_image
from pipeline.shards.reader import ShardReader
from pipeline.shards.record import Record
from pipeline.shards.record import read_record as _read_record


def open_shards(folder: Path | str) -> ShardReader:
    """Open a finished folder of shards for random access by image.

    Args:
        folder: As ``ccaf-pipeline parse`` wrote it; local, or a URI.

    Raises:
        InputError: The shards are missing or damaged.
    """
    return ShardReader(folder)


def read_record(folder: Path | str) -> Record:
    """The record of a folder of shards: parameters, versions, counts, and the hash of every shard.

    Raises:
        InputError: It is missing or damaged.
    """
    return _read_record(folder)


def load_encoder(checkpoint: Path | str, device: str = "auto") -> "Encoder":
    """Load the image encoder of a checkpoint that ``ccaf-pipeline train`` wrote.

    Args:
        checkpoint: Its folder.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...

    Raises:
        InputError: The checkpoint is missing, damaged, or no encoder; or there is no such device.
    """
    return Encoder(trained_encoder(Path(checkpoint)), choose_device(device))


@dataclass(frozen=True)
class Encoder:
    """A trained image encoder: images in, features that are compared by cosine out.

    Attributes:
        chosen: The network and where it came from.
        device: Where it runs.
    """

    chosen: ChosenEncoder
    device: str

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that images are scaled to, in pixels."""
        return self.chosen.spec.image_size

    def embed(
        self, images: Sequence[RgbImage | Path | str], cameras: Sequence[int] | None = None, batch_size: int = 128
    ) -> Floats:
        """Features of images, as ``ccaf-pipeline extract`` computes them.

        Args:
            images: Image files, or uint8 arrays (H, W, 3) in RGB order, of any size.
            cameras: Camera id of each image, for an encoder with a camera embedding; None: not known.
            batch_size: Images per forward pass.

        Returns:
            float32 (N, D); every row has length 1.

        Raises:
            InputError: A file cannot be read as an image, or an array has another shape or type.
            WorkError: Memory does not suffice.
        """
        count = len(images)
        if cameras is not None and len(cameras) != count:
            raise InputError(f"{len(cameras)} cameras were given for {count} images")
        unknown = np.full(count, NO_ID, dtype=np.int64)
        known = FeatureImages(
            load=lambda rows: self._load([images[row] for row in rows]),
            image_id=np.array([str(row) for row in range(count)], dtype=np.str_),
            role=np.full(count, "gallery", dtype=np.str_),
            person_id=unknown,
            camera_id=unknown if cameras is None else np.asarray(cameras, dtype=np.int64),
            clothes_id=unknown,
            tracklet_id=unknown,
        )
        settings = FeatureSettings(batch_size=batch_size)
        encoder, spec = self.chosen.encoder, self.chosen.spec
        return build_features(encoder, spec, known, settings, device=self.device).normalised().features

    def _load(self, images: Sequence[RgbImage | Path | str]) -> Tensor:
        return torch.from_numpy(np.stack([resize_image(_pixels(image), self.size) for image in images]))


def _pixels(image: RgbImage | Path | str) -> RgbImage:
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(f"an image must be uint8 (H, W, 3) in RGB order, not {image.dtype} {image.shape}")
        return image
    try:
        return decode_image(read_bytes(Path(image)))
    except BadImageError as error:
        raise InputError(f"{image} cannot be used as an image: {error.detail}") from None


def score_features(
    features: FeatureSet | Path | str, protocols: Sequence[str] = (), bootstrap: int = 1000, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Score features of query and gallery images, as ``ccaf-pipeline evaluate`` does.

    Args:
        features: Of any model: a file that ``evaluate`` reads, or what :func:`read_features` read of one.
        protocols: Names such as ``cc``; none: general, cc and sc as far as the ids allow.
        bootstrap: Resamples of query identities for the 95% intervals; 0: no intervals.
        seed: Of the intervals, and of the draws of single-shot protocols.

    Returns:
        By name of the protocol what ``metrics.json`` holds of it: counts, CMC, mAP and mINP in percent.

    Raises:
        InputError: The features or a protocol are wrong, or nothing can be scored.
    """
    items = features if isinstance(features, FeatureSet) else read_features(Path(features))[0]
    settings = EvaluateSettings(bootstrap=bootstrap)
    chosen = named_protocols(list(protocols), None) if protocols else possible_protocols(items, None)[0]
    scored = [
        score_protocol(items, items.with_role("train"), protocol, settings, seed, rerank=False, depth=0, quiet=True)
        for protocol in chosen
    ]
    return {entry["name"]: entry for entries, _, _ in scored for entry in entries}


__all__ = ["Encoder", "FeatureSet", "load_encoder", "open_shards", "read_features", "read_record", "score_features"]
