"""What a study consists of: its rows, their runs, and what lies under them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pipeline.config import Parameters
from pipeline.studies.steps import Step

WALKERS = "walkers"
FROZEN = "frozen"
RowKind = Literal["oracle", "frozen", "method", "sweep", "tuning"]


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
    leakage: str | None = None


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: Unique in the plan.
        title: In words.
        kind: A method of the study, a point of a sweep or of a tuning grid, the CLIP before training, or an oracle.
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

    @property
    def runs(self) -> dict[str, tuple[Row, int]]:
        """Every run once, by its step of metrics: the first row that it stands in, and its seed."""
        found: dict[str, tuple[Row, int]] = {}
        for row in self.rows:
            for seed, run in row.runs.items():
                found.setdefault(run.metrics, (row, seed))
        return found

    @property
    def turns(self) -> dict[str, int]:
        """Which runs are to be finished first: the place of the seed, by the steps of metrics and leakage."""
        places = {seed: place for place, seed in enumerate(self.seeds)}
        found: dict[str, int] = {}
        for row in self.rows:
            for seed, run in row.runs.items():
                for name in filter(None, (run.metrics, run.leakage)):
                    found.setdefault(name, places[seed])
        return found
