"""Packages of the extras: imported when they are needed, and named with their extra where they are not there."""

import importlib
from typing import Any

from pipeline.errors import InputError


def how_to_install(extra: str) -> str:
    """The command that installs an extra's packages."""
    return f"pip install 'ccaf-pipeline[{extra}]'"


def import_extra(name: str, extra: str, needed_by: str) -> Any:
    """Import a package, or a module of it, that an extra brings.

    Args:
        name: Of the module, such as ``onnxruntime.quantization``.
        extra: Name of the extra.
        needed_by: What the user asked for, as the subject of the message.

    Raises:
        InputError: It is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        reason = f"{needed_by} needs {name}, which cannot be imported ({error})"
        raise InputError(f"{reason}: {how_to_install(extra)}") from error
