"""Checks of outputs before any work is done: can they be written, and is something else in the place?"""

import errno
import json
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError
from pipeline.files import check_file_target, refusal

Form = Literal["json", "parquet", "html"]

_HEAD_BYTES: Final = 4096
_MOST_JSON_BYTES: Final = 1 << 30


def check_writable(path: Path) -> None:
    """Try whether something can be written at ``path``; nothing is left behind.

    Raises:
        InputError: It is the root, a folder on the way is a file, or the system refuses.
        DiskError: The disk is full.
    """
    whole = path.absolute()
    if not whole.name:
        raise InputError(f"nothing can be written to {path} itself: name a folder or a file below it")
    existing = next(parent for parent in whole.parents if parent.exists())
    try:
        if not existing.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{existing} is a file, not a folder")
        with tempfile.TemporaryFile(dir=existing) as stream:
            stream.write(b"ccaf")
    except OSError as error:
        raise refusal(path, error) from error


def _names(path: Path, form: Form) -> Iterable[str] | None:
    """Columns of a Parquet file, keys of a JSON object, words of a page; None: the file is of another form."""
    try:
        if form == "parquet":
            return list(pq.read_schema(path).names)
        if form == "html":
            with path.open("rb") as stream:
                text = stream.read(_HEAD_BYTES).decode(errors="replace").lstrip()
            return text.split() if text.lower().startswith("<!doctype html") else None
        if path.stat().st_size > _MOST_JSON_BYTES:
            return None
        value = json.loads(path.read_text())
        return list(value) if isinstance(value, dict) else None
    except (OSError, ValueError, RecursionError, pa.ArrowException):
        return None


def check_output(path: Path, form: Form, has: Iterable[str] = (), inputs: Iterable[Path | None] = ()) -> None:
    """Refuse an output file that cannot be written, or in whose place something else is.

    An earlier output of the same command is replaced, and so is an empty file; anything else is somebody's own.

    Args:
        path: The file.
        form: What is written.
        has: Columns of the table, or keys of the object, by which an earlier output is known.
        inputs: Files that are read, which an output must not replace.

    Raises:
        InputError: It cannot be written, is one of the inputs, or another file is there.
        DiskError: The disk is full.
    """
    if any(source is not None and source.resolve() == path.resolve() for source in inputs):
        raise InputError(f"{path} is read and would be written as well: choose another place")
    check_writable(path)
    try:
        check_file_target(path)
        empty = not path.exists() or path.stat().st_size == 0
    except OSError as error:
        raise refusal(path, error) from error
    if empty:
        return
    names = _names(path, form)
    if names is None or not set(has) <= set(names):
        raise InputError(
            f"{path} is there and is not what this command writes (as {form}): choose another place, or remove it"
        )
