"""Data sets that people ask for by name and that have no file here: data_manifests/not_included says why."""

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from pipeline.yaml_files import read_yaml

LIST = Path("not_included/sets.yaml")
"""The list, in a folder of data set files."""


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NotIncluded(_Strict):
    """One data set, or a few that are published together."""

    title: str
    names: tuple[str, ...] = Field(min_length=1, description="spellings; case and punctuation do not count")
    home: str
    reason: str

    def __str__(self) -> str:
        return f"{self.title} has no data set file: {self.reason}; see {self.home}"


class _Sets(_Strict):
    sets: tuple[NotIncluded, ...]


def plain_name(name: str) -> str:
    """A data set's name without case and punctuation; a plus sign is a word."""
    return re.sub(r"[\W_]", "", name.lower().replace("+", "plus"))


def not_included(folders: Sequence[Path]) -> tuple[NotIncluded, ...]:
    """The list of the first folder that has one.

    Args:
        folders: Of data set files.
    """
    path = next((folder / LIST for folder in folders if (folder / LIST).is_file()), None)
    return () if path is None else _Sets.model_validate(read_yaml(path, "list of data sets")).sets


def find_not_included(name: str, folders: Sequence[Path]) -> NotIncluded | None:
    """The entry of a name, or None."""
    wanted = plain_name(name)
    found = (entry for entry in not_included(folders) if wanted in map(plain_name, entry.names))
    return next(found, None)
