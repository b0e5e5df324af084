"""Runs tests in a process that has the pretended GPU's shim, and reports them as if they had run here."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

SHIM = Path(__file__).parent / "shim.c"
REPORTS_VARIABLE = "CCAF_PRETENDED_CUDA_REPORTS"
"""Names the file that the process inside writes its reports to; it is set there and nowhere else."""

POLL_SECONDS = 0.1


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
        self._runs: dict[str, Run] = {}

    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
        if self._folder not in item.path.parents:
            return None
        item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
        for report in self._reports(item):
            item.ihook.pytest_runtest_logreport(report=report)
        item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
        return True

    def pytest_sessionfinish(self) -> None:
        for run in self._runs.values():
            run.close()

    def _reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        reason = why_not()
        if reason is not None:
            return [_report(item, "skipped", (str(item.path), 0, f"Skipped: {reason}"))]
        if item.nodeid not in self._runs:
            company = self._company(item)
            run = Run(item.config, company)
            self._runs |= {other.nodeid: run for other in company}
        return self._runs[item.nodeid].reports(item)

    def _company(self, item: pytest.Item) -> list[pytest.Item]:
        """The tests that are run together: all of this run; of one file where several processes share the work."""
        items = [other for other in item.session.items if self._folder in other.path.parents]
        if "PYTEST_XDIST_WORKER" in os.environ:
            return [other for other in items if other.path == item.path]
        return items


class Run:
    """Tests in a process with the shim."""

    def __init__(self, config: pytest.Config, items: Sequence[pytest.Item]) -> None:
        self._config = config
        self._folder = tempfile.TemporaryDirectory()
        self._written = Path(self._folder.name) / "reports.jsonl"
        self._output = Path(self._folder.name) / "output.txt"
        self._written.touch()
        words = ["-q", "-n0", "-p", "no:cacheprovider", "--rootdir", str(config.rootpath)]
        with self._output.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pytest", *words, *(str(config.rootpath / item.nodeid) for item in items)],
                cwd=config.rootpath,
                env=_environment(compile_shim(Path(self._folder.name)), self._written),
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def reports(self, item: pytest.Item) -> list[pytest.TestReport]:
        """Wait for a test; a test that the process did not live to see has failed."""
        while True:
            ended = self._process.poll() is not None
            found = self._read(item.nodeid)
            if any(report.when == "teardown" for report in found):
                return found
            if ended:
                text = f"the process with the pretended GPU ended ({self._process.returncode}) before this test did:\n"
                return [*found, _report(item, "failed", text + self._output.read_text()[-4000:])]
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        """End the process if it still runs."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def _read(self, nodeid: str) -> list[pytest.TestReport]:
        whole, _, _ = self._written.read_text().rpartition("\n")  # the last line may be in the making
        loaded = (
            self._config.hook.pytest_report_from_serializable(config=self._config, data=json.loads(line))
            for line in whole.splitlines()
        )
        return [_with_tuple(report) for report in loaded if report.nodeid == nodeid]


def _with_tuple(report: pytest.TestReport) -> pytest.TestReport:
    """Where a test was skipped stands in a tuple, which JSON made a list; pytest's summary asks for the tuple."""
    if report.skipped and isinstance(report.longrepr, list):
        report.longrepr = tuple(report.longrepr)
    return report


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
