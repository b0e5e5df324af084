"""From a study to its steps: what several runs share is in the plan once."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pipeline.config import Parameters, build_parameters
from pipeline.datasets.catalog import load_facts
from pipeline.errors import InputError
from pipeline.files import sha256_of_value
from pipeline.studies.costs import estimate
from pipeline.studies.steps import Kind, Step, deciding, identity_images
from pipeline.studies.study import Study, dotted
from pipeline.training.methods import METHODS

WALKERS = "walkers"
FROZEN = "frozen"
RowKind = Literal["frozen", "method", "sweep", "tuning"]
_METHOD_KEY = "encoder.method"


@dataclass(frozen=True)
class Base:
    """The parameters under all methods.

    Attributes:
        tree: Sections of a parameter file that the user gave; None: the study's own.
        overrides: Changes that the user gave, over either.
    """

    tree: Mapping[str, Any] | None = None
    overrides: Sequence[tuple[str, Any]] = ()


@dataclass(frozen=True)
class Given:
    """What a data set brings that the study does not render.

    Attributes:
        shards: Its shards: where they are, or shall be parsed to.
        shards_sha256: Their content; None: they are to be parsed.
        clip: What the weights of the CLIP are: a file's hash, or open_clip's tag.
    """

    shards: Path
    shards_sha256: str | None
    clip: str


@dataclass(frozen=True)
class Run:
    """One line of the table on one seed: names of its steps."""

    metrics: str
    encoder: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: Unique in the plan.
        title: In words.
        kind: A method of the study, a point of a sweep or of a tuning grid, or the CLIP before training.
        changes: Parameters over the common ones, by dotted key.
        runs: By seed.
    """

    name: str
    title: str
    kind: RowKind
    changes: Mapping[str, Any]
    runs: Mapping[int, Run]


@dataclass(frozen=True)
class SweepRows:
    """The points of a sweep, in the order of its values: names of rows."""

    parameter: str
    title: str
    method: str
    points: tuple[tuple[Any, str], ...]


@dataclass(frozen=True)
class Plan:
    """Everything that is to be done for a table.

    Attributes:
        folder: Of the study's artifacts.
        dataset: Name of the data set.
        parameters: The common ones.
        seeds: Of data and training.
        steps: By name; every step comes after its inputs.
        rows: Of the table.
        sweeps: Of the study.
    """

    folder: Path
    dataset: str
    parameters: Parameters
    seeds: tuple[int, ...]
    steps: Mapping[str, Step]
    rows: tuple[Row, ...]
    sweeps: tuple[SweepRows, ...] = ()


def common_changes(study: Study, base: Base) -> list[tuple[str, Any]]:
    """Changes to the tree under all methods: the study's own, unless the user gave a file; then the user's."""
    return [*(dotted(study.parameters) if base.tree is None else []), *base.overrides]


def common_parameters(study: Study, base: Base) -> Parameters:
    """The common parameters.

    Raises:
        InputError: A key is unknown, or a value is not allowed.
    """
    return build_parameters(base.tree or {}, common_changes(study, base), "the study's parameters")


def method_changes(study: Study, name: str, base: Base) -> dict[str, Any]:
    """What a method changes; tuned values are for the study's own parameters only."""
    changes = dict(dotted(study.methods[name] or {}))
    if _METHOD_KEY not in changes and name in METHODS:
        changes = {_METHOD_KEY: name, **changes}
    if base.tree is None:
        changes |= dict(dotted(study.tuned.get(name, {})))
    return changes


@dataclass
class _Builder:
    """Adds steps to a plan, each once."""

    study: Study
    folder: Path
    base: Base
    given: Given | None
    code: Mapping[Kind, str]
    steps: dict[str, Step] = field(default_factory=dict)
    runs: dict[str, str] = field(default_factory=dict)

    @property
    def given_clip(self) -> str | None:
        """What the weights are that come from outside; None: a step makes them."""
        return None if self.given is None else self.given.clip

    def parameters(self, changes: Mapping[str, Any], seed: int, where: str) -> Parameters:
        """Those of one run, with the places of the study filled in."""
        places: list[tuple[str, Any]] = [("seed", seed)]
        if self.given is None:
            places += [("model.pretrained", str(self.folder / "clip" / "weights.safetensors"))]
        all_changes = [*common_changes(self.study, self.base), *changes.items(), *places]
        return build_parameters(self.base.tree or {}, all_changes, where)

    def add(
        self,
        name: str,
        kind: Kind,
        parameters: Parameters,
        inputs: Mapping[str, str],
        out: Path | None = None,
        outside: Mapping[str, Path] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """Add a step if it is not there."""
        if name not in self.steps:
            places = {role: self.steps[step].out for role, step in inputs.items()}
            self.steps[name] = Step(
                name=name,
                kind=kind,
                parameters=parameters,
                places={**places, **(outside or {}), "out": out or self.folder / name},
                inputs=dict(inputs),
                made_of={**deciding(kind, parameters, self.given_clip), **(more or {})},
                code=self.code.get(kind, ""),
                cost=estimate(kind, parameters),
            )
        return name

    def clip(self, parameters: Parameters) -> dict[str, str]:
        """The CLIP that the study pre-trains, as an input; nothing where it is given."""
        if self.given is not None:
            return {}
        own = parameters.model_copy(update={"seed": self.study.clip_seed})
        population = self.add("population", "population", own, {})
        return {"clip": self.add("clip", "clip", own, {"population": population})}

    def shards(self, top: str, parameters: Parameters) -> tuple[dict[str, str], dict[str, Path], dict[str, Any]]:
        """The shards of a seed: as an input, or as a place outside with what is in it."""
        if self.given is None:
            data = self.add(f"{top}/data", "data", parameters, {})
            rendered = self.folder / data
            changes: dict[str, Any] = {"data": parameters.data.model_copy(update={"root": str(rendered)})}
            if parameters.parse.parser == "precomputed" and "root" not in parameters.parse.settings:
                labels = {**parameters.parse.settings, "root": str(rendered / WALKERS / "labels")}
                changes["parse"] = parameters.parse.model_copy(update={"settings": labels})
            own = parameters.model_copy(update=changes)
            name = f"{top}/shards"
            if name not in self.steps:  # where the label maps lie is no part of what the shards are
                without_places = deciding("shards", parameters)
                self.add(name, "shards", own, {"data": data})
                self.steps[name] = _replace_made_of(self.steps[name], without_places)
            return {"shards": name}, {}, {}
        if self.given.shards_sha256 is None:
            name = self.add("shards", "shards", parameters, {}, out=self.given.shards)
            return {"shards": name}, {}, {}
        return {}, {"shards": self.given.shards}, {"shards": self.given.shards_sha256}

    def frozen(self, top: str, seed: int) -> Run:
        """Features and metrics of the CLIP before training. They do not depend on the training's seed."""
        top_of_data = top if self.given is None else top.removesuffix(f"seed-{seed}").rstrip("/")
        parameters = self.parameters({}, seed if self.given is None else self.study.seeds[0], FROZEN)
        shards, outside, more = self.shards(top, parameters)
        place = f"{top_of_data}/{FROZEN}".lstrip("/")
        features = self.add(
            f"{place}/features.parquet",
            "features",
            parameters,
            {**shards, **self.clip(parameters)},
            outside=outside,
            more=more,
        )
        return Run(self.add(f"{place}/metrics.json", "metrics", parameters, {"features": features}))

    def trained(self, top: str, name: str, changes: Mapping[str, Any], seed: int) -> Run:
        """Prompts, encoder, features and metrics of one run; an equal run is taken instead of made again."""
        parameters = self.parameters(changes, seed, f"method {name}")
        shards, outside, more = self.shards(top, parameters)
        clip = self.clip(parameters)
        prompts = self.prompts(top, parameters, {**shards, **clip}, outside, more)
        made_of = {**deciding("encoder", parameters, self.given_clip), **more, "prompts": prompts}
        key = sha256_of_value([top, made_of, deciding("metrics", parameters), deciding("features", parameters)])
        place = self.runs.setdefault(key, f"{top}/methods/{name}")
        encoder = self.add(
            f"{place}/encoder",
            "encoder",
            parameters,
            {**shards, **clip, "prompts": prompts},
            outside=outside,
            more=more,
        )
        features = self.add(
            f"{place}/features.parquet",
            "features",
            parameters,
            {**shards, "encoder": encoder},
            outside=outside,
            more=more,
        )
        return Run(self.add(f"{place}/metrics.json", "metrics", parameters, {"features": features}), encoder)

    def prompts(
        self,
        top: str,
        parameters: Parameters,
        inputs: Mapping[str, str],
        outside: Mapping[str, Path],
        more: Mapping[str, Any],
    ) -> str:
        """The prompts that a method needs; one of another recipe than the study's common one has a name of its own."""
        images = identity_images(parameters)
        made_of = deciding("prompts", parameters, self.given_clip)
        method = {_METHOD_KEY: parameters.encoder.method}
        usual = deciding("prompts", self.parameters(method, parameters.seed, "the study's parameters"), self.given_clip)
        name = f"{top}/prompts-{images}" + ("" if made_of == usual else f"-{sha256_of_value(made_of)[:8]}")
        return self.add(name, "prompts", parameters, inputs, outside=outside, more=more)

    def plan(self, rows: Sequence[Row], seeds: tuple[int, ...], sweeps: Sequence[SweepRows] = ()) -> Plan:
        """What was added."""
        parameters = common_parameters(self.study, self.base)
        dataset = load_facts(parameters.data.dataset).name
        return Plan(self.folder, dataset, parameters, seeds, dict(self.steps), tuple(rows), tuple(sweeps))


def _replace_made_of(step: Step, made_of: Mapping[str, Any]) -> Step:
    return Step(step.name, step.kind, step.parameters, step.places, step.inputs, made_of, step.code, step.cost)


def _title(study: Study, name: str, changes: Mapping[str, Any]) -> str:
    method = METHODS.get(str(changes.get(_METHOD_KEY, "")))
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
    builder = _Builder(study, folder, base, given, code)
    tops = {seed: f"seed-{seed}" for seed in study.seeds}
    rows: list[Row] = []
    if study.frozen:
        runs = {seed: builder.frozen(top, seed) for seed, top in tops.items()}
        rows.append(Row(FROZEN, "the CLIP before training", "frozen", {}, runs))

    def add(name: str, title: str, kind: RowKind, changes: Mapping[str, Any]) -> None:
        runs = {seed: builder.trained(top, name, changes, seed) for seed, top in tops.items()}
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
    builder = _Builder(study, folder, base, None, code)
    rows, points = [], []
    for name in study.methods:
        if tuning.methods is not None and name not in tuning.methods:
            continue
        for combination in itertools.product(*tuning.grid.values()):
            values = dict(zip(tuning.grid, combination, strict=True))
            row = f"{name}@{','.join(f'{key}={value}' for key, value in values.items())}"
            changes = {**method_changes(study, name, base), **values}
            runs = {seed: builder.trained(f"tuning/seed-{seed}", row, changes, seed) for seed in tuning.seeds}
            rows.append(Row(row, name, "tuning", changes, runs))
            points.append(GridPoint(name, values, row))
    return builder.plan(rows, tuning.seeds), tuple(points)
