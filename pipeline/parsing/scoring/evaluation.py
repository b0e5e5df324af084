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
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.parser import Parser, Parsing
from pipeline.parsing.scoring.crops import Example
from pipeline.parsing.scoring.ground_truth import TruthScheme
from pipeline.parsing.scoring.scores import (
    MaskTally,
    class_iou,
    confusion_matrix,
    match_labels,
    mean_over_present,
    pixel_accuracy,
)

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


class _Counter:
    """Counts one parser's label maps against the truth."""

    def __init__(self, parser: Parser, truth: TruthScheme, clothes: frozenset[int] | None) -> None:
        self.parser = parser
        self.names = parser.scheme.labels
        self.tally = MaskTally()
        self._truth = truth
        self._clothes = parser.scheme.clothes_labels(None) if clothes is None else clothes
        self._confusion = np.zeros((len(truth.labels), len(self.names)), dtype=np.int64)
        self._unparsed: dict[str, BadImageError] = {}
        self._reasons: Counter[str] = Counter()
        self._seconds = 0.0
        self.parsed = 0

    def parse(self, group: Sequence[Example]) -> list[Parsing | BadImageError]:
        """Parse a batch; what cannot be parsed is counted."""
        begin = time.perf_counter()
        parsings = self.parser.parse([example.image for example in group], [example.name for example in group])
        self._seconds += time.perf_counter() - begin
        self.parsed += len(group)
        for parsing in parsings:
            if isinstance(parsing, BadImageError):
                self._unparsed.setdefault(parsing.reason, parsing)
                self._reasons[parsing.reason] += 1
        return parsings

    def add(self, example: Example, parsing: Parsing) -> None:
        """Count one image."""
        names = len(self.names)
        self._confusion += confusion_matrix(example.target, parsing.label_map, names, len(self._truth.labels))
        found = clothes_mask(parsing.label_map, self._clothes)
        self.tally.add(clothes_mask(example.target, self._truth.clothes), found)

    def scores(self) -> Scores:
        """Of all images that were counted.

        Raises:
            InputError: No image could be parsed.
            ValueError: There was none.
        """
        if not self.tally.images:
            if not self._unparsed:
                raise ValueError("no examples to score")
            raise InputError(
                f"the parser {self.parser.name} could parse no image: {next(iter(self._unparsed.values()))}"
            )
        truth = self._truth.labels
        pairs = match_labels(truth, self.names)
        by_class = class_iou(self._confusion, pairs)
        compared = [truth[number] for number, _ in pairs]
        named = {name: float(iou) for name, iou in zip(compared, by_class, strict=True) if not np.isnan(iou)}
        return Scores(
            images=self.tally.images,
            clothes_iou=self.tally.iou,
            mean_image_iou=self.tally.mean_image_iou,
            pixel_accuracy=pixel_accuracy(self._confusion, pairs),
            mean_iou=mean_over_present(by_class),
            class_iou=named,
            ms_per_image=1000 * self._seconds / self.parsed,
            compared=tuple(compared),
            truth_only=tuple(name for name in truth if name not in compared),
            parser_only=tuple(
                name for number, name in enumerate(self.names) if number not in {pair[1] for pair in pairs}
            ),
            unparsed=dict(self._reasons),
        )


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
    counter = _Counter(parser, truth, clothes)
    for group in _batches(examples, batch_size):
        for example, parsing in zip(group, counter.parse(group), strict=True):
            if not isinstance(parsing, BadImageError):
                counter.add(example, parsing)
        advance(len(group))
    return counter.scores()


@dataclass(frozen=True)
class TwoScores:
    """Scores of two parsers on the images that both could parse.

    Attributes:
        first: Of the first.
        second: Of the second.
        first_better: Images whose clothes mask is nearer to the truth by the first parser.
        second_better: By the second; both are equally near in the others.
    """

    first: Scores
    second: Scores
    first_better: int
    second_better: int

    def difference(self) -> dict[str, Any]:
        """The second's scores less the first's, as plain JSON values; null where either has none."""
        first, second = self.first.as_dict(), self.second.as_dict()
        names = ("clothes_iou", "mean_image_iou", "pixel_accuracy", "mean_iou", "ms_per_image")
        classes = [name for name in self.first.class_iou if name in self.second.class_iou]
        return {
            **{name: _less(second[name], first[name]) for name in names},
            "class_iou": {name: _less(second["class_iou"][name], first["class_iou"][name]) for name in classes},
        }


def score_two(
    parsers: tuple[Parser, Parser],
    examples: Iterable[Example],
    truth: TruthScheme,
    clothes: tuple[frozenset[int], frozenset[int]],
    batch_size: int = 16,
    advance: Callable[[int], None] = lambda _: None,
) -> TwoScores:
    """Score two parsers on the same examples; one that either cannot parse counts for neither.

    Args:
        parsers: Any two.
        examples: As for :func:`score`, which counts in the same way.
        truth: Meaning of the targets.
        clothes: Label numbers of either parser's clothes mask.
        batch_size: Images given to a parser at once.
        advance: Called with the number of images of each batch that is done.

    Raises:
        InputError: No image could be parsed by both.
        ValueError: There are no examples.
    """
    first, second = (_Counter(parser, truth, numbers) for parser, numbers in zip(parsers, clothes, strict=True))
    for group in _batches(examples, batch_size):
        for example, one, other in zip(group, first.parse(group), second.parse(group), strict=True):
            if not isinstance(one, BadImageError) and not isinstance(other, BadImageError):
                first.add(example, one)
                second.add(example, other)
        advance(len(group))
    if first.parsed and not first.tally.images:
        raise InputError(f"no image could be parsed by both {parsers[0].name} and {parsers[1].name}")
    pairs = list(zip(first.tally.per_image, second.tally.per_image, strict=True))
    return TwoScores(
        first.scores(),
        second.scores(),
        sum(one > other for one, other in pairs),
        sum(one < other for one, other in pairs),
    )


def _less(value: float | None, other: float | None) -> float | None:
    return None if value is None or other is None else round(value - other, 4)


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
