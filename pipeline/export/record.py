"""``export.json``: what an export is, what it was made from, and what was measured."""

from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal

from pipeline.artifacts import Artifact, read_json_artifact
from pipeline.errors import InputError
from pipeline.models.checkpoint_fields import OwnFile
from pipeline.ownership import refuse_foreign

RECORD_NAME: Final = "export.json"
KIND: Final = "export"


class ExportFields(Artifact):
    """The fields that are read back."""

    kind: Literal["export"]
    files: list[OwnFile]


def export_files(folder: Path) -> Collection[str]:
    """The files, relative, that an export lists as its own.

    Raises:
        InputError: Its record is missing or damaged.
    """
    return read_json_artifact(folder / RECORD_NAME, "record of the export", ExportFields).files


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that an export may not take the place of: whatever is in it would be deleted.

    Raises:
        InputError: It is a file, or a folder that is neither empty nor an export, or holds more.
    """
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    if not (folder / RECORD_NAME).is_file():
        raise InputError(f"{folder} is there and is no earlier export: choose another place, or remove it")
    refuse_foreign(folder, export_files(folder))
