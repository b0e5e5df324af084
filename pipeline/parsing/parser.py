"""What a parser is, and the registry by which parsers are chosen by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from pydantic import BaseModel, ValidationError

from pipeline.errors import BadImageError, InputError
from pipeline.images import LabelMap, RgbImage
from pipeline.labels import LabelScheme


@dataclass(frozen=True)
class Parsing:
    """The parse of one image.

    Attributes:
        label_map: uint8 (height, width) of the image's own size; values are numbers of the parser's scheme.
        confidence: Mean top probability over the pixels that are labelled as person, in [0, 1]; 0 if there are none.
        notes: Short fixed codes of what the parser did otherwise than it was asked to; they become flags of the image.
    """

    label_map: LabelMap
    confidence: float
    notes: tuple[str, ...] = ()


class Parser(Protocol):
    """A human parser. The result for one image must not depend on its neighbours in the batch.

    An instance is used by one thread at a time, in the process that built it.
    """

    @property
    def name(self) -> str:
        """Name under which the parser is registered."""

    @property
    def scheme(self) -> LabelScheme:
        """The numbering of its label maps."""

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights' file, for provenance; empty if the parser has none."""

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        """Parse a batch of images.

        Args:
            images: RGB uint8 (height, width, 3), of any sizes.
            paths: The images' paths inside their data set, for parsers that look results up; a network ignores them.

        Returns:
            One outcome an image, in their order: its parse, or why this image cannot be parsed.
        """


@runtime_checkable
class SourceDigest(Protocol):
    """What a parser has besides if its results depend on files of their own, one an image, that may change."""

    def source_digest(self, path: str) -> str:
        """Hash of what the parser would use for an image, or why there is nothing; it must not raise, and threads call
        it at the same time. A shard is made again when it changes.

        Args:
            path: The image's path inside its data set.
        """


Taken: TypeAlias = Callable[[], list[Parsing | BadImageError]]
"""Gives the outcomes of a batch that was launched, as :meth:`Parser.parse` does, as soon as they are there."""


@runtime_checkable
class Launching(Protocol):
    """What a parser has besides if it can begin a batch on its device before the last one's outcomes are asked for."""

    def launch(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> Taken:
        """Begin to parse a batch, and wait for nothing that the device computes.

        Args:
            images: As for :meth:`Parser.parse`, which gives the same outcomes.
            paths: As for :meth:`Parser.parse`.

        Returns:
            A function that waits for the outcomes. It is called once at the most; later launches, and calls of
            :meth:`Parser.parse` for other images, may come before.
        """


def as_launching(parser: Parser) -> Launching | None:
    """The parser if it can launch what it parses: a class that overrides ``parse`` alone inherits a ``launch`` for what
    another one parses."""
    if not isinstance(parser, Launching):
        return None
    kinds = type(parser).__mro__
    launch, parse = (
        next((place for place, kind in enumerate(kinds) if name in vars(kind)), len(kinds))
        for name in ("launch", "parse")
    )
    return parser if launch <= parse else None


@runtime_checkable
class OwnLibraries(Protocol):
    """What a parser has besides if it computes with libraries that shards do not name anyway."""

    @property
    def libraries(self) -> tuple[str, ...]:
        """Names of their packages, whose versions stand in each shard."""


class Identity(Protocol):
    """What decides a parser's label maps besides its settings, for the fingerprint of what is made with it."""

    @property
    def scheme(self) -> LabelScheme:
        """The numbering of its label maps."""

    @property
    def weights_sha256(self) -> str:
        """Hash of the weights' file; empty if it has none."""


ParserFactory = Callable[..., Parser]
DeviceCheck = Callable[[str, Mapping[str, Any]], None]
"""Raises an InputError if a device, named as torch names it, cannot do what the settings ask for."""


@dataclass(frozen=True)
class _Registration:
    settings: type[BaseModel]
    factory: ParserFactory
    check_device: DeviceCheck | None = None
    identity_settings: Mapping[str, Any] = field(default_factory=dict)


_REGISTRY: dict[str, _Registration] = {}


def register_parser(
    name: str,
    settings: type[BaseModel],
    check_device: DeviceCheck | None = None,
    identity_settings: Mapping[str, Any] | None = None,
) -> Callable[[ParserFactory], ParserFactory]:
    """Decorator that makes a factory available as ``name``.

    Args:
        name: What users write into ``parse.parser``.
        settings: The parser's own settings, the keys of ``parse.settings``: a frozen model that forbids others. The
            factory is called with the keyword argument ``device`` (a torch device string) and a keyword a field.
        check_device: Refuses settings that a device cannot do, before anything is started; None: each does all.
        identity_settings: Values with which the parser can always be built on the CPU, for :func:`identify_parser`;
            they must change neither the scheme nor the hash of the weights.

    Raises:
        ValueError: The name is taken.
    """

    def register(factory: ParserFactory) -> ParserFactory:
        if name in _REGISTRY:
            raise ValueError(f"a parser named {name!r} is registered already")
        _REGISTRY[name] = _Registration(settings, factory, check_device, dict(identity_settings or {}))
        return factory

    return register


def parser_names() -> list[str]:
    """Names of all registered parsers, sorted."""
    return sorted(_REGISTRY)


def parser_settings(name: str) -> type[BaseModel]:
    """The settings that the parser called ``name`` takes.

    Raises:
        InputError: No parser has that name.
    """
    return _registration(name).settings


def _registration(name: str) -> _Registration:
    try:
        return _REGISTRY[name]
    except KeyError:
        raise InputError(f"unknown parser {name!r}; known: {', '.join(parser_names())}") from None


def check_settings(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """The settings of a parser with their types checked and their defaults filled in, one entry a field.

    Raises:
        InputError: No parser has that name, or a setting is unknown, missing or wrong.
    """
    model = _registration(name).settings
    try:
        checked = model.model_validate(settings)
    except ValidationError as error:
        problems = []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"]) or "the settings"
            if item["type"] == "extra_forbidden":
                problems.append(f"{key} is not one of its settings ({', '.join(model.model_fields) or 'it has none'})")
            elif item["type"] == "missing":
                problems.append(f"{key} must be given (parse.settings.{key})")
            else:
                problems.append(f"{key} = {item['input']!r}: {item['msg']}")
        raise InputError(f"settings of the parser {name}: {'; '.join(problems)}") from None
    return {field: getattr(checked, field) for field in model.model_fields}


def create_parser(name: str, device: str = "cpu", **settings: Any) -> Parser:
    """Build the parser called ``name``.

    Raises:
        InputError: No parser has that name, or its settings are wrong.
    """
    return _registration(name).factory(device=device, **check_settings(name, settings))


def identify_parser(name: str, **settings: Any) -> Identity:
    """The identity of a parser, whatever device it is going to run on; no other device than the CPU is touched.

    Everything that the parser needs is read and checked, as :func:`create_parser` does.

    Raises:
        InputError: No parser has that name, or its settings are wrong.
    """
    registration = _registration(name)
    values = {**check_settings(name, settings), **registration.identity_settings}
    return registration.factory(device="cpu", **values)


def check_device(name: str, device: str, **settings: Any) -> None:
    """Check that a device can do what the settings of a parser ask for; neither is touched.

    Raises:
        InputError: It cannot, no parser has that name, or its settings are wrong.
    """
    check = _registration(name).check_device
    if check is not None:
        check(device, check_settings(name, settings))
