"""What a reader is, and the registry by which data_manifests/*.yaml choose one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.datasets.builder import ManifestBuilder


class ReaderSettings(BaseModel):
    """Base of a reader's settings in the YAML file; a reader without settings takes exactly this."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Source:
    """What a reader reads.

    Attributes:
        folder: The data set's folder. Only what stands below it may decide a label.
        settings: The reader's own settings.
        roles: Which splits are train, val, query and gallery.
    """

    folder: Path
    settings: Any = field(default_factory=ReaderSettings)
    roles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


ReadFunction = Callable[[Source, ManifestBuilder], None]


@dataclass(frozen=True)
class Reader:
    """A registered reader: the function that adds a data set's rows, and the model of its settings."""

    read: ReadFunction
    settings: type[ReaderSettings]


_READERS: dict[str, Reader] = {}


def register_reader(
    name: str, settings: type[ReaderSettings] = ReaderSettings
) -> Callable[[ReadFunction], ReadFunction]:
    """Decorator that makes a read function available as ``name``.

    Raises:
        ValueError: The name is taken.
    """

    def register(read: ReadFunction) -> ReadFunction:
        if name in _READERS:
            raise ValueError(f"a reader named {name!r} is registered already")
        _READERS[name] = Reader(read, settings)
        return read

    return register


def reader_names() -> list[str]:
    """Names of all registered readers, sorted."""
    return sorted(_READERS)


def find_reader(name: str) -> Reader:
    """The reader called ``name``.

    Raises:
        KeyError: No reader has that name.
    """
    return _READERS[name]
