"""The record of a finished shard folder: what it holds, what made it, every shard's hash. Written last.

Two runs over the same images with the same parameters give records that differ in ``timings`` only.

The record also remembers the facts of the data set (:class:`pipeline.datasets.catalog.DatasetFacts`), so that shards
of a data set that only its owner's YAML file describes are enough for the later commands. They say nothing of the
shards' content, which the record's hash identifies.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from pipeline.artifacts import Artifact, Count, FileName, Sha256, Word, read_json_artifact
from pipeline.errors import InputError
from pipeline.files import sha256_of_value
from pipeline.location import Location, Place, locate
from pipeline.shards.making.writer import LIBRARIES, ShardEntry
from pipeline.shards.schema import PLAN_NAME, RECORD_NAME, SHARD_PATTERN
from pipeline.storage import is_file, list_names, list_sizes, read_json, write_json

REPAIR = "run the same ccaf-pipeline parse command again"
"""What mends a folder whose record is damaged."""


@dataclass(frozen=True)
class ShardFile:
    """A shard as the record lists it."""

    name: str
    rows: int
    bytes: int
    sha256: str
    sources_sha256: str


@dataclass(frozen=True)
class Record:
    """A record as it was read.

    Attributes:
        fingerprint: What the folder is bound to.
        dataset: Name of the data set.
        parameters: The parameters that decide the content.
        versions: Versions of the libraries that the shards were made with; several where a run was finished later.
        counts: ``images``, ``quarantined``, ``shards``, ``bytes``, and by kind ``splits``, ``flags``, ``reasons``.
        shards: Every shard, in order.
        timings: How the run went: seconds, workers, images a second.
        sha256: Hash of everything but the timings and the facts: it identifies the content.
        facts: Of the data set, as they were when it was parsed; None in the records of earlier versions.
    """

    fingerprint: str
    dataset: str
    parameters: dict[str, Any]
    versions: dict[str, str]
    counts: dict[str, Any]
    shards: tuple[ShardFile, ...]
    timings: dict[str, Any]
    sha256: str
    facts: dict[str, Any] | None = None


class _Counts(Artifact):
    images: Count
    quarantined: Count
    shards: Count
    bytes: Count
    splits: dict[Word, Count]
    flags: dict[Word, Count]
    reasons: dict[Word, Count]


class _Shard(Artifact):
    name: Annotated[FileName, Field(pattern=r"\Apart-\d{5,}-of-\d{5,}\.parquet\z")]
    rows: Count
    bytes: Count
    sha256: Sha256
    sources_sha256: Word


class RecordArtifact(Artifact):
    """The fields of a record that the program uses; they must agree with each other."""

    fingerprint: Word
    dataset: Word
    parameters: dict[str, Any]
    versions: dict[Word, Word]
    counts: _Counts
    shards: list[_Shard]
    timings: dict[str, Any]
    facts: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        sums = {
            "images": sum(shard.rows for shard in self.shards),
            "shards": len(self.shards),
            "quarantined": sum(self.counts.reasons.values()),
        }
        for name, value in sums.items():
            if getattr(self.counts, name) != value:
                raise ValueError(f"counts.{name} is {getattr(self.counts, name)}, but its parts sum up to {value}")
        if len({shard.name for shard in self.shards}) < len(self.shards):
            raise ValueError("shards: a name stands twice")
        return self


def _without(value: dict[str, Any], *names: str) -> dict[str, Any]:
    return {key: item for key, item in value.items() if key not in names}


def build_counts(entries: Sequence[ShardEntry]) -> dict[str, Any]:
    """Totals over all shards, by split, by flag and by reason of quarantine."""
    splits: Counter[str] = Counter()
    flags: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    for entry in entries:
        splits.update(entry.splits)
        flags.update(entry.flags)
        reasons.update(row.reason for row in entry.quarantine)
    return {
        "images": sum(entry.rows for entry in entries),
        "quarantined": sum(reasons.values()),
        "shards": len(entries),
        "bytes": sum(entry.bytes for entry in entries),
        "splits": dict(splits),
        "flags": dict(flags),
        "reasons": dict(reasons),
    }


def build_versions(entries: Sequence[ShardEntry]) -> dict[str, str]:
    """Versions that the shards name, by library."""
    found = {name: {entry.versions.get(name, "unknown") for entry in entries} for name in LIBRARIES}
    for entry in entries:
        for name in entry.versions.keys() - set(LIBRARIES):  # a parser's own
            found.setdefault(name, set()).add(entry.versions[name])
    return {name: ", ".join(sorted(versions)) for name, versions in found.items()}


def write_record(
    folder: Place,
    fingerprint: str,
    dataset: str,
    parameters: dict[str, Any],
    versions: dict[str, str],
    entries: Sequence[ShardEntry],
    timings: dict[str, Any],
    facts: dict[str, Any] | None = None,
) -> Record:
    """Write the record of a folder whose shards are all committed, and return it.

    A record of the same shards that is there already keeps its timings and versions, and only its facts are brought up
    to date: a run which found nothing to do changes no byte of the folder.
    """
    value = {
        "fingerprint": fingerprint,
        "dataset": dataset,
        "parameters": parameters,
        "versions": versions,
        "counts": build_counts(entries),
        "shards": [
            {
                "name": entry.name,
                "rows": entry.rows,
                "bytes": entry.bytes,
                "sha256": entry.sha256,
                "sources_sha256": entry.sources_sha256,
            }
            for entry in entries
        ],
        "timings": timings,
        **({} if facts is None else {"facts": facts}),
    }
    path = locate(folder) / RECORD_NAME
    earlier = _earlier(path)
    if earlier is not None and _content(earlier) == _content(value):
        value = earlier | ({} if facts is None else {"facts": facts})
    if value != earlier:
        write_json(path, value)
    return read_record(folder)


def _earlier(path: Place) -> dict[str, Any] | None:
    """The record that is there already, if it can be read."""
    try:
        value = read_json(path, "record") if is_file(path) else None
    except InputError:
        return None
    return value if isinstance(value, dict) else None


def _content(value: dict[str, Any]) -> dict[str, Any]:
    """What two records of the same shards share: versions of a later run that made nothing say nothing of them."""
    return _without(value, "timings", "versions", "facts")


def read_record(folder: Place) -> Record:
    """Read the record of a finished shard folder, local or remote.

    Raises:
        InputError: There is no finished shard folder, or the record is damaged.
        StorageError: A remote file system does not answer.
    """
    folder = locate(folder)
    path = folder / RECORD_NAME
    if not is_file(path):
        begun = is_file(folder / PLAN_NAME) or list_names(folder, SHARD_PATTERN)
        state = "they were begun but not finished" if begun else "none there"
        raise InputError(f"no finished shards in {folder} ({state}): run ccaf-pipeline parse")
    found = read_json_artifact(path, "shard record", RecordArtifact, repair=REPAIR)
    return Record(
        fingerprint=found.fingerprint,
        dataset=found.dataset,
        parameters=found.parameters,
        versions=found.versions,
        counts=found.counts.model_dump(),
        shards=tuple(ShardFile(**shard.model_dump()) for shard in found.shards),
        timings=found.timings,
        sha256=sha256_of_value(_without(found.plain, "timings", "facts")),
        facts=found.facts,
    )


def check_files(folder: Place, record: Record) -> list[Location]:
    """The shards that the record lists, each checked for its presence and size.

    Raises:
        InputError: A shard is missing or has another size.
        StorageError: A remote file system does not answer.
    """
    folder = locate(folder)
    sizes = list_sizes(folder, SHARD_PATTERN)
    for shard in record.shards:
        path, size = folder / shard.name, sizes.get(shard.name)
        if size is None:
            raise InputError(f"shard {path} is missing: run ccaf-pipeline parse")
        if size != shard.bytes:
            raise InputError(f"shard {path} has {size} bytes, its record says {shard.bytes}: run ccaf-pipeline parse")
    return [folder / shard.name for shard in record.shards]
