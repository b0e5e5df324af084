"""The options that commands share: one decorator gives them to a command, which gets what they say as a context."""

import functools
import inspect
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.errors import InputError
from pipeline.location import expand_home
from pipeline.ray_session import default_address
from stages.console import Console

if TYPE_CHECKING:
    from pipeline.config import Parameters
    from pipeline.workspace import Workspace

DEFAULT_PARAMETERS = Path("params.yaml")

CheckpointOption = Annotated[
    Path | None, typer.Option("--checkpoint", help="Encoder checkpoint. Default: artifacts/<data set>/encoder.")
]
FrozenOption = Annotated[
    bool, typer.Option("--frozen", help="Use the CLIP of the parameters as it is, before any training.")
]
MaxBadOption = Annotated[
    float | None,
    typer.Option(
        "--max-bad",
        min=0,
        max=1,
        help="Share of bad images above which the exit code is 1. Default: the parameter parse.max_bad.",
    ),
]
"""Options of one meaning in several commands."""


def _params_option(default: str) -> Any:
    """The option ``--params`` of a command that without it reads what ``default`` says."""
    text = f"Parameter file, or preset:NAME (preset:prcc). Default: {default}."
    return Annotated[Path | None, typer.Option("--params", help=text, show_default=False)]


_SHARED: dict[str, tuple[Any, Any]] = {
    "dataset": (
        Annotated[
            str | None,
            typer.Option("--dataset", help="Data set: a name in data_manifests/ or a YAML file.", show_default=False),
        ],
        None,
    ),
    "root": (
        Annotated[
            Path | None,
            typer.Option("--root", help="Folder that holds the data sets. Default: data.root, else $CCAF_DATA."),
        ],
        None,
    ),
    "shards": (
        Annotated[
            Path | None,
            typer.Option(
                "--shards",
                help="Shards of parse, which also say what their data set is. Default: artifacts/<data set>/shards.",
            ),
        ],
        None,
    ),
    "no_root": (
        Annotated[
            Path | None, typer.Option("--root", hidden=True, help="Not for this command; refused with a reason.")
        ],
        None,
    ),
    "parser": (
        Annotated[
            str | None,
            typer.Option(
                "--parser",
                help="Parser. Default: the parameter parse.parser. Settings of another parser in the parameter file "
                "are left out; give this one's by --set parse.settings.KEY=VALUE.",
                show_default=False,
            ),
        ],
        None,
    ),
    "trust": (
        Annotated[
            bool,
            typer.Option(
                "--trust",
                help="Let the parser read files that execute code (sets parse.settings.trust): only your own files.",
            ),
        ],
        False,
    ),
    "address": (
        Annotated[
            str | None,
            typer.Option(
                "--address", help="Ray cluster: HOST:PORT, or auto. Default: $RAY_ADDRESS if set, else a local one."
            ),
        ],
        None,
    ),
    "params": (
        _params_option(f"{DEFAULT_PARAMETERS} here, if there is one"),
        None,
    ),
    "overrides": (
        Annotated[
            list[str] | None,
            typer.Option(
                "--set", metavar="KEY=VALUE", help="Override one parameter, such as encoder.epochs=10. Repeatable."
            ),
        ],
        None,
    ),
    "seed": (
        Annotated[int | None, typer.Option("--seed", help="Override the parameter seed.", show_default=False)],
        None,
    ),
    "quiet": (Annotated[bool, typer.Option("--quiet", help="No progress and no remarks.")], False),
    "as_json": (
        Annotated[bool, typer.Option("--json", help="Print the result as one JSON object on standard output.")],
        False,
    ),
}
_EVERY_COMMAND = ("params", "overrides", "quiet", "as_json")


@dataclass(frozen=True)
class Context:
    """What the shared options of a command say.

    Attributes:
        params: Parameter file.
        overrides: Texts ``key=value``; they win over the file.
        seed: In the place of the parameter.
        dataset: In the place of data.dataset.
        root: In the place of data.root.
        shards: Of the data set; None: at their usual place.
        no_root: What was given as a root to a command that has no use for it.
        parser: In the place of parse.parser.
        trust: Whether the parser may read files that execute code.
        address: Of a Ray cluster.
        quiet: No progress and no remarks.
        as_json: The result is one JSON object.
    """

    params: Path | None = None
    overrides: list[str] | None = None
    seed: int | None = None
    dataset: str | None = None
    root: Path | None = None
    shards: Path | None = None
    no_root: Path | None = None
    parser: str | None = None
    trust: bool = False
    address: str | None = None
    quiet: bool = False
    as_json: bool = False

    @cached_property
    def console(self) -> Console:
        """How the command speaks."""
        return Console(quiet=self.quiet, as_json=self.as_json)

    @cached_property
    def parameters(self) -> "Parameters":
        """The parameters of the file with all options applied; read when first asked for.

        Where neither file nor option names a data set, it is that of the shards which were named.

        Raises:
            InputError: The file or a value is wrong, or there are no such shards.
        """
        from pipeline.config import load_parameters

        params = self.params
        if params is None and DEFAULT_PARAMETERS.is_file():
            params = DEFAULT_PARAMETERS
        changes = list(self.overrides or [])
        given = {
            "seed": self.seed, "data.dataset": self.dataset, "data.root": self.root, "parse.parser": self.parser
        }  # fmt: skip
        changes += [f"{key}={_quoted(value)}" for key, value in given.items() if value is not None]
        changes += ["parse.settings.trust=true"] if self.trust else []
        parameters = load_parameters(params, changes)
        if self.trust:
            _check_trust(parameters.parse.parser)
        if self.shards is None or "dataset" in parameters.data.model_fields_set:
            return parameters
        return load_parameters(params, [*changes, f"data.dataset={_quoted(_dataset_of(self.shards))}"])

    @cached_property
    def workspace(self) -> "Workspace":
        """Default places of the artifacts of the data set that the parameters name.

        Raises:
            InputError: The data set is not known, or names a protocol that does not exist.
        """
        from pipeline.evaluation.protocols import find_protocols
        from pipeline.shards.dataset import find_facts
        from pipeline.workspace import Workspace

        facts = find_facts(self.parameters.data.dataset, self.shards)
        for name in facts.protocols:
            find_protocols(name)  # a wrong name must not come out after hours of parsing and training
        return Workspace.of(facts.name)

    @property
    def cluster_address(self) -> str | None:
        """Of the Ray cluster to join: as given, else ``$RAY_ADDRESS``; None: a local one."""
        return self.address or default_address()

    @property
    def shards_words(self) -> list[str]:
        """The option that names the shards, for the next command, if it was given."""
        return [] if self.shards is None else ["--shards", str(self.shards)]

    def say_next(self, *words: str, dataset: str | None = None) -> None:
        """Tell which command usually comes next, with the parameter file of this one and its data set, or another."""
        dataset = dataset or self.dataset
        given = [] if dataset is None else ["--dataset", dataset]
        given += [] if self.params is None else ["--params", str(self.params)]
        self.console.say(f"next: ccaf-pipeline {shlex.join([*words, *given])}")


def beside_features(features: Path, what: str) -> Path:
    """Where what is made of features goes by default: with ``metrics``, ``features-frozen.parquet`` gives
    ``metrics-frozen.json``; a file of another name ``metrics.json``.
    """
    name = features.stem.replace("features", what, 1) if features.stem.startswith("features") else what
    return features.with_name(f"{name}.json")


def _dataset_of(shards: Path) -> str:
    """Name of the data set that shards are of.

    Raises:
        InputError: There are no finished shards.
    """
    from pipeline.shards.record import read_record

    return read_record(shards).dataset


def _check_root(context: Context) -> None:
    """Refuse ``--root`` where nothing is read from the data root, and say what to give.

    Raises:
        InputError: It was given.
    """
    if context.no_root is not None:
        raise InputError(
            f"--root {context.no_root}: this command reads nothing there, for the shards of parse hold images and "
            "labels; say by --dataset which data set's, or name what it reads by its own option"
        )


def _check_trust(parser: str) -> None:
    """Refuse ``--trust`` for a parser that reads nothing that executes code.

    Raises:
        InputError: It is one.
    """
    from pipeline.parsing.backends import load_backends
    from pipeline.parsing.parser import parser_settings

    load_backends(parser)
    if "trust" not in parser_settings(parser).model_fields:
        raise InputError(f"--trust is not for the parser {parser}: it has no setting trust")


def _quoted(value: object) -> str:
    """A value as YAML, so that a folder called ``2024`` or ``a: b`` stays a text."""
    return str(value) if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)


def shared_options(
    *names: str, default_params: str | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command, besides its own options, ``--params``, ``--set``, ``--quiet``, ``--json`` and those named.

    Args:
        names: Of ``dataset``, ``root``, ``shards``, ``parser``, ``trust``, ``address``, ``seed``. A command with
            ``dataset`` that has no ``root`` answers to ``--root`` by saying what to give instead.
        default_params: What a command reads without ``--params``, if it is not params.yaml.

    Returns:
        A decorator of a function whose first argument is the :class:`Context`.
    """
    options = dict(_SHARED)
    if default_params is not None:
        options["params"] = (_params_option(default_params), None)
    refused = ["no_root"] if "dataset" in names and "root" not in names else []
    chosen = [name for name in _SHARED if name in (*names, *refused, *_EVERY_COMMAND)]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = list(inspect.signature(function).parameters.values())[1:]
        shared = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for name, (annotation, default) in options.items()
            if name in chosen
        ]

        @functools.wraps(function)
        def command(**values: Any) -> None:
            # for every option, so that none is forgotten; a value of --set is expanded with the parameters
            values = {name: expand_home(value) for name, value in values.items()}
            context = Context(**{name: values.pop(name) for name in chosen})
            _check_root(context)
            function(context, **values)

        parameters = [
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
            *shared,
        ]
        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate
