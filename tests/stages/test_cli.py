"""The command line as a whole: every command's help, exit codes, the package's entry point."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from stages.cli import app, run

COMMANDS = sorted(command.name for command in app.registered_commands)


def test_the_commands_are_there():
    assert {"synth", "datasets", "manifest", "parse", "train-parser", "pretrain-clip", "train", "extract"} <= set(
        COMMANDS
    )
    assert {"evaluate", "report", "parse-score"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_of_every_command_has_a_help_text(name):
    group = typer.main.get_command(app)
    command = group.commands[name]
    assert command.help
    for option in command.params:
        if option.name != "help":
            assert getattr(option, "help", None), f"{name} {option.name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_exits_with_0(name, capsys):
    assert run([name, "--help"]) == 0
    assert f"Usage: ccaf-pipeline {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["nosuch"], ["train", "--nosuch"], ["train", "--seed", "x"], ["parse", "--limit", "0"]]
)
def test_usage_errors_exit_with_2(arguments, capsys):
    assert run(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_help_needs_no_heavy_module():
    code = "import sys, stages.cli; sys.exit(sum(name in sys.modules for name in ('torch', 'ray', 'open_clip')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_entry_point_is_installed():
    program = Path(sys.executable).with_name("ccaf-pipeline")
    done = subprocess.run([program, "train", "--shards", "nowhere"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
