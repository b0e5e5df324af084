"""Checkpoints as folders to share: what is pushed, and what a pull leaves."""

import shutil
from pathlib import Path
from typing import Any, Final

from pipeline.files import atomic_folder, write_json
from pipeline.models.checkpoint import (
    CONFIG_NAME,
    FILES_KEY,
    WEIGHTS_NAME,
    Checkpoint,
    check_replaceable,
    checkpoint_files,
)
from pipeline.models.checkpoint_fields import CheckpointFields
from pipeline.sharing.hub import CARD_NAME

SHARED_FILES: Final = tuple(sorted((CARD_NAME, CONFIG_NAME, WEIGHTS_NAME)))


def shared_config(config: dict[str, Any]) -> dict[str, Any]:
    """The fields of an encoder's configuration that its readers know, without those that other files of it are for.

    What a newer version or another hand may have added is left out: it is not known what it tells of its owner.
    """
    known = {key: config[key] for key in CheckpointFields.model_fields if key in config}
    return {**known, FILES_KEY: list(SHARED_FILES)}


def write_shared(out: Path, checkpoint: Checkpoint, card: str) -> None:
    """Write the folder that is pushed, or that a pull leaves, which is a checkpoint like any other.

    Args:
        out: An earlier checkpoint in its place is replaced once the new one is complete.
        checkpoint: An encoder's.
        card: Text of the model card.

    Raises:
        InputError: Something else is in the place, or nothing can be written there.
        DiskError: The disk is full.
    """
    check_replaceable(out, "encoder")
    with atomic_folder(out, checkpoint_files) as folder:
        shutil.copyfile(checkpoint.folder / WEIGHTS_NAME, folder / WEIGHTS_NAME)
        (folder / CARD_NAME).write_text(card)
        write_json(folder / CONFIG_NAME, shared_config(checkpoint.config))
