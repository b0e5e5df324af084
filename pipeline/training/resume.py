"""Going on after an interruption: the state of a run at its last finished epoch."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.files import atomic_folder, read_json, write_json

WEIGHTS_NAME = "weights.safetensors"
OPTIMIZER_NAME = "optimizer.safetensors"
STATE_NAME = "state.json"


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Adam's moments and step counts, keyed by the parameter's number in the optimizer."""
    return {
        f"{number}.{name}": value.contiguous()
        for number, slots in optimizer.state_dict()["state"].items()
        for name, value in slots.items()
    }


def save_progress(
    folder: Path,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    epochs_done: int,
    fingerprint: str,
    rows: list[Any],
) -> None:
    """Write the state after ``epochs_done`` epochs, atomically."""
    with atomic_folder(folder) as temporary:
        save_file({key: value.contiguous() for key, value in module.state_dict().items()}, temporary / WEIGHTS_NAME)
        save_file(_optimizer_tensors(optimizer), temporary / OPTIMIZER_NAME)
        write_json(
            temporary / STATE_NAME,
            {"epochs_done": epochs_done, "fingerprint": fingerprint, "curves": rows},
        )


def load_progress(
    folder: Path, module: nn.Module, optimizer: torch.optim.Optimizer, fingerprint: str
) -> tuple[int, list[Any]]:
    """Load the state into module and optimizer; return the finished epochs and the curves so far.

    A state of other parameters or inputs (another fingerprint) is ignored: (0, []).
    """
    if not (folder / STATE_NAME).is_file():
        return 0, []
    state = read_json(folder / STATE_NAME, "training state")
    if state.get("fingerprint") != fingerprint:
        return 0, []
    module.load_state_dict(load_file(folder / WEIGHTS_NAME), strict=True)
    slots: dict[int, dict[str, Tensor]] = {}
    for key, value in load_file(folder / OPTIMIZER_NAME).items():
        number, name = key.split(".", 1)
        slots.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": slots, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(state["epochs_done"]), list(state["curves"])
