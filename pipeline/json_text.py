"""JSON that another hand may have changed: of bounded size and depth, and of values that a program can hold."""

import json
import math
from pathlib import Path
from typing import Any, Final

from pipeline.errors import InputError, one_line
from pipeline.limited_reading import FileTooLargeError, read_limited

MOST_BYTES: Final = 256 << 20
"""Of a JSON file; the record of a data set of 200 million images in 100,000 shards has 30 MB."""
MOST_DEPTH: Final = 64
"""Of objects and lists within each other; what this program writes has less than ten."""
LARGEST_INTEGER: Final = 2**64 - 1
_SHOWN: Final = 60


def decode_json(data: bytes | str, where: str, most_depth: int = MOST_DEPTH) -> Any:
    """A JSON value out of its text.

    Args:
        data: The text; bytes are UTF-8.
        where: What it is and where it stands, for errors.
        most_depth: Of objects and lists within each other.

    Raises:
        InputError: It is no JSON, nested too deep, or holds a number or a text that no file of this program holds:
            one that is not finite, an integer of more than 64 bits, half of a character.
    """
    try:
        value = json.loads(data)
    except RecursionError:
        raise InputError(f"{where} is nested too deep: at most {most_depth} levels are read") from None
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, and integers of thousands of digits
        raise InputError(f"{where} cannot be read as JSON: {one_line(error)}") from error
    problem = _problem(value, most_depth)
    if problem is not None:
        raise InputError(f"{where} cannot be used: {problem}")
    return value


def decode_text(data: bytes, where: str) -> str:
    """A text out of UTF-8; ``where`` says what it is and where it stands, for errors.

    Raises:
        InputError: It is no UTF-8.
    """
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise InputError(f"{where} is no text in UTF-8: {error}") from None


def read_json_file(path: Path, what: str, most_bytes: int = MOST_BYTES, most_depth: int = MOST_DEPTH) -> Any:
    """A JSON value out of a local file.

    Args:
        path: The file.
        what: What it is, for errors.
        most_bytes: A larger file is not read.
        most_depth: See :func:`decode_json`.

    Raises:
        InputError: It is missing, cannot be read, is too large, or see :func:`decode_json`.
    """
    try:
        data = read_limited(path, most_bytes)
    except FileNotFoundError:
        raise InputError(f"{what} not found: {path}") from None
    except FileTooLargeError as error:
        raise InputError(f"{what} {path} is too large: {error}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{what} {path} cannot be read as JSON: {one_line(error)}") from error
    return decode_json(data, f"{what} {path}", most_depth)


def _problem(value: Any, most_depth: int) -> str | None:
    """What is wrong with a value or within it, without recursion."""
    level: list[tuple[str, Any]] = [("", value)]
    for _ in range(most_depth + 1):
        below: list[tuple[str, Any]] = []
        for name, item in level:
            wrong = _wrong(item)
            if wrong is not None:
                return f"{name.lstrip('.') or 'the whole'} is {wrong}"
            if isinstance(item, dict):
                unfit = next((key for key in item if _wrong(key)), None)
                if unfit is not None:
                    return f"a name in {name.lstrip('.') or 'the whole'} is {_wrong(unfit)}"
                below += [(f"{name}.{key}"[:_SHOWN], part) for key, part in item.items()]
            elif isinstance(item, list):
                below += [(f"{name}.{index}"[:_SHOWN], part) for index, part in enumerate(item)]
        if not below:
            return None
        level = below
    return f"it is nested too deep: at most {most_depth} levels are read"


def _wrong(item: Any) -> str | None:
    if isinstance(item, float) and not math.isfinite(item):
        return "no finite number"
    if isinstance(item, int) and not -LARGEST_INTEGER <= item <= LARGEST_INTEGER:
        return "an integer of more than 64 bits"
    if isinstance(item, str) and not item.isascii() and any("\ud800" <= character <= "\udfff" for character in item):
        return "a text with half of a character"
    return None
