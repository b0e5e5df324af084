"""The table of a study as blocks of text cells: what Markdown and HTML show is the same strings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.studies.rows import SweepRows
from pipeline.studies.statistics import Difference, Spread
from pipeline.studies.table import LEAKAGE, METRICS, MINUTES, Line, Measure, Table

NOTHING = "–"
Mark = Literal["", "up", "down", "clear"]


@dataclass(frozen=True)
class Cell:
    """Text of a cell.

    Attributes:
        text: What counts.
        more: Interval or spread, smaller.
        mark: Where an interval excludes zero: ``up`` or ``down`` for scores, ``clear`` for leakage.
    """

    text: str
    more: str = ""
    mark: Mark = ""


@dataclass(frozen=True)
class Block:
    """One table on the page.

    Attributes:
        title: Heading.
        note: A sentence or two about it.
        header: Titles of the columns; the first is of the rows.
        rows: Cells of each row; the first is its name.
        sweep: The sweep that it shows, for a plot.
    """

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    sweep: SweepRows | None = None


def signed(value: float) -> str:
    """With a sign and one digit; what rounds to nothing has no sign."""
    return f"{value:+.1f}".replace("-", "−") if round(value, 1) else "0.0"


def spread_cell(spread: Spread | None) -> Cell:
    """Mean and standard deviation."""
    if spread is None:
        return Cell(NOTHING)
    return Cell(f"{spread.mean:.1f}", "" if spread.deviation is None else f"± {spread.deviation:.1f}")


def difference_cell(difference: Difference | None, judged: bool = True) -> Cell:
    """Mean and 95% interval; ``judged``: more is better."""
    if difference is None:
        return Cell(NOTHING)
    if difference.low is None or difference.high is None:
        return Cell(signed(difference.mean))
    way: Mark = "clear" if not judged else "up" if difference.mean > 0 else "down"
    mark: Mark = way if difference.clear else ""
    return Cell(signed(difference.mean), f"[{signed(difference.low)}, {signed(difference.high)}]", mark)


def _name_cell(line: Line) -> Cell:
    missing = f"without seed {', '.join(map(str, line.missing))}" if line.missing else ""
    return Cell(line.row.name, missing)


def _last_cells(table: Table, line: Line) -> tuple[Cell, Cell, Cell]:
    rank1, minutes = line.figures.get((table.primary, "rank1")), line.figures.get(MINUTES)
    error = None if rank1 is None else rank1.error
    return (
        Cell(str(rank1.count if rank1 else 0)),
        Cell(NOTHING if error is None else f"{error:.2f}"),
        Cell(NOTHING if minutes is None else f"{minutes.mean:.1f}"),
    )


def _figures(table: Table, lines: Sequence[Line], title: str, note: str) -> Block:
    header = (
        "method",
        *(measure.title for measure in table.scores),
        "seeds",
        f"SE of {table.primary} Rank-1",
        "training min",
    )
    rows = tuple(
        (
            _name_cell(line),
            *(spread_cell(line.figures.get(measure.key)) for measure in table.scores),
            *_last_cells(table, line),
        )
        for line in lines
    )
    return Block(title, note, header, rows)


def _leakage(table: Table, lines: Sequence[Line]) -> Block:
    header = ("method", *(measure.title for measure in table.leaks))
    rows = [
        (_name_cell(line), *(spread_cell(line.figures.get(measure.key)) for measure in table.leaks)) for line in lines
    ]
    rows.append((Cell("chance"), *(Cell(f"{table.chance[measure.name]:.1f}") for measure in table.leaks)))
    note = (
        "Percent. What linear probes read from the frozen test features (clothes, identity: mean over the factors), "
        "and mAP of finding other people in the same garment. Low is good for clothes, high for identity."
    )
    return Block("Leakage", note, header, tuple(rows))


def _differences(table: Table, lines: Sequence[Line], reference: str, measures: Sequence[Measure], title: str) -> Block:
    rows = []
    for line in lines:
        found = line.differences.get(reference, {})
        if found:
            rows.append(
                (
                    _name_cell(line),
                    *(difference_cell(found.get(measure.key), measure.group != LEAKAGE) for measure in measures),
                )
            )
    note = "Points, the mean over the seeds that both have, and its 95% interval by Student's t."
    return Block(title, note, ("method", *(measure.title for measure in measures)), tuple(rows))


def _sweep(table: Table, sweep: SweepRows) -> Block:
    rows = []
    for value, name in sweep.points:
        line = table.line(name)
        cells = (spread_cell(line.figures.get(measure.key)) for measure in table.scores)
        rows.append((Cell(f"{value}"), *cells, *_last_cells(table, line)))
    header = (
        sweep.parameter,
        *(measure.title for measure in table.scores),
        "seeds",
        f"SE of {table.primary} Rank-1",
        "training min",
    )
    note = f"Everything else as in {sweep.method}. Percent, mean ± standard deviation over the seeds."
    return Block(sweep.title, note, header, tuple(rows), sweep)


def _paper(paper: Mapping[str, Mapping[str, tuple[float, float]]]) -> Block:
    names = list(dict.fromkeys(name for rows in paper.values() for name in rows))
    header = ("method", *(f"{data} {title}" for data in paper for title in METRICS.values()))
    rows = []
    for name in names:
        pairs = [found.get(name) for found in paper.values()]
        figures = [NOTHING if pair is None else f"{pair[index]:.1f}" for pair in pairs for index in (0, 1)]
        rows.append((Cell(name), *map(Cell, figures)))
    note = "Cloth-changing, from the paper (arXiv 2406.09198), on other data: the order can be compared, not the level."
    return Block("The paper's figures", note, header, tuple(rows))


def make_blocks(table: Table) -> list[Block]:
    """All blocks, in the order of the page."""
    lines = [line for line in table.lines if line.row.kind in ("oracle", "frozen", "method")]
    note = "Percent, mean ± standard deviation over the seeds. SE: standard error of the mean."
    blocks = [_figures(table, lines, "Results", note)]
    compared = [line for line in lines if line.row.kind != "oracle"]
    blocks += [_differences(table, compared, name, table.scores, f"Difference to {name}") for name in table.references]
    if table.leaks:
        blocks.append(_leakage(table, lines))
        blocks += [
            _differences(table, compared, name, table.leaks, f"Leakage: difference to {name}")
            for name in table.references
        ]
    blocks = [block for block in blocks if block.rows]
    blocks += [_sweep(table, sweep) for sweep in table.plan.sweeps]
    if table.study.paper:
        blocks.append(_paper(table.study.paper))
    return blocks
