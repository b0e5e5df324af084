"""Which files in the folder of a training's states are the training's own; nothing else there is ever removed."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Final

WEIGHTS_NAME: Final = "weights.safetensors"
OPTIMIZER_NAME: Final = "optimizer.safetensors"
STATE_NAME: Final = "state.json"
BEST_NAME: Final = "best.safetensors"
PREFIX: Final = "step-"

NOTES_NAME: Final = "ray"
STOPPED_NAME: Final = "stopped.json"
RESULT_NAME: Final = "result.json"
PROGRESS_NAME: Final = "progress.json"
HALF_PROGRESS_NAME: Final = f".{PROGRESS_NAME}"
"""What a training in several processes keeps beside its states: Ray's notes, and what the workers tell."""

_OF_WORKERS: Final = (STOPPED_NAME, RESULT_NAME, PROGRESS_NAME, HALF_PROGRESS_NAME)
_STATE: Final = re.compile(rf"{PREFIX}\d{{9,}}")
_LEFT: Final = re.compile(rf"\.({PREFIX}\d{{9,}}|{STOPPED_NAME}|{RESULT_NAME})\.\w+\.(tmp|old)")
_RAY_RUN: Final = re.compile(r"[0-9a-f]{16}")
"""Names of ours: of a state, of what a killed run left half-written, of Ray's notes of a run (a hash)."""


def state_folders(folder: Path) -> list[Path]:
    """Folders of states, the earliest first."""
    found = (path for path in folder.glob(f"{PREFIX}*") if _STATE.fullmatch(path.name))
    return sorted((path for path in found if path.is_dir()), key=lambda path: int(path.name.removeprefix(PREFIX)))


def state_files(folder: Path) -> Collection[str]:
    """The files of one state, relative; none where no description says that it is a state.

    The description is removed last, so a run that is killed at that leaves an empty folder, which is ours as well.
    """
    names = (WEIGHTS_NAME, OPTIMIZER_NAME, BEST_NAME, STATE_NAME)
    return names if (folder / STATE_NAME).is_file() or (folder.is_dir() and not any(folder.iterdir())) else ()


def _below(folder: Path, top: Path) -> list[str]:
    return [path.relative_to(top).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()]


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []


def half_written(folder: Path) -> list[str]:
    """What killed runs left half-written in the folder of the states, relative; the names of all of it are ours."""
    left = [path for path in _entries(folder) if _LEFT.fullmatch(path.name)]
    return [name for path in left for name in (_files_of(path, folder) if path.is_dir() else [path.name])]


def _files_of(state: Path, folder: Path) -> list[str]:
    """Files of a half-written state; one that is not there if it has none, so that its folder is known as ours."""
    return _below(state, folder) or [f"{state.name}/{STATE_NAME}"]


def own_files(folder: Path) -> list[str]:
    """Everything in the folder of the states that is a training's own: relative paths of files."""
    names = [*_OF_WORKERS, *half_written(folder)]
    for state in state_folders(folder):
        names += [f"{state.name}/{name}" for name in state_files(state)]
    for run in _entries(folder / NOTES_NAME):
        if _RAY_RUN.fullmatch(run.name):
            names += _below(run, folder)
    return names
