"""From a network's logits to a label map of the image's own size, without holding all enlarged logits at once."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import torch
from torch import Tensor

from pipeline.parsing.parser import Parsing
from pipeline.transfer import Returned

STRIP_VALUES: Final = 200_000
"""Most logits held at once while one image is labelled on a CPU, however large it is: they stay in a core's cache."""

DEVICE_STRIP_VALUES: Final = 2**24
"""The same on another device, where many small steps are what costs."""


@dataclass(frozen=True)
class Taps:
    """Linear interpolation along one side: each output position lies between two input positions.

    Attributes:
        first: int64 (outputs,), index of the first input.
        second: int64 (outputs,), index of the second input.
        weight: float32 (outputs,), share of the second one.
    """

    first: Tensor
    second: Tensor
    weight: Tensor

    def to(self, device: torch.device) -> "Taps":
        """The same taps on a device."""
        return Taps(self.first.to(device), self.second.to(device), self.weight.to(device))


def taps_at(positions: Tensor, inputs: int) -> Taps:
    """Taps at float64 ``positions`` counted in input pixels, 0 being the first one's centre; edges are repeated."""
    positions = positions.clamp(0, inputs - 1)
    first = positions.floor().long()
    return Taps(first, (first + 1).clamp_max(inputs - 1), (positions - first).float())


def scaling_taps(inputs: int, outputs: int) -> Taps:
    """Taps that scale ``inputs`` pixels to ``outputs``; pixels are squares, so that outer edges meet outer edges."""
    centres = torch.arange(outputs, dtype=torch.float64) + 0.5
    return taps_at(centres * inputs / outputs - 0.5, inputs)


Decision: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""From logits (rows, columns, classes) to each pixel's class, int64, and the softmax probability of its top class."""


def most_probable(values: Tensor) -> tuple[Tensor, Tensor]:
    """The decision for the class with the highest probability."""
    top, classes = values.max(dim=2)
    # the top probability of a softmax is 1 / sum of exp(logit - top logit)
    return classes, 1.0 / (values - top[..., None]).exp_().sum(dim=2)


@torch.inference_mode()
def label_map(
    logits: Tensor,
    rows: Taps,
    columns: Taps,
    numbers: Tensor | None = None,
    decide: Decision = most_probable,
) -> Parsing:
    """Resample logits, decide on the class of each pixel, and measure how sure the network is of the person.

    Done in strips of rows: a large photograph's logits would need gigabytes, and a small one's would leave the cache.

    Args:
        logits: (classes, input rows, input columns), on any device.
        rows: For the image's rows.
        columns: For the image's columns.
        numbers: Integers (classes,), label number of each class; None: the class itself. Number 0 means nobody.
        decide: The class of each pixel.

    Returns:
        The label map, and as confidence the mean softmax probability of the top class over the pixels of the person.
    """
    device = logits.device
    numbers = torch.arange(logits.shape[0]) if numbers is None else numbers
    numbers = numbers.to(device, torch.uint8)
    height, width = len(rows.first), len(columns.first)
    labels = np.empty((height, width), dtype=np.uint8)
    sure, person_pixels = 0.0, 0
    for strip, classes, probability in decided(logits, rows.to(device), columns.to(device), decide):
        found = numbers[classes]
        person = found > 0
        sure += float(probability[person].sum(dtype=torch.float64))
        person_pixels += int(person.sum())
        labels[strip] = found.cpu().numpy()
    return Parsing(labels, sure / person_pixels if person_pixels else 0.0)


def decided(logits: Tensor, rows: Taps, columns: Taps, decide: Decision) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Strips of rows, with the class of each pixel in them and the probability of the top class.

    Args:
        logits: As for :func:`label_map`.
        rows: For the image's rows, on the device of the logits.
        columns: For the image's columns, on the device of the logits.
        decide: The class of each pixel.
    """
    # classes last: a position's logits are neighbours in memory, gathered and compared together
    pixels = logits.float().permute(1, 2, 0).contiguous()
    left, right = pixels.index_select(1, columns.first), pixels.index_select(1, columns.second)
    across = torch.lerp(left, right, columns.weight[:, None])
    height, width = len(rows.first), len(columns.first)
    values_at_once = STRIP_VALUES if logits.device.type == "cpu" else DEVICE_STRIP_VALUES
    step = max(1, values_at_once // (logits.shape[0] * width))
    for start in range(0, height, step):
        strip = slice(start, min(start + step, height))
        above, below = across.index_select(0, rows.first[strip]), across.index_select(0, rows.second[strip])
        yield strip, *decide(torch.lerp(above, below, rows.weight[strip, None, None]))


class Labelled:
    """Label maps of a batch on their way from a device: :func:`label_map` for many images in one transfer.

    Args:
        numbers: uint8 (classes,), label number of each class, on the device.
        decide: The class of each pixel.
    """

    def __init__(self, numbers: Tensor, decide: Decision = most_probable) -> None:
        self._numbers = numbers
        self._decide = decide
        self._shapes: list[tuple[int, int]] = []
        self._sums: list[Tensor] = []
        self._labels: list[Tensor] = []
        self._returned: Returned | None = None

    @torch.inference_mode()
    def add(self, logits: Tensor, rows: Taps, columns: Taps, decide: Decision | None = None) -> None:
        """Label one image; logits and taps, as for :func:`label_map`, are on the device, and nobody waits for it.

        ``decide`` is the class of each pixel of this image; None: as all.
        """
        height, width = len(rows.first), len(columns.first)
        strips, sure, counts = [], [], []
        for _, classes, probability in decided(logits, rows, columns, decide or self._decide):
            found = self._numbers[classes]
            person = found > 0
            sure.append(torch.where(person, probability, 0.0).sum(dtype=torch.float64))
            counts.append(person.sum().double())
            strips.append(found.flatten())
        self._shapes.append((height, width))
        self._sums += [torch.stack(sure).sum(), torch.stack(counts).sum()]
        self._labels += strips

    @torch.inference_mode()
    def send(self) -> None:
        """Begin to bring all of them back; no more can be added."""
        sums = torch.stack(self._sums).view(torch.uint8)
        self._returned = Returned(torch.cat([sums, *self._labels]))
        self._labels.clear()
        self._sums.clear()

    def take(self) -> list[Parsing]:
        """The parses in the order of :meth:`add`, as soon as they have arrived."""
        assert self._returned is not None, "they were sent"
        memory = self._returned.take().numpy()
        count, start = len(self._shapes), 16 * len(self._shapes)  # two numbers of 8 bytes an image
        sums = memory[:start].view(np.float64).reshape(count, 2)
        parsings = []
        for (height, width), (sure, pixels) in zip(self._shapes, sums.tolist(), strict=True):
            labels = memory[start : start + height * width].reshape(height, width).copy()
            parsings.append(Parsing(labels, sure / pixels if pixels else 0.0))
            start += height * width
        return parsings
