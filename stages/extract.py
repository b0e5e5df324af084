"""The extract stage: features of the query and gallery images, from a checkpoint or from the frozen CLIP."""

import json
from pathlib import Path
from typing import Any

from pipeline.arithmetic import arithmetic
from pipeline.config import Parameters
from pipeline.device import choose_device, set_threads
from pipeline.features.encoders import frozen_encoder, raw_store, retrieval_features, trained_encoder
from pipeline.features.feature_set import write_features
from pipeline.features.rows import feature_rows, feature_table
from pipeline.outputs import check_output
from pipeline.training.training_data import open_shards
from stages.console import Console
from stages.device_use import fitting_features

DEFAULT_ROLES = ["query", "gallery"]


def run(
    parameters: Parameters,
    console: Console,
    shards: Path,
    checkpoint: Path | None,
    out: Path,
    roles: list[str] | None = None,
) -> dict[str, Any]:
    """Encode the images of some roles and write the feature file; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        shards: Of the parsed data set.
        checkpoint: The encoder; None: the CLIP of the parameters, before any training.
        out: Feature file to write.
        roles: Of the images; None: query and gallery.

    Raises:
        InputError: The shards, the checkpoint, a role or a parameter is wrong, or ``out`` cannot be written.
        WorkError: Memory does not suffice.
    """
    check_output(out, "parquet", ["feature"])
    settings = parameters.evaluate
    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    reader = open_shards(shards, parameters.data.dataset)
    rows = feature_rows(reader, parameters.data.dataset, roles or DEFAULT_ROLES)
    chosen = frozen_encoder(parameters) if checkpoint is None else trained_encoder(checkpoint)
    store = raw_store(chosen, parameters, reader, rows.index, console.quiet)
    with arithmetic(device), fitting_features(parameters, device):
        features = retrieval_features(chosen, parameters, reader, rows.index, store, device, console.quiet)
    metadata = {
        "checkpoint_sha256": chosen.sha256,
        "dataset": reader.metadata.dataset,
        "shards_sha256": reader.record_sha256,
        "feature": settings.feature,
        "flip": json.dumps(settings.flip),
    }
    write_features(out, feature_table(reader, rows, features), metadata)
    console.say(f"features of {len(features)} images, {features.shape[1]} numbers each -> {out}")
    return {"images": len(features), "dimension": features.shape[1], "out": str(out)}
