"""A study as its YAML file describes it: which methods, on which seeds, with which parameters, beside which figures."""

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from pipeline.datasets.walkers.oracle import OracleKind
from pipeline.errors import InputError
from pipeline.evaluation.protocols import PROTOCOLS
from pipeline.settings import SettingsGroup

Metric = Literal["mAP", "rank1"]
Changes = dict[str, Any]
"""Parameters of some methods or points: dotted keys (``encoder.epochs``), or sections of keys."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9+._-]*")


def check_seeds(seeds: tuple[int, ...]) -> tuple[int, ...]:
    """Refuse seeds that are no seeds.

    Raises:
        ValueError: There are none, one is negative, or one comes twice.
    """
    if not seeds or min(seeds) < 0 or len(set(seeds)) != len(seeds):
        raise ValueError(f"{list(seeds)}: give one or several whole numbers from 0, each once")
    return seeds


class Sweep(SettingsGroup):
    """One parameter over several values, everything else as in a method of the study."""

    parameter: str = Field(description="dotted key, such as encoder.lambda_con")
    values: tuple[float | int | str | bool, ...] = Field(min_length=2, description="each is a run a seed")
    method: str = Field(description="the method of the study that is swept")
    title: str | None = Field(None, description="of the plot")

    @field_validator("values")
    @classmethod
    def _each_once(cls, values: tuple[float | int | str | bool, ...]) -> tuple[float | int | str | bool, ...]:
        if len(set(values)) != len(values):
            raise ValueError(f"{list(values)}: a value comes twice")
        return values


class Tuning(SettingsGroup):
    """Search over a grid on seeds of its own: other people, other clothes, other cameras than those of the table."""

    seeds: tuple[int, ...] = Field(description="of data and training; none of the study's")
    grid: dict[str, tuple[Any, ...]] = Field(min_length=1, description="values by dotted key; all combinations are run")
    methods: tuple[str, ...] | None = Field(None, description="which; null: all")
    protocol: str = Field("cc", description="of the score")
    metric: Metric = Field("mAP", description="whose mean over the seeds chooses")

    @field_validator("seeds")
    @classmethod
    def _are_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return check_seeds(seeds)

    @field_validator("grid")
    @classmethod
    def _not_empty(cls, grid: dict[str, tuple[Any, ...]]) -> dict[str, tuple[Any, ...]]:
        for key, values in grid.items():
            if not values:
                raise ValueError(f"{key} has no values")
        return grid


class Quick(SettingsGroup):
    """A small form of the study, to see that it works."""

    seeds: tuple[int, ...] | None = None
    methods: tuple[str, ...] | None = None
    parameters: Changes = Field(default_factory=dict)
    sweeps: dict[str, tuple[Any, ...]] | None = Field(None, description="values by parameter, in place of the sweeps'")


class Study(SettingsGroup):
    """Everything in ``data_manifests/studies/NAME.yaml``."""

    title: str
    source: str = Field(description="what of the paper it mirrors, or where it comes from")
    parameters: Changes = Field(description="of all runs; over the program's defaults")
    any_dataset: bool = Field(
        False, description="whether parameters and tuned are for any data set that --dataset names; nothing is rendered"
    )
    clip_seed: int = Field(
        1000, ge=0, description="of the population that the CLIP is pre-trained on, and of its training"
    )
    seeds: tuple[int, ...] = Field(description="of data and training")
    reference: tuple[str, ...] = Field((), description="methods that the others are compared with, seed by seed")
    protocols: tuple[str, ...] | None = Field(None, description="shown, in this order; null: those of the data set")
    methods: dict[str, Changes | None] = Field(min_length=1, description="parameters that make the method, on any data")
    tuned: dict[str, Changes] = Field(
        default_factory=dict, description="more parameters by method, found for the parameters of this study"
    )
    sweeps: tuple[Sweep, ...] = ()
    frozen: bool = Field(True, description="also a row for the CLIP before training")
    oracles: tuple[OracleKind, ...] = Field(
        ("clothes", "visible"), description="also rows of features of what is true of walkers: floor and ceiling"
    )
    leakage: bool = Field(True, description="also probe what the features tell of clothes and of the person")
    quick: Quick | None = None
    tuning: Tuning | None = None
    paper: dict[str, dict[str, tuple[float, float]]] = Field(
        default_factory=dict, description="the paper's cloth-changing Rank-1 and mAP: by data set, by row"
    )

    @field_validator("reference", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @field_validator("seeds")
    @classmethod
    def _are_seeds(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        return check_seeds(seeds)

    @field_validator("protocols")
    @classmethod
    def _are_protocols(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in PROTOCOLS:
                raise ValueError(f"{name} is no protocol; protocols are: {', '.join(PROTOCOLS)}")
        return names

    @field_validator("methods")
    @classmethod
    def _are_names(cls, methods: dict[str, Changes | None]) -> dict[str, Changes | None]:
        for name in methods:
            if not _NAME.fullmatch(name) or name == "frozen" or name.startswith("oracle-"):
                raise ValueError(
                    f"{name!r} cannot be the name of a method: letters, digits, + . _ -, no other row's name"
                )
        return methods

    @model_validator(mode="after")
    def _agree(self) -> Self:
        named = {
            "reference": self.reference,
            "tuned": self.tuned,
            "sweeps": [sweep.method for sweep in self.sweeps],
            "quick.methods": (self.quick.methods if self.quick else None) or (),
            "tuning.methods": (self.tuning.methods if self.tuning else None) or (),
        }
        for place, names in named.items():
            for name in names:
                if name not in self.methods:
                    raise ValueError(f"{place}: {name} is none of the methods {', '.join(self.methods)}")
        self.check_populations(self.seeds)
        if self.quick and self.quick.seeds:
            self.check_populations(check_seeds(self.quick.seeds))
        return self

    def check_populations(self, seeds: tuple[int, ...]) -> None:
        """Seeds of the table, of tuning and of pre-training must be different: each makes a population.

        Raises:
            ValueError: They overlap.
        """
        tuning = self.tuning.seeds if self.tuning else ()
        shared = sorted(set(seeds) & set(tuning))
        if shared:
            raise ValueError(f"seed {shared[0]} is in both seeds and tuning.seeds: tuning on test data flatters")
        if self.clip_seed in (*seeds, *tuning):
            raise ValueError(f"clip_seed {self.clip_seed} is also a seed of data: the populations must be different")

    def with_seeds(self, seeds: tuple[int, ...]) -> "Study":
        """The same study on other seeds.

        Raises:
            InputError: They are no seeds, or overlap with those of tuning or pre-training.
        """
        try:
            self.check_populations(check_seeds(seeds))
        except ValueError as error:
            raise InputError(f"--seeds: {error}") from None
        return self.model_copy(update={"seeds": seeds})

    def with_methods(self, names: tuple[str, ...]) -> "Study":
        """The study of some of its methods, in its own order; sweeps and references of others are left out.

        Raises:
            InputError: A name is none of the methods.
        """
        for name in names:
            if name not in self.methods:
                raise InputError(f"--methods: {name} is none of the study's methods: {', '.join(self.methods)}")
        return self.model_copy(
            update={
                "methods": {name: changes for name, changes in self.methods.items() if name in names},
                "reference": tuple(name for name in self.reference if name in names),
                "sweeps": tuple(sweep for sweep in self.sweeps if sweep.method in names),
            }
        )

    def quickened(self) -> "Study":
        """Its small form.

        Raises:
            InputError: It has none.
        """
        if self.quick is None:
            raise InputError("--quick: the study has no section quick")
        quick = self.quick
        sweeps = tuple(
            sweep.model_copy(update={"values": (quick.sweeps or {}).get(sweep.parameter, sweep.values)})
            for sweep in self.sweeps
        )
        small = self.model_copy(
            update={
                "parameters": merged(self.parameters, quick.parameters),
                "seeds": quick.seeds or self.seeds,
                "sweeps": sweeps,
            }
        )
        return small if quick.methods is None else small.with_methods(quick.methods)


def dotted(changes: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Changes as pairs of dotted key and value; a section is taken apart, a value inside it is not."""
    pairs: list[tuple[str, Any]] = []
    for key, value in changes.items():
        if isinstance(value, Mapping) and "." not in str(key):
            pairs += [(f"{key}.{name}", inner) for name, inner in value.items()]
        else:
            pairs.append((key, value))
    return pairs


def merged(first: Changes, second: Changes) -> Changes:
    """Both, by dotted key; the second wins."""
    return dict([*dotted(first), *dotted(second)])
