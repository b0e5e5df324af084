"""Reads the text files by which some data sets name their images or tracklets."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import InputError


def numbered_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a UTF-8 text file that are not empty, with their numbers from 1.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        with path.open(encoding="utf-8-sig") as stream:
            for number, line in enumerate(stream, start=1):
                if text := line.strip():
                    yield number, text
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"split file {path} cannot be read: {reason}") from error
