"""Numbers that networks compute with: float32, bfloat16 by autocast, or float16 by autocast with a gradient scaler."""

from contextlib import nullcontext
from typing import Final, Literal, TypeAlias

import torch
from torch import Tensor

from pipeline.errors import InputError

PrecisionName: TypeAlias = Literal["fp32", "bf16", "fp16"]
PrecisionChoice: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]
"""What a user may write: ``auto`` leaves it to the device, see :func:`resolve_precision`."""

_TYPES: Final = {"bf16": torch.bfloat16, "fp16": torch.float16}


def check_precision(name: PrecisionName, device: str, parameter: str) -> None:
    """Check that a kind of device can do a precision; the device is only named, not touched.

    Args:
        name: ``fp32``, ``bf16`` or ``fp16``.
        device: Torch device string.
        parameter: What the user wrote it into, for the message.

    Raises:
        InputError: It cannot.
    """
    if name == "fp16" and torch.device(device).type != "cuda":
        raise InputError(f"{parameter}: fp16 needs a CUDA device, the device here is {device}; use bf16 or fp32")


def resolve_precision(choice: PrecisionChoice, device: str) -> PrecisionName:
    """What a choice means on a device: ``auto`` is bf16 on a GPU that has units for it, and fp32 everywhere else.

    A GPU that only imitates bf16 counts as one without: fp32 is faster there.

    Args:
        choice: Anything but ``auto`` stays as it is.
        device: Torch device string.
    """
    if choice != "auto":
        return choice
    kind = torch.device(device)
    return "bf16" if kind.type == "cuda" and _computes_bf16(kind, imitated=False) else "fp32"


def resolve_tf32(choice: bool | Literal["auto"], precision: PrecisionChoice) -> bool:
    """Whether products of float32 may round their factors to TF32 on CUDA: ``auto`` is where networks compute shorter.

    What then stays in float32, such as the losses, gets features that were rounded to no more bits. A GPU on which the
    precision ``auto`` becomes fp32 has no TF32 either, so that nothing need be asked of it.

    Args:
        choice: Anything but ``auto`` stays as it is.
        precision: Of the training, as it was chosen or as it was resolved.
    """
    return precision != "fp32" if choice == "auto" else choice


def autocast(name: PrecisionName, device: torch.device) -> torch.autocast:
    """A context, to be entered as often as wanted, in which networks compute with a precision."""
    return torch.autocast(device.type, _TYPES.get(name, torch.bfloat16), enabled=name != "fp32")


def _computes_bf16(device: torch.device, imitated: bool = True) -> bool:
    """Whether this GPU does, by imitation too unless that does not count; torch answers for the current one."""
    with torch.cuda.device(device) if device.index is not None else nullcontext():
        return bool(torch.cuda.is_bf16_supported(including_emulation=imitated))


class Precision:
    """Autocast and gradient scaling of a training; weights, losses and optimizer state stay float32.

    Args:
        choice: ``fp32``, ``bf16``, ``fp16``, or ``auto`` for what the device does best.
        device: Torch device that the networks are on.

    Raises:
        InputError: The device cannot do it.
    """

    def __init__(self, choice: PrecisionChoice = "fp32", device: str = "cpu") -> None:
        self.name = name = resolve_precision(choice, device)
        self._device = torch.device(device)
        check_precision(name, device, "training.precision")
        if name == "bf16" and self._device.type == "cuda" and not _computes_bf16(self._device):
            raise InputError("training.precision: bf16 is not supported by this GPU; use fp16 or fp32")
        self.scaler = torch.amp.GradScaler(self._device.type) if name == "fp16" else None

    def autocast(self) -> torch.autocast:
        """Within it the networks compute in the short type."""
        return autocast(self.name, self._device)

    def backward(self, total: Tensor) -> None:
        """Backpropagate a loss, scaled where small gradients would vanish."""
        (total if self.scaler is None else self.scaler.scale(total)).backward()  # type: ignore[no-untyped-call]

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the gradients those of the unscaled loss, before they are clipped."""
        if self.scaler is not None:
            self.scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """The optimizer's step; with a scaler it is left out where gradients overflowed, and the scale shrinks."""
        if self.scaler is None:
            optimizer.step()
            return
        self.scaler.step(optimizer)
        self.scaler.update()

    def state(self) -> dict[str, float]:
        """The scaler's numbers, empty without one."""
        return {} if self.scaler is None else self.scaler.state_dict()

    def load_state(self, state: dict[str, float]) -> None:
        """Inverse of :meth:`state`."""
        if self.scaler is not None and state:
            self.scaler.load_state_dict(state)
