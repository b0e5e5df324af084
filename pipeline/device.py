"""Which device the networks run on, and with how many threads."""

import torch

from pipeline.errors import InputError


def choose_device(name: str) -> str:
    """Resolve ``auto`` (CUDA where present, else CPU) and check any other torch device name.

    Raises:
        InputError: No such device here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).item()  # those of ``meta`` have no value
    except (RuntimeError, AssertionError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device {name!r} cannot be used here ({reason}); use auto or cpu") from None
    return name


def set_threads(count: int) -> None:
    """CPU threads of torch's operators; 0 leaves torch's own choice."""
    if count:
        torch.set_num_threads(count)
