"""The data sets that are known: facts from data_manifests/*.yaml, where a data set lies, and reading it."""

import importlib.util
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.neighbours import find_near
from pipeline.datasets.not_included import NotIncluded, find_not_included, not_included, plain_name
from pipeline.datasets.readers import Source, find_reader, reader_names
from pipeline.errors import InputError
from pipeline.location import expand_home, locate
from pipeline.yaml_files import read_yaml

FACTS_FOLDER = Path("data_manifests")
DATA_VARIABLE = "CCAF_DATA"

Role = Literal["train", "val", "query", "gallery"]
Quantity = Literal["identities", "images", "clothes", "cameras", "tracklets"]


class UnknownDatasetError(InputError):
    """No file of facts has this name."""


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PublishedCounts(_Facts):
    """What the authors state about one split or about several together; None where they state nothing.

    ``uncertain`` names the counts that could not be verified: a difference is shown, but is never an error.
    """

    of: str = Field(description="name of the split or of the group of splits; all: the whole data set")
    splits: tuple[str, ...] = Field((), description="splits of the group; empty: the split called as `of`, or all")
    identities: int | None = Field(None, ge=0)
    images: int | None = Field(None, ge=0)
    clothes: int | None = Field(None, ge=0)
    cameras: int | None = Field(None, ge=0)
    tracklets: int | None = Field(None, ge=0)
    uncertain: tuple[Quantity, ...] = ()


class DatasetFacts(_Facts):
    """One file of data_manifests/: facts about a data set, no code."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")
    title: str
    reader: str = Field(description="name of a registered reader")
    home: str = Field(description="home page or paper")
    access: str = Field(description="how to get the data")
    terms: str = Field(description="licence or terms of use")
    folder: str = Field("", description="folder below the data root; default: the name")
    other_folders: tuple[str, ...] = Field((), description="names under which the authors' archive unpacks")
    layout: str = Field(description="folders and file names, for people")
    markers: tuple[str, ...] = Field(min_length=1, description="files or folders that the data set's folder holds")
    roles: Mapping[Role, tuple[str, ...]] = Field(description="which splits serve as what")
    protocols: tuple[str, ...] = Field(description="evaluation protocols that the data set defines")
    no_person_ids: tuple[Annotated[int, Field(ge=-(2**63), lt=2**63)], ...] = Field(
        (), description="person ids that stand for nobody (junk, distractors)"
    )
    counts: tuple[PublishedCounts, ...] = ()
    settings: Mapping[str, Any] = Field(default_factory=dict, description="the reader's own settings")

    @model_validator(mode="after")
    def _check(self) -> "DatasetFacts":
        if self.reader not in reader_names():
            raise ValueError(f"reader {self.reader!r} is not known; known are {', '.join(reader_names())}")
        try:
            find_reader(self.reader).settings.model_validate(dict(self.settings))
        except ValidationError as error:
            raise ValueError(_explain(error, "settings.")) from None
        return self


@dataclass(frozen=True)
class DatasetListing:
    """A data set as it was found on disk.

    Attributes:
        facts: The data set's facts.
        folder: Where it was read; paths of the manifest are relative to it, or absolute.
        manifest: The manifest, sorted by image_id.
        unmatched: Images whose names do not follow the layout; they are not in the manifest.
        others: Files that are no images, and hidden files.
        problems: Sentences about what is wrong on disk: missing or unreadable folders, broken or looping links,
            identities that are in both train and test.
        label_names: For columns whose labels were text: the texts in the order of their numbers.
    """

    facts: DatasetFacts
    folder: Path
    manifest: pa.Table
    unmatched: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    label_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def _fact_folders(folder: Path) -> list[Path]:
    """Folders that hold YAML files: the given one, then the one that is installed with the package."""
    spec = importlib.util.find_spec("data_manifests")
    installed = [] if spec is None else [Path(entry) for entry in spec.submodule_search_locations or ()]
    return [entry for entry in [folder, *installed] if entry.is_dir()]


def dataset_names(folder: Path = FACTS_FOLDER) -> list[str]:
    """Names of all data sets with a YAML file in ``folder`` or in the package, sorted."""
    return sorted({file.stem for entry in _fact_folders(folder) for file in entry.glob("*.yaml")})


def sets_not_included(folder: Path = FACTS_FOLDER) -> tuple[NotIncluded, ...]:
    """Data sets that are asked for by name and have no file, in ``folder`` or in the package."""
    return not_included(_fact_folders(folder))


def load_facts(name_or_path: str, folder: Path = FACTS_FOLDER) -> DatasetFacts:
    """Read the facts of one data set.

    Args:
        name_or_path: A name, looked up in ``folder`` and then in the package (case and punctuation do not count:
            ``VC-Clothes`` is ``vcclothes``), or the path of a YAML file.
        folder: Where the user's own files are.

    Raises:
        UnknownDatasetError: No data set has this name; where it is one that is known to be elsewhere, why.
        InputError: The file is missing or wrong.
    """
    if name_or_path.endswith((".yaml", ".yml")):
        return _read_facts(Path(expand_home(name_or_path)))
    for entry in _fact_folders(folder):
        for path in sorted(entry.glob("*.yaml")):
            if plain_name(path.stem) == plain_name(name_or_path):
                facts = _read_facts(path)
                if facts.name != path.stem:
                    raise InputError(f"{path} names itself {facts.name!r}; file and name must agree")
                return facts
    known_elsewhere = find_not_included(name_or_path, _fact_folders(folder))
    if known_elsewhere is not None:
        raise UnknownDatasetError(str(known_elsewhere))
    names = dataset_names(folder)
    longer = [name for name in names if plain_name(name_or_path) in _beginnings(name)]
    if longer:
        raise UnknownDatasetError(f"data set {name_or_path!r} is not known; did you mean {' or '.join(longer)}?")
    raise UnknownDatasetError(
        f"data set {name_or_path!r} is not known; known are {', '.join(names)}; "
        "for your own give the path of a YAML file"
    )


def _beginnings(name: str) -> set[str]:
    """What a name begins with, up to one of its underscores, without punctuation."""
    parts = name.split("_")
    return {plain_name("_".join(parts[:count])) for count in range(1, len(parts))}


def _read_facts(path: Path) -> DatasetFacts:
    return check_facts(expand_home(read_yaml(path, "data set file")), f"data set file {path}")


def check_facts(tree: Any, where: str) -> DatasetFacts:
    """Facts out of a tree of plain values, such as YAML gives or :meth:`DatasetFacts.model_dump`.

    Args:
        tree: The values.
        where: Where they stand, for the message.

    Raises:
        InputError: A fact is missing or wrong.
    """
    try:
        return DatasetFacts.model_validate(tree)
    except ValidationError as error:
        raise InputError(f"{where}: {_explain(error)}") from None


def _explain(error: ValidationError, prefix: str = "") -> str:
    """What a model found wrong, as one line."""
    problems = []
    for item in error.errors():
        place = ".".join(str(part) for part in item["loc"] if part != "[key]")
        message = item["msg"].removeprefix("Value error, ")
        problems.append(f"{prefix}{place}: {message}" if place else message)
    return "; ".join(problems)


def data_root(root: str | None, environment: Mapping[str, str]) -> str | None:
    """The folder that holds the data sets: ``root``, else ``$CCAF_DATA``, with ``~`` written out; None: neither."""
    base = root or environment.get(DATA_VARIABLE)
    return expand_home(base) if base else None


def dataset_folder(facts: DatasetFacts, root: str | None, environment: Mapping[str, str]) -> Path:
    """Where a data set lies, or is expected: below ``root``, else below ``$CCAF_DATA``. It need not exist.

    Below the root its folder has its own name or that of the authors' archive. If there is neither and the root itself
    holds all of the data set's markers, it is the root.

    Raises:
        InputError: No root is known, or it is not on a local file system.
    """
    base = data_root(root, environment)
    if base is None:
        raise InputError(
            f"where is {facts.name}? Give the folder that holds the data sets by --root, by data.root in params.yaml, "
            f"or by the environment variable {DATA_VARIABLE}"
        )
    if locate(Path(base)).local is None:
        raise InputError(
            f"{locate(Path(base))} is not local, and only local folders are listed: where the data set is local, "
            f"make a manifest (ccaf-pipeline manifest); then give it by --manifest and the images by --images"
        )
    top = Path(base)
    return _folder_of_root(facts, top) or top / (facts.folder or facts.name)


def _folder_of_root(facts: DatasetFacts, top: Path) -> Path | None:
    """The data set's folder below a root, or the root itself if it holds all markers; None if neither is there."""
    found = find_below(facts, top)
    if found is None and top.is_dir() and not missing_markers(facts, top):
        return top
    return found


def _right_root(facts: DatasetFacts, top: Path) -> str:
    """Where the data set is, if it is near ``top``, and the root to give; else empty."""

    def holds(root: Path) -> bool:
        folder = _folder_of_root(facts, root)
        return folder is not None and not missing_markers(facts, folder)

    root = find_near(top, holds)
    return (
        "" if root is None else f"there is one in {_folder_of_root(facts, root)}: give --root {shlex.quote(str(root))}"
    )


def find_below(facts: DatasetFacts, top: Path) -> Path | None:
    """The data set's folder directly below ``top``, by any of its names, or None."""
    names = (facts.folder or facts.name, *facts.other_folders)
    return next((top / name for name in names if (top / name).is_dir()), None)


def missing_markers(facts: DatasetFacts, folder: Path) -> list[str]:
    """The files and folders that the data set should hold and does not."""
    return [marker for marker in facts.markers if not (folder / marker).exists()]


def read_dataset(facts: DatasetFacts, folder: Path) -> DatasetListing:
    """List and label a data set.

    Raises:
        InputError: The folder is missing or holds something else, no image follows the layout, or a table is wrong.
    """
    if not folder.is_dir():
        advice = _right_root(facts, folder.parent) or f"how to get it: {facts.access}"
        raise InputError(f"{facts.title} not found: there is no folder {folder}; {advice}")
    missing = missing_markers(facts, folder)
    if len(missing) == len(facts.markers):
        advice = _right_root(facts, folder.parent)
        none = f"{folder} does not look like {facts.title}: it holds none of {', '.join(missing)}"
        raise InputError(f"{none}; {advice}" if advice else none)
    rows = ManifestBuilder()
    reader = find_reader(facts.reader)
    settings = reader.settings.model_validate(dict(facts.settings))
    reader.read(Source(folder, settings, {role: tuple(splits) for role, splits in facts.roles.items()}), rows)
    problems = [f"{marker} is missing" for marker in missing] + rows.notes.problems
    try:
        manifest = rows.table()
    except InputError as error:
        found = f"; {len(rows.unmatched)} names do not, such as {rows.unmatched[0]}" if rows.unmatched else ""
        raise InputError(f"{facts.title} in {folder}: {error}{found}; expected: {facts.layout}") from None
    return DatasetListing(
        facts=facts,
        folder=folder,
        manifest=manifest,
        unmatched=tuple(rows.unmatched),
        others=tuple(rows.notes.others),
        problems=tuple(problems + _leaks(manifest, facts)),
        label_names={name: tuple(texts) for name, texts in rows.label_names.items()},
    )


def _leaks(manifest: pa.Table, facts: DatasetFacts) -> list[str]:
    """Say which identities are in both train and test; published splits keep them apart."""

    def people(*roles: Role) -> set[int]:
        splits = [split for role in roles for split in facts.roles.get(role, ())]
        chosen = manifest.filter(pc.is_in(manifest["split"], pa.array(splits, pa.string())))
        return set(pc.unique(chosen["person_id"]).to_pylist()) - set(facts.no_person_ids)

    both = sorted(people("train") & people("query", "gallery"))
    shown = ", ".join(map(str, both[:10])) + (", ..." if len(both) > 10 else "")
    return [f"{len(both)} identities are in both train and test: {shown}"] if both else []
