"""What a parser is, and the registry by which parsers are chosen by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pipeline.errors import InputError
from pipeline.images import LabelMap, RgbImage
from pipeline.parsing.schemes import LabelScheme


@dataclass(frozen=True)
class Parsing:
    """The parse of one image.

    Attributes:
        label_map: uint8 (height, width) of the image's own size; values are numbers of the parser's scheme.
        confidence: Mean top probability over the pixels that are labelled as person, in [0, 1]; 0 if there are none.
    """

    label_map: LabelMap
    confidence: float


class Parser(Protocol):
    """A human parser. The result for one image must not depend on its neighbours in the batch."""

    @property
    def name(self) -> str:
        """Name under which the parser is registered."""

    @property
    def scheme(self) -> LabelScheme:
        """The numbering of its label maps."""

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights' file, for provenance; empty if the parser has none."""

    def parse(self, images: Sequence[RgbImage]) -> list[Parsing]:
        """Parse a batch of RGB uint8 images of any sizes; the result has their order and length."""


ParserFactory = Callable[..., Parser]

_FACTORIES: dict[str, ParserFactory] = {}


def register_parser(name: str) -> Callable[[ParserFactory], ParserFactory]:
    """Decorator that makes a factory available as ``name``.

    The factory is called with the keyword argument ``device`` (a torch device string) and the parser's own settings.

    Raises:
        ValueError: The name is taken.
    """

    def register(factory: ParserFactory) -> ParserFactory:
        if name in _FACTORIES:
            raise ValueError(f"a parser named {name!r} is registered already")
        _FACTORIES[name] = factory
        return factory

    return register


def parser_names() -> list[str]:
    """Names of all registered parsers, sorted."""
    return sorted(_FACTORIES)


def create_parser(name: str, device: str = "cpu", **settings: Any) -> Parser:
    """Build the parser called ``name``.

    Raises:
        InputError: No parser has that name, or its settings are wrong.
    """
    try:
        factory = _FACTORIES[name]
    except KeyError:
        raise InputError(f"unknown parser {name!r}; known: {', '.join(parser_names())}") from None
    return factory(device=device, **settings)
