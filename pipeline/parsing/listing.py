"""What parsers there are and which settings each takes, for people who choose one."""

import inspect
import sys
import types
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from pipeline.errors import InputError
from pipeline.parsing.backends import known_backends, load_backends
from pipeline.parsing.parser import parser_names, parser_settings


@dataclass(frozen=True)
class Setting:
    """One setting of a parser.

    Attributes:
        name: Key in ``parse.settings``.
        type: In words, such as ``text or null``.
        required: Whether it must be given.
        default: As JSON value; None too if it is required.
        description: What it does.
    """

    name: str
    type: str
    required: bool
    default: Any
    description: str


@dataclass(frozen=True)
class ListedParser:
    """A parser that can be named, or one that cannot be imported here.

    Attributes:
        name: What users write into ``parse.parser``.
        module: Module that registers it; empty if it is not known.
        about: First sentence of its module's documentation.
        settings: What it takes.
        problem: Why it cannot be imported; empty if it can.
    """

    name: str
    module: str
    about: str
    settings: tuple[Setting, ...]
    problem: str


def list_parsers() -> list[ListedParser]:
    """Every parser, built in or of another package, sorted by name; one that cannot be imported spoils no other."""
    modules = known_backends()
    problems = {}
    for name in modules:
        try:
            load_backends(name)
        except (InputError, ImportError) as error:
            problems[name] = str(error)
    listed = []
    for name in sorted({*parser_names(), *problems}):
        module = modules.get(name, "")
        model = None if name in problems else parser_settings(name)
        about = "" if model is None else _about(module)
        listed.append(ListedParser(name, module, about, _settings(model), problems.get(name, "")))
    return listed


def _about(module: str) -> str:
    """What the first line of a module's documentation says, up to a semicolon and without its marks."""
    text = inspect.getdoc(sys.modules[module]) if module in sys.modules else None
    return text.splitlines()[0].split(";")[0].rstrip(".").replace("``", "") if text else ""


def _settings(model: type[BaseModel] | None) -> tuple[Setting, ...]:
    if model is None:
        return ()
    return tuple(
        Setting(
            name=name,
            type=type_in_words(field.annotation),
            required=field.is_required(),
            default=None if field.is_required() else _plain(field),
            description=field.description or "",
        )
        for name, field in model.model_fields.items()
    )


def _plain(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    return list(value) if isinstance(value, tuple | set | frozenset) else value


_WORDS: dict[Any, str] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    Path: "path",
    type(None): "null",
    Any: "anything",
}


def type_in_words(annotation: Any) -> str:
    """A type as people who write YAML would say it: ``list of text``, ``path or null``, ``labels or mask``."""
    if annotation in _WORDS:
        return _WORDS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join("null" if value is None else str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(type_in_words(part) for part in arguments)
    if origin is tuple and arguments:
        if arguments[-1] is Ellipsis:
            return f"list of {type_in_words(arguments[0])}"
        return f"[{', '.join(type_in_words(part) for part in arguments)}]"
    if origin in (list, set, frozenset):
        return f"list of {type_in_words(arguments[0])}"
    if origin is dict:
        return f"mapping of {type_in_words(arguments[0])} to {type_in_words(arguments[1])}"
    if hasattr(annotation, "__metadata__"):  # Annotated
        return type_in_words(annotation.__origin__)
    return getattr(annotation, "__name__", str(annotation))
