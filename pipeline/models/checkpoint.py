"""Checkpoints: a folder of ``weights.safetensors`` and ``config.json``, written atomically, never unpickled."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline import __version__
from pipeline.artifacts import read_json_artifact
from pipeline.errors import InputError
from pipeline.files import atomic_folder, read_json, sha256_of_file, write_json
from pipeline.models.checkpoint_fields import CheckpointFields
from pipeline.ownership import refuse_foreign

WEIGHTS_NAME = "weights.safetensors"
CONFIG_NAME = "config.json"
FILES_KEY = "files"
"""Key of the configuration: all files of the checkpoint, which alone are removed when it is replaced."""

_FIRST_FILES = (
    WEIGHTS_NAME,
    CONFIG_NAME,
    "curves.csv",
    "record.json",
    "validations.csv",
    f"best/{WEIGHTS_NAME}",
    f"best/{CONFIG_NAME}",
)
"""Files of checkpoints of version 0.1.0, whose configuration does not list them."""


@dataclass(frozen=True)
class Checkpoint:
    """What was read from a checkpoint folder.

    Attributes:
        folder: Where it was read from.
        tensors: All weights, on the CPU.
        config: Everything else.
        sha256: Hash of the weights' file.
    """

    folder: Path
    tensors: dict[str, Tensor]
    config: dict[str, Any]
    sha256: str

    def field(self, name: str) -> Any:
        """A field of the configuration that must be there.

        Raises:
            InputError: It is not.
        """
        if name not in self.config:
            raise InputError(f"checkpoint {self.folder} is damaged: {CONFIG_NAME} has no {name}; train it again")
        return self.config[name]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Tensors whose key begins with ``prefix.``, the prefix taken off."""
        start = f"{prefix}."
        return {key[len(start) :]: value for key, value in self.tensors.items() if key.startswith(start)}


def checkpoint_files(folder: Path) -> Collection[str]:
    """The files, relative, that a checkpoint lists as its own.

    Raises:
        InputError: Its configuration is missing or damaged.
    """
    config = read_json_artifact(folder / CONFIG_NAME, "checkpoint", CheckpointFields)
    listed: Collection[str] = config.plain.get(FILES_KEY, _FIRST_FILES)
    return listed


def check_replaceable(folder: Path, kind: str) -> None:
    """Refuse a folder that a checkpoint may not take the place of: whatever is in it would be deleted.

    Raises:
        InputError: It is a file, or a folder that is neither empty nor a checkpoint of this kind, or holds more.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    config = read_json(folder / CONFIG_NAME, "checkpoint") if (folder / CONFIG_NAME).is_file() else None
    if not isinstance(config, dict) or config.get("kind") != kind:
        raise InputError(
            f"{folder} is there and is no {kind} checkpoint that could be replaced: choose another place, or remove it"
        )
    refuse_foreign(folder, checkpoint_files(folder))


def save_checkpoint(
    folder: Path,
    kind: str,
    tensors: dict[str, Tensor],
    config: dict[str, Any],
    metadata: dict[str, str] | None = None,
    files: dict[str, str] | None = None,
    add: Callable[[Path], None] | None = None,
) -> None:
    """Write a checkpoint; an earlier one at ``folder`` is replaced only when the new one is complete.

    Args:
        folder: The checkpoint's folder.
        kind: ``clip``, ``prompts`` or ``encoder``; checked on reading.
        tensors: Weights by name.
        config: JSON-like; ``kind``, ``version``, the weights' hash and the list of all files are added.
        metadata: Strings for the header of the safetensors file.
        files: Texts by file name, such as curves, that belong to the checkpoint.
        add: Writes more into the new folder before it takes its place.

    Raises:
        InputError: See :func:`check_replaceable`; or nothing can be written there.
        DiskError: The disk is full.
    """
    check_replaceable(folder, kind)
    with atomic_folder(folder, checkpoint_files) as temporary:
        weights = temporary / WEIGHTS_NAME
        save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, weights, metadata)
        digest = sha256_of_file(weights)
        for name, text in (files or {}).items():
            (temporary / name).write_text(text)
        if add is not None:
            add(temporary)
        names = [path.relative_to(temporary).as_posix() for path in temporary.rglob("*") if path.is_file()]
        own = {"kind": kind, "version": __version__, "weights_sha256": digest, FILES_KEY: sorted([*names, CONFIG_NAME])}
        write_json(temporary / CONFIG_NAME, {**config, **own})


def read_config(folder: Path, kind: str, made_by: str) -> dict[str, Any]:
    """What a checkpoint says of itself, without its weights.

    Args:
        folder: The checkpoint's folder.
        kind: The kind that is expected.
        made_by: The command that makes such a checkpoint, for the message.

    Raises:
        InputError: It is missing, damaged, or of another kind.
    """
    if not (folder / CONFIG_NAME).is_file():
        raise InputError(f"no {kind} checkpoint at {folder}: run `{made_by}` first")
    config = read_json(folder / CONFIG_NAME, f"{kind} checkpoint")
    if not isinstance(config, dict) or config.get("kind") != kind:
        raise InputError(f"{folder} is no {kind} checkpoint: run `{made_by}`, or name the right folder")
    return CheckpointFields.check(config, f"{kind} checkpoint {folder / CONFIG_NAME}", f"run `{made_by}`").plain


def read_checkpoint(folder: Path, kind: str, made_by: str) -> Checkpoint:
    """Read a checkpoint and check that it is whole.

    Args:
        folder: The checkpoint's folder.
        kind: The kind that is expected.
        made_by: The command that makes such a checkpoint, for the message.

    Raises:
        InputError: It is missing, damaged, or of another kind.
    """
    config = read_config(folder, kind, made_by)
    try:
        digest = sha256_of_file(folder / WEIGHTS_NAME)
        if digest != config.get("weights_sha256"):
            raise InputError(f"checkpoint {folder} is damaged: {WEIGHTS_NAME} is not the file that was saved")
        return Checkpoint(folder, load_file(folder / WEIGHTS_NAME), config, digest)
    except (OSError, SafetensorError) as error:
        raise InputError(f"checkpoint {folder} cannot be read: {error}") from error


def check_floats(own: Mapping[str, Tensor], tensors: Mapping[str, Tensor], what: str) -> None:
    """Refuse integers in the place of floats: quantised weights without their scale would load as other values.

    Raises:
        InputError: A tensor of the model is of floats, and the one that is to be loaded is not.
    """
    wrong = sorted(
        f"{name} is {str(value.dtype).removeprefix('torch.')}"
        for name, value in tensors.items()
        if name in own and own[name].is_floating_point() and not value.is_floating_point()
    )
    if wrong:
        more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise InputError(
            f"{what} does not fit the model: {', '.join(wrong[:3])}{more}, but these are floating-point numbers in the "
            f"model; save the weights as float32, float16 or bfloat16"
        )


def load_strictly(module: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Load weights; any key that does not match is an error that lists it.

    Raises:
        InputError: Keys are missing or left over, shapes differ, or integers stand where floats belong.
    """
    check_floats(module.state_dict(), tensors, what)
    try:
        module.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise InputError(f"{what} does not fit the model: {error}") from error
