"""One module a data set: each turns file names into labels. Importing the package registers all readers."""

from pipeline.datasets.readers import (
    ccvid,
    celeb_reid,
    chirla,
    custom,
    deepchange,
    last,
    ltcc,
    market1501,
    mevid,
    pattern,
    prcc,
    vcclothes,
    walkers,
)
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
    "ccvid",
    "celeb_reid",
    "chirla",
    "custom",
    "deepchange",
    "find_reader",
    "last",
    "ltcc",
    "market1501",
    "mevid",
    "pattern",
    "prcc",
    "reader_names",
    "register_reader",
    "vcclothes",
    "walkers",
]
