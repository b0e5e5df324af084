"""Compiled encoders: ``torch.compile`` makes fewer and larger kernels of a step's forward and backward pass."""

from typing import Final

import torch
from torch import Tensor

from pipeline.errors import WorkError
from pipeline.models.image_encoder import ImageEncoder, ImageFeatures

BACKEND: Final = "inductor"


def compile_encoder(encoder: ImageEncoder, backend: str | None = None) -> None:
    """Let an encoder compile itself at its first batch in training mode; what it computes is the same up to rounding.

    In evaluation mode, where batches have many sizes, it computes as it is written. Its state keeps its names. Copies
    of the encoder must be made before.

    Args:
        encoder: On its device.
        backend: Of ``torch.compile``; None: :data:`BACKEND`.
    """
    plain = encoder.forward
    compiled = torch.compile(plain, backend=backend or BACKEND, dynamic=False)

    def forward(images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        if not encoder.training:
            return plain(images, cameras)
        try:
            return compiled(images, cameras)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            reason = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
            raise WorkError(
                f"training.compile: {type(encoder.tower).__name__} cannot be compiled here ({reason}); "
                f"set training.compile=false"
            ) from error

    encoder.forward = forward  # type: ignore[method-assign]
