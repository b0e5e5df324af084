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
    return F.normalize(torch.cat([features.hidden, features.projected], dim=1), dim=1)


@torch.no_grad()
def encode_images(
    encoder: ImageEncoder,
    load: Callable[[Sequence[int]], Tensor],
    rows: Sequence[int],
    select: Callable[[ImageFeatures], Tensor],
    *,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
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
        batch_size: Images a forward pass.
        device: Where the encoder is.
        what: Name for the progress line.
        quiet: No progress line.

    Returns:
        (len(rows), D), float32, on the CPU.
    """
    was_training = encoder.training
    encoder.eval()
    parts = []
    with Progress(len(rows), what, "image", quiet) as progress:
        for start in range(0, len(rows), batch_size):
            images = load(rows[start : start + batch_size]).to(device)
            parts.append(select(encoder(normalise(images, mean, std))).float().cpu())
            progress.advance(len(images))
    encoder.train(was_training)
    return torch.cat(parts)
