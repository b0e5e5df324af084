"""README and documentation state what is true: commands, options, parameters, files are those that exist."""

import re
import shlex
from itertools import pairwise

import pytest
import yaml
from doc_pages import DOCS, PAGES, README, REPOSITORY, code_blocks, section
from pydantic import BaseModel
from typer.utils import get_params_from_function

from pipeline.config import Parameters
from pipeline.parsing.backends import BACKENDS
from stages.cli import app

COMMANDS = {command.name: command.callback for command in app.registered_commands}
EVERYWHERE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


def test_the_readme_is_short():
    assert len(README.read_text().splitlines()) <= 150


def test_the_result_tables_of_readme_and_documentation_are_the_same():
    """A table of figures that stands in two places is one table."""
    for page, columns in ((DOCS / "quickstart.md", "| | general |"), (DOCS / "guides/studies.md", "| baseline |")):
        tables = [
            re.findall(rf"^{re.escape(columns)}.*\n(?:\|.*\n)+", text, flags=re.MULTILINE)
            for text in (README.read_text(), page.read_text())
        ]
        assert len(tables[0]) == 1
        assert tables[0] == tables[1]


@EVERYWHERE
def test_no_placeholder_is_left(page):
    assert not re.findall(r"@[A-Z_]+@|TODO|FIXME|XXX", page.read_text())


def used_commands(page):
    """Each `ccaf-pipeline ...` of a page's code blocks as words, comments left out and lines joined."""
    for block in code_blocks(page, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            for start in ("ccaf-pipeline ", "-- python -m stages "):
                if line.lstrip().startswith(start) or (start.startswith("--") and start in line):
                    yield shlex.split(line.partition(start)[2], comments=True)


def options_of(command):
    """Spellings of a command's options, and those among them that take no value."""
    spelled, flags = set(), set()
    for parameter in get_params_from_function(COMMANDS[command]).values():
        words = {word for word in getattr(parameter.default, "param_decls", None) or () if word.startswith("-")}
        spelled |= words
        if parameter.annotation is bool:
            flags |= words
    return spelled, flags


def parameter_names(model=Parameters, prefix=""):
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield f"{prefix}{name}"
            yield from parameter_names(field.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


KNOWN = set(parameter_names())
SETTING = re.compile(r"^    (\w+): .* = Field\(", re.MULTILINE)


def is_known(key):
    return key in KNOWN or key.startswith(("parse.settings.", "encoder.weights.", "encoder.start_epochs."))


@EVERYWHERE
def test_commands_in_code_blocks_exist_with_their_options_and_parameters(page):
    for words in used_commands(page):
        if words == ["--help"]:
            continue
        assert words[0] in COMMANDS, words
        spelled, _ = options_of(words[0])
        used = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert used <= spelled | {"--help"}, (words, used - spelled)
        keys = [value.partition("=")[0] for name, value in pairwise(words) if name == "--set"]
        assert all(map(is_known, keys)), keys


def test_commands_are_found_in_the_pages():
    """The check above looks at something: the six commands of one's own data are in README and guide."""
    for page in (README, DOCS / "guides/own-data.md"):
        six = ["manifest", "parse", "train", "extract", "evaluate", "report"]
        assert [words[0] for words in used_commands(page) if words[0] in six] == six


@EVERYWHERE
def test_parameters_that_are_named_exist(page):
    sections = {name.partition(".")[0] for name in KNOWN if "." in name}
    files = (".yaml", ".html", ".md", ".json", ".csv", ".parquet", ".py", ".pth", ".safetensors", ".svg", ".png")
    named = re.findall(rf"`((?:{'|'.join(sorted(sections))})\.[a-z0-9_.]+)[`:=]", page.read_text())
    made_here = {f"encoder.{name}" for block in code_blocks(page, "python") for name in SETTING.findall(block)}
    unknown = {name for name in named if not is_known(name) and not name.endswith(files)} - made_here
    assert not unknown


@EVERYWHERE
def test_files_that_are_linked_or_named_exist(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    links = re.findall(r"\]\((?!http)([^)#\s]+)[^)]*\)", text)
    named = re.findall(r"`((?:pipeline|stages|tests|benchmarks|data_manifests|examples)/[\w/.-]*)`", text)
    named += re.findall(r"python ((?:docs|benchmarks|examples)/[\w/.-]*)", page.read_text())
    missing = [path for path in links if not (page.parent / path).exists()]
    missing += [path for path in named if not (REPOSITORY / path).exists()]
    assert not missing


def test_every_page_is_in_the_navigation_and_the_other_way_round():
    def files(entry):
        if isinstance(entry, str):
            return [entry]
        return [file for inner in (entry.values() if isinstance(entry, dict) else entry) for file in files(inner)]

    text = (REPOSITORY / "mkdocs.yml").read_text()
    listed = files(yaml.safe_load(text)["nav"])
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("parser", sorted(BACKENDS))
def test_every_built_in_parser_has_a_section_that_leads_to_its_settings(parser):
    assert f"../reference/parsers.md#{parser}" in section(DOCS / "guides/parsers.md", f"### `{parser}`")


def test_the_table_of_parsers_is_of_the_packaged_weights():
    """After new weights: python benchmarks/parsers.py --photos ccp_parsing."""
    from benchmarks.parsers import BEGIN, COLUMNS, END, PAGE, merge_row
    from pipeline.files import sha256_of_file
    from pipeline.parsing.lite.checkpoint import PACKAGED_WEIGHTS

    text = PAGE.read_text()
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)].strip().splitlines()
    assert table[0] == f"| {' | '.join(COLUMNS)} |"
    lite = next(row for row in table if row.startswith("| `lite` |"))
    assert lite.split(" | ")[1] == f"`{sha256_of_file(PACKAGED_WEIGHTS)[:12]}`"
    assert merge_row(text, lite) == text
    more = merge_row(text, lite.replace("`lite`", "`zebra`"))
    assert [line.split("`")[1] for line in more.splitlines() if line in (lite, lite.replace("`lite`", "`zebra`"))] == [
        "lite", "zebra",
    ]  # fmt: skip


def test_the_table_of_methods_is_of_the_methods_that_exist():
    from pipeline.training.methods import METHODS

    rows = re.findall(r"^\| `([\w+-]+)` \|", section(DOCS / "method/index.md", "## Methods"), flags=re.MULTILINE)
    assert rows == list(METHODS)


def test_the_table_of_studies_is_of_the_studies_that_exist():
    from pipeline.studies.reading import study_names

    text = (DOCS / "guides/studies.md").read_text()
    table = text[text.index("| study | what it compares |") :].partition("\n\n")[0]
    assert sorted(re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE)) == sorted(study_names())


def test_the_columns_of_a_shard_are_those_of_its_schema():
    from pipeline.shards.schema import SHARD_SCHEMA

    table = section(DOCS / "reference/artifacts.md", "## Columns of a shard")
    cells = re.findall(r"^\| (`.*?) \|", table, flags=re.MULTILINE)
    named = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(SHARD_SCHEMA.names)


def test_versions_agree():
    """Package, changelog and citation name the same release."""
    from pipeline import __version__

    changes = (REPOSITORY / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)$", changes, re.MULTILINE)
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert (__version__, str(citation["date-released"])) == released[0]
    assert str(citation["version"]) == __version__
    assert re.search(
        rf'^version = "{re.escape(__version__)}"$', (REPOSITORY / "pyproject.toml").read_text(), re.MULTILINE
    )


def test_the_hooks_before_a_commit_run_what_the_gate_runs():
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    run_by_hooks = {hook["entry"].replace(" --force-exclude", "").removeprefix(".venv/bin/") for hook in hooks}
    recipes = re.findall(
        r"^\t\$\(BIN\)/((?:ruff|mypy).*?)(?: \.)?$", (REPOSITORY / "Makefile").read_text(), re.MULTILINE
    )
    assert {"ruff check", "ruff format --check", "mypy"} <= set(recipes)
    assert set(recipes) <= run_by_hooks
