"""Runs tests in a process that has the pretended GPU's shim, and reports them as if they had run here."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

SHIM = Path(__file__).parent / "shim.c"
REPORTS_VARIABLE = "CCAF_PRETENDED_CUDA_REPORTS"
"""Names the file that the process inside writes its reports to; it is set there and nowhere else."""


def is_inside() -> bool:
    """Whether this process has the shim."""
    return REPORTS_VARIABLE in os.environ


def why_not() -> str | None:
    """Why this machine cannot pretend to have a GPU; None: it can."""
    if sys.platform != "linux":
        return f"the pretended GPU needs Linux, this is {sys.platform}"
    if torch.version.cuda is None:
        return "the pretended GPU needs a PyTorch that is built with CUDA (a GPU is not needed)"
    if compiler() is None:
        return "the pretended GPU needs a C compiler: install cc or gcc"
    return None


def compiler() -> str | None:
    """Path of a C compiler."""
    return next((path for name in ("cc", "gcc", "clang") if (path := shutil.which(name))), None)


def compile_shim(folder: Path) -> Path:
    """Compile the shim into a folder; returns the library.

    Raises:
        CalledProcessError: The compiler does not like it.
    """
    command = compiler()
    assert command is not None
    library = folder / "shim.so"
    subprocess.run(
        [command, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(library), str(SHIM)],
        check=True,
        capture_output=True,
        text=True,
    )
    return library


class Inside:
    """Plugin of the process that has the shim: it writes each report down."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        data = self._config.hook.pytest_report_to_serializable(config=self._config, report=report)
        with Path(os.environ[REPORTS_VARIABLE]).open("a") as file:
            file.write(json.dumps(data) + "\n")


class Outside:
    """Plugin of the process that has not: tests of ``folder`` are run by one that has."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reports: dict[str, list[Any]] = {}

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if self._folder not in item.path.parents:
            return None
        if item.nodeid not in self._reports:
            self._reports |= run_inside(item.config, self._company(item))
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports[item.nodeid]:
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def _company(self, item: pytest.Item) -> list[pytest.Item]:
        """The tests that are run together: all of this run; of one file where several processes share the work."""
        items = [other for other in item.session.items if self._folder in other.path.parents]
        if "PYTEST_XDIST_WORKER" in os.environ:
            return [other for other in items if other.path == item.path]
        return items


def run_inside(config: pytest.Config, items: Sequence[pytest.Item]) -> dict[str, list[Any]]:
    """Run tests in a process with the shim; returns their reports by node id."""
    reason = why_not()
    if reason is not None:
        return {item.nodeid: [_report(item, "skipped", (str(item.path), 0, f"Skipped: {reason}"))] for item in items}
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "reports.jsonl"
        written.touch()
        words = ["-q", "-n0", "-p", "no:cacheprovider", "--rootdir", str(config.rootpath)]
        process = subprocess.run(
            [sys.executable, "-m", "pytest", *words, *(str(config.rootpath / item.nodeid) for item in items)],
            cwd=config.rootpath,
            env=_environment(compile_shim(Path(folder)), written),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        reports = defaultdict(list)
        for line in written.read_text().splitlines():
            report = config.hook.pytest_report_from_serializable(config=config, data=json.loads(line))
            reports[report.nodeid].append(report)
    for item in items:
        if item.nodeid not in reports:
            text = f"the process with the pretended GPU ended ({process.returncode}) before this test:\n"
            reports[item.nodeid] = [_report(item, "failed", text + process.stdout[-4000:])]
    return dict(reports)


def _report(item: pytest.Item, outcome: Any, text: Any) -> pytest.TestReport:
    return pytest.TestReport(item.nodeid, item.location, dict.fromkeys(item.keywords, 1), outcome, text, "call")


def _environment(shim: Path, reports: Path) -> dict[str, str]:
    """Real GPUs are hidden: what is tested is the same on every machine."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return {
        **inherited,
        "LD_PRELOAD": str(shim),
        "CUDA_VISIBLE_DEVICES": "",
        REPORTS_VARIABLE: str(reports),
    }
