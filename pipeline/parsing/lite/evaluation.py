"""The validation protocol: parse detector-like crops of held-out images and compare with their labels.

The crop is the person's box from the labels, widened by 4% of its height on every side and to an aspect of 2:1. It is
scaled to each view's size, the parser sees nothing but that view, and scores are counted at the view's own resolution.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from pipeline.images import RgbImage
from pipeline.parsing.lite.crops import Example
from pipeline.parsing.lite.targets import CLASSES, is_clothes
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
    """Scores of one parser on one set of images at one size.

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
        """Plain JSON values."""
        rounded = {name: round(value, 4) for name, value in self.class_iou.items()}
        return {
            "images": self.images,
            "clothes_iou": round(self.clothes_iou, 4),
            "mean_image_iou": round(self.mean_image_iou, 4),
            "pixel_accuracy": round(self.pixel_accuracy, 4),
            "mean_iou": round(self.mean_iou, 4),
            "class_iou": rounded,
            "ms_per_image": round(self.ms_per_image, 1),
        }


def score(parser: Parser, examples: Sequence[Example], batch_size: int = 16) -> Scores:
    """Parse every example as it is and count.

    Pixels without a decided label do not count for the classes. For the clothes mask every pixel counts: an
    undecided garment is clothes, an ignored pixel is not.

    Raises:
        ValueError: There are no examples.
    """
    if not examples:
        raise ValueError("no examples to score")
    confusion = np.zeros((CLASSES, CLASSES), dtype=np.int64)
    tally = MaskTally()
    seconds = 0.0
    for start in range(0, len(examples), batch_size):
        group = examples[start : start + batch_size]
        begin = time.perf_counter()
        parsings = parser.parse([example.image for example in group])
        seconds += time.perf_counter() - begin
        for example, parsing in zip(group, parsings, strict=True):
            confusion += confusion_matrix(example.target, parsing.label_map, CLASSES)
            tally.add(is_clothes(example.target), clothes_mask(parsing.label_map, LIP.clothes))
    by_class = class_iou(confusion)
    return Scores(
        images=tally.images,
        clothes_iou=tally.iou,
        mean_image_iou=tally.mean_image_iou,
        pixel_accuracy=pixel_accuracy(confusion),
        mean_iou=mean_over_present(by_class),
        class_iou={name: float(value) for name, value in zip(LIP.labels, by_class, strict=True) if not np.isnan(value)},
        ms_per_image=1000 * seconds / len(examples),
    )


def milliseconds_per_image(parser: Parser, images: Sequence[RgbImage], repeats: int = 5) -> float:
    """Least wall-clock milliseconds an image over some repeats of one call, on one thread, after one call to warm up.

    The least rather than the mean, as other work on the machine only ever adds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        parser.parse(images)
        best = float("inf")
        for _ in range(repeats):
            begin = time.perf_counter()
            parser.parse(images)
            best = min(best, time.perf_counter() - begin)
    finally:
        torch.set_num_threads(threads)
    return 1000 * best / len(images)
