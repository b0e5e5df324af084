"""Parsers of "another package", found by its entry point, in the tests and in the worker processes alike.

Faults happen when a file of a certain name lies in the folder that the environment variable CCAF_TEST_FAULTS names;
the file is removed first, so that a fault happens once. ``refuse`` stays and lists the paths of images that fail;
``build`` happens in any process but the one whose number it holds.
"""

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.errors import BadImageError
from pipeline.images import RgbImage
from pipeline.labels import LIP, LabelScheme
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.settings import SettingsGroup
from pipeline.storage import StorageError

ODD_PIXEL = (13, 13, 13)
"""An image whose first pixel is this makes the parser raise."""


BREAKS = {
    "cuda": "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported later",
    "memory": "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.10 GiB\nand more",
    "odd_worker": "the worker is not itself",
}
"""Faults after which a parser fails on every image, and what it raises."""


def happens(fault: str) -> bool:
    folder = os.environ.get("CCAF_TEST_FAULTS")
    if not folder:
        return False
    try:
        (Path(folder) / fault).unlink()
    except FileNotFoundError:
        return False
    return True


def refused() -> set[str]:
    """Paths of images that the parser raises on as long as the file lists them."""
    folder = os.environ.get("CCAF_TEST_FAULTS")
    path = Path(folder or ".") / "refuse"
    return set(path.read_text().split("\n")) if folder and path.exists() else set()


def wait_while(fault: str) -> None:
    """Wait as long as the file is there; in the folder that it names, if any, each process that waits makes a file."""
    folder = os.environ.get("CCAF_TEST_FAULTS")
    path = Path(folder or ".") / fault
    while folder and path.exists():
        with suppress(FileNotFoundError):  # the file has gone just now
            if waiting := path.read_text():
                (Path(waiting) / str(os.getpid())).touch()
        time.sleep(0.02)


class Tiles:
    """Labels a pixel by its colour; slow only when told so."""

    name = "tiles"
    scheme: LabelScheme = LIP

    def __init__(self, weights: str, seconds: float) -> None:
        self.weights_sha256 = weights
        self.seconds = seconds
        self.broken = ""

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        if happens("crash"):
            os._exit(1)
        if happens("killed"):  # as the system does when memory runs out
            os.kill(os.getpid(), signal.SIGKILL)
        if happens("frozen"):
            os.kill(os.getpid(), signal.SIGSTOP)
        if happens("hang"):
            time.sleep(3600)
        if happens("contract"):
            return []
        if happens("storage"):
            raise StorageError("s3://bucket/x: the server is too busy")
        # and it stays broken as long as its process lives
        self.broken = self.broken or next((text for fault, text in BREAKS.items() if happens(fault)), "")
        if self.broken:
            raise RuntimeError(self.broken)
        if refused().intersection(paths or ()):
            raise ValueError("refused")
        wait_while("wait")
        time.sleep(self.seconds * len(images))
        if any(tuple(image[0, 0]) == ODD_PIXEL for image in images):
            raise ValueError("an odd pixel")
        return [Parsing((image.sum(axis=2) // 40 % 20).astype(np.uint8), float(image.mean() / 255)) for image in images]


class TilesSettings(SettingsGroup):
    weights: str = "w1"
    seconds: float = 0.0


@register_parser("tiles", TilesSettings)
def create_tiles(device: str = "cpu", weights: str = "w1", seconds: float = 0.0) -> Tiles:
    folder = os.environ.get("CCAF_TEST_FAULTS")
    path = Path(folder or ".") / "build"
    if folder and path.exists() and path.read_text() != str(os.getpid()) and happens("build"):
        raise RuntimeError(BREAKS["memory"])
    return Tiles(weights, seconds)
