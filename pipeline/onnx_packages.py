"""The packages that write and run ONNX files. They come with the extra ``export`` and are imported when needed."""

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Final

from pipeline.errors import InputError

EXTRA: Final = "pip install 'ccaf-pipeline[export]'"
PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")


def load_package(name: str, needed_by: str = "export") -> Any:
    """Import a package of the extra.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{needed_by} needs {name}, which cannot be imported ({error}): {EXTRA}") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporter and quantiser print and warn of what a comparison of results would find."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
