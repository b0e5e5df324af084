"""Features of many images with a frozen encoder: raw images only, no mask and no text."""

from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final

import numpy as np
import torch
from torch import Tensor

from pipeline.models.image_encoder import ImageEncoder, ImageFeatures
from pipeline.models.preprocess import pixel_constants, standardise
from pipeline.overlap import launch_ahead, prefetch
from pipeline.precision import PrecisionName, autocast
from pipeline.progress import Progress
from pipeline.transfer import Carrier, Returned, Sent

LOAD_THREADS: Final = 2
LOAD_AHEAD: Final = 3
"""Batches that are decoded ahead of the network, by so many threads; a shard's store has threads of its own besides."""
RESULTS_AHEAD: Final = 2
"""Batches that are asked of a GPU before the result of one is waited for."""


def results_ahead(device: str) -> int:
    """Batches that a device is asked for before the result of one is waited for; a CPU has it when it was asked."""
    return 0 if torch.device(device).type == "cpu" else RESULTS_AHEAD


class BatchEncoder:
    """Asks a device for the features of batches; a GPU computes while it is asked for the next ones.

    Args:
        encoder: E_v, in evaluation mode.
        select: Takes the wanted tensor (B, D) out of the features.
        mean: See :func:`pipeline.models.preprocess.normalise`.
        std: See :func:`pipeline.models.preprocess.normalise`.
        flip: Average the features of each image and of its mirror image.
        device: Where the encoder is.
        precision: Numbers that the encoder computes with; what ``select`` is given is float32.
    """

    def __init__(
        self,
        encoder: ImageEncoder,
        select: Callable[[ImageFeatures], Tensor],
        *,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        flip: bool = False,
        device: str = "cpu",
        precision: PrecisionName = "fp32",
    ) -> None:
        self._encoder = encoder
        self._select = select
        self._shift, self._scale = pixel_constants(mean, std)
        self._flip = flip
        self._numbers = autocast(precision, torch.device(device))
        self._carrier = Carrier(device)

    def send(self, pixels: Tensor, cameras: Sequence[int] | None = None) -> Sent:
        """Begin to copy a batch to the device; threads may do so at the same time.

        Args:
            pixels: uint8 (B, H, W, 3) at the encoder's size.
            cameras: Camera ids, (B,), for an encoder with a camera embedding.
        """
        arrays = {"planes": pixels.permute(0, 3, 1, 2).numpy(), "shift": self._shift, "scale": self._scale}
        return self._carrier.send(arrays if cameras is None else {**arrays, "cameras": np.asarray(cameras, np.int64)})

    @torch.no_grad()
    def launch(self, sent: Sent) -> Callable[[], Tensor]:
        """Ask for the features of a batch that was sent; what is returned waits for them, float32 (B, D) on the CPU."""
        batch = sent.take()
        images = standardise(batch["planes"], batch["shift"], batch["scale"])
        with self._numbers:
            features: ImageFeatures = self._encoder(images, batch.get("cameras"))
            if self._flip:
                mirrored: ImageFeatures = self._encoder(images.flip(3), batch.get("cameras"))
        if self._flip:
            pairs = zip(features, mirrored, strict=True)
            features = ImageFeatures(*((one.float() + other.float()) / 2 for one, other in pairs))
        returned = Returned(self._select(ImageFeatures(*(feature.float() for feature in features))))
        return lambda: returned.take().clone()


def encode_images(
    encoder: ImageEncoder,
    load: Callable[[Sequence[int]], Tensor],
    rows: Sequence[int],
    select: Callable[[ImageFeatures], Tensor],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    cameras: Sequence[int] | None = None,
    flip: bool = False,
    batch_size: int = 128,
    device: str = "cpu",
    precision: PrecisionName = "fp32",
    what: str = "features",
    quiet: bool = False,
) -> Tensor:
    """Encode images batch by batch, in evaluation mode.

    Args:
        encoder: E_v; its training mode is restored afterwards.
        load: Row numbers -> uint8 images (B, H, W, 3) at the encoder's size. Threads call it at the same time.
        rows: Which images, in which order.
        select: Takes the wanted tensor (B, D) out of the features.
        mean: See :func:`pipeline.models.preprocess.normalise`.
        std: See :func:`pipeline.models.preprocess.normalise`.
        cameras: Camera id of each of ``rows``, for an encoder with a camera embedding.
        flip: Average the features of each image and of its mirror image.
        batch_size: Images a forward pass.
        device: Where the encoder is.
        precision: Numbers that the encoder computes with; what ``select`` is given is float32.
        what: Name for the progress line.
        quiet: No progress line.

    Returns:
        (len(rows), D), float32, on the CPU.
    """
    batches = BatchEncoder(encoder, select, mean=mean, std=std, flip=flip, device=device, precision=precision)

    def load_ahead(start: int) -> Sent:
        """In a thread: decode a batch, and begin to copy it."""
        part = slice(start, start + batch_size)
        return batches.send(load(rows[part]), None if cameras is None else cameras[part])

    was_training = encoder.training
    if was_training:  # an encoder that threads share is left as it is
        encoder.eval()
    parts: list[Tensor] = []
    with (
        Progress(len(rows), what, "image", quiet) as progress,
        closing(prefetch(load_ahead, range(0, len(rows), batch_size), LOAD_THREADS, LOAD_AHEAD)) as loaded,
    ):
        for features in launch_ahead(batches.launch, loaded, results_ahead(device)):
            parts.append(features)
            progress.advance(len(features))
    if was_training:
        encoder.train()
    return torch.cat(parts)
