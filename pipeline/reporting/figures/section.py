"""One figure on the page: its plots, tables and pictures, the numbers behind them, and the files it leaves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from pipeline.reporting.pictures import Picture
from pipeline.reporting.ranked import Ranking
from pipeline.reporting.sheets import LegendEntry


@dataclass(frozen=True)
class Plot:
    """A plot with its caption."""

    name: str
    meaning: str
    drawing: Markup


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        head: Of the columns.
        rows: The first cell of each is its heading.
        words: Columns from the left that hold words; the others hold numbers.
    """

    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1


@dataclass(frozen=True)
class RankedPair:
    """One query, ranked by two checkpoints; the second is None where there is only one."""

    first: Ranking
    second: Ranking | None


@dataclass(frozen=True)
class SideBySide:
    """Queries that are shown, and counts over all queries.

    Attributes:
        queries: Queries that have a right item in the gallery.
        better: Queries whose average precision is higher with the first checkpoint than with the second.
        worse: Queries whose average precision is lower.
        apart: Those whose average precision differs most, gains and losses alike, the largest difference first.
        random: Drawn by the seed.
    """

    queries: int
    better: int
    worse: int
    apart: tuple[RankedPair, ...]
    random: tuple[RankedPair, ...]


@dataclass(frozen=True)
class MapRow:
    """One image and where the encoders look.

    Attributes:
        name: Of the image.
        about: Its ids in words.
        pictures: Picture, name, and remark of each.
    """

    name: str
    about: str
    pictures: tuple[tuple[Picture, str, str], ...]


@dataclass(frozen=True)
class Section:
    """One figure.

    Attributes:
        notes: Paragraphs: what is shown and how it was made.
        numbers: For the JSON file.
        plots: Plots.
        legend: Colours of the plots.
        tables: Tables.
        names: Names of the two checkpoints of ranked lists.
        ranked: Ranked lists.
        maps: Overlays.
        files: By name, texts or bytes to write beside the page.
    """

    notes: tuple[str, ...]
    numbers: Mapping[str, Any]
    plots: tuple[Plot, ...] = ()
    legend: tuple[LegendEntry, ...] = ()
    tables: tuple[Table, ...] = ()
    names: tuple[str, ...] = ()
    ranked: SideBySide | None = None
    maps: tuple[MapRow, ...] = ()
    files: Mapping[str, str | bytes] = field(default_factory=dict)


def number(value: float | None, digits: int = 3) -> str:
    """A number of a table with so many decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}".replace("-", "\u2212")


def distance(value: float) -> str:
    """A distance with three digits that tell something, for those of some networks are all small."""
    return f"{value:.3f}" if abs(value) >= 0.1 or value == 0 else f"{value:.3g}".replace("-", "\u2212")


def percent(value: float) -> str:
    """A share in percent."""
    return f"{100 * value:.1f}\u00a0%"
