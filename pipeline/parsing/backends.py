"""Makes every parser known to the registry: the built-in ones, and those of other installed packages."""

from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from pipeline.errors import InputError

BACKENDS: Final = {
    "detectron2": "pipeline.parsing.detectron2",
    "lite": "pipeline.parsing.lite",
    "precomputed": "pipeline.parsing.precomputed",
    "sam3": "pipeline.parsing.sam3",
    "schp": "pipeline.parsing.schp",
    "transformers": "pipeline.parsing.transformers",
}
"""Built-in parsers, and the module that registers each when it is imported."""

FORMER_NAMES: Final = {"segformer": "transformers"}
"""Names under which built-in parsers are found, too, and those that they have today."""

ENTRY_POINT_GROUP: Final = "ccaf_pipeline.parsers"
"""Entry point group of other packages: an entry's name is the parser's, its value the module that registers it."""


def known_backends() -> dict[str, str]:
    """Name of every parser and the module that registers it: those of other packages, and the built-in ones."""
    return {name: modules[0] for name, modules in _offers().items()}


def _offers() -> dict[str, list[str]]:
    """Modules that offer a parser, by its name; more than one where packages are at odds, the built-in one first."""
    offers = {name: [module] for name, module in BACKENDS.items()}
    offers |= {former: [f"{BACKENDS[name]}.former_name"] for former, name in FORMER_NAMES.items()}
    for entry in entry_points(group=ENTRY_POINT_GROUP):
        modules = offers.setdefault(entry.name, [])
        if entry.value not in modules:
            modules.append(entry.value)
    return offers


def load_backends(name: str | None = None) -> None:
    """Import backends, so that :func:`pipeline.parsing.parser.create_parser` finds them by name.

    Imports torch and whatever a backend needs, so call it where a parser is about to be built and not at start-up.

    Args:
        name: The parser that is wanted: only its backend is imported; None, or a name that is not known: all are.

    Raises:
        InputError: A parser of another package cannot be imported, or has the name of another parser.
    """
    offers = _offers()
    for parser in [name] if name in offers else sorted(offers):
        if len(offers[parser]) > 1:
            raise InputError(
                f"several packages have a parser named {parser} ({', '.join(offers[parser])}); uninstall all but one"
            )
        (module,) = offers[parser]
        try:
            import_module(module)
        except Exception as error:  # other people's code may fail in any way
            if parser in BACKENDS or parser in FORMER_NAMES:
                raise
            raise InputError(
                f"the parser {parser} of another package ({module}) cannot be imported: {error}; "
                f"repair or uninstall that package"
            ) from error
