"""``ccaf-pipeline train-parser``: trains the embedded parser, scores it on held-out images, writes weights and card."""

import copy
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.errors import InputError
from stages.console import Console
from stages.options import JsonOption, ParamsOption, QuietOption, SeedOption, SetOption, make_context

if TYPE_CHECKING:
    from pipeline.parsing.lite.network import LiteNetwork
    from pipeline.parsing.lite.recipe import ParserData
    from pipeline.parsing.lite.training import EpochReport


class Precision(StrEnum):
    """Arithmetic of the training."""

    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"


def command(
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
    batch_size: Annotated[int, typer.Option("--batch-size", min=2, help="Images in a step.")] = 16,
    learning_rate: Annotated[
        float, typer.Option("--learning-rate", min=1e-7, help="Peak of the learning rate's one cycle.")
    ] = 2e-3,
    walkers_share: Annotated[
        float, typer.Option("--walkers-share", min=0.0, max=0.9, help="Share of walkers among an epoch's images.")
    ] = 0.12,
    small_share: Annotated[
        float,
        typer.Option("--small-share", min=0.0, max=1.0, help="Share of epochs at three quarters of the size."),
    ] = 0.7,
    height: Annotated[
        int, typer.Option("--height", min=64, max=512, help="Input height in pixels, a multiple of 64; width is half.")
    ] = 256,
    precision: Annotated[
        Precision, typer.Option("--precision", help="Of the arithmetic. Which is faster depends on the processor.")
    ] = Precision.FLOAT32,
    score_every: Annotated[
        int, typer.Option("--score-every", min=0, help="Epochs between two scores on held-out photographs; 0: none.")
    ] = 10,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Read only so many photographs and walkers, to try it out.")
    ] = None,
    params: ParamsOption = None,
    overrides: SetOption = None,
    seed: SeedOption = None,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Train the embedded parser `lite` on photographs and walkers; photographs divisible by 5 are held out.

    Interrupted training goes on from its last finished epoch when the same command is run again.
    """
    context = make_context(params, overrides, seed=seed, quiet=quiet, as_json=as_json)
    parameters, console = context.parameters, context.console

    from pipeline.device import choose_device, set_threads
    from pipeline.parsing.lite.recipe import WEIGHTS_NAME, read_parser_data, train_recipe, write_trained
    from pipeline.parsing.lite.training import Schedule
    from stages.device_use import fitting

    if height % 64:
        raise InputError(f"--height {height} must be a multiple of 64, such as 192 or 256")
    size = (height, height // 2)
    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    data = read_parser_data(photos, walkers, limit)
    console.say(
        f"{len(data.photos)} photographs and {len(data.walkers)} walkers to train on; "
        f"held out: {', '.join(f'{name} ({len(examples)})' for name, examples in data.held_out.items())}"
    )
    with fitting(
        f"train-parser with images of {size[0]}x{size[1]} in {precision.value}, --batch-size {batch_size}",
        device,
        [f"--batch-size {max(batch_size // 2, 2)}", "a smaller --height", f"--precision {Precision.BFLOAT16.value}"],
    ):
        trained = train_recipe(
            data,
            Schedule(epochs, learning_rate=learning_rate, small_share=small_share, precision=precision.value),
            out=out,
            init=init,
            size=size,
            batch_size=batch_size,
            walkers_share=walkers_share,
            seed=parameters.seed,
            device=device,
            report=_score_reporter(data, console, size, score_every, device),
            quiet=quiet,
        )
        scores = write_trained(out, trained, data, device)
    console.result(
        {"weights": str(out / WEIGHTS_NAME), "scores": {name: value.as_dict() for name, value in scores.items()}},
        "\n".join(f"{name}: clothes IoU {value.clothes_iou:.3f}" for name, value in scores.items()),
    )
    console.say(f"weights, scores, curves and model card -> {out}")
    console.say(f"next: ccaf-pipeline parse --set parse.settings.weights={out / WEIGHTS_NAME}, and look at its masks")


def _score_reporter(
    data: "ParserData", console: Console, size: tuple[int, int], every: int, device: str
) -> "EpochReport":
    """Says the clothes IoU on held-out photographs every so many epochs; changes nothing."""
    from pipeline.parsing.lite.backend import LiteParser
    from pipeline.parsing.lite.scoring import score

    name, examples = next(iter(data.held_out.items()))

    def report(epoch: int, network: "LiteNetwork") -> None:
        if every and epoch % every == 0:
            parser = LiteParser(copy.deepcopy(network), size, device)
            console.say(f"epoch {epoch}: {name}: clothes IoU {score(parser, examples).clothes_iou:.3f}")

    return report
