"""The packages of the extra ``serve``, looked for before anything is opened."""

import importlib
from typing import Final

from pipeline.errors import InputError

EXTRA: Final = "pip install 'ccaf-pipeline[serve]'"


def check_packages() -> None:
    """Import what the search page needs besides the package's own dependencies.

    Raises:
        InputError: A package is not installed.
    """
    for name in ("fastapi", "uvicorn"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise InputError(f"--serve needs {name}, which cannot be imported ({error}): {EXTRA}") from None
