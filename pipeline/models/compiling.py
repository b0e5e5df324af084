"""Compiled encoders: ``torch.compile`` makes fewer and larger kernels of a step's forward and backward pass."""

import importlib.util
import os
import shutil
from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

from pipeline.arithmetic import uses_cuda
from pipeline.errors import WorkError
from pipeline.models.image_encoder import ImageEncoder, ImageFeatures

BACKEND: Final = "inductor"

LEAST_STEPS: Final = 4000
"""Steps from which compiling is expected to pay: minutes at the first step against milliseconds at each other one."""

_LEAST_CAPABILITY: Final = 7  # of a card whose kernels PyTorch's compiler writes


def is_worthwhile(device: str, steps: int) -> bool:
    """Whether a training is compiled that leaves it open: a long one on CUDA, where a compiler is at hand.

    Args:
        device: That the encoders run on.
        steps: Of the training.
    """
    if not uses_cuda(device) or steps < LEAST_STEPS or importlib.util.find_spec("triton") is None:
        return False
    if not any(shutil.which(name) for name in (os.environ.get("CC") or "cc", "gcc", "clang")):
        return False
    return torch.cuda.get_device_capability(device)[0] >= _LEAST_CAPABILITY


class CompiledForward:
    """The forward pass of an encoder, compiled at its first batch in training mode.

    In evaluation mode, where batches have many sizes, it computes as it is written.

    Attributes:
        active: Whether it compiles; False once it has given up.
    """

    def __init__(self, encoder: ImageEncoder, give_up: Callable[[str], None] | None) -> None:
        self._encoder = encoder
        self._give_up = give_up
        self._plain = encoder.forward
        self._compiled = torch.compile(self._plain, backend=BACKEND, dynamic=False)
        self.active = True

    def __call__(self, images: Tensor, cameras: Tensor | None = None) -> ImageFeatures:
        """The features of images (B, 3, H, W); see :meth:`ImageEncoder.forward`.

        Raises:
            WorkError: The encoder cannot be compiled, and nobody is to be told.
        """
        if not self._encoder.training or not self.active:
            return self._plain(images, cameras)
        try:
            return self._compiled(images, cameras)
        except torch._dynamo.exc.TorchDynamoException as error:
            cause = getattr(error, "inner_exception", error)
            reason = next(iter(str(cause).strip().splitlines()), type(cause).__name__)
            name = type(self._encoder.tower).__name__
            if self._give_up is None:
                raise WorkError(
                    f"training.compile: {name} cannot be compiled here ({reason}); set training.compile=false"
                ) from error
            self.active = False
            self._give_up(f"training.compile: {name} cannot be compiled here ({reason}), it computes as it is written")
            return self._plain(images, cameras)


def compile_encoder(encoder: ImageEncoder, give_up: Callable[[str], None] | None = None) -> None:
    """Let an encoder compile itself at its first batch in training mode; what it computes is the same up to rounding.

    Its state keeps its names. Copies of the encoder must be made before.

    Args:
        encoder: On its device.
        give_up: Is told why the encoder cannot be compiled, after which it computes as it is written; None: that is
            an error of the first batch (WorkError).
    """
    encoder.forward = CompiledForward(encoder, give_up)  # type: ignore[method-assign]


def is_compiled(encoder: ImageEncoder) -> bool:
    """Whether an encoder's forward pass in training mode is a compiled one."""
    return isinstance(encoder.forward, CompiledForward) and encoder.forward.active
