"""The page: its parts as plain values, and the one HTML file that they become."""

import re
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipeline.files import atomic_file
from pipeline.reporting.numbers import Absent, Numbers
from pipeline.reporting.origin import Fact, FactGroup
from pipeline.reporting.overview import Overview
from pipeline.reporting.ranked import RankedGalleries
from pipeline.reporting.runs import Panel
from pipeline.reporting.sheets import Sheet

GENERATOR = 'content="ccaf-pipeline'
"""The beginning of what a page of this program says of its origin."""

_TEMPLATE = "report.html.j2"
_BACKTICKS = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Tile:
    """One large number at the top."""

    name: str
    value: str
    more: str


@dataclass(frozen=True)
class Curves:
    """The curves of one stage of training.

    Attributes:
        title: Of the stage.
        note: One sentence about the settings.
        panels: A plot a curve.
    """

    title: str
    note: str
    panels: tuple[Panel, ...] | Absent


@dataclass(frozen=True)
class Recipe:
    """How to make the artifacts again.

    Attributes:
        file: Name of the parameter file.
        parameters: Its text.
        data: How to get the data set.
        commands: To run in this order.
    """

    file: str
    parameters: str
    data: str
    commands: tuple[str, ...]


@dataclass(frozen=True)
class Page:
    """Everything on the page.

    Attributes:
        title: Name of the data set for people.
        version: Of this program.
        warnings: Sentences about parts that do not belong together.
        tiles: Large numbers.
        ran: The steps that ran.
        numbers: Metrics.
        curves: By stage of training.
        overview: Counts of the data.
        clothes: How clothes classes were got, and whether they were used.
        sheet: Parsed images.
        ranked: Ranked galleries.
        origin: Provenance.
        recipe: How to make it again.
    """

    title: str
    version: str
    warnings: tuple[str, ...]
    tiles: tuple[Tile, ...]
    ran: tuple[Fact, ...]
    numbers: Numbers
    curves: tuple[Curves, ...]
    overview: Overview
    clothes: tuple[str, ...]
    sheet: Sheet
    ranked: RankedGalleries | Absent
    origin: tuple[FactGroup, ...]
    recipe: Recipe


def _count(value: int | None) -> str:
    return "–" if value is None else f"{value:,}"


def _share(value: float) -> str:
    """A share in percent, with enough digits that few do not look like none."""
    percent = 100 * value
    return f"{percent:.1f}\u00a0%" if percent >= 0.1 or percent == 0 else "<\u00a00.1\u00a0%"


def _points(value: float) -> str:
    return f"{value:.1f}"


def _direction(value: float) -> str:
    """``up``, ``down``, or nothing for what rounds to no points."""
    rounded = round(value, 1)
    return "up" if rounded > 0 else "down" if rounded < 0 else ""


def _gain(value: float) -> str:
    """Signed points; what rounds to nothing has no sign."""
    return f"{value:+.1f}".replace("-", "\u2212") if _direction(value) else "0.0"


def _code(text: str) -> Markup:
    """Escaped text whose `commands` stand in code."""
    return Markup(_BACKTICKS.sub(r"<code>\1</code>", str(escape(text))))  # escaped first


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        code=_code,
        brief=lambda value: f"{value:.3g}",
        count=_count,
        direction=_direction,
        gain=_gain,
        points=_points,
        share=_share,
        two=lambda value: f"{value:.2f}",
    )
    environment.tests["absent"] = lambda value: isinstance(value, Absent)
    return environment


def read_template(name: str) -> str:
    """The text of a template as it is, such as the style sheet that all pages share."""
    loader = PackageLoader("pipeline.reporting")
    return loader.get_source(Environment(autoescape=True), name)[0]


def render_page(page: object, template: str = _TEMPLATE) -> str:
    """The page as HTML that needs nothing but itself; text from outside is escaped.

    Args:
        page: A :class:`Page`, or what another template shows.
        template: Name of the template.
    """
    return _environment().get_template(template).render(page=page)


def write_page(page: object, path: Path, template: str = _TEMPLATE) -> int:
    """Write the page atomically; returns its size in bytes. Arguments as for :func:`render_page`."""
    data = render_page(page, template).encode()
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)
    return len(data)
