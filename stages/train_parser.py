"""The parser's own training: the embedded parser on photographs and walkers, scored on held-out images."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Parameters
from pipeline.device import choose_device, set_threads
from pipeline.device_faults import fitting
from pipeline.errors import InputError
from pipeline.locks import hold
from pipeline.parsing.lite.backend import LiteParser
from pipeline.parsing.lite.network import LiteNetwork
from pipeline.parsing.lite.training.recipe import (
    MARGINS,
    WEIGHTS_NAME,
    ParserData,
    check_parser_place,
    read_parser_data,
    train_recipe,
    with_unlabelled,
    write_trained,
)
from pipeline.parsing.lite.training.scoring import score
from pipeline.parsing.lite.training.train import EpochReport, Schedule
from stages.console import Console


@dataclass(frozen=True)
class Asked:
    """What is trained on, and how.

    Attributes:
        photos: Folder of Clothing Co-Parsing.
        walkers: Folder of rendered walkers; None: none.
        init: ``imagenet``, ``random``, or weights of an earlier training.
        schedule: Epochs, learning rate, sizes and arithmetic.
        batch_size: Images in a step.
        walkers_share: Share of walkers among an epoch's images.
        height: Of the input in pixels; the width is half of it.
        score_every: Epochs between two scores on held-out photographs; 0: none.
        limit: Most photographs and walkers; None: all.
        unlabelled: Folder of crops without labels to learn from a trained parser; None: none.
        unlabelled_share: Share of such crops among an epoch's images.
        surveillance: Train for crops of surveillance cameras.
    """

    photos: Path
    walkers: Path | None
    init: str
    schedule: Schedule
    batch_size: int
    walkers_share: float
    height: int
    score_every: int
    limit: int | None
    unlabelled: Path | None = None
    unlabelled_share: float = 0.15
    surveillance: bool = False


def run(parameters: Parameters, console: Console, asked: Asked, out: Path) -> dict[str, Any]:
    """Train, score and write weights, scores, curves and model card; returns the scores by set of images.

    Raises:
        InputError: The photographs, the start or a value is wrong, ``out`` holds other files, or another run has it.
        WorkError: The loss is not finite.
    """
    if asked.height % 64:
        raise InputError(f"--height {asked.height} must be a multiple of 64, such as 192 or 256")
    size = (asked.height, asked.height // 2)
    set_threads(parameters.threads)
    device = choose_device(parameters.device)
    check_parser_place(out)
    data = read_parser_data(asked.photos, asked.walkers, asked.limit, asked.surveillance)
    if asked.unlabelled is not None:
        data = with_unlabelled(data, asked.unlabelled, asked.init, device, asked.limit)
        console.say(f"{len(data.unlabelled)} crops without labels: targets where a trained parser agrees with itself")
    console.say(
        f"{len(data.photos)} photographs and {len(data.walkers)} walkers to train on; "
        f"held out: {', '.join(f'{name} ({len(examples)})' for name, examples in data.held_out.items())}"
    )
    with (
        hold(out),
        fitting(
            f"train-parser with images of {size[0]}x{size[1]} in {asked.schedule.precision}, "
            f"--batch-size {asked.batch_size}",
            device,
            [f"--batch-size {max(asked.batch_size // 2, 2)}", "a smaller --height", "--precision bfloat16"],
        ),
    ):
        trained = train_recipe(
            data,
            asked.schedule,
            out=out,
            init=asked.init,
            size=size,
            batch_size=asked.batch_size,
            walkers_share=asked.walkers_share,
            unlabelled_share=asked.unlabelled_share,
            surveillance=asked.surveillance,
            seed=parameters.seed,
            device=device,
            report=_score_reporter(data, console, size, asked, device),
            quiet=console.quiet,
        )
        scores = write_trained(out, trained, data, device)
    return {"weights": str(out / WEIGHTS_NAME), "scores": {name: value.as_dict() for name, value in scores.items()}}


def _score_reporter(
    data: ParserData, console: Console, size: tuple[int, int], asked: Asked, device: str
) -> EpochReport:
    """Says the clothes IoU on held-out photographs every so many epochs; changes nothing."""
    name, examples = next(iter(data.held_out.items()))

    def report(epoch: int, network: LiteNetwork) -> None:
        if asked.score_every and epoch % asked.score_every == 0:
            margins = MARGINS if asked.surveillance else (0.0, 0.0)
            parser = LiteParser(copy.deepcopy(network), size, device, margins=margins)
            console.say(f"epoch {epoch}: {name}: clothes IoU {score(parser, examples).clothes_iou:.3f}")

    return report
