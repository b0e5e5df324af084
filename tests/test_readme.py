"""The README states what is true: its parameter tables are those of the program, its commands exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.config import Parameters
from pipeline.parsing.backends import BACKENDS, load_backends
from pipeline.parsing.parser import parser_settings
from stages.cli import app

REPOSITORY = Path(__file__).resolve().parent.parent
README = (REPOSITORY / "README.md").read_text()


def shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return json.dumps(list(value)) if isinstance(value, tuple | list) else str(value)


def rows() -> list[str]:
    """One table row for each parameter, as the README must have it."""
    found = []
    for name, field in Parameters.model_fields.items():
        if isinstance(field.default, BaseModel):
            for key, inner in type(field.default).model_fields.items():
                default = inner.default if inner.default is not PydanticUndefined else inner.default_factory()
                found.append(f"| `{name}.{key}` | `{shown(default)}` | {inner.description} |")
        else:
            found.append(f"| `{name}` | `{shown(field.default)}` | {field.description} |")
    return found


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("`")[1])
def test_every_parameter_is_in_the_tables_with_its_default_and_meaning(row):
    assert "None |" not in row, "the parameter has no description"
    assert row in README


def test_the_tables_name_no_parameter_that_does_not_exist():
    known = {row.split("`")[1] for row in rows()}
    section = README[README.index("## Every parameter") :]
    listed = set(re.findall(r"^\| `([a-z0-9_.]+)` \| `", section, flags=re.MULTILINE))
    assert listed == known


def settings_rows(parser: str) -> list[str]:
    """One table row for each setting of a parser, as the README must have it."""
    found = []
    for key, field in parser_settings(parser).model_fields.items():
        default = field.get_default(call_default_factory=True)
        value = "required" if field.is_required() else f"`{shown(default)}`"
        found.append(f"| `parse.settings.{key}` | {value} | {field.description} |")
    return found


@pytest.mark.parametrize("parser", sorted(BACKENDS))
def test_every_built_in_parser_has_a_section_with_a_table_of_its_settings(parser):
    load_backends(parser)
    heading = f"### `{parser}`\n"
    assert README.count(heading) == 1
    section = re.split(r"^##+ ", README[README.index(heading) + len(heading) :], maxsplit=1, flags=re.MULTILINE)[0]
    assert re.findall(r"^\| `parse\.settings\..*\|$", section, flags=re.MULTILINE) == settings_rows(parser)


def test_no_placeholder_is_left():
    assert not re.findall(r"@[A-Z_]+@", README)


def test_every_command_is_in_the_table_and_the_other_way_round():
    table = README[README.index("## Commands") : README.index("## Protocols")]
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", table, flags=re.MULTILINE))
    assert listed == {command.name for command in app.registered_commands}


def test_commands_in_code_blocks_exist():
    used = set(re.findall(r"^ccaf-pipeline ([a-z][a-z-]*)", README, flags=re.MULTILINE))
    assert used <= {command.name for command in app.registered_commands}


def test_files_that_are_linked_or_named_exist():
    links = re.findall(r"\]\((?!http)([^)#]+)\)", README)
    named = re.findall(r"`((?:pipeline|stages|tests|benchmarks|data_manifests)/[\w/.-]*)`", README)
    missing = [path for path in links + named if not (REPOSITORY / path).exists()]
    assert not missing


def test_the_table_of_parsers_is_of_the_packaged_weights():
    """After new weights: python benchmarks/parsers.py --photos ccp_parsing."""
    from benchmarks.parsers import BEGIN, COLUMNS, END, merge_row
    from pipeline.files import sha256_of_file
    from pipeline.parsing.lite.checkpoint import PACKAGED_WEIGHTS

    table = README[README.index(BEGIN) + len(BEGIN) : README.index(END)].strip().splitlines()
    assert table[0] == f"| {' | '.join(COLUMNS)} |"
    lite = next(row for row in table if row.startswith("| `lite` |"))
    assert lite.split(" | ")[1] == f"`{sha256_of_file(PACKAGED_WEIGHTS)[:12]}`"
    assert merge_row(README, lite) == README
    more = merge_row(README, lite.replace("`lite`", "`zebra`"))
    assert [line.split("`")[1] for line in more.splitlines() if line in (lite, lite.replace("`lite`", "`zebra`"))] == [
        "lite", "zebra",
    ]  # fmt: skip
