"""The parser ``segformer``: any semantic-segmentation model of ``transformers``, SegFormer among them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from pipeline.errors import BadImageError, InputError
from pipeline.images import RgbImage
from pipeline.labels import LabelScheme, find_scheme
from pipeline.parsing.forward import check_images, images_at_once, parse_in_batches
from pipeline.parsing.labelling import label_map, scaling_taps
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.parsing.precision import ANY_DEVICE, PRECISION_MEANING, Precision, check_precision, mixed_precision
from pipeline.parsing.segformer.labels import ModelLabels, class_names, mapped_labels, own_labels
from pipeline.parsing.segformer.loading import load_model
from pipeline.settings import SettingsGroup


class SegformerParser:
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
        precision: Precision = "fp32",
        weights_sha256: str = "",
    ) -> None:
        self._device = torch.device(device)
        self._autocast = mixed_precision(self._device, precision)
        self._network = network.to(self._device)
        self._processor = processor
        self._scheme = labels.scheme
        self._numbers = torch.tensor(labels.numbers, device=self._device)
        self._batch_size = images_at_once(self._device, batch_size)
        self._weights_sha256 = weights_sha256

    @property
    def scheme(self) -> LabelScheme:
        """The model's own labels, or the scheme they are mapped to."""
        return self._scheme

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights."""
        return self._weights_sha256

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        """Parse RGB uint8 images of any sizes.

        Raises:
            ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
        """
        check_images(images)
        inputs = [self._input(image) for image in images]

        def label(logits: Tensor, place: int) -> Parsing:
            height, width = images[place].shape[:2]
            rows, columns = scaling_taps(logits.shape[1], height), scaling_taps(logits.shape[2], width)
            return label_map(logits, rows, columns, self._numbers)

        # a processor may leave images their own sizes or aspects: only equal inputs make a batch
        return parse_in_batches(inputs, self._batch_size, self._logits, label)

    def _input(self, image: RgbImage) -> Tensor:
        """The network's input for one image, float32 (3, height, width); processed alone, whatever comes along."""
        processed = self._processor(images=[image], return_tensors="pt", input_data_format="channels_last")
        pixels: Tensor = processed["pixel_values"][0]
        return pixels

    @torch.inference_mode()
    def _logits(self, batch: Tensor) -> Tensor:
        """Logits (batch, classes, rows, columns) of inputs (batch, 3, height, width)."""
        with self._autocast:
            logits: Tensor = self._network(pixel_values=batch.to(self._device)).logits
        return logits


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
    batch_size: int = Field(16, ge=1, description="images in one forward on a GPU; on a CPU they go one by one")
    precision: Precision = Field("fp32", description=PRECISION_MEANING)


@register_parser("segformer", SegformerSettings, check_precision, ANY_DEVICE)
def create_segformer(
    model: str,
    device: str = "cpu",
    revision: str | None = None,
    scheme: str | Mapping[str, Any] | None = None,
    labels: Mapping[str, str] | None = None,
    batch_size: int = 16,
    precision: Precision = "fp32",
) -> SegformerParser:
    """Build the parser from a saved model.

    Raises:
        InputError: transformers is not installed, the model cannot be had, its classes do not fit the scheme, or the
            device cannot do the precision.
    """
    mixed_precision(torch.device(device), precision)  # refused before much is read
    target = None if scheme is None else find_scheme(scheme)
    if target is None and labels is not None:
        raise InputError("parse.settings.labels maps to the labels of a scheme: name it in parse.settings.scheme")
    loaded = load_model(model, revision)
    classes = class_names(loaded.id2label)
    meaning = own_labels(Path(model).name, classes) if target is None else mapped_labels(classes, target, labels or {})
    return SegformerParser(
        loaded.network, loaded.processor, meaning, device, batch_size, precision, loaded.weights_sha256
    )
