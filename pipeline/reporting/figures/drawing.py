"""Plots of the figures: for the page in its own colours, light and dark, and as SVG files that stand alone."""

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from pipeline.reporting.plots import INK, RULE, draw_svg, to_page

DISTRIBUTION_SIZE = (4.2, 2.3)
SCATTER_SIZE = (4.2, 4.2)
TRAILS_SIZE = (6.0, 4.2)
BINS = 60

_TONES = ("#040404", "#050505", "#060606")
"""Colours of the series; each has a line of its own as well, so that they are told apart without colour."""
_LINES = ("-", "--", ":")
_ON_PAGE = {
    INK: "var(--soft)",
    RULE: "var(--rule)",
    _TONES[0]: "var(--good)",
    _TONES[1]: "var(--accent)",
    _TONES[2]: "var(--bad)",
}
_IN_FILE = {INK: "#444a52", RULE: "#c9cdd2", _TONES[0]: "#14804a", _TONES[1]: "#2b62c0", _TONES[2]: "#c5322a"}
_IDENTITIES = (
    "#2f7ed8", "#ef7f1a", "#2fa84f", "#d93a3a", "#9467bd", "#a0694f", "#e377c2", "#8a8a8a", "#b5b61f", "#19b3c4",
)  # fmt: skip
_GOLDEN_RATIO = 0.6180339887498949
_MARKERS = ("o", "s", "^", "D", "P", "X", "v", "*")
MARKER_NAMES = ("disc", "square", "triangle", "diamond", "plus", "cross", "triangle down", "star")


@dataclass(frozen=True)
class Drawing:
    """A plot in its two forms.

    Attributes:
        page: Inline SVG for a page.
        file: Text of an SVG file on white.
    """

    page: Markup
    file: str


@dataclass(frozen=True)
class Trail:
    """Points that belong together, such as those of one method over the values of a parameter.

    Attributes:
        name: For the legend.
        points: Position and label of each, in the order in which a line joins them; a label may be empty.
    """

    name: str
    points: tuple[tuple[float, float, str], ...]


def _draw(title: str, salt: object, plot: Callable[[Any, bool], None], size: tuple[float, float]) -> Drawing:
    """Draw twice: ``plot`` is told whether it draws the file, which has no page around it."""
    page = to_page(draw_svg(title, [salt, "page"], lambda axes: plot(axes, False), size), title, _ON_PAGE)
    file = draw_svg(title, [salt, "file"], lambda axes: plot(axes, True), size)
    for drawn, colour in _IN_FILE.items():
        file = file.replace(drawn, colour)
    opening = file.index(">", file.index("<svg")) + 1
    return Drawing(page, f'{file[:opening]}\n <rect width="100%" height="100%" fill="#ffffff"/>{file[opening:]}')


def distributions(
    title: str, series: Sequence[tuple[str, NDArray[np.float32]]], limits: tuple[float, float], axis: str
) -> Drawing:
    """Normalised histograms of up to three sets of numbers over each other.

    Args:
        title: What is drawn.
        series: Name and values of each, (N,), N > 0.
        limits: Of the horizontal axis, so that several plots can be compared.
        axis: What the numbers are.
    """
    low, high = limits
    edges = np.linspace(low, high if high > low else low + 1e-6, BINS + 1)
    shares = [np.histogram(values.astype(np.float64), edges)[0] / len(values) for _, values in series]

    def plot(axes: Any, is_file: bool) -> None:
        for (name, _), share, tone, line in zip(series, shares, _TONES, _LINES, strict=False):
            axes.stairs(share, edges, fill=True, color=tone, alpha=0.16)
            axes.stairs(share, edges, color=tone, linewidth=1.4, linestyle=line, label=name)
        axes.set_xlabel(axis)
        axes.set_ylabel("share of the pairs")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlim(edges[0], edges[-1])
        axes.margins(y=0.25)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, fontsize=7.5, loc="upper left", ncols=2, columnspacing=1.2, handlelength=1.8)
        if is_file:
            axes.set_title(title, fontsize=8, parse_math=False)

    return _draw(title, [[name, share.tolist()] for (name, _), share in zip(series, shares, strict=True)], plot,
                 DISTRIBUTION_SIZE)  # fmt: skip


def identity_colours(count: int) -> tuple[str, ...]:
    """``#rrggbb`` of as many identities, that are seen on light and on dark."""
    colours = list(_IDENTITIES[:count])
    for number in range(len(colours), count):
        red, green, blue = colorsys.hls_to_rgb(number * _GOLDEN_RATIO % 1.0, 0.52, 0.6)
        colours.append(f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}")
    return tuple(colours)


def scatter(
    title: str,
    points: NDArray[np.float32],
    identities: NDArray[np.int64],
    outfits: NDArray[np.int64],
    names: Sequence[str],
) -> Drawing:
    """Points of a map: the identity's colour, the outfit's mark.

    Args:
        title: What is drawn.
        points: (N, 2).
        identities: Number of each point's identity, (N,), below ``len(names)``.
        outfits: Number of its outfit among those of the identity, (N,); negative: not known, drawn as a disc.
        names: Of the identities.
    """
    colours = identity_colours(len(names))

    def plot(axes: Any, is_file: bool) -> None:
        for identity, name in enumerate(names):
            of_identity = identities == identity
            for outfit in np.unique(outfits[of_identity]).tolist():
                chosen = points[of_identity & (outfits == outfit)]
                mark = _MARKERS[max(outfit, 0) % len(_MARKERS)]
                axes.plot(
                    chosen[:, 0], chosen[:, 1], mark, color=colours[identity], markersize=5.4, markeredgewidth=0,
                    alpha=0.85,
                )  # fmt: skip
            axes.plot([], [], "o", color=colours[identity], markersize=4, markeredgewidth=0, label=name)
        axes.grid(visible=False)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[["bottom"]].set_visible(False)
        axes.set_aspect("equal", adjustable="datalim")
        if is_file:
            axes.set_title(title, fontsize=8, parse_math=False)
            axes.legend(frameon=False, fontsize=6.5, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.2)

    salt = [np.round(points.astype(np.float64), 4).tolist(), identities.tolist(), outfits.tolist()]
    return _draw(title, salt, plot, SCATTER_SIZE)


def trails(title: str, lines: Sequence[Trail], across: str, up: str) -> Drawing:
    """Lines through labelled points of two figures, one line a trail; a trail of one point is a mark.

    Args:
        title: What is drawn.
        lines: At least one, each with at least one point.
        across: What the horizontal axis is.
        up: What the vertical one is.

    Raises:
        ValueError: There is nothing to draw.
    """
    if not lines or not all(line.points for line in lines):
        raise ValueError(f"{title}: a line has no points")
    colours = identity_colours(len(lines))

    def plot(axes: Any, is_file: bool) -> None:
        for number, (line, colour) in enumerate(zip(lines, colours, strict=True)):
            xs, ys, _ = zip(*line.points, strict=True)
            mark = _MARKERS[number % len(_MARKERS)]
            axes.plot(xs, ys, color=colour, linewidth=1.2, marker=mark, markersize=5, markeredgewidth=0,
                      label=line.name)  # fmt: skip
            for x, y, label in line.points:
                axes.annotate(label, (x, y), (4, 3), textcoords="offset points", fontsize=6, parse_math=False)
        axes.grid(axis="x", linewidth=0.5)
        axes.margins(0.08)
        axes.xaxis.set_major_locator(MaxNLocator(6))
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        legend = axes.legend(
            frameon=False, fontsize=6.5, loc="center left", bbox_to_anchor=(1, 0.5), handletextpad=0.4, labelspacing=0.7
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
        if is_file:
            axes.set_title(title, fontsize=8, parse_math=False)

    return _draw(title, [[line.name, [list(point) for point in line.points]] for line in lines], plot, TRAILS_SIZE)
