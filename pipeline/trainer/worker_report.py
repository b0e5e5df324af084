"""What workers and their driver tell each other through the folder of a run: progress, results, errors, the end."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pipeline.errors import InputError, PipelineError, WorkError
from pipeline.files import read_json, write_json
from pipeline.progress import Progress
from pipeline.trainer.distributed import Ranks
from pipeline.trainer.state_files import HALF_PROGRESS_NAME, NOTES_NAME, PROGRESS_NAME, RESULT_NAME, STOPPED_NAME

STOP_NAME: Final = "stop"
"""Made among Ray's notes to ask the workers to stop."""
WATCH_SECONDS: Final = 1.0


class WorkerReport:
    """What a rank tells the driver through the run's folder. Only the first rank's progress and result are written."""

    def __init__(self, folder: Path, ranks: Ranks) -> None:
        self._folder = folder
        self._ranks = ranks
        self._said: list[str] = []
        self._written = self._looked = 0.0
        self._latest: dict[str, Any] = {}

    def tell(self, text: str) -> None:
        """A remark for a person."""
        self._said.append(text)
        self._write()

    def tick(self, epoch: int, done: int, expected: int, loss: float | None) -> None:
        """How far the training is; written once in a while."""
        self._latest = {"epoch": epoch, "done": done, "expected": expected, "loss": None}
        if loss is not None:
            self._latest["loss"] = f"{loss:.3f}"
        if done == expected or time.monotonic() - self._written >= WATCH_SECONDS:
            self._write()

    def asked_to_stop(self) -> bool:
        """Whether the driver was interrupted; looked for once in a while."""
        if time.monotonic() - self._looked >= WATCH_SECONDS / 2:
            self._looked = time.monotonic()
            return (self._folder / NOTES_NAME / STOP_NAME).exists()
        return False

    def result(self, value: Mapping[str, Any]) -> None:
        """The result of the whole run."""
        if self._ranks.first:
            write_json(self._folder / RESULT_NAME, dict(value))

    def _write(self) -> None:
        self._written = time.monotonic()
        if self._ranks.first:
            temporary = self._folder / HALF_PROGRESS_NAME
            temporary.write_text(json.dumps({**self._latest, "said": self._said}))
            temporary.replace(self._folder / PROGRESS_NAME)


def read_stopped(folder: Path) -> PipelineError | None:
    """The error of the project's own that a worker ended with."""
    if not (folder / STOPPED_NAME).is_file():
        return None
    found = read_json(folder / STOPPED_NAME, "error of a worker")
    return (InputError if found["exit_code"] == InputError.exit_code else WorkError)(found["message"])


@contextmanager
def watch(folder: Path, what: str, tell: Callable[[str], None], quiet: bool) -> Iterator[None]:
    """Show the progress of the first rank until the block ends."""
    ended = threading.Event()

    def show() -> None:
        progress: Progress | None = None
        said = done = 0
        while True:
            last_look = ended.wait(WATCH_SECONDS)
            try:
                found = json.loads((folder / PROGRESS_NAME).read_text())
            except (OSError, ValueError):
                found = {}
            for text in found.get("said", [])[said:]:
                tell(text)
                said += 1
            if "done" in found and progress is None:
                done = found["done"]
                progress = Progress(found["expected"], what, "step", quiet, done=done)
            if "done" in found and progress is not None:
                progress.expect(found["expected"])
                loss = "" if found["loss"] is None else f", loss {found['loss']}"
                progress.advance(found["done"] - done, f"epoch {found['epoch'] + 1}{loss}")
                done = found["done"]
            if last_look:
                if progress is not None:
                    progress.__exit__(None, None, None)
                return

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
