"""The extract stage: features of the query and gallery images, from a checkpoint or from the frozen CLIP."""

from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.device import choose_device, set_threads
from pipeline.features.builder import build_features, images_of_shards, made_of, open_raw_store
from pipeline.features.encoders import frozen_encoder, trained_encoder
from pipeline.features.feature_set import feature_table, write_features
from pipeline.features.rows import TEST_ROLES, feature_rows
from pipeline.outputs import check_output
from pipeline.shards.dataset import open_shards
from stages.console import Console


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
    reader, facts = open_shards(shards, parameters.data.dataset)
    rows = feature_rows(reader, facts, roles or TEST_ROLES)
    chosen = frozen_encoder(parameters.model, parameters.seed) if checkpoint is None else trained_encoder(checkpoint)
    if chosen.note:
        console.say(chosen.note)
    store = open_raw_store(chosen.spec, reader, rows, parameters.loading, console.quiet)
    images = images_of_shards(reader, rows, store)
    items = build_features(chosen.encoder, chosen.spec, images, settings, device=device, quiet=console.quiet)
    write_features(out, feature_table(items), made_of(chosen, reader, settings, device))
    dimension = items.features.shape[1]
    console.say(f"features of {len(items)} images, {dimension} numbers each -> {out}")
    return {"images": len(items), "dimension": dimension, "out": str(out)}
