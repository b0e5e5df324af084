"""What a shard and the quarantine table hold: columns, provenance in the schema's metadata, file names.

A shard folder holds ``part-00000-of-00042.parquet`` files, ``quarantine.parquet``, ``_plan.json`` (what the folder is
bound to, written first) and ``_record.json`` (what it holds, written last: a folder without it is not finished).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Self

import pyarrow as pa
from pydantic import Field, model_validator

from pipeline.artifacts import Artifact, Word
from pipeline.datasets.manifest import MANIFEST_SCHEMA
from pipeline.errors import InputError
from pipeline.json_text import decode_json, decode_text
from pipeline.parsing.masks import Fill

MOST_LABELS = 256
"""Of a label scheme: a label map holds bytes."""
SHOWN_COLUMNS = 3
"""Of the columns that are wrong, an error names so many."""

SCHEMA_VERSION = 3
"""Raised whenever the same manifest and parameters would give other bytes; it is part of the fingerprint."""
MADE_VERSION = 4
"""Of shards without the shielding images (``parse.shielded_images: made``), which readers make."""

RECORD_NAME = "_record.json"
PLAN_NAME = "_plan.json"
QUARANTINE_NAME = "quarantine.parquet"
SHARD_PATTERN = "part-?????*-of-?????*.parquet"

ENCODED_COLUMNS = ("image", "label_map", "clothes_mask", "shielded_image")
"""Columns of encoded pictures: stored uncompressed, for they hold JPEG and PNG bytes."""

DICTIONARY_COLUMNS = ("split", "person_id", "camera_id", "clothes_id", "tracklet_id", "flags.list.element")
"""Columns that Parquet dictionary-encodes: few distinct values, many rows."""

SHARD_SCHEMA = pa.schema(
    [
        *MANIFEST_SCHEMA,
        pa.field("width", pa.int32(), nullable=False),  # of the decoded image, EXIF rotation applied
        pa.field("height", pa.int32(), nullable=False),
        pa.field("image", pa.binary(), nullable=False),  # the original file's bytes
        pa.field("label_map", pa.binary(), nullable=False),  # 8-bit grey PNG, values are label numbers
        pa.field("clothes_mask", pa.binary(), nullable=False),  # 1-bit PNG, white on clothes
        pa.field("shielded_image", pa.binary(), nullable=False),  # PNG: the image with its clothes covered
        pa.field("clothes_fraction", pa.float32(), nullable=False),
        pa.field("person_fraction", pa.float32(), nullable=False),
        pa.field("confidence", pa.float32(), nullable=False),
        pa.field("flags", pa.list_(pa.field("element", pa.string(), nullable=False)), nullable=False),
    ]
)

SCHEMAS: Mapping[int, pa.Schema] = {
    SCHEMA_VERSION: SHARD_SCHEMA,
    MADE_VERSION: SHARD_SCHEMA.remove(SHARD_SCHEMA.get_field_index("shielded_image")),
}
"""The columns of a shard by its schema version; these versions can be read."""

QUARANTINE_SCHEMA = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),  # a short fixed code, such as missing or truncated
        pa.field("detail", pa.string(), nullable=False),  # one sentence for a person
    ]
)


def encoded_columns(version: int) -> tuple[str, ...]:
    """Those of :data:`ENCODED_COLUMNS` that shards of a schema version have."""
    return tuple(name for name in ENCODED_COLUMNS if name in SCHEMAS[version].names)


def stored_version(schema: pa.Schema) -> int:
    """Schema version by a file's metadata; whether they name one at all is found when they are read."""
    named = (schema.metadata or {}).get(f"{_PREFIX}schema_version".encode())
    return next((version for version in SCHEMAS if str(version).encode() == named), SCHEMA_VERSION)


def check_columns(schema: pa.Schema, where: str, version: int | None = None) -> None:
    """Check that a shard has the columns of a shard.

    Args:
        schema: Its columns and metadata.
        where: Names the file in errors.
        version: Schema version that it must have; None: the one that its metadata name.

    Raises:
        InputError: A column is missing, has another type, or may hold nulls where none may be.
    """
    wanted = SCHEMAS[stored_version(schema) if version is None else version]
    if schema.equals(wanted):
        return
    wrong = []
    for field in wanted:
        position = schema.get_field_index(field.name)  # -1 as well where the name stands twice
        found = schema.field(position) if position >= 0 else None
        if found is None:
            wrong.append(f"no column {field.name}")
        elif not found.equals(field):
            wrong.append(f"column {field.name} is {_describe(found)}, not {_describe(field)}")
    extra = [name for name in schema.names if name not in wanted.names]
    wrong += [f"unknown column {name}" for name in extra] or ([] if wrong else ["the columns are in another order"])
    raise InputError(
        f"shard {where} has not the columns of a shard ({'; '.join(wrong[:SHOWN_COLUMNS])}): "
        f"run ccaf-pipeline parse --overwrite"
    )


def _describe(field: pa.Field) -> str:
    return f"{field.type}{'' if field.nullable else ' without nulls'}"


_PREFIX = "ccaf."
SHARD_KEY = _PREFIX + "shard"
SOURCES_KEY = _PREFIX + "sources_sha256"
VERSIONS_KEY = _PREFIX + "versions"
QUARANTINE_KEY = _PREFIX + "quarantine"


def shard_name(index: int, count: int) -> str:
    """File name of shard ``index`` (from 0) of ``count``."""
    return f"part-{index:05d}-of-{count:05d}.parquet"


@dataclass(frozen=True)
class Provenance:
    """What made a shard; the same in every shard of a folder. Stored as ``ccaf.*`` keys of the schema's metadata.

    Attributes:
        schema_version: Key of :data:`SCHEMAS` at the time of writing.
        dataset: Name of the data set.
        parser: Name of the parser.
        parser_settings: The parser's own settings.
        weights_sha256: Hash of the parser's weights; empty if it has none.
        label_scheme: Name of the label scheme.
        labels: Names of the label numbers 0, 1, 2, ...
        clothes_labels: Names of the labels that the clothes mask covers, in the scheme's order.
        fill: What the covered pixels of the shielding image are painted with.
        dilate: Pixels by which the clothes mask was grown.
        fill_holes: Whether background that clothes enclose was covered.
        fingerprint: Hash of all that decides the folder's content (see :mod:`pipeline.shards.making.binding`).
    """

    schema_version: int
    dataset: str
    parser: str
    parser_settings: dict[str, Any]
    weights_sha256: str
    label_scheme: str
    labels: tuple[str, ...]
    clothes_labels: tuple[str, ...]
    fill: Fill
    dilate: int
    fill_holes: bool
    fingerprint: str

    def to_metadata(self) -> dict[str, str]:
        """As key-value metadata; values that are no strings are JSON."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            _PREFIX + name: value if isinstance(value, str) else json.dumps(value, sort_keys=True)
            for name, value in values.items()
        }

    @classmethod
    def from_metadata(cls, metadata: Mapping[bytes, bytes], where: str) -> "Provenance":
        """Read back what :meth:`to_metadata` wrote; ``where`` names the file in errors.

        Raises:
            InputError: A key is missing or of another form, or the schema version is none of this program's.
        """
        return cls(**_read_values(cls, metadata, where))


class _ProvenanceArtifact(Artifact):
    """What the metadata of a shard must hold, with its types."""

    schema_version: int
    dataset: Word
    parser: Word
    parser_settings: dict[str, Any]
    weights_sha256: Word  # as the parser says; one of another package may have a hash of another kind
    label_scheme: Word
    labels: Annotated[list[Word], Field(min_length=1, max_length=MOST_LABELS)]
    clothes_labels: list[Word]
    fill: Fill
    dilate: Annotated[int, Field(ge=0, lt=2**31)]
    fill_holes: bool
    fingerprint: Word

    @model_validator(mode="after")
    def _labels_agree(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: a name stands twice")
        unknown = [name for name in self.clothes_labels if name not in self.labels]
        if unknown:
            raise ValueError(f"clothes_labels: {unknown[0]!r} is not among the labels")
        return self


def _read_values(kind: type[Provenance], metadata: Mapping[bytes, bytes], where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for field in fields(kind):
        key = _PREFIX + field.name
        value = metadata.get(key.encode())
        if value is None:
            raise InputError(f"{where} has no {key} in its metadata: it is no shard of ccaf-pipeline")
        read = decode_text if field.type in (str, Fill) else decode_json
        found[field.name] = read(value, f"{key} of {where}")
        if field.name == "schema_version" and found[field.name] not in tuple(SCHEMAS):  # it may be of any type
            raise InputError(
                f"{where} has schema version {found[field.name]}, this program reads {', '.join(map(str, SCHEMAS))}: "
                f"run ccaf-pipeline parse --overwrite"
            )
    repair = "run ccaf-pipeline parse --overwrite"
    values = _ProvenanceArtifact.check(found, f"metadata of {where}", repair).model_dump()
    return {**values, "labels": tuple(values["labels"]), "clothes_labels": tuple(values["clothes_labels"])}
