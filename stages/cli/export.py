"""``ccaf-pipeline export``: the image encoder as ONNX files, with proof that they give the same features."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import InputError
from pipeline.export.choices import Cameras, ImageInput
from stages.cli.options import CheckpointOption, Context, FrozenOption, shared_options

if TYPE_CHECKING:
    from pipeline.models.image_encoder import FeatureKind


class Feature(StrEnum):
    """The feature that comes out."""

    CONCAT = "concat"
    PROJECTED = "projected"


class Form(StrEnum):
    """Numbers of a file besides that in float32."""

    FP16 = "fp16"
    INT8 = "int8"


@shared_options("dataset", "shards", "seed")
def command(
    context: Context,
    checkpoint: CheckpointOption = None,
    frozen: FrozenOption = False,
    input_: Annotated[
        ImageInput,
        typer.Option(
            "--input",
            help="Images that the file takes, RGB at the encoder's size. float: float32 (batch, 3, height, width) in 0 "
            "to 1; uint8: uint8 (batch, height, width, 3).",
        ),
    ] = ImageInput.FLOAT,
    feature: Annotated[
        Feature | None,
        typer.Option("--feature", help="Feature that it gives. Default: the parameter evaluate.feature."),
    ] = None,
    cameras: Annotated[
        Cameras,
        typer.Option(
            "--cameras",
            help="For an encoder with a camera embedding, which the file has no input for. mean: every image gets the "
            "mean of the trained cameras' vectors, as extract does for unknown cameras.",
        ),
    ] = Cameras.REFUSE,
    forms: Annotated[
        list[Form] | None,
        typer.Option(
            "--form",
            help="Write another file besides that in float32. fp16: computes in float16; int8: its weights are 8-bit, "
            "quantised dynamically. Repeatable.",
        ),
    ] = None,
    no_score: Annotated[
        bool,
        typer.Option(
            "--no-score",
            help="With --shards and --form: do not measure what Rank-1 and mAP lose, which takes longest.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the files. Default: artifacts/<data set>/export.")
    ] = None,
) -> None:
    """Write the image encoder as an ONNX file that takes crops and gives the features that are compared.

    Colours are normalised inside; resizing stays outside. The file is run by onnxruntime on noise and, with --shards,
    on real images; export.json says how far its features are from extract's. Above 1e-4 in float32 nothing is written.
    """
    from pipeline.export.graph import ExportForm
    from stages import export

    if frozen and checkpoint is not None:
        raise InputError(f"--frozen and --checkpoint {checkpoint}: give one of the two")
    settings = context.parameters.evaluate
    kind: FeatureKind = settings.feature if feature is None else feature.value
    form = ExportForm(input_, kind, settings.flip, cameras)
    lossy = tuple(dict.fromkeys(item.value for item in forms or ()))
    target = out or context.workspace.export
    record = export.run(
        context.parameters,
        context.console,
        None if frozen else checkpoint or context.workspace.encoder,
        target,
        export.Wanted(form, lossy, not no_score),
        context.shards,
    )
    context.console.result({**record, "out": str(target)}, "\n".join(_lines(record, target)))


def _lines(record: dict[str, Any], out: Path) -> list[str]:
    """One line a file: its size, and what was measured on real images, or else on noise."""
    lines = []
    for entry in record["forms"].values():
        where = "shards" if "shards" in entry else "random"
        measured = entry[where]
        line = (
            f"{out / entry['file']}: {entry['bytes'] / 1e6:.1f} MB; {measured['images']} images ({where}): largest "
            f"difference {measured['largest']:.1e}, least cosine {measured['least_cosine']:.6f}"
        )
        for protocol, lost in entry.get("lost", {}).items():
            scores = entry["scores"][protocol]
            line += f"; {protocol}: Rank-1 {scores['rank1']:.1f} ({0 - lost['rank1']:+.1f}), mAP {scores['mAP']:.1f} "
            line += f"({0 - lost['mAP']:+.1f})"
        lines.append(line)
    return lines
