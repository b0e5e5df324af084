"""Writes the pages of the reference that follow from the program: commands, parameters, parsers' settings, data sets.

    python docs/generate.py            # write docs/reference/{commands,known-data-sets,parameters,parsers}.md
    python docs/generate.py --check    # change nothing; exit code 1 if a page is out of date

The pages are committed, so that they can be read where nothing is built; a test holds them to this program.
"""

import argparse
import inspect
import json
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from typer.models import OptionInfo, ParamMeta
from typer.utils import get_params_from_function

from pipeline.config import Parameters
from pipeline.datasets.catalog import DatasetFacts, Quantity, load_facts, sets_not_included
from pipeline.parsing.backends import BACKENDS, FORMER_NAMES, load_backends
from pipeline.parsing.parser import parser_settings
from stages.cli import app

FOLDER = Path(__file__).resolve().parent / "reference"
NOTE = "<!-- Written by docs/generate.py: change the program's own texts, then run `make reference`. -->"


# ---------------------------------------------------------------------------------------------------------- values


def shown_value(value: Any) -> str:
    """A default as it would stand in ``params.yaml``."""
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return json.dumps(list(value)) if isinstance(value, tuple | list) else str(value)


def type_name(annotation: Any) -> str:
    """What may be given, in words: ``integer``, ``a, b or c``, ``list of numbers``."""
    words = list(dict.fromkeys(_alternatives(annotation)))
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _alternatives(annotation: Any) -> list[str]:
    origin, inside = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [f"`{item.value}`" for item in annotation]
    if origin in (Union, UnionType):
        given = [word for item in inside if item is not NoneType for word in _alternatives(item)]
        return [*given, "`null`"] if NoneType in inside else given
    if origin is Literal:
        return [f"`{shown_value(item)}`" for item in inside]
    if origin in (list, tuple):
        return ["list" if not inside else f"list of {_plural(_alternatives(inside[0]))}"]
    if hasattr(annotation, "__metadata__"):  # Annotated
        return _alternatives(inside[0])
    if origin is dict or annotation is dict or (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
        return ["mapping"]
    if annotation is bool:
        return ["`true`", "`false`"]
    if annotation is Any:
        return ["anything"]
    return [{int: "integer", float: "number", str: "text", Path: "path"}.get(annotation, annotation.__name__)]


def _plural(words: list[str]) -> str:
    """Kinds of the items of a list: ``integers``, or the values that they may have."""
    return ", ".join(word if word.startswith("`") else f"{word}s" for word in words)


def bounds(minimum: Any, maximum: Any) -> str:
    """The bounds of a number, both inclusive: ``, 1 to 5``; empty if there are none."""
    if minimum is None and maximum is None:
        return ""
    if maximum is None:
        return f", at least {minimum:g}"
    return f", at most {maximum:g}" if minimum is None else f", {minimum:g} to {maximum:g}"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


# ---------------------------------------------------------------------------------------- parameters and settings


def field_values(field: FieldInfo) -> str:
    """Type and bounds of a field."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    limits = [
        f"{word} {getattr(item, name):g}"
        for item in field.metadata
        for name, word in words.items()
        if isinstance(getattr(item, name, None), int | float)
    ]
    return ", ".join([type_name(field.annotation), *limits])


def field_row(name: str, field: FieldInfo) -> str:
    """One row of a table of parameters."""
    default = "required" if field.is_required() else f"`{shown_value(field.get_default(call_default_factory=True))}`"
    return f"| `{name}` | {default} | {_cell(field_values(field))} | {_cell(field.description or '')} |"


_FIELD_TABLE = ["| {} | default | values | meaning |", "|---|---|---|---|"]


def field_table(model: type[BaseModel], prefix: str, heading: str = "parameter") -> list[str]:
    """The table of a model's fields, those of sections inside it left out."""
    rows = [field_row(f"{prefix}{key}", field) for key, field in model.model_fields.items() if _section(field) is None]
    return [_FIELD_TABLE[0].format(heading), _FIELD_TABLE[1], *rows] if rows else []


def _section(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        inner = _section(field)
        if inner is not None:
            yield f"{prefix}{name}", inner
            yield from _sections(inner, f"{prefix}{name}.")


def parameters_page() -> str:
    """Every parameter with its default, its values and its meaning."""
    lines = [
        NOTE,
        "# Parameters",
        "",
        "Parameters stand in a YAML file, by default `params.yaml` in the current folder; `--set key=value` changes a",
        "single one, and `--params preset:NAME` takes a packaged file. A key that the program does not know is an",
        "error. The defaults below are the program's, which are the paper's wherever the paper states them; the",
        "`params.yaml` of this repository is the demo's small setting.",
        "",
        *field_table(Parameters, ""),
    ]
    for name, model in _sections(Parameters):
        lines += ["", f"## `{name}`", "", inspect.cleandoc(model.__doc__ or ""), "", *field_table(model, f"{name}.")]
    return "\n".join(lines) + "\n"


def parsers_page() -> str:
    """The settings of every built-in parser."""
    lines = [
        NOTE,
        "# Parser settings",
        "",
        "`parse.parser` names the parser and `parse.settings` holds its settings. The guide to",
        "[parsers](../guides/parsers.md) says what each parser is for. `ccaf-pipeline parse --parsers` prints these",
        "tables too, and with them those of parsers that other packages bring.",
    ]
    for name in sorted(BACKENDS):
        load_backends(name)
        table = field_table(parser_settings(name), "parse.settings.", "setting")
        lines += ["", f"## `{name}`", "", *(table or ["It has no settings."])]
    former = (f"`{name}` is the former name of `{today}`." for name, today in FORMER_NAMES.items())
    lines += ["", *former]
    return "\n".join(lines) + "\n"


# -------------------------------------------------------------------------------------------------------- commands


def _option_row(parameter: ParamMeta) -> str:
    info = parameter.default
    spelled = [word for word in (info.param_decls or ()) if word.startswith("-")] or [
        "--" + parameter.name.replace("_", "-")
    ]
    default = "" if info.default is None or info.default is False else f"`{shown_value(info.default)}`"
    if info.default in (..., inspect.Parameter.empty):
        default = "required"
    values = "" if parameter.annotation is bool else f"{_option_type(parameter)}{bounds(info.min, info.max)}"
    return f"| {', '.join(f'`{word}`' for word in spelled)} | {default} | {_cell(values)} | {_cell(info.help or '')} |"


def _option_type(parameter: ParamMeta) -> str:
    if parameter.default.metavar:
        return f"`{parameter.default.metavar}`"
    kinds = [item for item in get_args(parameter.annotation) if item is not NoneType]
    single = kinds[0] if get_origin(parameter.annotation) in (Union, UnionType) else parameter.annotation
    return type_name(get_args(single)[0] if get_origin(single) is list else single)


def _argument_row(parameter: ParamMeta) -> str:
    info = parameter.default
    needed = "required" if info.default in (..., inspect.Parameter.empty) else ""
    return f"| `{parameter.name.upper()}` | {needed} | {_cell(_option_type(parameter))} | {_cell(info.help or '')} |"


def command_lines(name: str, function: Any, text: str | None) -> list[str]:
    """The section of one command: its help, its arguments and its options."""
    parameters = [item for item in get_params_from_function(function).values() if hasattr(item.default, "param_decls")]
    arguments = [item for item in parameters if not isinstance(item.default, OptionInfo)]
    options = [item for item in parameters if isinstance(item.default, OptionInfo) and not item.default.hidden]
    usage = " ".join(["ccaf-pipeline", name, *(f"[{item.name.upper()}]" for item in arguments), "[OPTIONS]"])
    lines = [f"## {name}", "", inspect.cleandoc(text or function.__doc__ or ""), "", "```text", usage, "```", ""]
    if arguments:
        lines += ["| argument | | value | meaning |", "|---|---|---|---|", *map(_argument_row, arguments), ""]
    return [*lines, "| option | default | value | meaning |", "|---|---|---|---|", *map(_option_row, options), ""]


def _commands(group: typer.Typer, prefix: str = "") -> Iterator[tuple[str, Any, str | None]]:
    for command in group.registered_commands:
        if not command.hidden and command.callback is not None:
            yield (
                f"{prefix}{command.name or command.callback.__name__.replace('_', '-')}",
                command.callback,
                command.help,
            )
    for inner in group.registered_groups:
        if inner.typer_instance is not None and not inner.hidden:
            yield from _commands(inner.typer_instance, f"{prefix}{inner.name} ")


def commands_page() -> str:
    """Every command with its help and its options."""
    found = list(_commands(app))
    lines = [
        NOTE,
        "# Commands",
        "",
        "Each command prints the same texts with `--help`. [The overview](index.md) says what they have in common:",
        "exit codes, interruption, `--json`.",
        "",
        "| command | what it does |",
        "|---|---|",
    ]
    for name, function, text in found:
        first = inspect.cleandoc(text or function.__doc__ or "").partition("\n\n")[0]
        lines.append(f"| [`{name}`](#{name.replace(' ', '-')}) | {_cell(first)} |")
    lines.append("")
    for name, function, text in found:
        lines += command_lines(name, function, text)
    return "\n".join(lines)


# ------------------------------------------------------------------------------------------------------- data sets


def _published(facts: DatasetFacts, quantity: Quantity) -> str:
    """A number of the whole data set, with ``?`` where it could not be verified; empty where none is stated."""
    whole = next((entry for entry in facts.counts if entry.of == "all"), None)
    value = None if whole is None else getattr(whole, quantity)
    if whole is None or value is None:
        return ""
    return f"{value:,}{'?' if quantity in whole.uncertain else ''}"


def data_sets_page() -> str:
    """The data sets that are known by name, and those that are not included."""
    lines = [
        NOTE,
        "# Known data sets",
        "",
        "Facts of the packaged data set files; `ccaf-pipeline datasets --dataset NAME` prints all of them, with the",
        "layout and the published numbers of each split. Numbers are those of the whole data set where its authors",
        "state them; `?` marks one that could not be verified. Read the terms at the source: here is but a pointer.",
        "",
        "| name | data set | identities | images | tracklets | protocols | how to get it | terms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    folder = Path(__file__).resolve().parents[1] / "data_manifests"
    for name in sorted(path.stem for path in folder.glob("*.yaml")):
        facts = load_facts(name, folder)
        home = f"[{facts.title}]({facts.home})" if facts.home.startswith("http") else facts.title
        numbers = [_published(facts, quantity) for quantity in ("identities", "images", "tracklets")]
        protocols = ", ".join(f"`{protocol}`" for protocol in facts.protocols)
        cells = [f"`{name}`", home, *numbers, protocols, _cell(facts.access), _cell(facts.terms)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "## Not included", "", "| data set | why |", "|---|---|"]
    lines += [f"| [{entry.title}]({entry.home}) | {_cell(entry.reason)} |" for entry in sets_not_included(folder)]
    return "\n".join(lines) + "\n"


PAGES = {
    "commands.md": commands_page,
    "known-data-sets.md": data_sets_page,
    "parameters.md": parameters_page,
    "parsers.md": parsers_page,
}
"""File name of each generated page, and the function that makes its text."""


def main() -> int:
    """Write the pages, or with --check compare them; the exit code."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--check", action="store_true", help="change nothing; exit code 1 if a page is out of date")
    check = options.parse_args().check
    stale = []
    for name, make in PAGES.items():
        path, text = FOLDER / name, make()
        if not path.is_file() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.write_text(text)
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run `make reference`", file=sys.stderr)
        return 1
    print("\n".join(f"wrote docs/reference/{name}" for name in stale) or "the pages are up to date")
    return 0


if __name__ == "__main__":
    sys.exit(main())
