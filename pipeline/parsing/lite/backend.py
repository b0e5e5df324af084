"""The parser ``lite``: the embedded network behind the parser protocol."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline.config import Section
from pipeline.errors import BadImageError
from pipeline.files import sha256_of_file
from pipeline.images import RgbImage
from pipeline.parsing.lite.checkpoint import PACKAGED_WEIGHTS, load_lite
from pipeline.parsing.lite.encoder import fold_batch_norms
from pipeline.parsing.lite.network import LiteNetwork
from pipeline.parsing.lite.targets import CLASSES, MIRRORED
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.parsing.schemes import LIP, LabelScheme

STRIP_VALUES: Final = 200_000
"""Most logits held at once while one image is labelled, however large it is: 0.8 MB, which stays in a core's cache."""

MIRRORED_CLASSES: Final = MIRRORED[:CLASSES].tolist()
"""What each class is in a mirror: left and right of limbs and shoes change places."""
CLOTHES: Final = len(LIP.clothes)
CLOTHES_FIRST: Final = [*sorted(LIP.clothes), *sorted(set(range(CLASSES)) - LIP.clothes)]
"""All classes, the clothes before the others."""


class LiteParser:
    """Parses images of any size; each is squeezed to the network's input, as re-identification does with its crops.

    On a CPU images go through the network one by one, on another device in batches of a fixed size that are filled
    up with zeros: kernels, and so the last bits of their sums, may differ between batch sizes, and a label map must
    not depend on the images that happened to come along.

    Each image is also parsed mirrored, and the logits' mean decides: what one view misses the other often finds.

    Args:
        network: In evaluation mode; it is changed (batch norms are folded into the convolutions).
        size: Height and width of the network's input.
        device: Torch device string.
        batch_size: Images in one forward on a device that is no CPU.
        weights_sha256: Hash of the weights' file.
    """

    name = "lite"

    def __init__(
        self,
        network: LiteNetwork,
        size: tuple[int, int],
        device: str = "cpu",
        batch_size: int = 32,
        weights_sha256: str = "",
    ) -> None:
        self._device = torch.device(device)
        fold_batch_norms(network)
        self._network = network.to(memory_format=torch.channels_last).to(self._device)
        self._size = size
        self._batch_size = 1 if self._device.type == "cpu" else batch_size
        self._weights_sha256 = weights_sha256

    @property
    def scheme(self) -> LabelScheme:
        """LIP."""
        return LIP

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights' file; empty for a network that was not read from one."""
        return self._weights_sha256

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        """Parse RGB uint8 images of any sizes.

        Raises:
            ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
        """
        for image in images:
            if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
                raise ValueError(f"expected uint8 (height, width, 3), got {image.dtype} {image.shape}")
        parsings: list[Parsing | BadImageError] = []
        for start in range(0, len(images), self._batch_size):
            group = images[start : start + self._batch_size]
            logits = self._logits(group)
            parsings += [label(logits[index], *image.shape[:2]) for index, image in enumerate(group)]
        return parsings

    @torch.inference_mode()
    def _logits(self, images: Sequence[RgbImage]) -> Tensor:
        height, width = self._size
        batch = np.zeros((self._batch_size, height, width, 3), dtype=np.uint8)
        for index, image in enumerate(images):
            batch[index] = squeeze(image, self._size)
        inputs = normalise(torch.from_numpy(batch).to(self._device))
        straight, mirrored = self._network(torch.cat([inputs, inputs.flip(3)])).float().cpu().chunk(2)
        logits: Tensor = (straight + mirrored.flip(3)[:, MIRRORED_CLASSES]) / 2
        return logits


def squeeze(image: RgbImage, size: tuple[int, int]) -> RgbImage:
    """Scale an image to ``size`` (height, width).

    By area where it shrinks, so that fine patterns do not alias; by Lanczos where it grows, as edges stay sharper.
    """
    height, width = size
    if image.shape[:2] == size:
        return image
    if image.shape[0] > height or image.shape[1] > width:
        smaller = (min(width, image.shape[1]), min(height, image.shape[0]))
        image = cv2.resize(image, smaller, interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LANCZOS4), dtype=np.uint8)


def normalise(images: Tensor) -> Tensor:
    """From uint8 (batch, height, width, 3) to float (batch, 3, height, width) in [-1, 1], channels last in memory."""
    return (images.float() / 127.5 - 1.0).permute(0, 3, 1, 2)


@torch.inference_mode()
def label(logits: Tensor, height: int, width: int) -> Parsing:
    """Label map of size ``height`` x ``width`` from logits (classes, rows, columns), scaled bilinearly.

    Whether a pixel is clothes is decided first, by the sum of the clothes' probabilities, and its label within that
    part second: a pixel that is a coat or else a dress is clothes, however unsure which and even if the single most
    probable label is another.

    Done in strips of rows: a large photograph's logits would need gigabytes, and a small one's would leave the cache.
    """
    upper, lower, down = _taps(logits.shape[1], height)
    left, right, across = _taps(logits.shape[2], width)
    # classes last: a position's logits are neighbours in memory, gathered and compared together
    pixels = logits[CLOTHES_FIRST].permute(1, 2, 0).contiguous()
    columns = torch.lerp(pixels.index_select(1, left), pixels.index_select(1, right), across[:, None])
    rows = max(1, STRIP_VALUES // (logits.shape[0] * width))
    numbers = np.array(CLOTHES_FIRST, dtype=np.uint8)
    label_map = np.empty((height, width), dtype=np.uint8)
    sure, person_pixels = 0.0, 0
    for start in range(0, height, rows):
        strip = slice(start, min(start + rows, height))
        above, below = columns.index_select(0, upper[strip]), columns.index_select(0, lower[strip])
        values = torch.lerp(above, below, down[strip, None, None])
        best_clothes, clothes = values[..., :CLOTHES].max(dim=2)
        best_other, other = values[..., CLOTHES:].max(dim=2)
        # probabilities as multiples of the highest one
        shares = (values - torch.maximum(best_clothes, best_other)[..., None]).exp_()
        total = shares.sum(dim=2)
        is_clothes = 2 * shares[..., :CLOTHES].sum(dim=2) > total
        labels = numbers[torch.where(is_clothes, clothes, other + CLOTHES).numpy()]
        person = labels > 0
        sure += float((1.0 / total).numpy()[person].sum(dtype=np.float64))
        person_pixels += int(person.sum())
        label_map[strip] = labels
    return Parsing(label_map, sure / person_pixels if person_pixels else 0.0)


def _taps(inputs: int, outputs: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each output position its two input positions and the weight of the second; pixel centres, edges repeated."""
    position = ((torch.arange(outputs, dtype=torch.float64) + 0.5) * inputs / outputs - 0.5).clamp(0, inputs - 1)
    first = position.floor().long()
    return first, (first + 1).clamp_max(inputs - 1), (position - first).float()


class LiteSettings(Section):
    """Settings of the parser ``lite``."""

    weights: Path | None = Field(None, description="file written by train-parser; null: the packaged weights")
    batch_size: int = Field(32, ge=1, description="images in one forward on a GPU; on a CPU they go one by one")


@register_parser("lite", LiteSettings)
def create_lite(device: str = "cpu", weights: Path | None = None, batch_size: int = 32) -> LiteParser:
    """Build the parser from a weights file.

    Raises:
        InputError: The weights are missing, damaged or of another network.
    """
    path = weights or PACKAGED_WEIGHTS
    network, description = load_lite(path)
    return LiteParser(network, description.size, device, batch_size, sha256_of_file(path))
