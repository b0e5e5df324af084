"""The parser ``lite``: the embedded network behind the parser protocol."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import cv2
import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from pipeline.files import sha256_of_file
from pipeline.images import RgbImage
from pipeline.labels import LIP
from pipeline.parsing.forward import BatchSize, NetworkParser
from pipeline.parsing.labelling import Labelled, Taps, label_map, scaling_taps
from pipeline.parsing.lite.checkpoint import PACKAGED_WEIGHTS, load_lite
from pipeline.parsing.lite.encoder import fold_batch_norms
from pipeline.parsing.lite.network import LiteNetwork
from pipeline.parsing.lite.onnx_network import OnnxNetwork, check_backend
from pipeline.parsing.lite.targets import BAG_OUTPUT, CLASSES, MIRRORED, OUTPUTS
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.settings import SettingsGroup

MIRRORED_CLASSES: Final = MIRRORED[:OUTPUTS].tolist()
"""What each output is in a mirror: left and right of limbs and shoes change places."""
CLOTHES: Final = len(LIP.clothes)
CLOTHES_FIRST: Final = torch.tensor([*sorted(LIP.clothes), *sorted(set(range(CLASSES)) - LIP.clothes)])
"""All classes, the clothes before the others."""


Backend: TypeAlias = Annotated[
    Literal["torch", "onnxruntime"],
    Field(
        description="what runs the network: torch, or on a CPU onnxruntime (extra export), which needs about half of "
        "the time and gives labels that are equal but for rounding"
    ),
]


Margin: TypeAlias = Annotated[float, Field(ge=0, le=1)]


class LiteParser(NetworkParser):
    """Parses images of any size; each is squeezed to the network's input, as re-identification does with its crops.

    Each image is also parsed mirrored, and the logits' mean decides: what one view misses the other often finds.

    Args:
        network: In evaluation mode; it is changed (batch norms are folded into the convolutions).
        size: Height and width of the network's input.
        device: Torch device string.
        batch_size: Images in one forward on a device that is no CPU.
        weights_sha256: Hash of the weights' file.
        backend: What runs the network.
        margins: Shares of an image's height by which its upper and lower edge are repeated: a detector's box often
            touches the head, which the network then takes for clothes, as in a view that shows no head.
    """

    name = "lite"

    def __init__(
        self,
        network: LiteNetwork,
        size: tuple[int, int],
        device: str = "cpu",
        batch_size: int = 32,
        weights_sha256: str = "",
        backend: Backend = "torch",
        margins: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__(LIP, device, batch_size, weights_sha256=weights_sha256)
        fold_batch_norms(network)
        self.libraries: tuple[str, ...] = () if backend == "torch" else (backend,)
        self._network: Callable[[Tensor], Tensor]
        if backend == "torch":
            self._network = network.to(memory_format=torch.channels_last).to(self._device)
        else:
            check_backend(device, {"backend": backend})
            self._network = OnnxNetwork(network, (2 * self._batch_size, 3, *size))  # each image and its mirror image
        self._size = size
        self._margins = margins
        self._mirrored = torch.tensor(MIRRORED_CLASSES[: network.head.out_channels]).to(self._device)
        self._order = CLOTHES_FIRST.to(self._device)

    def _input(self, image: RgbImage) -> Tensor:
        return torch.from_numpy(squeeze(with_margins(image, self._margins), self._size))

    @torch.inference_mode()
    def _logits(self, batch: Tensor) -> Tensor:
        inputs = normalise(batch.to(self._device))
        straight, mirrored = self._network(torch.cat([inputs, inputs.flip(3)])).float().chunk(2)
        logits = without_bags((straight + mirrored.flip(3).index_select(1, self._mirrored)) / 2)
        return logits if self._device.type == "cpu" else logits.index_select(1, self._order)

    def _label(self, logits: Tensor, height: int, width: int) -> Parsing:
        return label(logits, height, width, self._margins)

    def _taps(self, shape: tuple[int, int], height: int, width: int) -> tuple[Taps, Taps]:
        return row_taps(shape[0], height, self._margins), scaling_taps(shape[1], width)

    def _labelled(self) -> Labelled:
        return Labelled(self._order.to(torch.uint8), _clothes_or_not)


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


def margin_rows(height: int, margins: tuple[float, float]) -> tuple[int, int]:
    """Rows that margins add above and below an image of ``height`` rows."""
    above, below = margins
    return round(above * height), round(below * height)


def with_margins(image: RgbImage, margins: tuple[float, float]) -> RgbImage:
    """The image with its first and last row repeated; itself if that adds nothing."""
    above, below = margin_rows(image.shape[0], margins)
    return image if above + below == 0 else np.pad(image, ((above, below), (0, 0), (0, 0)), mode="edge")


def row_taps(inputs: int, height: int, margins: tuple[float, float]) -> Taps:
    """Taps of an image's own ``height`` rows among ``inputs`` rows of logits, which are of the margins, too."""
    above, below = margin_rows(height, margins)
    taps = scaling_taps(inputs, above + height + below)
    own = slice(above, above + height)
    return Taps(taps.first[own], taps.second[own], taps.weight[own])


def normalise(images: Tensor) -> Tensor:
    """From uint8 (batch, height, width, 3) to float (batch, 3, height, width) in [-1, 1], channels last in memory."""
    return (images.float() / 127.5 - 1.0).permute(0, 3, 1, 2)


def without_bags(logits: Tensor) -> Tensor:
    """Logits of LIP's labels, (batch, labels, rows, columns), from those of a network with an output for bags or none.

    What is a bag is background: its probability is added to that of the background. ``logits`` may be changed.
    """
    if logits.shape[1] == CLASSES:
        return logits
    logits[:, 0] = torch.logaddexp(logits[:, 0], logits[:, BAG_OUTPUT])
    return logits[:, :CLASSES]


def label(logits: Tensor, height: int, width: int, margins: tuple[float, float] = (0.0, 0.0)) -> Parsing:
    """Label map of size ``height`` x ``width`` from logits (classes, rows, columns), scaled bilinearly.

    Whether a pixel is clothes is decided first, by the sum of the clothes' probabilities, and its label within that
    part second: a pixel that is a coat or else a dress is clothes, however unsure which and even if the single most
    probable label is another.
    """
    rows, columns = row_taps(logits.shape[1], height, margins), scaling_taps(logits.shape[2], width)
    return label_map(logits[CLOTHES_FIRST], rows, columns, CLOTHES_FIRST, _clothes_or_not)


def _clothes_or_not(values: Tensor) -> tuple[Tensor, Tensor]:
    """The decision of :func:`label`, for classes in the order :data:`CLOTHES_FIRST`."""
    best_clothes, clothes = values[..., :CLOTHES].max(dim=2)
    best_other, other = values[..., CLOTHES:].max(dim=2)
    # probabilities as multiples of the highest one
    shares = (values - torch.maximum(best_clothes, best_other)[..., None]).exp_()
    total = shares.sum(dim=2)
    is_clothes = 2 * shares[..., :CLOTHES].sum(dim=2) > total
    return torch.where(is_clothes, clothes, other + CLOTHES), 1.0 / total


class LiteSettings(SettingsGroup):
    """Settings of the parser ``lite``."""

    weights: Path | None = Field(None, description="file written by train-parser; null: the packaged weights")
    batch_size: BatchSize = 32
    backend: Backend = "torch"
    margins: tuple[Margin, Margin] | None = Field(
        None,
        description="shares of an image's height by which its upper and its lower edge are repeated before it is "
        "parsed, such as [0.06, 0.03], where boxes touch heads; null: as the weights say, [0, 0] of the packaged ones",
    )


@register_parser("lite", LiteSettings, check_backend, {"backend": "torch"})
def create_lite(
    device: str = "cpu",
    weights: Path | None = None,
    batch_size: int = 32,
    backend: Backend = "torch",
    margins: tuple[float, float] | None = None,
) -> LiteParser:
    """Build the parser from a weights file.

    Raises:
        InputError: The weights are missing, damaged or of another network; or the device or this machine cannot do
            the backend.
    """
    path = weights or PACKAGED_WEIGHTS
    network, description = load_lite(path)
    around = description.margins if margins is None else margins
    return LiteParser(network, description.size, device, batch_size, sha256_of_file(path), backend, around)
