"""The whole way from photographs and walkers to the files of a trained parser: weights, scores, curves, card."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import cv2
import torch
from torch import nn

from pipeline.errors import InputError
from pipeline.files import atomic_file, sha256_of_file, sha256_of_value, write_json
from pipeline.models.imagenet import find_imagenet_weights
from pipeline.outputs import check_writable
from pipeline.parsing.lite.backend import create_lite
from pipeline.parsing.lite.checkpoint import LiteDescription, load_lite, save_lite
from pipeline.parsing.lite.encoder import count_parameters
from pipeline.parsing.lite.network import LiteNetwork
from pipeline.parsing.lite.targets import OUTPUTS
from pipeline.parsing.lite.training.augment import SURVEILLANCE, Augmentation
from pipeline.parsing.lite.training.batches import BatchMaker
from pipeline.parsing.lite.training.card import model_card
from pipeline.parsing.lite.training.crops import Example, detector_view, shrink
from pipeline.parsing.lite.training.examples import read_photos, read_walkers
from pipeline.parsing.lite.training.pretrained import load_imagenet_weights
from pipeline.parsing.lite.training.scoring import score
from pipeline.parsing.lite.training.train import EpochReport, Schedule, train_lite
from pipeline.parsing.lite.training.unlabelled import read_unlabelled
from pipeline.parsing.parser import Parser
from pipeline.parsing.scoring.evaluation import VIEWS, Scores, milliseconds_per_image, timed_on
from pipeline.trainer.curves import CurveRow, curves_as_csv
from pipeline.trainer.epochs import check_progress, forget_progress
from pipeline.trainer.states import ResumeSettings

WEIGHTS_NAME: Final = "lite.safetensors"
SCORES_NAME: Final = "scores.json"
CARD_NAME: Final = "MODEL_CARD.md"
CURVES_NAME: Final = "curves.csv"

PHOTO_HEIGHT: Final = 400
"""Photographs are kept at most at this height in training: the network's input can be cut out of it without loss."""
IMAGENET: Final = "imagenet"
RANDOM: Final = "random"
TRAIN_WALKERS: Final = 3000
TEST_WALKERS: Final = 400
TIMED_BATCH: Final = 16
MARGINS: Final = (0.06, 0.03)
"""Of the images that are parsed, see :class:`pipeline.parsing.lite.backend.LiteParser`."""
RARE_SHARE: Final = 0.15
"""Share of further photographs with a rare label among an epoch's photographs."""
SMALL_WEIGHT: Final = 2.0
LABEL_DICE_WEIGHT: Final = 0.5


@dataclass(frozen=True)
class ParserData:
    """What the parser learns from and is scored on.

    Attributes:
        photos: Training photographs.
        walkers: Training walkers; may be empty.
        held_out: Name of each set and view to score, and its examples.
        unlabelled: Crops with targets that a trained parser agreed on.
        teacher: Hash of that parser's weights; empty if there are no such crops.
    """

    photos: list[Example]
    walkers: list[Example]
    held_out: dict[str, list[Example]]
    unlabelled: list[Example] = field(default_factory=list)
    teacher: str = ""


@dataclass(frozen=True)
class TrainedLite:
    """A trained parser that is not written yet."""

    network: LiteNetwork
    description: LiteDescription
    curves: list[CurveRow]


def read_parser_data(photos: Path, walkers: Path | None, limit: int | None = None, bags: bool = False) -> ParserData:
    """Read everything into memory.

    Args:
        photos: Folder of Clothing Co-Parsing.
        walkers: Folder of the walkers, or None.
        limit: Read only so many photographs, and so many walkers of each kind.
        bags: Whether bags in the photographs to train on are targets of their own.

    Raises:
        InputError: Something is missing or damaged, or there is nothing to train on or to score.
    """
    photo_set = read_photos(photos, limit, bags)
    if not photo_set.train or not photo_set.validation:
        raise InputError(
            f"{photos} has {len(photo_set.train)} photographs to train on and {len(photo_set.validation)} to score "
            f"(those whose number is divisible by 5); both are needed"
        )
    held_out = {
        f"photographs {name}": [detector_view(example, size) for example in photo_set.validation]
        for name, size in VIEWS.items()
    }
    train: list[Example] = []
    if walkers is not None:
        train = read_walkers(walkers, ["train"], min(limit or TRAIN_WALKERS, TRAIN_WALKERS))
        held_out["walkers"] = read_walkers(walkers, ["query", "gallery"], min(limit or TEST_WALKERS, TEST_WALKERS))
    return ParserData([shrink(example, PHOTO_HEIGHT) for example in photo_set.train], train, held_out)


def with_unlabelled(data: ParserData, folder: Path, init: str, device: str, limit: int | None = None) -> ParserData:
    """The data with the crops of ``folder``, whose targets are those of the weights ``init``, or of the packaged ones.

    Raises:
        InputError: The weights cannot be used, or the folder holds no crop of which a parser says anything.
    """
    teacher = create_lite(device=device, weights=None if init in (IMAGENET, RANDOM) else Path(init))
    crops = read_unlabelled(folder, teacher, PHOTO_HEIGHT, limit)
    return replace(data, unlabelled=crops, teacher=teacher.weights_sha256)


def train_recipe(
    data: ParserData,
    schedule: Schedule,
    *,
    out: Path,
    init: str = IMAGENET,
    size: tuple[int, int] = (256, 128),
    batch_size: int = 16,
    walkers_share: float = 0.12,
    unlabelled_share: float = 0.15,
    surveillance: bool = False,
    seed: int = 0,
    device: str = "cpu",
    report: EpochReport | None = None,
    quiet: bool = False,
) -> TrainedLite:
    """Train on ``data``; interrupted, go on when called again with the same arguments.

    Args:
        data: See there.
        schedule: How long and how fast.
        out: Folder that :func:`write_trained` will write; the state of the run is kept beside it.
        init: What to start from: ``imagenet`` (an encoder trained on ImageNet, from an installed package; the rest
            random), ``random``, or the path of an earlier run's weights.
        size: Height and width of the network's input.
        batch_size: Images in a step.
        walkers_share: Share of walkers among an epoch's images.
        unlabelled_share: Share of crops without labels among an epoch's images, where there are any.
        surveillance: Train for crops of surveillance cameras: :data:`SURVEILLANCE`, an output for bags, margins,
            photographs with rare labels oftener, and :data:`SMALL_WEIGHT` and :data:`LABEL_DICE_WEIGHT`.
        seed: Of the weights, the order and every random change.
        device: Torch device string.
        report: See :func:`pipeline.parsing.lite.training.train.train_lite`.
        quiet: No progress line.

    Raises:
        InputError: The weights ``init`` are missing or cannot be used.
        WorkError: The loss is not finite.
    """
    cv2.setNumThreads(0)
    torch.manual_seed(seed)
    network, description, started_from = _start(init, size)
    if surveillance:
        network, description = with_bags(network), replace(description, outputs=OUTPUTS, margins=MARGINS)
        schedule = replace(schedule, small_weight=SMALL_WEIGHT, label_dice_weight=LABEL_DICE_WEIGHT)
    augmentation, rare_share = (SURVEILLANCE, RARE_SHARE) if surveillance else (Augmentation(), 0.0)
    training: dict[str, Any] = {
        "schedule": asdict(schedule),
        "batch_size": batch_size,
        "rare_share": rare_share,
        "walkers_share": walkers_share if data.walkers else 0.0,
        "seed": seed,
        "init": started_from,
        "threads": torch.get_num_threads(),
        "photos": len(data.photos),
        "walkers": len(data.walkers),
        "augmentation": asdict(augmentation),
        "torch": torch.__version__,
        "version": version("ccaf-pipeline"),
    }
    if data.unlabelled:
        training["unlabelled"] = {
            "crops": len(data.unlabelled), "share": unlabelled_share, "teacher_sha256": data.teacher,
        }  # fmt: skip
    fingerprint = sha256_of_value([training, list(size)])
    network, curves = train_lite(
        network,
        BatchMaker(
            data.photos,
            data.walkers,
            walkers_share,
            batch_size,
            seed,
            augmentation,
            rare_share,
            data.unlabelled,
            unlabelled_share,
        ),
        schedule,
        size,
        device=device,
        report=report,
        resume=ResumeSettings(state_folder(out), fingerprint, config={"training": training, "size": list(size)}),
        quiet=quiet,
    )
    return TrainedLite(network, replace(description, training=training), curves)


def _start(init: str, size: tuple[int, int]) -> tuple[LiteNetwork, LiteDescription, dict[str, Any]]:
    """The network to train, its description, and what it starts from, for the record."""
    if init not in (IMAGENET, RANDOM):
        network, described = load_lite(Path(init))
        started_from = {"from": "weights", "sha256": sha256_of_file(Path(init)), "training": described.training}
        return network, replace(described, size=size), started_from
    description = LiteDescription(size=size)
    network = description.build()
    if init == RANDOM:
        return network, description, {"from": RANDOM}
    weights = find_imagenet_weights(description.backbone)
    load_imagenet_weights(network.encoder, weights)
    return network, description, {"from": IMAGENET, "file": weights.name, "sha256": sha256_of_file(weights)}


def with_bags(network: LiteNetwork) -> LiteNetwork:
    """The network with an output for bags; a new one is half of the background, so that nothing changes in use."""
    weight, bias = (network.get_parameter(f"head.{name}").detach().clone() for name in ("weight", "bias"))
    if len(bias) == OUTPUTS:
        return network
    bias[0] -= math.log(2)
    network.head = nn.Conv2d(weight.shape[1], OUTPUTS, 1)
    network.head.load_state_dict({"weight": torch.cat([weight, weight[:1]]), "bias": torch.cat([bias, bias[:1]])})
    return network


def write_trained(out: Path, trained: TrainedLite, data: ParserData, device: str = "cpu") -> dict[str, Scores]:
    """Write weights, curves, scores and card into ``out``; returns the scores of the weights as written."""
    weights = out / WEIGHTS_NAME
    save_lite(weights, trained.network, trained.description)
    parser = create_lite(device=device, weights=weights)
    scores = {name: score(parser, examples) for name, examples in data.held_out.items()}
    timings = time_parser(parser, data.held_out, device)
    place = timed_on(device)
    parameters = count_parameters(trained.network)
    write_json(
        out / SCORES_NAME,
        {
            "weights_sha256": parser.weights_sha256,
            "scores": {name: value.as_dict() for name, value in scores.items()},
            "ms_per_image": {name: round(value, 1) for name, value in timings.items()},
            "timed_on": place,
        },
    )
    with atomic_file(out / CURVES_NAME) as temporary:
        temporary.write_text(curves_as_csv(trained.curves))
    with atomic_file(out / CARD_NAME) as temporary:
        temporary.write_text(model_card(scores, trained.description, parameters, timings, place))
    forget_progress(state_folder(out))
    return scores


def time_parser(parser: Parser, held_out: Mapping[str, list[Example]], device: str = "cpu") -> dict[str, float]:
    """Milliseconds an image on the parser's device, by what was timed."""
    images = [example.image for example in next(iter(held_out.values()))]
    return {
        "one at a time": milliseconds_per_image(parser, images[:1], device=device),
        f"in batches of {TIMED_BATCH}": milliseconds_per_image(parser, images[:TIMED_BATCH], device=device),
    }


def check_parser_place(out: Path) -> None:
    """Refuse a folder in which a trained parser would take the place of somebody's own files.

    Raises:
        InputError: A file of these names is there without weights of this program's; or nothing can be written there.
    """
    check_writable(out / WEIGHTS_NAME)
    if (out / WEIGHTS_NAME).exists():
        load_lite(out / WEIGHTS_NAME)
    else:
        there = [name for name in (SCORES_NAME, CURVES_NAME, CARD_NAME) if (out / name).exists()]
        if there:
            raise InputError(
                f"{out} holds {', '.join(there)}, but no weights of train-parser: move them elsewhere, or choose "
                f"another place"
            )
    check_progress(state_folder(out))


def state_folder(out: Path) -> Path:
    """Where the state of a training that writes ``out`` is kept."""
    return out.with_name(f"{out.name}.partial")
