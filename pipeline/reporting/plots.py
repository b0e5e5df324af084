"""Small plots as inline SVG: the page's own colours in light and dark, the same bytes on every run."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from pipeline.files import sha256_of_value

WIDTH, HEIGHT = 2.6, 1.4
"""Size of a plot in inches; the page scales it to its column."""

INK, RULE, _LINE = "#010101", "#020202", "#030303"
_STYLE_OF = {INK: "var(--soft)", RULE: "var(--rule)", _LINE: "var(--accent)"}
"""Colours that are drawn, and the page's variables that take their place."""

_FONT = "DejaVu Sans"  # shipped with matplotlib, so that the layout depends on no font of the machine
_SETTINGS = {
    "svg.fonttype": "none",
    "font.family": _FONT,
    "font.size": 8,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "xtick.color": RULE,
    "xtick.labelcolor": INK,
    "ytick.color": RULE,
    "ytick.labelcolor": INK,
    "grid.color": RULE,
    "axes.axisbelow": True,
}
_DOTS_UP_TO = 3


def _short(value: float, _position: int | None = None) -> str:
    """A tick's label with as few digits as tell it: 0.25, 1200, 5e-06."""
    return f"{value:.4g}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.2g}"


def to_page(svg: str, title: str, style_of: Mapping[str, str] = _STYLE_OF) -> Markup:
    """Take out what only a file of its own needs, and hand colours and font over to the page.

    Args:
        svg: Written by :func:`draw_svg`.
        title: What is drawn, for readers that cannot see it.
        style_of: Colours that were drawn, and what takes their place.
    """
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"\s*<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*">', "<g>", svg)  # the same in every plot; what is referred to keeps its hashed id
    svg = re.sub(r' (xmlns(:\w+)?|version)="[^"]*"', "", svg).replace("xlink:href", "href")  # HTML needs no namespaces
    label = f'role="img" aria-label="{Markup.escape(title)}"'
    svg = re.sub(r'width="[^"]*" height="[^"]*"', lambda _: label, svg, count=1)
    svg = re.sub(r"font-family: [^;\"]*", "font-family: inherit", svg)
    svg = re.sub(r"\s+", " ", svg)
    for colour, style in style_of.items():
        svg = svg.replace(colour, style)
    return Markup(svg.strip())  # made here; the only text from outside is escaped


def draw_svg(title: str, salt: object, plot: Any, size: tuple[float, float] = (WIDTH, HEIGHT)) -> str:
    """A drawing as an SVG file's text, the same on every run; lines and text have the colours that are replaced later.

    Args:
        title: What is drawn; with ``salt`` it makes the names inside the file its own.
        salt: JSON-like; what is drawn.
        plot: Draws into the axes that it is given.
        size: Width and height in inches.
    """
    settings = {**_SETTINGS, "svg.hashsalt": sha256_of_value([title, salt])}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=size)
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02)
        axes = figure.subplots()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=2)
        axes.grid(axis="y", linewidth=0.5)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter(FuncFormatter(_short))
        plot(axes)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return stream.getvalue()


def curve(title: str, epochs: Sequence[float], values: Sequence[float]) -> Markup:
    """A line over the epochs; one or few points are marked by dots.

    Args:
        title: What is drawn, for readers that cannot see it.
        epochs: Positions, ascending.
        values: One for each position.

    Raises:
        ValueError: The lengths differ, or there is nothing to draw.
    """
    if len(epochs) != len(values) or not epochs:
        raise ValueError(f"{title}: {len(epochs)} epochs and {len(values)} values")

    def plot(axes: Any) -> None:
        axes.plot(epochs, values, color=_LINE, linewidth=1.4, marker="o" if len(epochs) <= _DOTS_UP_TO else None)
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))

    return to_page(draw_svg(title, [list(epochs), list(values)], plot), title)


def histogram(title: str, values: Sequence[float], bins: int = 25) -> Markup:
    """Number of images by a fraction in [0, 1].

    Args:
        title: What is drawn, for readers that cannot see it.
        values: One an image.
        bins: Equal intervals of [0, 1].
    """
    numbers = [float(value) for value in values]

    def plot(axes: Any) -> None:
        axes.hist(numbers, bins=bins, range=(0, 1), color=_LINE, rwidth=0.9)
        axes.set_xlim(0, 1)

    return to_page(draw_svg(title, numbers, plot), title)


def sweep(title: str, labels: Sequence[str], means: Sequence[float], deviations: Sequence[float]) -> Markup:
    """Means with bars of one standard deviation to either side, over evenly spaced values of a parameter.

    Args:
        title: What is drawn, for readers that cannot see it.
        labels: Of the values.
        means: One for each value.
        deviations: As many.

    Raises:
        ValueError: The lengths differ, or there is nothing to draw.
    """
    if not labels or not len(labels) == len(means) == len(deviations):
        raise ValueError(f"{title}: {len(labels)} labels, {len(means)} means and {len(deviations)} deviations")
    positions = range(len(labels))

    def plot(axes: Any) -> None:
        axes.errorbar(
            positions, means, deviations, color=_LINE, linewidth=1.4, marker="o", markersize=3, elinewidth=0.8
        )
        axes.set_xticks(positions, list(labels))

    return to_page(draw_svg(title, [list(labels), list(means), list(deviations)], plot), title)
