"""Writes the table of a study as JSON, CSV, Markdown, HTML and a drawing, all from the same values."""

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from markupsafe import Markup

from pipeline import __version__
from pipeline.files import atomic_file, sha256_of_value, write_json
from pipeline.reporting.origin import Fact
from pipeline.reporting.page import render_page
from pipeline.reporting.plots import sweep as plot_sweep
from pipeline.studies.blocks import Block, Cell, make_blocks
from pipeline.studies.rows import SweepRows
from pipeline.studies.table import METRICS, Table, table_as_json
from pipeline.studies.tradeoff import METRIC, draw_tradeoff, find_tradeoff

FORMATS = ("json", "csv", "md", "html", "svg")
"""Endings of the files. The drawing is there only where the table has what it shows."""
_TEMPLATE = "study.html.j2"
_COLUMNS = ("row", "kind", "group", "measure", "statistic", "reference", "seed", "value", "low", "high")


def _records(table: Table) -> Iterator[dict[str, Any]]:
    for line in table.lines:
        base = {"row": line.row.name, "kind": line.row.kind}
        for (group, measure), spread in line.figures.items():
            own = {**base, "group": group, "measure": measure}
            for seed, value in spread.values.items():
                yield {**own, "statistic": "value", "seed": seed, "value": value}
            yield {**own, "statistic": "mean", "value": spread.mean}
            if spread.deviation is not None:
                yield {**own, "statistic": "sd", "value": spread.deviation}
                yield {**own, "statistic": "se", "value": spread.error}
        for reference, differences in line.differences.items():
            for (group, measure), found in differences.items():
                yield {
                    **base,
                    "group": group,
                    "measure": measure,
                    "statistic": "difference",
                    "reference": reference,
                    "value": found.mean,
                    "low": found.low,
                    "high": found.high,
                }


def table_as_csv(table: Table) -> str:
    """One number a line: each value by seed, means, standard deviations and errors, and differences."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, _COLUMNS, lineterminator="\n")
    writer.writeheader()
    for record in _records(table):
        writer.writerow({key: value for key, value in record.items() if value is not None})
    return stream.getvalue()


NOT_MADE = "not made"


def _seeds(table: Table) -> str:
    listed = ", ".join(map(str, table.plan.seeds))
    return f"{listed}, of data and training" if table.made_by["rendered"] else f"{listed}, of training"


def made_by_facts(table: Table) -> list[Fact]:
    """What made the table, for people."""
    made = table.made_by
    mixed = any(len(digests) > 1 for digests in made["code"].values())
    facts = [
        Fact("data set", table.plan.dataset),
        Fact("seeds", _seeds(table)),
        Fact("study", f"{table.name}, sha256 {made['study_sha256'][:12]}"),
        Fact("program", f"ccaf-pipeline {made['version']}, code {sha256_of_value(made['code'])[:12]}"),
        Fact("CLIP", made["clip"] or NOT_MADE),
    ]
    if mixed:
        facts.append(Fact("note", "runs were made by different versions of the program"))
    return facts


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _cell_text(cell: Cell) -> str:
    text = f"**{cell.text}**" if cell.mark else cell.text
    return _escaped(f"{text} {cell.more}" if cell.more else text)


def _markdown_block(block: Block) -> list[str]:
    lines = [f"## {block.title}", "", block.note, ""]
    lines.append(f"| {' | '.join(map(_escaped, block.header))} |")
    lines.append(f"|{'---|' * len(block.header)}")
    lines += [f"| {' | '.join(map(_cell_text, row))} |" for row in block.rows]
    return [*lines, ""]


def _parameters_as_yaml(table: Table) -> str:
    value = {
        "parameters": table.plan.parameters.model_dump(mode="json", exclude_defaults=True),
        "methods": {line.row.name: dict(line.row.changes) for line in table.lines if line.row.kind == "method"},
    }
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def table_as_markdown(table: Table) -> str:
    """The same blocks as on the page, without plots."""
    lines = [f"# {table.study.title}", "", table.study.source, ""]
    if table.failures:
        lines += ["**Incomplete:**", "", *(f"- {failure}" for failure in table.failures), ""]
    for block in make_blocks(table):
        lines += _markdown_block(block)
    lines += ["## What made this", "", *(f"- {fact.name}: {fact.value}" for fact in made_by_facts(table)), ""]
    lines += ["```yaml", _parameters_as_yaml(table).rstrip("\n"), "```"]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class SweepPlot:
    """A plot of one measure over the values of a parameter."""

    title: str
    svg: Markup


@dataclass(frozen=True)
class ShownBlock:
    """A block with its plots."""

    block: Block
    plots: tuple[SweepPlot, ...]


@dataclass(frozen=True)
class StudyPage:
    """Everything on the page of a study."""

    title: str
    source: str
    version: str
    failures: tuple[str, ...]
    tradeoff: SweepPlot | None
    blocks: tuple[ShownBlock, ...]
    facts: tuple[Fact, ...]
    parameters: str


def _plots(table: Table, sweep: SweepRows | None) -> tuple[SweepPlot, ...]:
    """The primary protocol's figures over the values, as in the paper's Fig. 4; points that failed are left out."""
    plots = []
    for metric, title in METRICS.items() if sweep else ():
        assert sweep is not None
        found = [(str(value), table.line(row).figures.get((table.primary, metric))) for value, row in sweep.points]
        points = [(label, spread.mean, spread.deviation or 0.0) for label, spread in found if spread is not None]
        if points:
            name = f"{table.primary} {title} by {sweep.parameter}"
            labels, means, deviations = zip(*points, strict=True)
            plots.append(SweepPlot(name, plot_sweep(name, labels, means, deviations)))
    return tuple(plots)


def _tradeoff(table: Table) -> SweepPlot | None:
    found = find_tradeoff(table)
    if found is None:
        return None
    return SweepPlot(f"{found.changing} against {found.same} {METRICS[METRIC]}", draw_tradeoff(found).page)


def table_as_html(table: Table) -> str:
    """One self-contained page."""
    page = StudyPage(
        title=table.study.title,
        source=table.study.source,
        version=__version__,
        failures=table.failures,
        tradeoff=_tradeoff(table),
        blocks=tuple(ShownBlock(block, _plots(table, block.sweep)) for block in make_blocks(table)),
        facts=tuple(made_by_facts(table)),
        parameters=_parameters_as_yaml(table),
    )
    return render_page(page, _TEMPLATE)


def write_table(table: Table, folder: Path, stem: str) -> list[Path]:
    """Write ``<stem>.json``, ``.csv``, ``.md``, ``.html`` and, where there is a trade to be seen, ``.svg``.

    Returns:
        The paths of what was written. A drawing of an earlier table that has none now is removed.
    """
    found = find_tradeoff(table)
    texts = {"csv": table_as_csv(table), "md": table_as_markdown(table), "html": table_as_html(table)}
    if found is None:
        (folder / f"{stem}.svg").unlink(missing_ok=True)
    else:
        texts["svg"] = draw_tradeoff(found).file
    paths = [folder / f"{stem}.json"]
    write_json(paths[0], table_as_json(table))
    for ending, text in texts.items():
        paths.append(folder / f"{stem}.{ending}")
        with atomic_file(paths[-1]) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return paths
