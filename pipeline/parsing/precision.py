"""Number formats of a parser's network."""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

import torch

from pipeline.errors import InputError

Precision: TypeAlias = Literal["fp32", "bf16", "fp16"]

PRECISION_MEANING: Final = "fp32, bf16 or fp16 (not on a CPU); the two short ones are automatic mixed precision"

_TYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


def mixed_precision(device: torch.device, precision: Precision) -> torch.autocast:
    """A context, to be entered as often as wanted, in which a network runs with ``precision``.

    Raises:
        InputError: The device cannot do it.
    """
    check_precision(str(device), {"precision": precision})
    return torch.autocast(device.type, _TYPES.get(precision, torch.bfloat16), enabled=precision != "fp32")


ANY_DEVICE: Final[Mapping[str, Any]] = {"precision": "fp32"}
"""The setting ``precision`` that every device can do."""


def check_precision(device: str, settings: Mapping[str, Any]) -> None:
    """Check that a device can do the setting ``precision``; the device is only named, not touched.

    Raises:
        InputError: It cannot.
    """
    if settings["precision"] == "fp16" and torch.device(device).type == "cpu":
        raise InputError("precision fp16 needs a GPU; on the device cpu use fp32 or bf16")
