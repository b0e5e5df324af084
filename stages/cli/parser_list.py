"""``ccaf-pipeline parse --parsers``: the parsers that can be named, and what each takes."""

import json
import textwrap
from dataclasses import asdict

from pipeline.parsing.listing import ListedParser, Setting, list_parsers
from stages.console import Console

WIDTH = 110


def show_parsers(console: Console) -> None:
    """Print every parser with its settings."""
    listed = list_parsers()
    console.result({"parsers": [asdict(parser) for parser in listed]}, "\n\n".join(map(_as_text, listed)))
    console.say("choose one by --parser NAME, and set it by --set parse.settings.KEY=VALUE or in the parameter file")


def _as_text(parser: ListedParser) -> str:
    if parser.problem:
        return f"{parser.name}\n    cannot be used here: {parser.problem}"
    lines = [parser.name]
    if parser.about:
        lines += _wrapped(parser.about, 4)
    for setting in parser.settings:
        lines += [f"    {setting.name} ({setting.type}; {_default(setting)})", *_wrapped(setting.description, 8)]
    return "\n".join(lines if parser.settings else [*lines, "    no settings"])


def _default(setting: Setting) -> str:
    return "must be given" if setting.required else f"default {json.dumps(setting.default)}"


def _wrapped(text: str, indent: int) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=" " * indent, subsequent_indent=" " * indent)
