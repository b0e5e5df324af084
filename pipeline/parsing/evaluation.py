"""How good a parser is on images with labels drawn by people: the scores of a set, and the time an image takes.

Held-out photographs are scored as detector-like crops: the person's box from the labels, widened by 4% of its height on
every side and to an aspect of 2:1, scaled to a view's size. The parser sees nothing but that view, and scores are
counted at the view's own resolution.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from pipeline.errors import BadImageError, InputError
from pipeline.images import RgbImage
from pipeline.parsing.lite.crops import Example
from pipeline.parsing.lite.targets import SOME_CLOTHES
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.parser import Parser
from pipeline.parsing.schemes import LIP
from pipeline.parsing.scores import MaskTally, class_iou, confusion_matrix, mean_over_present, pixel_accuracy

VIEWS: Final[dict[str, tuple[int, int]]] = {
    "256x128": (256, 128),
    "128x64": (128, 64),
    "128x48": (128, 48),
}
"""Name and size (height, width) of each view; 128x48 is squeezed, as in PKU-Reid."""


@dataclass(frozen=True)
class Scores:
    """Scores of one parser on one set of images.

    Attributes:
        images: Images counted.
        clothes_iou: Total intersection over total union of the clothes mask.
        mean_image_iou: Mean over the images of each one's clothes-mask IoU.
        pixel_accuracy: Share of the pixels with a decided true label that are right.
        mean_iou: Mean over the classes present.
        class_iou: IoU of each class present, by name.
        ms_per_image: Wall-clock milliseconds of parsing, per image.
    """

    images: int
    clothes_iou: float
    mean_image_iou: float
    pixel_accuracy: float
    mean_iou: float
    class_iou: dict[str, float]
    ms_per_image: float

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
        }


def _rounded(value: float) -> float | None:
    return None if np.isnan(value) else round(value, 4)


def score(
    parser: Parser, examples: Sequence[Example], clothes: frozenset[int] | None = None, batch_size: int = 16
) -> Scores:
    """Parse every example as it is and count.

    Pixels without a decided label do not count for the classes. For the clothes mask every pixel counts: an undecided
    garment is clothes, an ignored pixel is not.

    Args:
        parser: Any parser.
        examples: Their labels are in the parser's scheme; for LIP they may be the wider ones of ``lite/targets.py``.
        clothes: Label numbers of the clothes mask; None: the scheme's default.
        batch_size: Images given to the parser at once.

    Raises:
        InputError: The scheme has no clothes and none were named; or an image cannot be parsed.
        ValueError: There are no examples.
    """
    if not examples:
        raise ValueError("no examples to score")
    labels = parser.scheme.labels
    clothes = parser.scheme.clothes_labels(None) if clothes is None else clothes
    true_clothes = clothes | {SOME_CLOTHES} if parser.scheme.name == LIP.name else clothes
    confusion = np.zeros((len(labels), len(labels)), dtype=np.int64)
    tally = MaskTally()
    seconds = 0.0
    for start in range(0, len(examples), batch_size):
        group = examples[start : start + batch_size]
        begin = time.perf_counter()
        parsings = parser.parse([example.image for example in group], [example.name for example in group])
        seconds += time.perf_counter() - begin
        for example, parsing in zip(group, parsings, strict=True):
            if isinstance(parsing, BadImageError):
                raise InputError(f"the parser {parser.name} cannot parse {example.name}: {parsing.detail}")
            confusion += confusion_matrix(example.target, parsing.label_map, len(labels))
            tally.add(clothes_mask(example.target, true_clothes), clothes_mask(parsing.label_map, clothes))
    by_class = class_iou(confusion)
    return Scores(
        images=tally.images,
        clothes_iou=tally.iou,
        mean_image_iou=tally.mean_image_iou,
        pixel_accuracy=pixel_accuracy(confusion),
        mean_iou=mean_over_present(by_class),
        class_iou={name: float(value) for name, value in zip(labels, by_class, strict=True) if not np.isnan(value)},
        ms_per_image=1000 * seconds / len(examples),
    )


def milliseconds_per_image(parser: Parser, images: Sequence[RgbImage], repeats: int = 5) -> float:
    """Least milliseconds of processor time an image over some repeats of one call on one thread, after one to warm up.

    Processor time on one thread is the wall-clock time of a free core, and the least is taken rather than the mean, as
    other work on the machine only ever adds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parser.parse(images)
        best = float("inf")
        for _ in range(repeats):
            begin = time.process_time()
            parser.parse(images)
            best = min(best, time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    return 1000 * best / len(images)
