"""Which data, which CLIP and which parameters a study is run with, and where its artifacts go."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config import Parameters, read_overrides, read_parameter_tree
from pipeline.datasets.catalog import dataset_folder, load_facts, read_dataset
from pipeline.errors import InputError
from pipeline.files import sha256_of_file
from pipeline.models.builtin import builtin_weights, weights_on_disk
from pipeline.shards.record import read_record
from pipeline.shards.schema import PLAN_NAME, RECORD_NAME
from pipeline.studies.builder import common_parameters, packaged_clip
from pipeline.studies.rows import WALKERS, Base, Given
from pipeline.studies.study import Study
from pipeline.workspace import ARTIFACTS, Workspace
from stages.preflight import check_listing, check_shards

FOLDER = ARTIFACTS / "studies"


@dataclass(frozen=True)
class Wanted:
    """What the user said about data and parameters."""

    dataset: str | None = None
    root: Path | None = None
    params: Path | None = None
    overrides: Sequence[str] = ()
    shards: Path | None = None


@dataclass(frozen=True)
class Resolved:
    """A study with everything that it is run with.

    Attributes:
        name: Of the study.
        study: As it is run.
        base: The parameters under all methods.
        given: What the data set brings; None: walkers, which are rendered.
        folder: Of the artifacts, absolute; shared by the studies of one setting.
        tables: Where tables go, absolute.
    """

    name: str
    study: Study
    base: Base
    given: Given | None
    folder: Path
    tables: Path


def resolve(name: str, study: Study, wanted: Wanted, out: Path | None, quick: bool, runs: str = "") -> Resolved:
    """Find out what a study is run with.

    Args:
        name: Of the study.
        study: As it is run.
        wanted: What the user said.
        out: Folder of everything; None: by name.
        quick: Whether it is the small form.
        runs: Name of the study whose folder has the runs; empty: its own.

    Raises:
        InputError: The data set, a parameter, or a combination of options is wrong.
    """
    changes: list[tuple[str, Any]] = read_overrides(wanted.overrides)
    keys = {key for key, _ in changes}
    if "seed" in keys:
        raise InputError("--set seed: every run has a seed of its own, give them by --seeds 0,1,...")
    if wanted.dataset is not None:
        changes.append(("data.dataset", wanted.dataset))
    if wanted.root is not None:
        changes.append(("data.root", str(wanted.root)))
    base = Base(None if wanted.params is None else _given_parameters(wanted.params), changes)
    parameters = common_parameters(study, base)
    facts = load_facts(parameters.data.dataset)
    rendered = facts.name == WALKERS
    if rendered and (wanted.root is not None or wanted.shards is not None or "data.root" in keys):
        raise InputError("walkers are rendered by the study: leave out --root, --shards and --set data.root")
    if rendered and "model.pretrained" in keys and packaged_clip(study, base) is None:
        raise InputError(
            f"the study pre-trains the CLIP for walkers itself: leave out --set model.pretrained, or give one of "
            f"{', '.join(builtin_weights())}"
        )
    own = build_own_dataset(study)
    if study.any_dataset and rendered:
        raise InputError(f"study {name} is for a data set of photographs and renders none: name it by --dataset")
    if wanted.params is None and facts.name != own and not study.any_dataset:
        raise InputError(
            f"the parameters of study {name} are for {own}: give some for {facts.name} by --params, "
            f"such as --params preset:prcc"
        )
    kind = [*([] if facts.name == own else [facts.name]), *(["quick"] if quick else [])]
    folder, tables = (out or FOLDER / "-".join([part, *kind]) for part in (runs or name, name))
    given = None if rendered else _given(parameters, wanted.shards or Workspace.of(facts.name).shards)
    return Resolved(name, study, base, given, folder.resolve(), tables.resolve())


def _given_parameters(params: Path) -> dict[str, Any]:
    """The parameters of a file but for ``blend``, which is about one encoder: which rows are blended, the study says.

    Raises:
        InputError: There is no such file, or it is wrong.
    """
    return {section: values for section, values in read_parameter_tree(params).items() if section != "blend"}


def build_own_dataset(study: Study) -> str:
    """The data set that the study's own parameters are for."""
    return load_facts(common_parameters(study, Base()).data.dataset).name


def _check_present(parameters: Parameters, shards: Path) -> None:
    """The images that are to be parsed must be there, and allow what is asked for, before anything is started."""
    facts = load_facts(parameters.data.dataset)
    folder = dataset_folder(facts, parameters.data.root, os.environ)
    if not folder.is_dir():
        raise InputError(f"there are neither shards in {shards} nor images in {folder}: give --shards or --root")
    check_listing(parameters, facts, read_dataset(facts, folder).manifest, folder).refuse()


def _are_finished(shards: Path) -> bool:
    """Whether a folder is to be read; an empty one, or one that a killed study began, is for parsing."""
    if not (shards / RECORD_NAME).is_file() and (shards / PLAN_NAME).is_file():
        return False
    return shards.is_file() or (shards.is_dir() and any(shards.iterdir()))


def _given(parameters: Parameters, shards: Path) -> Given:
    found = read_record(shards).sha256 if _are_finished(shards) else None
    if found is None:
        _check_present(parameters, shards)
    else:
        check_shards(parameters, shards).refuse()
    pretrained = parameters.model.pretrained
    if pretrained is None:
        clip = "random weights"
    elif (weights := weights_on_disk(pretrained)) is not None:
        clip = sha256_of_file(weights)
    else:
        clip = f"open_clip {parameters.model.name} {pretrained}"
    return Given(shards.resolve(), found, clip)
