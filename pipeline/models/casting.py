"""Weights in a short type, cast together: under autocast each weight is cast by a kernel of its own, in both passes."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from pipeline.models.image_encoder import ImageEncoder, ImageFeatures

LAYERS: Final = frozenset(kind.forward for kind in (nn.Linear, nn.Conv2d, nn.MultiheadAttention))
"""What the layers do whose weights autocast casts as they are; it leaves those of norms alone, and a layer that changes
its weight first does something else."""


def _copies(tensors: tuple[Tensor, ...], kind: torch.dtype) -> tuple[Tensor, ...]:
    made = [torch.empty_like(tensor, dtype=kind) for tensor in tensors]
    torch._foreach_copy_(made, tensors)
    return tuple(made)


class _Cast(torch.autograd.Function):
    """Float32 weights -> the same in a short type; and their gradients back."""

    @staticmethod
    def forward(ctx: FunctionCtx, kind: torch.dtype, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.set_materialize_grads(False)  # what was not used has no gradient
        return _copies(weights, kind)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        long = iter(_copies(tuple(gradient for gradient in gradients if gradient is not None), torch.float32))
        return None, *(None if gradient is None else next(long) for gradient in gradients)


@contextmanager
def _exchanged(places: Sequence[tuple[nn.Module, str]], values: Sequence[Tensor]) -> Iterator[None]:
    """The layers compute with these values inside."""
    kept = [module._parameters[name] for module, name in places]
    try:
        for (module, name), value in zip(places, values, strict=True):
            module._parameters[name] = value  # type: ignore[assignment]
        yield
    finally:
        for (module, name), weight in zip(places, kept, strict=True):
            module._parameters[name] = weight


def _forward(
    plain: Any, places: Sequence[tuple[nn.Module, str]], images: Tensor, cameras: Tensor | None = None
) -> ImageFeatures:
    """An encoder's pass with the weights in these places cast together; as it is where autocast is off."""
    kind = images.device.type
    if not torch.is_autocast_enabled(kind):
        return plain(images, cameras)  # type: ignore[no-any-return]
    weights = (module._parameters[name] for module, name in places)
    with _exchanged(places, _Cast.apply(torch.get_autocast_dtype(kind), *weights)):
        return plain(images, cameras)  # type: ignore[no-any-return]


def cast_together(encoder: ImageEncoder) -> None:
    """Let an encoder cast its layers' weights all at once where autocast is on; losses and gradients keep their bits.

    An encoder that sees one batch twice in a step has its gradients summed in float32, which is no worse. Its state
    keeps its names. All of its gradients come at the end of its backward pass, so it is nothing for several ranks,
    whose messages travel meanwhile.

    Args:
        encoder: On its device.
    """
    places = [
        (module, name)
        for module in encoder.tower.modules()
        if type(module).forward in LAYERS
        for name, weight in module.named_parameters(recurse=False)
        if weight.requires_grad and weight.dtype == torch.float32
    ]
    if places:
        encoder.forward = partial(_forward, encoder.forward, places)  # type: ignore[method-assign]
