"""The parser ``schp``: Self-Correction for Human Parsing, the paper's parser, with its published weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from pipeline.files import sha256_of_file
from pipeline.images import RgbImage
from pipeline.labels import LabelScheme
from pipeline.parsing.forward import ANY_DEVICE, BatchSize, NetworkParser, NetworkPrecision, refuse_precision
from pipeline.parsing.labelling import Labelled, Taps, label_map
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.parsing.schp.checkpoint import find_weights, load_schp
from pipeline.parsing.schp.network import SchpNetwork
from pipeline.parsing.schp.norm import fuse_norms
from pipeline.parsing.schp.transform import (
    MEAN,
    STD,
    normalise,
    taps_back,
    warp_arrays,
    warp_on_device,
    warp_to_input,
)
from pipeline.parsing.schp.variants import VARIANTS, VariantName
from pipeline.precision import PrecisionName
from pipeline.settings import SettingsGroup

LARGE: Final = 4
"""Images with more pixels than so many inputs of the network are warped on the CPU: less has to be copied."""


class SchpParser(NetworkParser):
    """Parses images of any size with SCHP.

    Args:
        network: In evaluation mode; it is changed (norms are folded into the convolutions).
        size: Height and width of the network's input.
        scheme: Of the network's classes.
        device: Torch device string.
        batch_size: Images in one forward on a device that is no CPU.
        precision: The network's; label maps are always computed from fp32 logits.
        weights_sha256: Hash of the weights' file.

    Raises:
        InputError: The device cannot do this precision.
    """

    name = "schp"

    def __init__(
        self,
        network: SchpNetwork,
        size: int,
        scheme: LabelScheme,
        device: str = "cpu",
        batch_size: int = 16,
        precision: PrecisionName = "fp32",
        weights_sha256: str = "",
    ) -> None:
        super().__init__(scheme, device, batch_size, precision, weights_sha256)
        fuse_norms(network)
        self._network = network.to(memory_format=torch.channels_last).to(self._device)
        self._size = size
        self._scheme_numbers = torch.arange(len(scheme.labels), dtype=torch.uint8).to(self._device)
        self._colours = tuple(torch.tensor(values).to(self._device) for values in (MEAN, STD))

    def _input(self, image: RgbImage) -> Tensor:
        return torch.from_numpy(warp_to_input(image, self._size))

    def _arrays(self, image: RgbImage) -> Mapping[str, NDArray[Any]]:
        if image.shape[0] * image.shape[1] > LARGE * self._size**2:
            return super()._arrays(image)
        return {"image": image, **warp_arrays(image.shape[0], image.shape[1], self._size)}

    def _prepare(self, tensors: Mapping[str, Tensor], image: RgbImage) -> Tensor:
        if "image" not in tensors:
            return super()._prepare(tensors, image)
        return warp_on_device(tensors, image.shape[0], image.shape[1], self._size)

    @torch.inference_mode()
    def _logits(self, batch: Tensor) -> Tensor:
        """Fusion logits of images (batch, size, size, 3): float32 (batch, classes, size, size)."""
        inputs = normalise(batch.to(self._device), *self._colours)
        with self._autocast:
            fusion = self._network(inputs).fusion
        return interpolate(fusion.float(), size=(self._size, self._size), mode="bilinear", align_corners=True)

    def _label(self, logits: Tensor, height: int, width: int) -> Parsing:
        return label_map(logits, *taps_back(height, width, self._size))

    def _taps(self, shape: tuple[int, int], height: int, width: int) -> tuple[Taps, Taps]:
        return taps_back(height, width, self._size)

    def _labelled(self) -> Labelled:
        return Labelled(self._scheme_numbers)


class SchpSettings(SettingsGroup):
    """Settings of the parser ``schp``."""

    weights: Path = Field(description="published weights: the file, or the folder that holds it under its own name")
    variant: VariantName = Field("lip", description="which of the published models: lip, atr or pascal")
    batch_size: BatchSize = 16
    precision: NetworkPrecision = "fp32"


@register_parser("schp", SchpSettings, refuse_precision, ANY_DEVICE)
def create_schp(
    weights: Path,
    device: str = "cpu",
    variant: VariantName = "lip",
    batch_size: int = 16,
    precision: PrecisionName = "fp32",
) -> SchpParser:
    """Build the parser from published weights.

    Raises:
        InputError: The weights are missing, damaged or of another network; or the device cannot do the precision.
    """
    refuse_precision(device, {"precision": precision})  # before much is read
    chosen = VARIANTS[variant]
    path = find_weights(weights, chosen)
    network = load_schp(path, chosen)
    return SchpParser(network, chosen.size, chosen.scheme, device, batch_size, precision, sha256_of_file(path))
