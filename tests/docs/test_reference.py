"""The generated pages of the reference are those of this program, and hold all of it."""

import importlib.util
import json
import re
import sys

import pytest
from doc_pages import DOCS, section
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from pipeline.config import Parameters
from pipeline.parsing.backends import BACKENDS, load_backends
from pipeline.parsing.parser import parser_settings
from stages.cli import app, run

PARAMETERS = (DOCS / "reference/parameters.md").read_text()
COMMANDS = (DOCS / "reference/commands.md").read_text()


@pytest.fixture(scope="module")
def generate():
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["commands.md", "parameters.md", "parsers.md"])
def test_the_committed_page_is_what_the_program_gives(name, generate):
    """After a change of a command, a parameter or a setting: make reference."""
    assert (DOCS / "reference" / name).read_text() == generate.PAGES[name](), "run `make reference`"


def test_check_finds_a_page_that_is_out_of_date(generate, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(generate, "FOLDER", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate.py", "--check"])
    assert generate.main() == 1
    assert "out of date: commands.md, known-data-sets.md, parameters.md, parsers.md" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def shown(value):
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    return json.dumps(list(value)) if isinstance(value, tuple | list) else str(value)


def rows():
    """Beginning and end of one table row for each parameter, as the page must have it."""
    found = []
    for name, field in Parameters.model_fields.items():
        if isinstance(field.default, BaseModel):
            for key, inner in type(field.default).model_fields.items():
                default = inner.default if inner.default is not PydanticUndefined else inner.default_factory()
                found.append((f"{name}.{key}", shown(default), inner.description))
        else:
            found.append((name, shown(field.default), field.description))
    return found


@pytest.mark.parametrize(("name", "default", "meaning"), rows(), ids=lambda value: value if value else "none")
def test_every_parameter_is_in_the_tables_with_its_default_and_meaning(name, default, meaning):
    assert meaning, "the parameter has no description"
    (row,) = (line for line in PARAMETERS.splitlines() if line.startswith(f"| `{name}` |"))
    assert row.startswith(f"| `{name}` | `{default}` | ")
    assert row.endswith(f" | {meaning} |".replace("<", "&lt;"))


def test_the_tables_name_no_parameter_that_does_not_exist():
    listed = re.findall(r"^\| `([\w.]+)` \|", PARAMETERS, flags=re.MULTILINE)
    assert sorted(listed) == sorted(name for name, _, _ in rows())


@pytest.mark.parametrize("parser", sorted(BACKENDS))
def test_every_built_in_parser_has_a_table_of_its_settings(parser):
    load_backends(parser)
    table = section(DOCS / "reference/parsers.md", f"## `{parser}`")
    found = re.findall(r"^\| `parse\.settings\.(\w+)` \| (.*?) \| .* \| (.*) \|$", table, flags=re.MULTILINE)
    expected = []
    for key, field in parser_settings(parser).model_fields.items():
        default = field.get_default(call_default_factory=True)
        expected.append((key, "required" if field.is_required() else f"`{shown(default)}`", field.description))
    assert found == expected


def test_every_command_is_in_the_table_and_the_other_way_round():
    listed = re.findall(r"^\| \[`([a-z -]+)`\]", COMMANDS, flags=re.MULTILINE)
    assert listed == [command.name for command in app.registered_commands]


@pytest.mark.parametrize("command", [command.name for command in app.registered_commands])
def test_every_option_that_help_shows_has_a_row(command, capsys):
    assert run([command, "--help"]) == 0
    shown_options = set(re.findall(r"^  (--[a-z-]+)", capsys.readouterr().out, flags=re.MULTILINE)) - {"--help"}
    table = section(DOCS / "reference/commands.md", f"## {command}")
    assert set(re.findall(r"^\| `(--[a-z-]+)`", table, flags=re.MULTILINE)) == shown_options
