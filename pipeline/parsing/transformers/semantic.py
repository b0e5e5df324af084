"""Semantic segmentation by models of ``transformers``, such as SegFormer: one score a class and pixel."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from pipeline.images import RgbImage
from pipeline.parsing.forward import LaunchedParser, NetworkParser
from pipeline.parsing.labelling import Labelled, Taps, label_map, scaling_taps
from pipeline.parsing.parser import Parsing
from pipeline.parsing.transformers.labels import ModelLabels
from pipeline.precision import PrecisionName


@dataclass(frozen=True)
class ModelRun:
    """A saved model, and how it is run.

    Attributes:
        network: In evaluation mode; called with ``pixel_values``.
        processor: The model's image processor, which scales and normalises each image.
        labels: What its classes mean.
        device: Torch device string.
        batch_size: Images in one forward on a device that is no CPU.
        precision: The network's; label maps are always computed from fp32 logits.
        weights_sha256: Hash of the weights.
    """

    network: nn.Module
    processor: Any
    labels: ModelLabels
    device: str = "cpu"
    batch_size: int = 16
    precision: PrecisionName = "fp32"
    weights_sha256: str = ""


class TransformersParser(LaunchedParser):
    """Parses images of any size by a saved model.

    Args:
        run: The model.

    Raises:
        InputError: The device cannot do this precision.
    """

    name = "transformers"

    def __init__(self, run: ModelRun) -> None:
        super().__init__(run.labels.scheme, run.device, run.batch_size, run.precision, run.weights_sha256)
        self._network = run.network.to(self._device)
        self._processor = run.processor
        self._numbers = torch.tensor(run.labels.numbers, device=self._device)

    def _input(self, image: RgbImage) -> Tensor:
        """Float32 (3, height, width). A processor may leave images their own sizes: only equal inputs make a batch."""
        processed = self._processor(images=[image], return_tensors="pt", input_data_format="channels_last")
        pixels: Tensor = processed["pixel_values"][0]
        return pixels


class SemanticParser(TransformersParser, NetworkParser):
    """A parser whose network returns ``logits``; see :class:`TransformersParser`."""

    @torch.inference_mode()
    def _logits(self, batch: Tensor) -> Tensor:
        """Logits (batch, classes, rows, columns) of inputs (batch, 3, height, width)."""
        with self._autocast:
            logits: Tensor = self._network(pixel_values=batch.to(self._device)).logits
        return logits

    def _label(self, logits: Tensor, height: int, width: int) -> Parsing:
        rows, columns = scaling_taps(logits.shape[1], height), scaling_taps(logits.shape[2], width)
        return label_map(logits, rows, columns, self._numbers)

    def _taps(self, shape: tuple[int, int], height: int, width: int) -> tuple[Taps, Taps]:
        return scaling_taps(shape[0], height), scaling_taps(shape[1], width)

    def _labelled(self) -> Labelled:
        return Labelled(self._numbers.to(torch.uint8))
