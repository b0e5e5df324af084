"""Gradient checkpointing: activations of transformer blocks are computed again in the backward pass, not kept."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from pipeline.errors import InputError
from pipeline.models.image_encoder import ImageEncoder


def _blocks(encoder: ImageEncoder) -> nn.Module | None:
    for path in ("transformer.resblocks", "trunk.blocks"):  # open_clip's own towers; those it takes from timm
        try:
            return encoder.tower.get_submodule(path)  # type: ignore[no-any-return]
        except AttributeError:
            continue
    return None


def _kind(encoder: ImageEncoder) -> str:
    return type(getattr(encoder.tower, "trunk", encoder.tower)).__name__


def _recomputed(forward: Any, *args: Any, **kwargs: Any) -> Any:
    if not torch.is_grad_enabled():
        return forward(*args, **kwargs)
    return checkpoint(forward, *args, use_reentrant=False, **kwargs)


def _repeatable_blocks(encoder: ImageEncoder) -> nn.Module | None:
    """Its transformer blocks; None if it has none, or with batch norms, which would count every batch twice."""
    blocks = _blocks(encoder)
    if blocks is None or any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in blocks.modules()):
        return None
    return blocks


def can_recompute(encoder: ImageEncoder) -> bool:
    """Whether :func:`recompute_activations` takes the encoder."""
    return _repeatable_blocks(encoder) is not None


def recompute_activations(encoder: ImageEncoder) -> None:
    """Make every block of the encoder keep its input only; losses and gradients stay the same.

    Raises:
        InputError: The encoder has no transformer blocks (a ResNet's batch norms would count every batch twice).
    """
    blocks = _repeatable_blocks(encoder)
    if blocks is None:
        raise InputError(f"training.recompute_activations works with transformers only, not with {_kind(encoder)}")
    for block in blocks.children():
        block.forward = partial(_recomputed, block.forward)
