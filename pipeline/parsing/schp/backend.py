"""The parser ``schp``: Self-Correction for Human Parsing, the paper's parser, with its published weights."""

from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from pipeline.config import Section
from pipeline.errors import BadImageError
from pipeline.files import sha256_of_file
from pipeline.images import RgbImage
from pipeline.parsing.forward import check_images, images_at_once, parse_in_batches
from pipeline.parsing.labelling import label_map
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.parsing.precision import ANY_DEVICE, PRECISION_MEANING, Precision, check_precision, mixed_precision
from pipeline.parsing.schemes import LabelScheme
from pipeline.parsing.schp.checkpoint import find_weights, load_schp
from pipeline.parsing.schp.network import SchpNetwork
from pipeline.parsing.schp.norm import fuse_norms
from pipeline.parsing.schp.transform import normalise, taps_back, warp_to_input
from pipeline.parsing.schp.variants import VARIANTS, VariantName


class SchpParser:
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
        precision: Precision = "fp32",
        weights_sha256: str = "",
    ) -> None:
        self._device = torch.device(device)
        self._autocast = mixed_precision(self._device, precision)
        fuse_norms(network)
        self._network = network.to(memory_format=torch.channels_last).to(self._device)
        self._size = size
        self._scheme = scheme
        self._batch_size = images_at_once(self._device, batch_size)
        self._weights_sha256 = weights_sha256

    @property
    def scheme(self) -> LabelScheme:
        """LIP, ATR or Pascal-Person-Part, by the variant."""
        return self._scheme

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights' file; empty for a network that was not read from one."""
        return self._weights_sha256

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        """Parse RGB uint8 images of any sizes.

        Raises:
            ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
        """
        check_images(images)
        inputs = [torch.from_numpy(warp_to_input(image, self._size)) for image in images]

        def label(logits: Tensor, place: int) -> Parsing:
            height, width = images[place].shape[:2]
            return label_map(logits, *taps_back(height, width, self._size))

        return parse_in_batches(inputs, self._batch_size, self._logits, label)

    @torch.inference_mode()
    def _logits(self, batch: Tensor) -> Tensor:
        """Fusion logits of images (batch, size, size, 3): float32 (batch, classes, size, size)."""
        inputs = normalise(batch.to(self._device))
        with self._autocast:
            fusion = self._network(inputs).fusion
        return interpolate(fusion.float(), size=(self._size, self._size), mode="bilinear", align_corners=True)


class SchpSettings(Section):
    """Settings of the parser ``schp``."""

    weights: Path = Field(description="published weights: the file, or the folder that holds it under its own name")
    variant: VariantName = Field("lip", description="which of the published models: lip, atr or pascal")
    batch_size: int = Field(16, ge=1, description="images in one forward on a GPU; on a CPU they go one by one")
    precision: Precision = Field("fp32", description=PRECISION_MEANING)


@register_parser("schp", SchpSettings, check_precision, ANY_DEVICE)
def create_schp(
    weights: Path,
    device: str = "cpu",
    variant: VariantName = "lip",
    batch_size: int = 16,
    precision: Precision = "fp32",
) -> SchpParser:
    """Build the parser from published weights.

    Raises:
        InputError: The weights are missing, damaged or of another network; or the device cannot do the precision.
    """
    mixed_precision(torch.device(device), precision)  # refused before much is read
    chosen = VARIANTS[variant]
    path = find_weights(weights, chosen)
    network = load_schp(path, chosen)
    return SchpParser(network, chosen.size, chosen.scheme, device, batch_size, precision, sha256_of_file(path))
