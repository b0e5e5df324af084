"""Text in columns, for tables on a terminal."""

from collections.abc import Sequence


def as_columns(lines: Sequence[Sequence[str]], numbers: bool = True) -> str:
    """Align cells in columns, two blanks apart; ``numbers`` puts all but the first column to the right."""
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column and numbers else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
