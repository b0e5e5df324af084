"""The table of a study as values: every figure by row, seed and measure, its spread, and differences to references."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, ValidationError, model_validator

from pipeline.artifacts import Artifact, Word, explain
from pipeline.errors import InputError
from pipeline.files import read_json, sha256_of_value
from pipeline.studies.rows import Plan, Row
from pipeline.studies.schedule import Note
from pipeline.studies.statistics import Difference, Spread, mean_of, paired_difference, spread_of
from pipeline.studies.study import Study

METRICS = {"rank1": "Rank-1", "mAP": "mAP"}
MINUTES = ("training", "minutes")
LEAKAGE = "leakage"
_FIRST = ("clothes", "identity", "upper_colour")


@dataclass(frozen=True)
class Measure:
    """A column.

    Attributes:
        group: Protocol, or another name for what belongs together.
        name: Such as ``rank1``.
        title: For people.
    """

    group: str
    name: str
    title: str

    @property
    def key(self) -> tuple[str, str]:
        """Group and name."""
        return self.group, self.name


@dataclass(frozen=True)
class Line:
    """A row of the table.

    Attributes:
        row: Of the plan.
        figures: By measure; a measure that no seed has is left out.
        differences: By reference, then by measure.
        missing: Seeds without figures, because something failed.
    """

    row: Row
    figures: Mapping[tuple[str, str], Spread]
    differences: Mapping[str, Mapping[tuple[str, str], Difference]] = field(default_factory=dict)
    missing: tuple[int, ...] = ()


@dataclass(frozen=True)
class Table:
    """Everything that is written about a study.

    Attributes:
        study: The study as it was run.
        name: Its name.
        plan: Its steps and rows.
        measures: Columns, the primary protocol's first.
        primary: Protocol whose standard error is shown: the cloth-changing one.
        lines: In the plan's order.
        references: Rows that the others are compared with.
        made_by: Version and digests of the program, hash of the CLIP, and of the study.
        failures: What failed, a sentence each; empty when the table is complete.
        chance: Chance level of each leakage figure.
    """

    study: Study
    name: str
    plan: Plan
    measures: tuple[Measure, ...]
    primary: str
    lines: tuple[Line, ...]
    references: tuple[str, ...]
    made_by: Mapping[str, Any]
    failures: tuple[str, ...] = ()
    chance: Mapping[str, float] = field(default_factory=dict)

    @property
    def scores(self) -> tuple[Measure, ...]:
        """Columns of protocols."""
        return tuple(measure for measure in self.measures if measure.group != LEAKAGE)

    @property
    def leaks(self) -> tuple[Measure, ...]:
        """Columns of leakage."""
        return tuple(measure for measure in self.measures if measure.group == LEAKAGE)

    def line(self, name: str) -> Line:
        """The line of a row."""
        return next(line for line in self.lines if line.row.name == name)


def is_cloth_changing(protocol: str) -> bool:
    """Whether a protocol's name says so: ``cc``, ``prcc:cc:multi-shot``."""
    return "cc" in protocol.split(":")


def order_protocols(found: Sequence[str], wanted: Sequence[str] | None) -> list[str]:
    """The protocols that are shown: those of the study that the data set has, else all, cloth-changing ones first."""
    chosen = [name for name in wanted or () if name in found]
    return chosen or sorted(found, key=lambda name: not is_cloth_changing(name))


class _Figures(Artifact):
    rank1: float
    mAP: float  # noqa: N815  (the metric's name in the file)


class _MetricsFields(Artifact):
    protocols: Annotated[dict[Word, _Figures], Field(min_length=1)]


class _Headline(Artifact):
    chance: float
    mAP: float | None = None  # noqa: N815
    accuracy: float | None = None

    @property
    def value(self) -> float:
        """Its own figure: a mean average precision, or an accuracy."""
        found = self.accuracy if self.mAP is None else self.mAP
        assert found is not None, "checked when it was read"
        return found

    @model_validator(mode="after")
    def _has_one(self) -> Self:
        if self.mAP is None and self.accuracy is None:
            raise ValueError("neither mAP nor accuracy")
        return self


class _LeakageFields(Artifact):
    headline: dict[Word, _Headline]


def read_protocols(path: Path) -> dict[str, dict[str, float]]:
    """Figures by protocol of a metrics file.

    Raises:
        InputError: It is missing or of another form.
    """
    try:
        found = _MetricsFields.model_validate(read_json(path, "metrics"))
    except ValidationError as error:
        raise InputError(f"metrics {path} are not what ccaf-pipeline evaluate writes: {explain(error)}") from None
    return {name: {metric: getattr(entry, metric) for metric in METRICS} for name, entry in found.protocols.items()}


def read_leakage(path: Path) -> dict[str, tuple[float, float]]:
    """Headline figures of a leakage file with their chance levels.

    Raises:
        InputError: It is missing or of another form.
    """
    try:
        found = _LeakageFields.model_validate(read_json(path, "leakage"))
    except ValidationError as error:
        raise InputError(f"leakage {path} is not what ccaf-pipeline leakage writes: {explain(error)}") from None
    return {name: (entry.value, entry.chance) for name, entry in found.headline.items()}


def _values_of(plan: Plan, row: Row, notes: Mapping[str, Note]) -> dict[tuple[str, str], dict[int, float]]:
    """Values of a row by measure and seed, of those runs that are finished."""
    values: dict[tuple[str, str], dict[int, float]] = {}
    for seed, run in row.runs.items():
        if run.metrics not in notes:
            continue
        for protocol, figures in read_protocols(plan.steps[run.metrics].out).items():
            for metric, value in figures.items():
                values.setdefault((protocol, metric), {})[seed] = value
        if run.leakage is not None and run.leakage in notes:
            for name, (value, _) in read_leakage(plan.steps[run.leakage].out).items():
                values.setdefault((LEAKAGE, name), {})[seed] = value
        if run.encoder is not None:
            values.setdefault(MINUTES, {})[seed] = round(notes[run.encoder].seconds / 60, 2)
    return values


def build_table(
    name: str, study: Study, plan: Plan, notes: Mapping[str, Note], failures: Sequence[str], made_by: Mapping[str, Any]
) -> Table:
    """Read the metrics of all finished runs and compare them.

    Args:
        name: Of the study.
        study: As it was run.
        plan: Its steps.
        notes: Of the finished steps.
        failures: Sentences about what failed.
        made_by: More about what made it.

    Raises:
        InputError: A metrics file is damaged.
    """
    values = {row.name: _values_of(plan, row, notes) for row in plan.rows}
    keys = list(dict.fromkeys(key for each in values.values() for key in each))
    found = list(dict.fromkeys(group for group, name in keys if group not in (MINUTES[0], LEAKAGE)))
    protocols = order_protocols(found, study.protocols)
    measures = [
        Measure(protocol, metric, f"{protocol} {title}") for protocol in protocols for metric, title in METRICS.items()
    ]
    leaks = sorted((name for group, name in keys if group == LEAKAGE), key=lambda name: (name not in _FIRST, name))
    measures += [Measure(LEAKAGE, name, name.replace("_", " ")) for name in leaks]
    references = tuple(name for name in study.reference if values.get(name))
    lines = []
    for row in plan.rows:
        own = values[row.name]
        differences = {}
        for reference in references:
            pairs = {
                measure.key: paired_difference(own[measure.key], values[reference].get(measure.key, {}))
                for measure in measures
                if measure.key in own and row.name != reference
            }
            differences[reference] = {key: found for key, found in pairs.items() if found is not None}
        missing = tuple(seed for seed, run in row.runs.items() if run.metrics not in notes)
        lines.append(Line(row, {key: spread_of(each) for key, each in own.items()}, differences, missing))
    code = {
        kind: sorted({note.code for name, note in notes.items() if plan.steps[name].kind == kind})
        for kind in sorted({plan.steps[name].kind for name in notes})
    }
    return Table(
        study=study,
        name=name,
        plan=plan,
        measures=tuple(measures),
        primary=next((name for name in protocols if is_cloth_changing(name)), protocols[0] if protocols else ""),
        lines=tuple(lines),
        references=references,
        made_by={"study_sha256": sha256_of_value(study.model_dump(mode="json")), "code": code, **made_by},
        failures=tuple(failures),
        chance=_chance(plan, notes),
    )


def _chance(plan: Plan, notes: Mapping[str, Note]) -> dict[str, float]:
    """Chance levels of the leakage figures: they are the data's, not the method's; mean over all runs."""
    levels: dict[str, list[float]] = {}
    for name, step in plan.steps.items():
        if step.kind == "leakage" and name in notes:
            for measure, (_, chance) in read_leakage(step.out).items():
                levels.setdefault(measure, []).append(chance)
    return {name: mean_of(values) for name, values in levels.items()}


def _spread_value(spread: Spread) -> dict[str, Any]:
    return {
        "mean": spread.mean,
        "sd": spread.deviation,
        "se": spread.error,
        "n": spread.count,
        "values": {str(seed): value for seed, value in spread.values.items()},
    }


def _difference_value(difference: Difference) -> dict[str, Any]:
    return {
        "mean": difference.mean,
        "low": difference.low,
        "high": difference.high,
        "n": difference.count,
        "values": {str(seed): value for seed, value in difference.values.items()},
    }


def _grouped(values: Mapping[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for (group, name), value in values.items():
        groups.setdefault(group, {})[name] = value
    return groups


def table_as_json(table: Table) -> dict[str, Any]:
    """The table as a JSON-like value."""
    rows = [
        {
            "name": line.row.name,
            "title": line.row.title,
            "kind": line.row.kind,
            "parameters": dict(line.row.changes),
            "seeds": sorted(line.row.runs),
            "missing_seeds": list(line.missing),
            "figures": _grouped({key: _spread_value(spread) for key, spread in line.figures.items()}),
            "differences": {
                reference: _grouped({key: _difference_value(found) for key, found in differences.items()})
                for reference, differences in line.differences.items()
            },
        }
        for line in table.lines
    ]
    return {
        "study": table.name,
        "title": table.study.title,
        "source": table.study.source,
        "dataset": table.plan.dataset,
        "complete": not table.failures,
        "failures": list(table.failures),
        "seeds": list(table.plan.seeds),
        "measures": [list(measure.key) for measure in table.measures],
        "primary_protocol": table.primary,
        "chance": {LEAKAGE: dict(table.chance)} if table.chance else {},
        "references": list(table.references),
        "rows": rows,
        "sweeps": [
            {
                "parameter": sweep.parameter,
                "title": sweep.title,
                "method": sweep.method,
                "points": [{"value": value, "row": row} for value, row in sweep.points],
            }
            for sweep in table.plan.sweeps
        ],
        "paper": {data: {row: list(pair) for row, pair in rows.items()} for data, rows in table.study.paper.items()},
        "made_by": dict(table.made_by),
        "parameters": table.plan.parameters.model_dump(mode="json", exclude={"device", "threads"}),
    }
