"""From a study to the steps of its table, or of its tuning."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.deciding import Kind
from pipeline.datasets.walkers.oracle import OracleKind
from pipeline.errors import InputError
from pipeline.studies.builder import METHOD_KEY, Builder, method_changes
from pipeline.studies.rows import FROZEN, Base, Given, Plan, Row, RowKind, SweepRows
from pipeline.studies.study import Study
from pipeline.training.methods import METHODS

ORACLES: Mapping[OracleKind, str] = {
    "clothes": "floor: the true factors of the outfit, and nothing of the person",
    "visible": "ceiling: the true factors of the person as far as the image shows them",
    "identity": "all that is true of the person",
}


def _title(study: Study, name: str, changes: Mapping[str, Any]) -> str:
    method = METHODS.get(str(changes.get(METHOD_KEY, "")))
    return method.title if method else study.title


def make_plan(study: Study, folder: Path, base: Base, given: Given | None, code: Mapping[Kind, str]) -> Plan:
    """The steps of a study's table.

    Args:
        study: What is compared.
        folder: Of the artifacts, absolute.
        base: The parameters under all methods.
        given: What the data set brings; None: walkers, which are rendered for each seed.
        code: Digest of the program by kind of step.

    Raises:
        InputError: A parameter is unknown, or a value is not allowed.
    """
    builder = Builder(study, folder, base, given, code)
    tops = {seed: f"seed-{seed}" for seed in study.seeds}
    rows: list[Row] = []
    for kind in study.oracles if given is None else ():
        runs = {seed: builder.oracle(top, kind, seed) for seed, top in tops.items()}
        rows.append(Row(f"oracle-{kind}", ORACLES[kind], "oracle", {}, runs))
    if study.frozen:
        runs = {seed: builder.frozen(top, seed) for seed, top in tops.items()}
        rows.append(Row(FROZEN, "the CLIP before training", "frozen", {}, runs))

    def add(name: str, title: str, kind: RowKind, changes: Mapping[str, Any]) -> None:
        runs = {seed: builder.trained(top, name, changes, seed, kind == "method") for seed, top in tops.items()}
        rows.append(Row(name, title, kind, changes, runs))

    for name in study.methods:
        changes = method_changes(study, name, base)
        add(name, _title(study, name, changes), "method", changes)
    sweeps = []
    for sweep in study.sweeps:
        points = []
        for value in sweep.values:
            changes = {**method_changes(study, sweep.method, base), sweep.parameter: value}
            name = f"{sweep.method}@{sweep.parameter}={value}"
            add(name, f"{sweep.method}, {sweep.parameter} = {value}", "sweep", changes)
            points.append((value, name))
        sweeps.append(SweepRows(sweep.parameter, sweep.title or sweep.parameter, sweep.method, tuple(points)))
    return builder.plan(rows, study.seeds, sweeps)


@dataclass(frozen=True)
class GridPoint:
    """One combination of a tuning grid for one method: the name of its row."""

    method: str
    values: Mapping[str, Any]
    row: str


def make_tuning_plan(
    study: Study, folder: Path, base: Base, code: Mapping[Kind, str]
) -> tuple[Plan, tuple[GridPoint, ...]]:
    """The steps of a study's tuning, on walkers of its own seeds; the CLIP is the table's.

    Raises:
        InputError: The study has no grid; or a parameter is unknown, or a value is not allowed.
    """
    tuning = study.tuning
    if tuning is None:
        raise InputError("--tune: the study has no section tuning")
    builder = Builder(study, folder, base, None, code)
    rows, points = [], []
    for name in study.methods:
        if tuning.methods is not None and name not in tuning.methods:
            continue
        for combination in itertools.product(*tuning.grid.values()):
            values = dict(zip(tuning.grid, combination, strict=True))
            row = f"{name}@{','.join(f'{key}={value}' for key, value in values.items())}"
            changes = {**method_changes(study, name, base), **values}
            runs = {
                seed: builder.trained(f"tuning/seed-{seed}", row, changes, seed, leakage=False) for seed in tuning.seeds
            }
            rows.append(Row(row, name, "tuning", changes, runs))
            points.append(GridPoint(name, values, row))
    return builder.plan(rows, tuning.seeds), tuple(points)
