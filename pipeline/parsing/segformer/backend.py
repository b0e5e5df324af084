"""The parser ``segformer``: any semantic-segmentation model of ``transformers``, SegFormer among them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.images import RgbImage
from pipeline.labels import find_scheme
from pipeline.parsing.forward import ANY_DEVICE, BatchSize, NetworkParser, NetworkPrecision, refuse_precision
from pipeline.parsing.labelling import Labelled, Taps, label_map, scaling_taps
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.parsing.segformer.labels import ModelLabels, class_names, mapped_labels, own_labels
from pipeline.parsing.segformer.loading import load_model
from pipeline.precision import PrecisionName
from pipeline.settings import SettingsGroup


class SegformerParser(NetworkParser):
    """Parses images of any size; the model's own image processor scales and normalises each.

    Args:
        network: In evaluation mode; called with ``pixel_values``, it returns ``logits``.
        processor: The model's image processor.
        labels: What its classes mean.
        device: Torch device string.
        batch_size: Images in one forward on a device that is no CPU.
        precision: The network's; label maps are always computed from fp32 logits.
        weights_sha256: Hash of the weights.

    Raises:
        InputError: The device cannot do this precision.
    """

    name = "segformer"

    def __init__(
        self,
        network: nn.Module,
        processor: Any,
        labels: ModelLabels,
        device: str = "cpu",
        batch_size: int = 16,
        precision: PrecisionName = "fp32",
        weights_sha256: str = "",
    ) -> None:
        super().__init__(labels.scheme, device, batch_size, precision, weights_sha256)
        self._network = network.to(self._device)
        self._processor = processor
        self._numbers = torch.tensor(labels.numbers, device=self._device)

    def _input(self, image: RgbImage) -> Tensor:
        """Float32 (3, height, width). A processor may leave images their own sizes: only equal inputs make a batch."""
        processed = self._processor(images=[image], return_tensors="pt", input_data_format="channels_last")
        pixels: Tensor = processed["pixel_values"][0]
        return pixels

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


class SegformerSettings(SettingsGroup):
    """Settings of the parser ``segformer``."""

    model: str = Field(
        min_length=1, description="name on the Hugging Face hub (owner/name), or folder of a saved model"
    )
    revision: str | None = Field(None, description="branch, tag or commit on the hub; null: the main branch")
    scheme: str | dict[str, Any] | None = Field(
        None, description="lip, cihp, atr, pascal, a YAML file or its fields; null: the model's own class names"
    )
    labels: dict[str, str] | None = Field(
        None, description="with scheme: its label for each class of the model that has another name in it"
    )
    batch_size: BatchSize = 16
    precision: NetworkPrecision = "fp32"


@register_parser("segformer", SegformerSettings, refuse_precision, ANY_DEVICE)
def create_segformer(
    model: str,
    device: str = "cpu",
    revision: str | None = None,
    scheme: str | Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    batch_size: int = 16,
    precision: PrecisionName = "fp32",
) -> SegformerParser:
    """Build the parser from a saved model.

    Raises:
        InputError: transformers is not installed, the model cannot be had, its classes do not fit the scheme, or the
            device cannot do the precision.
    """
    refuse_precision(device, {"precision": precision})  # before much is read
    target = None if scheme is None else find_scheme(scheme)
    if target is None and labels is not None:
        raise InputError("parse.settings.labels maps to the labels of a scheme: name it in parse.settings.scheme")
    loaded = load_model(model, revision)
    classes = class_names(loaded.id2label)
    meaning = own_labels(Path(model).name, classes) if target is None else mapped_labels(classes, target, labels or {})
    return SegformerParser(
        loaded.network, loaded.processor, meaning, device, batch_size, precision, loaded.weights_sha256
    )
