"""One module a data set: each turns file names into labels. Importing the package registers all readers."""

from pipeline.datasets.readers import custom, walkers
from pipeline.datasets.readers.registry import (
    Reader,
    ReaderSettings,
    Source,
    find_reader,
    reader_names,
    register_reader,
)

__all__ = [
    "Reader",
    "ReaderSettings",
    "Source",
    "custom",
    "find_reader",
    "reader_names",
    "register_reader",
    "walkers",
]
