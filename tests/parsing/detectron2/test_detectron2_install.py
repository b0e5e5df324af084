"""The installer: which pip it takes, what it runs, and that it does nothing twice."""

import re
import shlex
from pathlib import Path

import pytest

from pipeline.errors import InputError, WorkError
from pipeline.parsing.detectron2 import install as installer


@pytest.mark.parametrize(("text", "version"), [
    ("pip 23.2.1 from /x/pip (python 3.11)", (23, 2)), ("pip 26.3 from /x", (26, 3)), ("pip 24.0.dev0 from", (24, 0)),
])  # fmt: skip
def test_the_version_of_pip_is_read(text, version):
    assert installer.pip_version(text) == version


def test_an_answer_without_a_version_is_refused():
    with pytest.raises(InputError, match="no version"):
        installer.pip_version("pip, the thing")


@pytest.mark.parametrize(
    ("version", "other"),
    [
        ((22, 3), True),
        ((23, 1), True),
        ((23, 2), False),
        ((25, 0), False),
        ((26, 2), False),
        ((26, 3), True),
        ((30, 0), True),
    ],
)
def test_too_old_and_too_new_pips_are_passed_over(version, other):
    assert installer.needs_other_pip(version) == other


@pytest.fixture
def ran(monkeypatch):
    """Commands that would have run: arguments, and whether another pip came first."""
    commands = []

    def record(arguments, python_path=None):
        commands.append((list(arguments), python_path))
        if "--requirement" in arguments:
            arguments = [*arguments[:-1], Path(arguments[-1]).read_text()]
            commands[-1] = (arguments, python_path)
        if "wheel" in arguments:
            Path(arguments[arguments.index("--wheel-dir") + 1], "detectron2-0.6-x.whl").touch()
        return "detectron2 0.6, without compiled operators\n"

    monkeypatch.setattr(installer, "run", record)
    return commands


def test_a_fitting_pip_installs_the_release_itself(ran):
    installer.install_release((24, 0))
    ((arguments, path),) = ran
    assert path is None
    assert arguments[:3] == ["-m", "pip", "install"]
    release, digest, *settings = shlex.split(arguments[-1])
    assert release == "pb1-detectron2==0.6"
    assert re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", digest)
    assert {"--no-build-isolation", "--no-deps", "--use-pep517", "--require-hashes"} <= set(arguments)
    assert settings == ["--config-settings=--global-option=build_py", "--config-settings=--build-option=--skip-build"]


def test_a_newer_pip_fetches_an_older_one_for_a_moment(ran):
    installer.install_release((26, 3))
    (fetch, first), (arguments, second) = ran
    assert fetch[-1] == "pip>=24,<26.3"
    assert first is None
    assert str(second) == fetch[fetch.index("--target") + 1]
    assert arguments[-1].startswith("pb1-detectron2==0.6 --hash=sha256:")
    assert not second.exists()


def distributions(monkeypatch, *names):
    monkeypatch.setattr(installer, "has_distribution", lambda name: name in names)
    monkeypatch.setattr(installer, "check_environment", lambda: (24, 0))


@pytest.mark.parametrize(
    ("there", "upstream", "kinds"),
    [
        ((), False, ["install", "check"]),
        (("pb1-detectron2",), False, ["check"]),
        (("detectron2",), False, ["check"]),
        (("detectron2",), True, ["check"]),
        ((), True, ["wheel", "install", "check"]),
        (("pb1-detectron2",), True, ["wheel", "uninstall", "install", "check"]),
    ],
)
def test_what_is_there_is_kept_and_upstream_replaces_the_release(monkeypatch, ran, capsys, there, upstream, kinds):
    distributions(monkeypatch, *there)
    assert installer.main(["--upstream"] if upstream else []) == 0
    assert ["check" if arguments[0] == "-c" else arguments[2] for arguments, _ in ran] == kinds
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "detectron2 0.6, without compiled operators is installed" + (
        " already" if kinds == ["check"] else ""
    )


def test_a_failed_build_leaves_the_release_in_place(monkeypatch, capsys):
    distributions(monkeypatch, "pb1-detectron2")
    commands = []

    def fail(arguments, python_path=None):
        commands.append(arguments[2])
        raise WorkError("no compiler")

    monkeypatch.setattr(installer, "run", fail)
    assert installer.main(["--upstream"]) == 1
    assert commands == ["wheel"]
    assert capsys.readouterr().err == "error: no compiler\n"


def test_missing_dependencies_are_named(monkeypatch, capsys):
    monkeypatch.setattr(installer, "find_spec", lambda name: None if name in ("fvcore", "yacs") else object())
    assert installer.main([]) == 2
    assert "fvcore, yacs must be installed first: pip install 'ccaf-pipeline[detectron2]'" in capsys.readouterr().err


def test_the_last_error_of_a_failed_command_is_told():
    with pytest.raises(WorkError, match="failed: ERROR: no such thing"):
        installer.run(["-c", "import sys; print('ERROR: no such thing\\nbye', file=sys.stderr); sys.exit(3)"])


@pytest.mark.usefixtures("library")
def test_the_installed_library_is_found_and_nothing_is_done(capsys):
    assert installer.main([]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith("detectron2 0.6, with")
    assert printed.endswith("installed already\n")
