"""The state of a running training on disk: complete or absent, checked when read, never unpickled.

A state is a folder ``step-000000123`` of ``weights.safetensors``, ``optimizer.safetensors`` and ``state.json``. A new
one is complete before the one before it is removed, so that a kill at any moment leaves one to go on from.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.artifacts import Artifact, FileName, Sha256
from pipeline.errors import InputError, WorkError
from pipeline.files import DiskError, atomic_folder, read_json, sha256_of_file, write_json
from pipeline.models.checkpoint import check_floats
from pipeline.ownership import refuse_foreign, remove_listed
from pipeline.trainer.distributed import ALONE, Ranks, first_rank_says
from pipeline.trainer.state_files import (
    BEST_NAME,
    OPTIMIZER_NAME,
    PREFIX,
    STATE_NAME,
    WEIGHTS_NAME,
    half_written,
    own_files,
    state_files,
    state_folders,
)
from pipeline.trainer.task import Weights

FORMAT = 1


@dataclass(frozen=True)
class ResumeSettings:
    """Where the state of a run is kept, and whose it is.

    Attributes:
        folder: Beside the result; removed when the result is written.
        fingerprint: Of the parameters and inputs that decide the result.
        seconds: Save when so much time has passed since the last state.
        steps: Save every so many steps as well; 0: by time only.
        config: What the fingerprint is of, kept in the state to tell what differs.
    """

    folder: Path
    fingerprint: str
    seconds: float = 60.0
    steps: int = 0
    config: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SavedState:
    """A state on disk that was found whole.

    Attributes:
        folder: Where it lies.
        values: Everything that is no tensor.
    """

    folder: Path
    values: dict[str, Any]


def _named_parameters(module: Weights, optimizer: torch.optim.Optimizer) -> dict[str, nn.Parameter]:
    """The optimizer's parameters by their name in the module."""
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    found = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    return {names[id(parameter)]: parameter for parameter in found}


def optimizer_tensors(module: Weights, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Moments and step counts, named ``<parameter>:<slot>``."""
    return {
        f"{name}:{slot}": value.detach().cpu().contiguous()
        for name, parameter in _named_parameters(module, optimizer).items()
        for slot, value in optimizer.state.get(parameter, {}).items()
    }


def load_optimizer_tensors(module: Weights, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of :func:`optimizer_tensors`; a moment gets its parameter's device and memory layout.

    Raises:
        InputError: The tensors belong to other parameters.
    """
    parameters = _named_parameters(module, optimizer)
    optimizer.state.clear()
    for key, value in tensors.items():
        name, _, slot = key.rpartition(":")
        parameter = parameters.get(name)
        if parameter is None or (value.ndim and value.shape != parameter.shape):
            raise InputError(f"the optimizer state {key} fits no parameter of the model")
        if value.ndim:
            value = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
        elif any(group.get("fused") or group.get("capturable") for group in optimizer.param_groups):
            value = value.to(parameter.device)
        optimizer.state[parameter][slot] = value


@dataclass(frozen=True)
class Snapshot:
    """Tensors of a training at one moment, on the CPU.

    Attributes:
        weights: The module's ``state_dict``.
        optimizer: See :func:`optimizer_tensors`.
    """

    weights: Mapping[str, Tensor]
    optimizer: Mapping[str, Tensor]

    @classmethod
    def of(cls, module: Weights, optimizer: torch.optim.Optimizer, apart: bool = False) -> Self:
        """Those of a module and its optimizer.

        Args:
            module: The module.
            optimizer: Of its parameters.
            apart: In memory of their own, so that the training may go on; else what lies on the CPU is not copied.
        """
        groups: list[dict[str, Tensor]] = []
        live = module.state_dict(), optimizer_tensors(module, optimizer)
        for tensors in live:
            on_cpu = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
            own = {key for key, value in tensors.items() if value.device.type != "cpu"}  # came here as a copy
            groups.append({key: value.clone() if apart and key not in own else value for key, value in on_cpu.items()})
        return cls(*groups)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


class _StateFields(Artifact):
    """What every state says of itself; the loop's own values are checked by the loop."""

    format: int
    fingerprint: str
    config: dict[str, Any]
    sha256: dict[FileName, Sha256]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        missing = {WEIGHTS_NAME, OPTIMIZER_NAME} - self.sha256.keys()
        if missing:
            raise ValueError(f"sha256: no hash of {', '.join(sorted(missing))}")
        return self


class StateFolder:
    """Saves and finds the states of a run.

    Args:
        folder: Its own folder; what is no training's own in it is never touched.
        fingerprint: States of another one are refused.
        config: See :class:`ResumeSettings`.
    """

    def __init__(self, folder: Path, fingerprint: str, config: Mapping[str, Any] | None = None) -> None:
        self.folder = folder
        self._fingerprint = fingerprint
        self._config = json.loads(json.dumps(dict(config or {})))  # tuples become lists, as on disk

    def _states(self) -> list[Path]:
        return state_folders(self.folder)

    def save(
        self,
        step: int,
        module: Weights,
        optimizer: torch.optim.Optimizer,
        values: Mapping[str, Any],
        best: Mapping[str, Tensor] | Path | None = None,
    ) -> Path:
        """:meth:`write` for a module and its optimizer as they are."""
        return self.write(step, Snapshot.of(module, optimizer), values, best)

    def write(
        self,
        step: int,
        snapshot: Snapshot,
        values: Mapping[str, Any],
        best: Mapping[str, Tensor] | Path | None = None,
    ) -> Path:
        """Write the state after ``step`` steps of the run, then remove the ones before it.

        Args:
            step: Optimizer steps since the start.
            snapshot: Weights and moments.
            values: JSON-like.
            best: Best weights so far, or the file that already holds them.

        Returns:
            The new state's folder.

        Raises:
            InputError: Nothing can be written there.
            WorkError: Writing failed midway; the state before is kept.
        """
        before = self._states()
        target = self.folder / f"{PREFIX}{step:09d}"
        try:
            with atomic_folder(target, state_files) as temporary:
                self._write(temporary, snapshot, values, best)
        except (OSError, SafetensorError, WorkError) as error:
            kept = f"{before[-1].name} is kept" if before else "there is none before it"
            reason = error.reason if isinstance(error, DiskError) else error
            raise WorkError(f"the training state {target} cannot be written: {reason}; {kept}") from error
        for old in before:
            if old != target:
                remove_listed(old, state_files(old))
        return target

    def _write(
        self,
        folder: Path,
        snapshot: Snapshot,
        values: Mapping[str, Any],
        best: Mapping[str, Tensor] | Path | None,
    ) -> None:
        save_file(dict(snapshot.weights), folder / WEIGHTS_NAME)
        save_file(dict(snapshot.optimizer), folder / OPTIMIZER_NAME)
        if isinstance(best, Path):
            _link_or_copy(best, folder / BEST_NAME)
        elif best is not None:
            save_file(dict(best), folder / BEST_NAME)
        hashes = {path.name: sha256_of_file(path) for path in sorted(folder.glob("*.safetensors"))}
        own = {"format": FORMAT, "fingerprint": self._fingerprint, "config": self._config, "sha256": hashes}
        write_json(folder / STATE_NAME, {**values, **own})

    def last(self) -> Path | None:
        """The folder of the last complete state."""
        states = self._states()
        return states[-1] if states else None

    def find(self, tell: Callable[[str], None] = lambda _: None, ranks: Ranks = ALONE) -> SavedState | None:
        """The last complete state, None if there is none; what a killed run left half-written is removed.

        All ranks get the one that the first rank finds.

        Raises:
            InputError: It is damaged, of another format, or of other parameters or inputs.
        """
        if ranks.first:
            left = half_written(self.folder)
            if left:
                remove_listed(self.folder, left)
        name = first_rank_says(self.last(), ranks)
        if name is None:
            return None
        folder = self.folder / name.name
        values = read_json(folder / STATE_NAME, "training state")
        if not isinstance(values, dict) or values.get("format") != FORMAT:
            raise InputError(f"{folder} is no training state of this version; {self._start_anew()}")
        if values.get("fingerprint") != self._fingerprint:
            raise InputError(
                f"{self.folder} holds an unfinished training of other parameters or inputs "
                f"({_difference(values.get('config'), self._config)}): give those again to go on with it, or "
                f"{self._start_anew()}"
            )
        found = _StateFields.check(values, f"training state {folder / STATE_NAME}", self._start_anew())
        for file, digest in found.sha256.items():
            if not (folder / file).is_file() or sha256_of_file(folder / file) != digest:
                raise InputError(
                    f"training state {folder} is damaged: {file} is not what was saved; {self._start_anew()}"
                )
        tell(f"going on from {folder}")
        return SavedState(folder, values)

    def _start_anew(self) -> str:
        return f"remove {self.folder} to start anew"

    def load(self, state: SavedState, module: Weights, optimizer: torch.optim.Optimizer) -> None:
        """Put a state's tensors into module and optimizer.

        Raises:
            InputError: They do not fit.
        """
        try:
            weights = load_file(state.folder / WEIGHTS_NAME)
            check_floats(module.state_dict(), weights, f"training state {state.folder}")
            module.load_state_dict(weights, strict=True)
            load_optimizer_tensors(module, optimizer, load_file(state.folder / OPTIMIZER_NAME))
        except (OSError, RuntimeError, SafetensorError) as error:
            raise InputError(f"training state {state.folder} does not load: {error}; {self._start_anew()}") from error

    def check(self) -> None:
        """Refuse a folder that holds more than trainings keep there: it is somebody's own.

        Raises:
            InputError: It does.
        """
        refuse_foreign(self.folder, own_files(self.folder))

    def clear(self) -> None:
        """Remove everything that is a training's own: the result is written."""
        remove_listed(self.folder, own_files(self.folder))


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {key: item for name, part in value.items() for key, item in _flat(part, f"{prefix}{name}.").items()}
    return {prefix.rstrip("."): value}


def _difference(theirs: Any, ours: Mapping[str, Any], most: int = 4) -> str:
    """What differs between two configurations, in a few words."""
    old, new = _flat(theirs or {}), _flat(ours)
    keys = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    words = [f"{key}: {_short(old.get(key))} there, {_short(new.get(key))} here" for key in keys[:most]]
    if len(keys) > most:
        words.append(f"{len(keys) - most} more")
    return "; ".join(words) or "not recorded which"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{text[:21]}..."
