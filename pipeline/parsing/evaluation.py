"""How good a parser is on images with labels drawn by people: the scores of a set, and the time an image takes.

Parser and truth may have different label schemes. The clothes masks are always compared; classes are compared where
both schemes have a label of the same name.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import numpy as np
import torch

from pipeline.errors import BadImageError, InputError
from pipeline.images import RgbImage
from pipeline.parsing.crops import Example
from pipeline.parsing.ground_truth import TruthScheme
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.parser import Parser
from pipeline.parsing.scores import MaskTally, class_iou, confusion_matrix, mean_over_present, pixel_accuracy

VIEWS: Final[dict[str, tuple[int, int]]] = {
    "256x128": (256, 128),
    "128x64": (128, 64),
    "128x48": (128, 48),
}
"""Name and size (height, width) of each view; 128x48 is squeezed, as in PKU-Reid.

A view is a detector-like crop: the person's box from the labels, widened by 4% of its height on every side and to an
aspect of 2:1, scaled to the view's size. The parser sees nothing else, and scores are counted at its resolution."""


@dataclass(frozen=True)
class Scores:
    """Scores of one parser on one set of images.

    Attributes:
        images: Images counted.
        clothes_iou: Total intersection over total union of the clothes mask.
        mean_image_iou: Mean over the images of each one's clothes-mask IoU.
        pixel_accuracy: Share of right labels among the pixels whose true label is decided and compared.
        mean_iou: Mean over the compared classes that are present.
        class_iou: IoU of each compared class that is present, by its name in the truth.
        ms_per_image: Wall-clock milliseconds of parsing, per image.
        compared: Labels that both schemes have, by their name in the truth.
        truth_only: Labels that only the truth has.
        parser_only: Labels that only the parser has.
        unparsed: Images that the parser could not parse, by reason; they are not counted.
    """

    images: int
    clothes_iou: float
    mean_image_iou: float
    pixel_accuracy: float
    mean_iou: float
    class_iou: dict[str, float]
    ms_per_image: float
    compared: tuple[str, ...] = ()
    truth_only: tuple[str, ...] = ()
    parser_only: tuple[str, ...] = ()
    unparsed: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values; a score of nothing (an empty union) is null."""
        return {
            "images": self.images,
            "clothes_iou": _rounded(self.clothes_iou),
            "mean_image_iou": _rounded(self.mean_image_iou),
            "pixel_accuracy": _rounded(self.pixel_accuracy),
            "mean_iou": _rounded(self.mean_iou),
            "class_iou": {name: _rounded(value) for name, value in self.class_iou.items()},
            "ms_per_image": round(self.ms_per_image, 1),
            "compared": list(self.compared),
            "truth_only": list(self.truth_only),
            "parser_only": list(self.parser_only),
            "unparsed": dict(self.unparsed),
        }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def _normalised(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def match_labels(truth: Sequence[str], predicted: Sequence[str]) -> list[tuple[int, int]]:
    """Numbers, in the truth and in the prediction, of labels that have one name but for case, blanks and signs.

    Number 0 is the background in every scheme, whatever it is called.
    """
    numbers = {_normalised(name): number for number, name in reversed(list(enumerate(predicted))) if number}
    named = [(number, numbers.get(_normalised(name))) for number, name in enumerate(truth) if number]
    return [(0, 0), *((number, other) for number, other in named if other is not None)]


def score(
    parser: Parser,
    examples: Iterable[Example],
    truth: TruthScheme,
    clothes: frozenset[int] | None = None,
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda _: None,
) -> Scores:
    """Parse every example as it is and count.

    Pixels without a decided label do not count for the classes. For the clothes mask every pixel counts: an undecided
    garment is clothes, an ignored pixel is not.

    Args:
        parser: Any parser.
        examples: Read one batch at a time; their targets have the numbers of ``truth``.
        truth: Meaning of the targets.
        clothes: Label numbers of the parser's clothes mask; None: its scheme's default.
        batch_size: Images given to the parser at once.
        advance: Called with the number of images of each batch that is done.

    Raises:
        InputError: The parser's scheme has no clothes and none were named; or no image could be parsed.
        ValueError: There are no examples.
    """
    names = parser.scheme.labels
    clothes = parser.scheme.clothes_labels(None) if clothes is None else clothes
    confusion = np.zeros((len(truth.labels), len(names)), dtype=np.int64)
    tally = MaskTally()
    unparsed: dict[str, BadImageError] = {}
    counts: Counter[str] = Counter()
    seconds = 0.0
    for group in _batches(examples, batch_size):
        begin = time.perf_counter()
        parsings = parser.parse([example.image for example in group], [example.name for example in group])
        seconds += time.perf_counter() - begin
        for example, parsing in zip(group, parsings, strict=True):
            if isinstance(parsing, BadImageError):
                unparsed.setdefault(parsing.reason, parsing)
                counts[parsing.reason] += 1
                continue
            confusion += confusion_matrix(example.target, parsing.label_map, len(names), len(truth.labels))
            tally.add(clothes_mask(example.target, truth.clothes), clothes_mask(parsing.label_map, clothes))
        advance(len(group))
    if not tally.images:
        if not unparsed:
            raise ValueError("no examples to score")
        raise InputError(f"the parser {parser.name} could parse no image: {next(iter(unparsed.values()))}")
    pairs = match_labels(truth.labels, names)
    by_class = class_iou(confusion, pairs)
    compared = [truth.labels[number] for number, _ in pairs]
    return Scores(
        images=tally.images,
        clothes_iou=tally.iou,
        mean_image_iou=tally.mean_image_iou,
        pixel_accuracy=pixel_accuracy(confusion, pairs),
        mean_iou=mean_over_present(by_class),
        class_iou={name: float(value) for name, value in zip(compared, by_class, strict=True) if not np.isnan(value)},
        ms_per_image=1000 * seconds / (tally.images + counts.total()),
        compared=tuple(compared),
        truth_only=tuple(name for name in truth.labels if name not in compared),
        parser_only=tuple(name for number, name in enumerate(names) if number not in {pair[1] for pair in pairs}),
        unparsed=dict(counts),
    )


def _batches(examples: Iterable[Example], size: int) -> Iterator[list[Example]]:
    remaining = iter(examples)
    while group := list(islice(remaining, size)):
        yield group


def timed_on(device: str) -> str:
    """What :func:`milliseconds_per_image` measures on a torch device, in words: ``one core``, or the GPU's name."""
    return "one core" if torch.device(device).type == "cpu" else f"one {torch.cuda.get_device_name(device)}"


def milliseconds_per_image(parser: Parser, images: Sequence[RgbImage], repeats: int = 5, device: str = "cpu") -> float:
    """Least milliseconds an image over some repeats of one call on one thread, after one to warm up.

    On a CPU that is processor time: on one thread, the wall-clock time of a free core. On a GPU, whose work takes no
    processor time, it is wall-clock time until the label maps are there. The least is taken rather than the mean, as
    other work on the machine only ever adds.

    Args:
        parser: Any parser.
        images: Given to it at once.
        repeats: Timed calls.
        device: Torch device string of the parser.
    """
    clock = time.process_time if torch.device(device).type == "cpu" else time.perf_counter
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parser.parse(images)
        best = float("inf")
        for _ in range(repeats):
            begin = clock()
            parser.parse(images)
            best = min(best, clock() - begin)
    finally:
        torch.set_num_threads(threads)
    return 1000 * best / len(images)
