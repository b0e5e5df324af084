"""The command line ``ccaf-pipeline``: one command a stage, and one place where errors become messages."""

import atexit
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Annotated, NoReturn, Protocol

import typer
from typer.core import TyperGroup

from pipeline import __version__
from pipeline.device_faults import describe_fault, is_device_fault, is_out_of_memory
from pipeline.errors import PipelineError, WorkError, one_line
from pipeline.files import full_disk
from pipeline.stopping import StopRequest, termination_as_interruption
from stages.cli import (
    ablate,
    blend,
    datasets,
    dlcr,
    dvc_paths,
    embed,
    evaluate,
    export,
    extract,
    figures,
    inspect,
    leakage,
    manifest,
    oracle,
    parse,
    parse_score,
    pretrain_clip,
    pull,
    push,
    redress,
    report,
    search,
    synth,
    train,
    train_parser,
)

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143


@dataclass(frozen=True)
class Command:
    """A command in the list of all.

    Attributes:
        summary: One line that fits on a terminal beside the name.
        function: What it does.
    """

    summary: str
    function: Callable[..., None]


GROUPS: Mapping[str, Mapping[str, Command]] = {
    "Data": {
        "datasets": Command("List the known data sets and which are here.", datasets.command),
        "manifest": Command("List, label and count a data set.", manifest.command),
        "dlcr": Command("Put DLCR's generated clothes beside their data set.", dlcr.command),
        "synth": Command("Render walkers, a data set of people who change clothes.", synth.command),
    },
    "Parsing": {
        "parse": Command("Parse a data set into Parquet shards, on Ray.", parse.command),
        "inspect": Command("Write a page that shows whether the masks can be trusted.", inspect.command),
        "redress": Command("Make a data set of people who change clothes from shards.", redress.command),
        "parse-score": Command("Score a parser against labels that people drew.", parse_score.command),
        "train-parser": Command("Train the embedded parser lite.", train_parser.command),
    },
    "Training": {
        "pretrain-clip": Command("Pre-train a small CLIP on captioned walkers.", pretrain_clip.command),
        "train": Command("Learn prompts (stage 1) and train the encoders (stage 2).", train.command),
        "blend": Command("Give a trained encoder a share of the CLIP before training.", blend.command),
    },
    "Evaluation": {
        "extract": Command("Write the features of a data set's images.", extract.command),
        "evaluate": Command("Score features under named protocols.", evaluate.command),
        "leakage": Command("Measure what features tell of clothes and identity.", leakage.command),
        "oracle": Command("Write features made of what is true of walkers.", oracle.command),
        "report": Command("Write one HTML page about a data set's artifacts.", report.command),
        "figures": Command("Draw the paper's figures of a checkpoint.", figures.command),
    },
    "Use": {
        "embed": Command("Write the features of images that were not parsed.", embed.command),
        "search": Command("Find the images of a gallery that are nearest to a photo.", search.command),
        "export": Command("Write the image encoder as ONNX files, with proof.", export.command),
        "push": Command("Push an encoder with a model card to the Hugging Face Hub.", push.command),
        "pull": Command("Fetch an encoder from the Hugging Face Hub.", pull.command),
    },
    "Studies": {
        "ablate": Command("Run a study: methods times seeds, with a table.", ablate.command),
        "dvc-paths": Command("Refuse a ~ that DVC would misread (a stage of dvc.yaml).", dvc_paths.command),
    },
}


class _Formatter(Protocol):
    """The part of the command-line library's help formatter that is used here."""

    def section(self, name: str) -> AbstractContextManager[None]:
        """A headed part of the help."""

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None:
        """Two columns."""


class _GroupedCommands(TyperGroup):
    """Lists the commands by group, in the order of the work."""

    def list_commands(self, ctx: object) -> list[str]:
        return [name for commands in GROUPS.values() for name in commands]

    def format_commands(self, ctx: object, formatter: _Formatter) -> None:
        width = max(map(len, self.list_commands(ctx)))
        for group, commands in GROUPS.items():
            with formatter.section(group):
                formatter.write_dl([(name.ljust(width), command.summary) for name, command in commands.items()])


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"ccaf-pipeline {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="ccaf-pipeline",
    cls=_GroupedCommands,
    help="Cloth-changing person re-identification with CCAF: parse people, learn prompts, train, evaluate, report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options of the program itself."""


for _commands in GROUPS.values():
    for _name, _command in _commands.items():
        app.command(_name, short_help=_command.summary)(_command.function)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code.

    0: done; 1: failed; 2: wrong input; 130: interrupted; 143: terminated, as batch systems do.
    """
    with termination_as_interruption() as termination:
        return _run(arguments, termination)


def _run(arguments: list[str] | None, termination: StopRequest) -> int:
    try:
        code = typer.main.get_command(app).main(args=arguments, prog_name="ccaf-pipeline", standalone_mode=False)
        sys.stdout.flush()
    except PipelineError as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        _let_go_of_output()  # whoever read the output has seen enough
        return WorkError.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED  # the command-line library itself turns some interruptions into this code
    except Exception as error:
        if is_device_fault(error):
            what = "out of memory" if is_out_of_memory(error) else "the device failed"
            print(f"error: {what}: {describe_fault(error)}; run the same command again to go on", file=sys.stderr)
            return WorkError.exit_code
        full = full_disk(error)
        if full is not None or isinstance(error, OSError):
            print(f"error: {_machine_fault(error, full)}; run the same command again to go on", file=sys.stderr)
            _let_go_of_output()
            return WorkError.exit_code
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        reason = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"error: {reason} (see ccaf-pipeline --help)", file=sys.stderr)
        return int(error.exit_code)
    if code == EXIT_INTERRUPTED:
        code = EXIT_TERMINATED if termination else EXIT_INTERRUPTED
        print(f"{'terminated' if termination else 'interrupted'}; run the same command again to go on", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _machine_fault(error: Exception, full: str | None) -> str:
    """What the machine refused: the file where it is known, and the reason in the system's words."""
    reason = full or getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
    place = getattr(error, "filename", None)
    return reason if place is None else f"{place}: {reason}"


def _let_go_of_output() -> None:
    """What could not be written to standard output is not tried again when Python ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> None:
    """Entry point of the command."""
    # Waiting threads must sleep: beside another busy process, spinning ones cost several times the work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    _end(run())


def _end(code: int) -> NoReturn:
    """End this process; threads that Ray leaves behind may crash Python while it takes itself down, so it does not.

    Threads are cut off then: a command has waited for its own when it comes here.
    """
    if "ray" in sys.modules:
        try:
            atexit._run_exitfuncs()
            _let_go_of_output()
            sys.stderr.flush()
        finally:
            os._exit(code)
    sys.exit(code)
