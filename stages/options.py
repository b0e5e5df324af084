"""The options that commands share, and the context they are read into."""

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.config import Parameters, load_parameters
from pipeline.errors import InputError
from pipeline.workspace import Workspace
from stages.console import Console

DEFAULT_PARAMETERS = Path("params.yaml")

ParamsOption = Annotated[
    Path | None,
    typer.Option(
        "--params",
        help="Parameter file, or preset:NAME (preset:prcc). Default: params.yaml here, if there is one.",
        show_default=False,
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override one parameter, such as encoder.epochs=10. Repeatable."),
]
SeedOption = Annotated[int | None, typer.Option("--seed", help="Override the parameter seed.", show_default=False)]
DatasetOption = Annotated[
    str | None,
    typer.Option("--dataset", help="Data set: a name in data_manifests/ or a YAML file.", show_default=False),
]
RootOption = Annotated[
    Path | None,
    typer.Option("--root", help="Folder that holds the data sets. Default: data.root, else $CCAF_DATA."),
]
TrustOption = Annotated[
    bool,
    typer.Option(
        "--trust", help="Let the parser read files that execute code (sets parse.settings.trust): only your own files."
    ),
]
ParserOption = Annotated[
    str | None,
    typer.Option(
        "--parser",
        help="Parser. Default: the parameter parse.parser. Settings of another parser in the parameter file are "
        "left out; give this one's by --set parse.settings.KEY=VALUE.",
        show_default=False,
    ),
]
QuietOption = Annotated[bool, typer.Option("--quiet", help="No progress and no remarks.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")]


@dataclass(frozen=True)
class Context:
    """What a command has to work with after its shared options were read."""

    parameters: Parameters
    console: Console
    given: tuple[str, ...] = ()
    """Data set and parameter file as they were given, for the command that comes next."""

    def say_next(self, *words: str) -> None:
        """Tell which command usually comes next, with the data set and parameter file of this one."""
        self.console.say(f"next: ccaf-pipeline {shlex.join([*words, *self.given])}")


def make_context(
    params: Path | None,
    overrides: list[str] | None,
    seed: int | None = None,
    dataset: str | None = None,
    root: Path | None = None,
    parser: str | None = None,
    quiet: bool = False,
    as_json: bool = False,
) -> Context:
    """Read the parameter file and apply the shared options, which win over the file.

    Raises:
        InputError: The file or a value is wrong.
    """
    given = [] if dataset is None else ["--dataset", dataset]
    given += [] if params is None else ["--params", str(params)]
    if params is None and DEFAULT_PARAMETERS.is_file():
        params = DEFAULT_PARAMETERS
    changes = list(overrides or [])
    if seed is not None:
        changes.append(f"seed={seed}")
    if dataset is not None:
        changes.append(f"data.dataset={_quoted(dataset)}")
    if root is not None:
        changes.append(f"data.root={_quoted(str(root))}")
    if parser is not None:
        changes.append(f"parse.parser={_quoted(parser)}")
    return Context(load_parameters(params, changes), Console(quiet=quiet, as_json=as_json), tuple(given))


def _quoted(text: str) -> str:
    """Text as a YAML string, so that a folder called ``2024`` or ``a: b`` stays a text."""
    return json.dumps(text, ensure_ascii=False)


def trusting(parser: str, settings: dict[str, Any], trust: bool) -> dict[str, Any]:
    """The settings of a parser, with its setting ``trust`` on if ``--trust`` was given.

    Raises:
        InputError: ``--trust`` was given, but the parser reads nothing that executes code.
    """
    if not trust:
        return settings
    from pipeline.parsing.backends import load_backends
    from pipeline.parsing.parser import parser_settings

    load_backends(parser)
    if "trust" not in parser_settings(parser).model_fields:
        raise InputError(f"--trust is not for the parser {parser}: it has no setting trust")
    return {**settings, "trust": True}


def dataset_workspace(context: Context) -> Workspace:
    """Default places of the artifacts of the data set that the parameters name.

    Raises:
        InputError: The data set is not known, or names a protocol that does not exist.
    """
    from pipeline.datasets.catalog import load_facts
    from pipeline.evaluation.protocols import find_protocols

    facts = load_facts(context.parameters.data.dataset)
    for name in facts.protocols:
        find_protocols(name)  # a wrong name must not come out after hours of parsing and training
    return Workspace.of(facts.name)
