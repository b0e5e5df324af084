"""What a program of one's own uses of this library; :mod:`pipeline` offers it, imported when it is first used."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from pipeline.device import choose_device
from pipeline.errors import InputError, WorkError
from pipeline.evaluation.scoring import named_protocols, possible_protocols, score_protocol
from pipeline.evaluation.settings import EvaluateSettings
from pipeline.features.embedding import Encoder
from pipeline.features.encoders import trained_encoder
from pipeline.features.feature_set import FeatureSet, read_features
from pipeline.features.settings import FeatureSettings
from pipeline.models.image_encoder import FeatureKind
from pipeline.shards.reader import ShardReader
from pipeline.shards.record import Record
from pipeline.shards.record import read_record as _read_record
from pipeline.sharing.hub import fetch_checkpoint


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


def load_encoder(
    checkpoint: Path | str,
    device: str = "auto",
    feature: FeatureKind = "concat",
    flip: bool = False,
    revision: str | None = None,
) -> Encoder:
    """Load the image encoder of a checkpoint that ``ccaf-pipeline train`` wrote.

    Args:
        checkpoint: Its folder. A text ``owner/name`` that is no folder here is a repository of the Hugging Face Hub.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ...; chosen once.
        feature: ``concat``: hidden and projected side by side; ``projected``: the projected one.
        flip: Average the feature with that of the mirrored image.
        revision: Branch, tag or commit of a repository; None: its main branch.

    Raises:
        InputError: The checkpoint is missing, damaged, or no encoder; or there is no such device.
        WorkError: The hub does not answer.
    """
    if feature not in get_args(FeatureKind):
        raise InputError(f"feature {feature!r} is none of: {', '.join(get_args(FeatureKind))}")
    settings = FeatureSettings(feature=feature, flip=flip)
    return Encoder(trained_encoder(_find_checkpoint(checkpoint, revision)), choose_device(device), settings)


def _find_checkpoint(checkpoint: Path | str, revision: str | None) -> Path:
    if Path(checkpoint).exists() or isinstance(checkpoint, Path) or checkpoint.count("/") != 1:
        if revision is not None:
            raise InputError(f"revision {revision} is of a repository of the hub, but {checkpoint} is a path")
        return Path(checkpoint)
    try:
        return fetch_checkpoint(checkpoint, revision)
    except (InputError, WorkError) as error:
        raise type(error)(f"{checkpoint} is no folder here; as a repository of the hub: {error}") from error


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
