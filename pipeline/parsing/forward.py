"""What the parsers of networks share: images go through in batches that leave no trace in the results."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Protocol, TypeAlias, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from pipeline.errors import BadImageError
from pipeline.images import RgbImage
from pipeline.labels import LabelScheme
from pipeline.parsing.labelling import Labelled, Taps
from pipeline.parsing.parser import Parsing, Taken
from pipeline.precision import PrecisionName, autocast, check_precision
from pipeline.transfer import Carrier

BatchSize: TypeAlias = Annotated[
    int, Field(ge=1, description="images in one forward on a GPU; on a CPU they go one by one")
]
"""The setting ``batch_size`` of a network's parser."""

NetworkPrecision: TypeAlias = Annotated[
    PrecisionName,
    Field(description="fp32, bf16 or fp16 (not on a CPU); the two short ones are automatic mixed precision"),
]
"""The setting ``precision`` of a network's parser."""

ANY_DEVICE: Final[Mapping[str, Any]] = {"precision": "fp32"}
"""The setting ``precision`` that every device can do."""


def refuse_precision(device: str, settings: Mapping[str, Any]) -> None:
    """Check that a device can do the setting ``precision``; the device is only named, not touched.

    Raises:
        InputError: It cannot.
    """
    check_precision(settings["precision"], device, "parse.settings.precision")


def check_images(images: Sequence[RgbImage]) -> None:
    """Check what callers of a parser promise.

    Raises:
        ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
    """
    for image in images:
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise ValueError(f"expected uint8 (height, width, 3), got {image.dtype} {image.shape}")


def images_at_once(device: torch.device, batch_size: int) -> int:
    """Images in one forward: ``batch_size``, but one on a CPU, where batches gain nothing."""
    return 1 if device.type == "cpu" else batch_size


def fixed_batches(inputs: Sequence[Tensor], size: int) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of exactly ``size`` inputs of one shape, filled up with zeros, and the places of their inputs.

    Kernels, and so the last bits of their sums, may differ between batch sizes, and a label map must not depend on the
    images that happened to come along.
    """
    for shape in dict.fromkeys(each.shape for each in inputs):
        alike = [index for index, each in enumerate(inputs) if each.shape == shape]
        for start in range(0, len(alike), size):
            places = alike[start : start + size]
            batch = inputs[places[0]].new_zeros((size, *shape))
            for row, place in enumerate(places):
                batch[row] = inputs[place]
            yield places, batch


Output = TypeVar("Output")
OutputOfRows = TypeVar("OutputOfRows", covariant=True)


class Rows(Protocol[OutputOfRows]):
    """What a network makes of a batch, one entry an input, such as a tensor whose first dimension is the batch."""

    def __getitem__(self, row: int, /) -> OutputOfRows:
        """The entry of one input."""


def parse_in_batches(
    inputs: Sequence[Tensor],
    batch_size: int,
    outputs_of: Callable[[Tensor], Rows[Output]],
    label: Callable[[Output, int], Parsing],
) -> list[Parsing | BadImageError]:
    """Parse images, in their order.

    Args:
        inputs: The network's input for each image.
        batch_size: Inputs in one forward.
        outputs_of: From a batch of inputs (batch size, ...) to what the network makes of each, such as logits
            (batch size, classes, rows, columns).
        label: From one image's output and its place to its parse.
    """
    parsings: dict[int, Parsing | BadImageError] = {}
    for places, batch in fixed_batches(inputs, batch_size):
        outputs = outputs_of(batch)
        for row, place in enumerate(places):
            parsings[place] = label(outputs[row], place)
    return [parsings[place] for place in range(len(inputs))]


class DeviceParser:
    """A parser on a device: how many images are in one forward there, and how precise it is.

    Args:
        scheme: Of its label maps.
        device: Torch device string.
        batch_size: Images in one forward on a device that is no CPU.
        precision: The network's; label maps are always computed from float32 logits.
        weights_sha256: Hash of the weights' file; empty for a network that was not read from one.

    Raises:
        InputError: The device cannot do this precision.
    """

    name: ClassVar[str]

    def __init__(
        self,
        scheme: LabelScheme,
        device: str,
        batch_size: int,
        precision: PrecisionName = "fp32",
        weights_sha256: str = "",
    ) -> None:
        refuse_precision(device, {"precision": precision})
        self._scheme = scheme
        self._device = torch.device(device)
        self._batch_size = images_at_once(self._device, batch_size)
        self._autocast = autocast(precision, self._device)
        self._weights_sha256 = weights_sha256
        self._carrier = Carrier(device)

    @property
    def scheme(self) -> LabelScheme:
        """The numbering of its label maps."""
        return self._scheme

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights' file; empty for a network that was not read from one."""
        return self._weights_sha256

    def _send(self, parts: Sequence[Mapping[str, NDArray[Any]]]) -> list[dict[str, Tensor]]:
        """Arrays of several images on the device, in one copy."""
        arrays = {f"{place}:{name}": array for place, part in enumerate(parts) for name, array in part.items()}
        tensors = self._carrier.send(arrays).take()
        return [{name: tensors[f"{place}:{name}"] for name in part} for place, part in enumerate(parts)]

    def _label_on_device(
        self,
        inputs: Sequence[Tensor],
        outputs_of: Callable[[Tensor], Rows[Output]],
        taps_of: Callable[[Output, int], tuple[Taps, Taps]],
        labelled: Callable[[], Labelled],
        add: Callable[[Labelled, Output, Taps, Taps], None],
    ) -> Taken:
        """One copy to the device and one back for each batch; the CPU waits for the parses alone, when it takes them.

        Nothing on the device outlives this: what is launched next has its memory again.

        Args:
            inputs: One for each image, on the device.
            outputs_of: From a batch of inputs to an output for each of them.
            taps_of: From an image's output and its place to where its rows and columns lie in the output; on the CPU.
            labelled: Makes what labels a batch.
            add: Labels an image there, from its output and its taps on the device.
        """
        batches: list[tuple[list[int], Labelled]] = []
        with torch.inference_mode():
            for places, batch in fixed_batches(inputs, self._batch_size):
                outputs = outputs_of(batch)
                taps = [taps_of(outputs[row], place) for row, place in enumerate(places)]
                labels = labelled()
                for row, tensors in enumerate(self._send([_as_arrays(*pair) for pair in taps])):
                    add(labels, outputs[row], *_as_taps(tensors))
                labels.send()
                batches.append((places, labels))

        def take() -> list[Parsing | BadImageError]:
            parsings: dict[int, Parsing | BadImageError] = {}
            for places, labels in batches:
                parsings.update(zip(places, labels.take(), strict=True))
            return [parsings[place] for place in sorted(parsings)]

        return take


class LaunchedParser(DeviceParser, ABC):
    """A parser that says in :meth:`launch` alone what it does with a batch; :meth:`parse` takes what that gives."""

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        """Parse RGB uint8 images of any sizes.

        Raises:
            ValueError: An image is not uint8 of shape (height, width, 3), or has no pixels.
        """
        return self.launch(images, paths)()

    @abstractmethod
    def launch(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> Taken:
        """Begin to parse images; see :class:`pipeline.parsing.parser.Launching`. A CPU has done all when this returns.

        Raises:
            ValueError: As :meth:`parse`.
        """


class NetworkParser(LaunchedParser, ABC):
    """A parser whose network makes an image's logits from one input tensor; see :class:`DeviceParser`."""

    def launch(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> Taken:
        """See :meth:`LaunchedParser.launch`."""
        check_images(images)
        if images and self._device.type != "cpu":
            return self._launch_on_device(images)
        inputs = [self._input(image) for image in images]
        parsings = parse_in_batches(
            inputs, self._batch_size, self._logits, lambda logits, place: self._label(logits, *images[place].shape[:2])
        )
        return lambda: parsings

    def _launch_on_device(self, images: Sequence[RgbImage]) -> Taken:
        sent = self._send([self._arrays(image) for image in images])
        with torch.inference_mode():
            inputs = [self._prepare(tensors, image) for tensors, image in zip(sent, images, strict=True)]

        def taps(logits: Tensor, place: int) -> tuple[Taps, Taps]:
            return self._taps((int(logits.shape[1]), int(logits.shape[2])), *images[place].shape[:2])

        return self._label_on_device(inputs, self._logits, taps, self._labelled, Labelled.add)

    def _arrays(self, image: RgbImage) -> Mapping[str, NDArray[Any]]:
        """What is sent to a device for one image; :meth:`_prepare` makes the network's input of it."""
        return {"input": self._input(image).numpy()}

    def _prepare(self, tensors: Mapping[str, Tensor], image: RgbImage) -> Tensor:
        """The network's input of what was sent, on the device; of ``image`` only the shape may be looked at."""
        return tensors["input"]

    @abstractmethod
    def _input(self, image: RgbImage) -> Tensor:
        """The network's input for one image, on the CPU; made alone, whatever comes along."""

    @abstractmethod
    def _logits(self, batch: Tensor) -> Tensor:
        """Logits (batch, classes, rows, columns) of a batch of inputs, on the device; without gradients."""

    @abstractmethod
    def _label(self, logits: Tensor, height: int, width: int) -> Parsing:
        """The parse of an image of ``height`` x ``width`` pixels from its logits (classes, rows, columns)."""

    @abstractmethod
    def _taps(self, shape: tuple[int, int], height: int, width: int) -> tuple[Taps, Taps]:
        """Where the rows and columns of an image lie among logits of ``shape`` (rows, columns); on the CPU."""

    @abstractmethod
    def _labelled(self) -> Labelled:
        """Labels a batch on the device as :meth:`_label` labels an image."""


def _as_arrays(rows: Taps, columns: Taps) -> dict[str, NDArray[Any]]:
    pairs = (("rows", rows), ("columns", columns))
    return {
        f"{side}-{name}": getattr(taps, name).numpy() for side, taps in pairs for name in ("first", "second", "weight")
    }


def _as_taps(tensors: Mapping[str, Tensor]) -> tuple[Taps, Taps]:
    rows, columns = (
        Taps(*(tensors[f"{side}-{name}"] for name in ("first", "second", "weight"))) for side in ("rows", "columns")
    )
    return rows, columns
