"""Reads parameters from a YAML file and the command line; what is wrong comes out in one line."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pipeline.config.parameters import Parameters
from pipeline.errors import InputError
from pipeline.location import expand_home
from pipeline.presets import parameter_file
from pipeline.shards.making.settings import ParseSettings
from pipeline.yaml_files import parse_yaml, read_yaml

SHOWN_CHARACTERS = 80
"""Of a value that is wrong, in its message."""


def _shortened(text: str) -> str:
    """A text as messages show it: its beginning, if it is long."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}..."


def _known_keys(model: type[BaseModel], prefix: str = "") -> list[str]:
    keys = []
    for name, field in model.model_fields.items():
        keys.append(prefix + name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            keys += _known_keys(field.annotation, f"{prefix}{name}.")
    return keys


def _assign(tree: dict[str, Any], key: str, value: Any) -> None:
    *parents, last = key.split(".")
    node = tree
    for name in parents:
        child = node.get(name)
        if not isinstance(child, dict):
            child = node[name] = {}
        node = child
    node[last] = value


def _explain(error: ValidationError, source: str) -> str:
    problems = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"]) or "the file"
        if item["type"] == "extra_forbidden":
            close = get_close_matches(key, _known_keys(Parameters), n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            problems.append(f"{key} is not a parameter{hint}")
        else:
            given = _shortened(repr(item["input"]))
            problems.append(f"{key} = {given}: {item['msg'].removeprefix('Value error, ')}")
    return f"{source}: " + "; ".join(problems)


def _read_override(override: str) -> tuple[str, Any]:
    key, separator, text = override.partition("=")
    if not separator or not key:
        raise InputError(f"--set {_shortened(override)}: expected key=value, such as encoder.epochs=10")
    try:
        return key.strip(), parse_yaml(text)
    except ValueError as error:
        raise InputError(f"--set {_shortened(override)}: the value is not YAML: {error}") from error


def _forget_other_parsers_settings(tree: dict[str, Any], changes: Sequence[tuple[str, Any]]) -> None:
    """Take ``parse.settings`` out of a file's tree if the changes choose another parser than the file."""
    parse = tree.get("parse")
    chosen = [value for key, value in changes if key == "parse.parser"]
    if isinstance(parse, dict) and chosen:
        default = ParseSettings.model_fields["parser"].default
        if chosen[-1] != parse.get("parser", default):
            parse.pop("settings", None)


def read_parameter_tree(path: Path) -> dict[str, Any]:
    """Sections of a parameter file as they stand there, unchecked.

    Args:
        path: The file, or ``preset:NAME``.

    Raises:
        InputError: The file is missing or no YAML mapping.
    """
    path = parameter_file(path)
    tree = read_yaml(path, "parameter file") or {}
    if not isinstance(tree, dict):
        raise InputError(f"parameter file {path} must be a mapping of sections, not {type(tree).__name__}")
    return tree


def read_overrides(overrides: Sequence[str]) -> list[tuple[str, Any]]:
    """Keys and values of ``key=value`` texts; values are YAML.

    Raises:
        InputError: A text has no key, or its value is no YAML.
    """
    return [_read_override(override) for override in overrides]


def build_parameters(tree: Mapping[str, Any], changes: Sequence[tuple[str, Any]], source: str) -> Parameters:
    """Parameters of a tree of sections with changes by dotted key; later ones win.

    Args:
        tree: Sections; not changed. Its ``parse.settings`` belong to its parser: where the changes choose another one,
            they are left out.
        changes: Such as ``("encoder.epochs", 10)``.
        source: Where they come from, for messages.

    Raises:
        InputError: A key is unknown, or a value is not allowed.
    """
    changed = deepcopy(dict(tree))
    _forget_other_parsers_settings(changed, changes)
    for key, value in changes:
        _assign(changed, key, value)
    try:
        return Parameters.model_validate(expand_home(changed))
    except ValidationError as error:
        raise InputError(_explain(error, source)) from None


def load_parameters(path: Path | None = None, overrides: Sequence[str] = ()) -> Parameters:
    """Read parameters from a YAML file and apply ``key=value`` overrides (values are YAML).

    Args:
        path: The file, or ``preset:NAME``; None means defaults only.
        overrides: Such as ``encoder.epochs=10``; later ones win. The file's ``parse.settings`` belong to the file's
            parser: where the overrides choose another one, they are left out.

    Raises:
        InputError: The file is missing or no YAML mapping, a key is unknown, or a value is not allowed.
    """
    source = "parameters" if path is None else str(path)
    tree = {} if path is None else read_parameter_tree(path)
    return build_parameters(tree, read_overrides(overrides), f"{source} with options" if overrides else source)
