"""Makes every parser known to the registry: the built-in ones, and those of other installed packages."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from pipeline.errors import InputError

BACKENDS: Final = ("pipeline.parsing.lite",)
"""Modules that register a parser when they are imported."""

ENTRY_POINT_GROUP: Final = "ccaf_pipeline.parsers"
"""Entry point group of other packages: each entry names a module that registers a parser when it is imported."""


def load_backends() -> None:
    """Import every backend, so that :func:`pipeline.parsing.parser.create_parser` finds them by name.

    Imports torch, so call it where a parser is about to be built and not at start-up.

    Raises:
        InputError: A parser of another package cannot be imported.
    """
    for name in BACKENDS:
        import_module(name)
    for entry in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.value):
        try:
            entry.load()
        except Exception as error:  # other people's code may fail in any way
            raise InputError(
                f"the parser {entry.name} of another package ({entry.value}) cannot be imported: {error}; "
                f"repair or uninstall that package"
            ) from error
