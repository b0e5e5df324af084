"""Fixtures that several folders of tests share."""

import faulthandler
import html
import json
import logging
import multiprocessing
import multiprocessing.context
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from pictures import picture_shards

__all__ = ["picture_shards"]  # a fixture of every folder

settings.register_profile("any machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any machine")

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_DATA_VARIABLE = "CCAF_TEST_DATA"


@pytest.fixture(scope="session")
def real_images() -> Path:
    """Folder of real photographs; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get(REAL_DATA_VARIABLE, REPOSITORY.parent / "shared" / "data"))
    if not (folder / "pku_reid_74").is_dir():
        pytest.skip(f"real images not found: set ${REAL_DATA_VARIABLE} to the folder that holds pku_reid_74")
    return folder


TINY_CLIP_CONFIG = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": [64, 32], "patch_size": 16, "width": 32, "layers": 2, "head_width": 16},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2},
}


@pytest.fixture(scope="session")
def tiny_clip_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip configuration, written by a user, of a CLIP that is built in milliseconds (grid 4 x 2)."""
    path = tmp_path_factory.mktemp("configs") / "tiny-clip.json"
    path.write_text(json.dumps(TINY_CLIP_CONFIG))
    return path


@pytest.fixture(scope="session")
def prepared_processes() -> multiprocessing.context.ForkServerContext:
    """Processes that begin with everything imported, in milliseconds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["stages.encoder_run", "pipeline.trainer.loop"])
    return context


_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keep standard error as it is before pytest captures it; hear SIGINT, which a job in the background would not."""
    config.stash[_STDERR] = os.dup(2)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """How a test process ended that died: negative, the number of a signal; else the exit code that it chose."""
    if error:
        os.write(2, f"[{node.gateway.id}] exit code {node.gateway._io.popen.wait(60)}\n".encode())


@pytest.fixture(autouse=True)
def _crashes_say_where(request: pytest.FixtureRequest) -> None:
    """Ray, once started in this process, answers to a crash in place of Python, and where nobody reads it."""
    faulthandler.disable()
    faulthandler.enable(file=request.config.stash[_STDERR])


@pytest.fixture(scope="session", autouse=True)
def _no_memory_monitor() -> None:
    """Ray kills workers when the machine is short of memory; what else runs on it must not decide a test."""
    os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")


@pytest.fixture(scope="session", autouse=True)
def _no_reports_of_dvc() -> None:
    """DVC otherwise starts a process after each command, which looks for a newer DVC or reports what was run."""
    os.environ["DVC_TEST"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny tensors are slower with more threads, and the tests may run in parallel processes."""
    torch.set_num_threads(1)


def _s3_environment(endpoint: str) -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": endpoint,
    }


@pytest.fixture(scope="session")
def s3_environment() -> Callable[[str], dict[str, str]]:
    """The environment variables that lead to an S3 server."""
    return _s3_environment


@pytest.fixture(scope="session")
def unused_endpoint() -> str:
    """Where no server listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="session")
def s3_bucket() -> Iterator[str]:
    """URI of an empty bucket on an S3 server that runs in this process; the environment leads there."""
    from moto.server import ThreadedMotoServer
    from pyarrow.fs import FileSystem

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in _s3_environment(f"http://{host}:{port}").items():
            patch.setenv(name, value)
        creator, path = FileSystem.from_uri("s3://ccaf-test?allow_bucket_creation=true&region=us-east-1")
        creator.create_dir(path)
        yield "s3://ccaf-test"
    server.stop()


BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_MEASURE = """<script>
addEventListener("load", () => {
  const cut = [];
  for (const part of document.querySelectorAll("html, body *:not(.visually-hidden)")) {
    const style = getComputedStyle(part), name = part.tagName.toLowerCase() + "." + part.className;
    const clips = part.tagName == "HTML" || style.overflowX != "visible";
    if (clips && part.clientWidth && part.scrollWidth > part.clientWidth + 1)
      cut.push(`${name}: ${part.scrollWidth} in ${part.clientWidth} pixels: ${part.textContent.trim().slice(0, 60)}`);
  }
  document.documentElement.setAttribute("data-measured", JSON.stringify([innerWidth, cut]));
});
</script>"""


@pytest.fixture(scope="session")
def cut_parts(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, int], list[str]]:
    """Measures a page in a browser: what is wider than the space it has, at a width of the window in pixels."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser to measure pages in: none of {', '.join(BROWSERS)} is installed")
    folder = tmp_path_factory.mktemp("browser")

    def measure(page: Path, width: int) -> list[str]:
        text, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', _MEASURE, page.read_text())
        assert count == 1
        copy = folder / "page.html"
        copy.write_text(text)
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        words = [f"--user-data-dir={folder}", f"--window-size={width},1200", "--dump-dom", copy.as_uri()]
        done = subprocess.run([browser, *flags, *words], capture_output=True, text=True, check=False, timeout=120)
        found = re.search(r'data-measured="([^"]*)"', done.stdout)
        assert found, done.stderr[-2000:]
        seen, cut = json.loads(html.unescape(found[1]))
        assert seen == width
        return cut

    return measure
