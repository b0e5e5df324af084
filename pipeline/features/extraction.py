"""Features of many images with a frozen encoder: raw images only, no mask and no text."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Final, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.image_encoder import ImageEncoder, ImageFeatures
from pipeline.models.preprocess import pixel_constants, standardise
from pipeline.overlap import prefetch
from pipeline.precision import PrecisionName, autocast
from pipeline.progress import Progress
from pipeline.transfer import Carrier, Returned, Sent

FeatureKind = Literal["concat", "projected"]

LOAD_THREADS: Final = 2
LOAD_AHEAD: Final = 3
"""Batches that are decoded ahead of the network, by so many threads; a shard's store has threads of its own besides."""
RESULTS_AHEAD: Final = 2


def retrieval_feature(features: ImageFeatures, kind: FeatureKind) -> Tensor:
    """The feature that is compared by cosine at test time, L2-normalised.

    ``concat``: hidden and projected side by side (768 + 512 for ViT-B/16), before batch norm, as CLIP-ReID does;
    ``projected``: the projected one alone.
    """
    if kind == "projected":
        return F.normalize(features.projected, dim=1)
    return F.normalize(features.joined, dim=1)


@torch.no_grad()
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
    numbers = autocast(precision, torch.device(device))
    shift, scale = pixel_constants(mean, std)
    carrier = Carrier(device)

    def load_ahead(start: int) -> Sent:
        """In a thread: decode a batch, and begin to copy it."""
        part = slice(start, start + batch_size)
        planes = load(rows[part]).permute(0, 3, 1, 2).numpy()
        arrays = {"planes": planes, "shift": shift, "scale": scale}
        return carrier.send(arrays if cameras is None else {**arrays, "cameras": np.asarray(cameras[part], np.int64)})

    was_training = encoder.training
    if was_training:  # an encoder that threads share is left as it is
        encoder.eval()
    parts: list[Tensor] = []
    returning: deque[Returned] = deque()
    with (
        Progress(len(rows), what, "image", quiet) as progress,
        closing(prefetch(load_ahead, range(0, len(rows), batch_size), LOAD_THREADS, LOAD_AHEAD)) as loaded,
    ):
        for sent in loaded:
            batch = sent.take()
            images = standardise(batch["planes"], batch["shift"], batch["scale"])
            with numbers:
                features: ImageFeatures = encoder(images, batch.get("cameras"))
                if flip:
                    mirrored: ImageFeatures = encoder(images.flip(3), batch.get("cameras"))
            if flip:
                pairs = zip(features, mirrored, strict=True)
                features = ImageFeatures(*((one.float() + other.float()) / 2 for one, other in pairs))
            returning.append(Returned(select(ImageFeatures(*(feature.float() for feature in features)))))
            progress.advance(len(images))
            if len(returning) > RESULTS_AHEAD:  # so many batches are asked of a GPU before a result is waited for
                parts.append(returning.popleft().take().clone())
        parts += [returned.take() for returned in returning]
    if was_training:
        encoder.train()
    return torch.cat(parts)
