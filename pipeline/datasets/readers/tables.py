"""Reads the columns of a CSV or Parquet table as plain values, and gathers what is wrong with its rows."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from pipeline.errors import InputError

SHOWN_PROBLEMS = 10
_HEADER_BYTES = 65_536
_SHOWN_HEADER = 60
_SEPARATORS = {
    ",": ("the comma", '","'), ";": ("the semicolon", '";"'), "\t": ("the tab", '"\\t"'), "|": ("the bar", '"|"'),
}  # fmt: skip
"""Separators of columns that programs write: their names, and how YAML has them."""


class RowProblems:
    """Collects problems of single rows and raises them together, the first ten in words.

    Rows count from 1, the header not counted.
    """

    def __init__(self, table: Path) -> None:
        self._table = table
        self._found: list[tuple[int, str]] = []
        self._ignored: frozenset[int] = frozenset()

    def ignore(self, rows: Iterable[int]) -> None:
        """Take no note of problems of these rows from now on."""
        self._ignored |= frozenset(rows)

    def add(self, row: int, text: str) -> None:
        """Note a problem of a row."""
        if row not in self._ignored:
            self._found.append((row, text))

    def raise_if_any(self) -> None:
        """Do nothing if no problem was noted.

        Raises:
            InputError: There are problems; the message counts them and lists the first ten by row.
        """
        if not self._found:
            return
        count = f"{len(self._found)} problem{'s' if len(self._found) > 1 else ''}"
        lines = [f"  row {row}: {text}" for row, text in sorted(self._found)[:SHOWN_PROBLEMS]]
        if len(self._found) > SHOWN_PROBLEMS:
            lines.append(f"  and {len(self._found) - SHOWN_PROBLEMS} more")
        raise InputError(f"table {self._table}: {count} (row 1 is the first below the header)\n" + "\n".join(lines))


def read_columns(
    path: Path, names: Mapping[str, str], required: Sequence[str], delimiter: str = ",", advice: str = ""
) -> dict[str, list[Any]]:
    """Read some columns of a table.

    Args:
        path: A ``.csv`` or ``.parquet`` file.
        names: Our name of a column: the table's name.
        required: Those of our names that the table must have; the others are left out where it has none.
        delimiter: Separator of a CSV file.
        advice: What can be done where a column is missing.

    Returns:
        By our name the column's values; those of a CSV file are strings, empty ones None.

    Raises:
        InputError: The file is missing, of another kind or damaged, or lacks a column.
    """
    ending = path.suffix.lower()
    if ending not in (".csv", ".parquet"):
        raise InputError(f"table {path}: expected a .csv or .parquet file")
    try:
        table = pq.read_table(path) if ending == ".parquet" else _read_csv(path, list(names.values()), delimiter)
    except FileNotFoundError:
        raise InputError(f"table not found: {path}") from None
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        kind = ending.removeprefix(".")
        reason = " ".join(str(error).split()) or type(error).__name__
        hint = _other_separator(path, delimiter) if kind == "csv" and not isinstance(error, OSError) else ""
        raise InputError(f"table {path} cannot be read as {kind}: {hint or reason}") from error
    missing = [names[name] for name in required if names[name] not in table.column_names]
    if missing:
        hint = _other_separator(path, delimiter) if ending == ".csv" else ""
        if hint:
            raise InputError(f"table {path}: {hint}")
        raise InputError(
            f"table {path} lacks the column{'s' if len(missing) > 1 else ''} {', '.join(missing)}; "
            f"it has {', '.join(table.column_names) or 'none'}{advice and f'; {advice}'}"
        )
    twice = sorted(name for name in set(names.values()) if table.column_names.count(name) > 1)
    if twice:
        raise InputError(f"table {path} has the column {twice[0]} more than once")
    return {ours: table[theirs].to_pylist() for ours, theirs in names.items() if theirs in table.column_names}


def _other_separator(path: Path, delimiter: str) -> str:
    """What to set if the header of a CSV file is one column by its separator, and several by another; else empty."""
    with path.open("rb") as stream:
        header = stream.readline(_HEADER_BYTES).decode("utf-8-sig", "replace").strip("\r\n")
    counts = {other: header.count(other) for other in _SEPARATORS if other != delimiter}
    likely = max(counts, key=lambda other: counts[other])
    if delimiter in header or not counts[likely]:
        return ""
    name, written = _SEPARATORS[likely]
    return (
        f"with {_SEPARATORS.get(delimiter, (repr(delimiter), ''))[0]} as separator it has one column, "
        f"{header[:_SHOWN_HEADER]!r}; its separator seems to be {name}: write settings: {{delimiter: {written}}}"
    )


def _read_csv(path: Path, wanted: Sequence[str], delimiter: str) -> pa.Table:
    """Read all columns; those that are wanted as text, so that ``007`` stays as it is written."""
    return pacsv.read_csv(
        path,
        parse_options=pacsv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types={name: pa.string() for name in wanted},
            null_values=[""],
            strings_can_be_null=True,
            quoted_strings_can_be_null=True,
        ),
    )
