"""The command line as a whole: every command's help, exit codes, the package's entry point."""

import subprocess
import sys
from pathlib import Path

import pytest
import typer

from pipeline import __version__
from stages.cli import app, run
from stages.cli.app import GROUPS

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


def test_a_command_that_has_used_ray_ends_with_its_own_code_whatever_python_does_at_its_end():
    program = """
import atexit, os, signal, sys, types

class Crash:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGSEGV)

crash = Crash()
crash.itself = crash  # until Python takes itself down
sys.modules["ray"] = types.ModuleType("ray")
atexit.register(print, "what is to be done at the end")
sys.argv = ["ccaf-pipeline", *sys.argv[1:]]
from stages.cli import main
main()
"""
    for words, code in ((["--version"], 0), (["evaluate", "--features", "nowhere"], 2)):
        done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        assert done.stdout.endswith("what is to be done at the end\n")


def test_the_help_lists_every_command_in_its_group_on_one_line(capsys):
    assert run(["--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sorted(name for commands in GROUPS.values() for name in commands) == COMMANDS
    for group, commands in GROUPS.items():
        start = lines.index(f"{group}:")
        for line, (name, command) in zip(lines[start + 1 :], commands.items(), strict=False):
            assert line.split(maxsplit=1) == [name, command.summary]  # not cut, not wrapped
            assert len(line) < 80


def test_the_version_is_told(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"ccaf-pipeline {__version__}"


def test_a_shell_can_complete_commands(monkeypatch, capsys):
    monkeypatch.setenv("_CCAF_PIPELINE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", "ccaf-pipeline ev")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setattr(sys, "argv", ["ccaf-pipeline"])
    with pytest.raises(SystemExit):
        app(prog_name="ccaf-pipeline")
    assert capsys.readouterr().out.split() == ["evaluate"]


def test_an_option_has_one_meaning_in_all_commands():
    """The same words for the same thing. What a command writes or limits is its own; artifacts may be made or read."""
    group = typer.main.get_command(app)
    own = {"--out", "--workers", "--limit", "--images", "--gallery", "--query", "--help"}
    texts: dict[str, set[str]] = {}
    for name in COMMANDS:
        for option in group.commands[name].params:
            for word in option.opts:
                if word.startswith("--") and word not in own and not option.hidden:
                    texts.setdefault(word, set()).add(option.help.partition(". ")[0].partition(", ")[0])
    apart = {word: found for word, found in texts.items() if len(found) > 1}
    assert apart.keys() <= {"--prompts", "--checkpoint", "--shards", "--features", "--metrics", "--per-query"}, apart


@pytest.mark.parametrize("arguments", [["datasets"], ["datasets", "--json"], ["--help"], ["parse", "--help"]])
def test_output_that_cannot_be_written_is_one_line(arguments):
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "stages", *arguments]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: No space left on device")
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f"{sys.executable} -m stages datasets | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert "error" not in done.stderr
    assert "Traceback" not in done.stderr
