"""The embed stage: features of images that are in no shards, from a checkpoint or from the frozen CLIP."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.device import choose_device, set_threads
from pipeline.errors import InputError, WorkError
from pipeline.features.embedding import Encoder
from pipeline.features.encoders import frozen_encoder, trained_encoder
from pipeline.features.image_list import ImageList, list_inputs
from pipeline.features.part_workers import EncoderSource, embed_on_ray
from pipeline.features.parts import Embedded, embed_list, quarantine_of
from pipeline.features.settings import FeatureSettings
from pipeline.outputs import check_output
from pipeline.ray_address import Cluster
from pipeline.shards.making.run import RunSettings
from pipeline.shards.schema import QUARANTINE_SCHEMA
from stages.console import Console


@dataclass(frozen=True)
class Inputs:
    """What is embedded; see :func:`pipeline.features.image_list.list_inputs`.

    Attributes:
        named: Folders, files, patterns, lists or tables.
        images: Folder that the paths of tables and lists are relative to; None: their own.
        columns: Our name of a table's column: the table's name.
        role: Of images that have none.
        roles: Only images of these roles; none: all.
    """

    named: Sequence[str]
    images: str | None
    columns: Mapping[str, str]
    role: str
    roles: Sequence[str]


def check_out(out: Path) -> None:
    """Refuse a feature file of another name: readers tell the form by it.

    Raises:
        InputError: It does not end in ``.parquet``.
    """
    if out.suffix.lower() != ".parquet":
        raise InputError(f"--out {out}: features are written as Parquet, so the name must end in .parquet")


def open_encoder(
    parameters: Parameters, console: Console, checkpoint: Path | None, settings: FeatureSettings | None = None
) -> Encoder:
    """The encoder of a checkpoint, or the CLIP of the parameters; on the device that they name.

    Args:
        parameters: All of them.
        console: For remarks.
        checkpoint: Its folder; None: the CLIP of the parameters, before any training.
        settings: Which feature is made; None: as the section ``evaluate`` says.

    Raises:
        InputError: The checkpoint, the model or the device is wrong.
    """
    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    chosen = frozen_encoder(parameters.model, parameters.seed) if checkpoint is None else trained_encoder(checkpoint)
    if chosen.note:
        console.say(chosen.note)
    return Encoder(chosen, device, settings or feature_settings(parameters))


def feature_settings(parameters: Parameters) -> FeatureSettings:
    """How features are made, as the section ``evaluate`` says."""
    return FeatureSettings(**parameters.evaluate.model_dump(include=set(FeatureSettings.model_fields)))


def run(
    parameters: Parameters,
    console: Console,
    inputs: Inputs,
    checkpoint: Path | None,
    out: Path,
    cluster: Cluster | None = None,
) -> dict[str, Any]:
    """Write the features of images, and the table of those that cannot be used; returns a summary.

    Args:
        parameters: All of them.
        console: For remarks.
        inputs: The images.
        checkpoint: The encoder; None: the CLIP of the parameters, before any training.
        out: Feature file to write.
        cluster: Where workers of Ray make the features; None: this process does.

    Raises:
        InputError: The images, the checkpoint or a parameter is wrong, or ``out`` cannot be written.
        WorkError: Memory does not suffice; or, after all was written, too many images are bad.
    """
    check_out(out)
    check_output(out, "parquet", ["feature"], inputs=[Path(name) for name in inputs.named])
    check_output(quarantine_of(out), "parquet", QUARANTINE_SCHEMA.names)
    images = list_inputs(inputs.named, inputs.images, inputs.columns, inputs.role)
    if inputs.roles:
        images = images.with_roles(inputs.roles)
    for note in images.notes:
        console.say(f"warning: {note}")
    if cluster is None:
        encoder = open_encoder(parameters, console, checkpoint)
        done = embed_list(encoder, images, out, max_pixels=parameters.parse.max_pixels, quiet=console.quiet)
    else:
        done = _embed_on_ray(parameters, console, images, checkpoint, out, cluster)
    if done.lost:
        console.say(f"{done.lost} workers were lost and replaced")
    if done.reused:
        console.say(f"{done.reused} of {done.parts} parts were made by an earlier run")
    reasons = Counter(row.reason for row in done.bad)
    console.say(f"features of {done.images} images, {done.dimension} numbers each -> {out}")
    for reason in sorted(reasons):
        first = next(row for row in done.bad if row.reason == reason)
        console.say(f"quarantined, {reason}: {reasons[reason]}, such as {first.image_id}: {first.detail}")
    return {
        "images": done.images,
        "dimension": done.dimension,
        "out": str(out),
        "quarantined": len(done.bad),
        "reasons": dict(sorted(reasons.items())),
        "quarantine": str(quarantine_of(out)),
    }


def _embed_on_ray(
    parameters: Parameters,
    console: Console,
    images: ImageList,
    checkpoint: Path | None,
    out: Path,
    cluster: Cluster,
) -> Embedded:
    source = EncoderSource(checkpoint, parameters.model, parameters.seed, feature_settings(parameters))
    how = RunSettings(cluster.address, cluster.workers, parameters.device, parameters.threads or 1, parameters.parse)
    return embed_on_ray(
        source, images, out, how, max_pixels=parameters.parse.max_pixels, quiet=console.quiet, say=console.say
    )


def check_bad(parameters: Parameters, result: Mapping[str, Any]) -> None:
    """Too many bad images are a failure, after everything was written.

    Raises:
        WorkError: A larger share of them than ``parse.max_bad``.
    """
    bad, limit = result["quarantined"], parameters.parse.max_bad
    total = bad + result["images"]
    if bad > limit * total:
        raise WorkError(
            f"{bad} of {total} images cannot be used ({100 * bad / total:.1f}%; the limit --max-bad, parse.max_bad, is "
            f"{100 * limit:g}%); the reasons are in {result['quarantine']}; the features of the others are written"
        )
