"""``ccaf-pipeline train-parser``: trains the embedded parser, scores it on held-out images, writes weights and card."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from stages.cli.options import Context, shared_options


class Precision(StrEnum):
    """Arithmetic of the training."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


@shared_options("seed")
def command(
    context: Context,
    photos: Annotated[
        Path, typer.Option("--photos", help="Clothing Co-Parsing: photos/, labels/ and label_list.json.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for weights, scores, curves and model card.")],
    walkers: Annotated[
        Path | None, typer.Option("--walkers", help="Walkers of synth, with labels/. Default: none.")
    ] = None,
    init: Annotated[
        str,
        typer.Option("--init", help="Start: imagenet, random, or weights of an earlier train-parser."),
    ] = "imagenet",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Passes over the photographs.")] = 72,
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="Images per step.")] = 16,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", min=1e-7, help="Peak learning rate of the schedule.")
    ] = 2e-3,
    walkers_share: Annotated[
        float, typer.Option("--walkers-share", min=0.0, max=0.9, help="Share of walkers among an epoch's images.")
    ] = 0.12,
    surveillance: Annotated[
        bool,
        typer.Option(
            "--surveillance",
            help="Train for crops of surveillance cameras: bags, people from behind, dark clothes, poor cameras.",
        ),
    ] = False,
    unlabelled: Annotated[
        Path | None,
        typer.Option(
            "--unlabelled",
            help="Crops without labels, learned from a trained parser (--init's weights, else the packaged ones) where "
            "its views of a crop agree. Default: none.",
        ),
    ] = None,
    unlabelled_share: Annotated[
        float,
        typer.Option("--unlabelled-share", min=0.0, max=0.9, help="Share of such crops among an epoch's images."),
    ] = 0.15,
    small_share: Annotated[
        float,
        typer.Option(
            "--small-share", min=0.0, max=1.0, help="Share of the epochs that train at three quarters of the size."
        ),
    ] = 0.7,
    height: Annotated[
        int, typer.Option("--height", min=64, max=512, help="Input height in pixels, a multiple of 64; width is half.")
    ] = 256,
    mild_share: Annotated[
        float,
        typer.Option(
            "--mild-share",
            min=0.0,
            max=1.0,
            help="Share of the epochs, the last ones, with every change of the photographs half as probable.",
        ),
    ] = 0.15,
    average_epochs: Annotated[
        float,
        typer.Option(
            "--average-epochs", min=0.01, help="Time constant of the weights' running mean, which is kept, in epochs."
        ),
    ] = 4.0,
    precision: Annotated[
        Precision,
        typer.Option("--precision", help="Arithmetic of the training; which is faster depends on the processor."),
    ] = Precision.FLOAT32,
    score_every: Annotated[
        int, typer.Option("--score-every", min=0, help="Epochs between two scores on held-out photographs; 0: none.")
    ] = 10,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Read only this many photographs and walkers, to try it out.")
    ] = None,
) -> None:
    """Train the embedded parser `lite` on photographs and walkers.

    Photographs whose number is divisible by 5 are held out for validation.

    Interrupted training goes on from its last state when the same command is run again.
    """
    from pipeline.parsing.lite.training.train import Schedule
    from stages import train_parser

    schedule = Schedule(
        epochs,
        learning_rate=learning_rate,
        small_share=small_share,
        mild_share=mild_share,
        average_epochs=average_epochs,
        precision=precision.value,
    )
    asked = train_parser.Asked(
        photos,
        walkers,
        init,
        schedule,
        batch_size,
        walkers_share,
        height,
        score_every,
        limit,
        unlabelled,
        unlabelled_share,
        surveillance,
    )
    result = train_parser.run(context.parameters, context.console, asked, out)
    context.console.result(
        result,
        "\n".join(f"{name}: clothes IoU {value['clothes_iou']:.3f}" for name, value in result["scores"].items()),
    )
    context.console.say(f"weights, scores, curves and model card -> {out}")
    context.console.say(
        f"next: ccaf-pipeline parse --set parse.settings.weights={result['weights']}, and look at its masks"
    )
