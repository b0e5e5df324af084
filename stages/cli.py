"""The command line ``ccaf-pipeline``: one command a stage, and one place where errors become messages."""

import os
import sys

import typer

from pipeline.device_faults import describe_fault, is_device_fault, is_out_of_memory
from pipeline.errors import PipelineError, WorkError
from stages import (
    ablate,
    datasets,
    evaluate,
    extract,
    figures,
    inspect,
    leakage,
    manifest,
    oracle,
    parse,
    parse_score,
    pretrain_clip,
    report,
    synth,
    train,
    train_parser,
)

EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="ccaf-pipeline",
    help="Cloth-changing person re-identification with CCAF: parse people, learn prompts, train, evaluate, report.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("synth")(synth.command)
app.command("datasets")(datasets.command)
app.command("manifest")(manifest.command)
app.command("parse")(parse.command)
app.command("inspect")(inspect.command)
app.command("parse-score")(parse_score.command)
app.command("train-parser")(train_parser.command)
app.command("pretrain-clip")(pretrain_clip.command)
app.command("train")(train.command)
app.command("extract")(extract.command)
app.command("evaluate")(evaluate.command)
app.command("leakage")(leakage.command)
app.command("oracle")(oracle.command)
app.command("ablate")(ablate.command)
app.command("report")(report.command)
app.command("figures")(figures.command)


def run(arguments: list[str] | None = None) -> int:
    """Run one command line and return its exit code: 0 done, 1 failed, 2 wrong input, 130 interrupted."""
    try:
        code = typer.main.get_command(app).main(args=arguments, prog_name="ccaf-pipeline", standalone_mode=False)
    except PipelineError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED  # the command-line library itself turns some interruptions into this code
    except Exception as error:
        if is_device_fault(error):
            what = "out of memory" if is_out_of_memory(error) else "the device failed"
            print(f"error: {what}: {describe_fault(error)}; run the same command again to go on", file=sys.stderr)
            return WorkError.exit_code
        if not hasattr(error, "exit_code") or not hasattr(error, "show"):
            raise
        reason = error.format_message() if hasattr(error, "format_message") else str(error)
        print(f"error: {reason} (see ccaf-pipeline --help)", file=sys.stderr)
        return int(error.exit_code)
    if code == EXIT_INTERRUPTED:
        print("interrupted; run the same command again to go on", file=sys.stderr)
    return code if isinstance(code, int) else 0


def main() -> None:
    """Entry point of the command."""
    # Waiting threads must sleep: beside another busy process, spinning ones cost several times the work.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run())
