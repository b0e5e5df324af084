"""Many pictures in rows and columns as one PNG, with framed right and wrong ones."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib
from matplotlib.figure import Figure

from pipeline.reporting.pictures import Picture, picture_pixels

CELL = (0.95, 0.75)
"""Height and width of a cell in inches."""
DOTS = 130
RIGHT, WRONG, PLAIN = "#14804a", "#c5322a", "#9aa0a8"
MOST_LETTERS = 18


@dataclass(frozen=True)
class Tile:
    """One picture.

    Attributes:
        picture: The picture.
        note: Text below it.
        right: Its frame: right, wrong, or plain.
    """

    picture: Picture
    note: str
    right: bool | None = None


def _short(text: str) -> str:
    lines = text.split("\n")
    return "\n".join(line if len(line) <= MOST_LETTERS else f"…{line[1 - MOST_LETTERS :]}" for line in lines)


def mosaic(head: Sequence[str], rows: Sequence[Sequence[Tile | None]]) -> bytes:
    """Draw the pictures.

    Args:
        head: Titles of the columns.
        rows: Tiles, as many a row as there are columns; None leaves a place empty.
    """
    height = sum(_row_height(row) for row in rows) + 0.3
    with matplotlib.rc_context({"font.family": "DejaVu Sans", "font.size": 5.5}):
        figure = Figure(figsize=(CELL[1] * len(head), height), facecolor="white")
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        places = figure.subplots(len(rows), len(head), squeeze=False)
        for row, axes_of_row in zip(rows, places, strict=True):
            for tile, axes in zip(row, axes_of_row, strict=True):
                axes.set_xticks([])
                axes.set_yticks([])
                if tile is None:
                    axes.set_frame_on(False)
                    continue
                axes.imshow(picture_pixels(tile.picture))
                axes.set_xlabel(tile.note, labelpad=1, parse_math=False)
                colour = PLAIN if tile.right is None else RIGHT if tile.right else WRONG
                axes.spines[:].set(color=colour, linewidth=0.6 if tile.right is None else 2.2,
                                   linestyle="--" if tile.right is False else "-")  # fmt: skip
        for title, axes in zip(head, places[0] if rows else (), strict=False):
            axes.set_title(_short(title), fontsize=5.5, pad=2, parse_math=False)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", dpi=DOTS, metadata={"Software": None})
    return stream.getvalue()


def _row_height(row: Sequence[Tile | None]) -> float:
    tall = max((tile.picture.height / tile.picture.width for tile in row if tile is not None), default=1.0)
    return min(2.2, CELL[1] * tall) + 0.12
