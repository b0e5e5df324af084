"""Features of many images with a frozen encoder: raw images only, no mask and no text."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.models.image_encoder import ImageEncoder, ImageFeatures
from pipeline.models.preprocess import normalise
from pipeline.progress import Progress

FeatureKind = Literal["concat", "projected"]


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
    what: str = "features",
    quiet: bool = False,
) -> Tensor:
    """Encode images batch by batch, in evaluation mode.

    Args:
        encoder: E_v; its training mode is restored afterwards.
        load: Row numbers -> uint8 images (B, H, W, 3) at the encoder's size.
        rows: Which images, in which order.
        select: Takes the wanted tensor (B, D) out of the features.
        mean: See :func:`normalise`.
        std: See :func:`normalise`.
        cameras: Camera id of each of ``rows``, for an encoder with a camera embedding.
        flip: Average the features of each image and of its mirror image.
        batch_size: Images a forward pass.
        device: Where the encoder is.
        what: Name for the progress line.
        quiet: No progress line.

    Returns:
        (len(rows), D), float32, on the CPU.
    """
    was_training = encoder.training
    if was_training:  # an encoder that threads share is left as it is
        encoder.eval()
    parts = []
    with Progress(len(rows), what, "image", quiet) as progress:
        for start in range(0, len(rows), batch_size):
            part = slice(start, start + batch_size)
            images = normalise(load(rows[part]).to(device), mean, std)
            places = None if cameras is None else torch.tensor(cameras[part], device=device)
            features: ImageFeatures = encoder(images, places)
            if flip:
                mirrored: ImageFeatures = encoder(images.flip(3), places)
                features = ImageFeatures(*((one + other) / 2 for one, other in zip(features, mirrored, strict=True)))
            parts.append(select(features).float().cpu())
            progress.advance(len(images))
    if was_training:
        encoder.train()
    return torch.cat(parts)
