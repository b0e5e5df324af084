"""What a shard folder is bound to: all that decides its content, by name, and the hash of it."""

from typing import Any

import pyarrow as pa

from pipeline.files import sha256_of_value
from pipeline.parsing.parser import Identity
from pipeline.shards.making.plan import manifest_sha256
from pipeline.shards.making.settings import ShardSettings
from pipeline.shards.schema import MADE_VERSION, SCHEMA_VERSION, Provenance


def bind_content(
    dataset: str, manifest: pa.Table, settings: ShardSettings, parser: Identity
) -> tuple[dict[str, Any], Provenance]:
    """All that decides the content of a shard folder, by name, and the provenance of its shards.

    The images themselves are not part of it: every shard carries the hash of its own (see
    :func:`pipeline.shards.making.sources.sources_sha256`), and is made again when they change.

    Raises:
        InputError: The clothes labels are not in the parser's scheme, or must be named.
    """
    scheme = parser.scheme
    names = None if settings.clothes_labels is None else list(settings.clothes_labels)
    clothes = tuple(scheme.labels[number] for number in sorted(scheme.clothes_labels(names)))
    decided = settings.model_dump(include=set(ShardSettings.model_fields))
    decided["parser_settings"] = decided.pop("settings")
    version = MADE_VERSION if settings.shielded_images == "made" else SCHEMA_VERSION
    if version == SCHEMA_VERSION:
        del decided["shielded_images"]  # so that shards of earlier versions stay valid
    content = {
        **decided,
        "clothes_labels": list(clothes),
        "dataset": dataset,
        "label_scheme": scheme.name,
        "manifest_rows": manifest.num_rows,
        "manifest_sha256": manifest_sha256(manifest),
        "schema_version": version,
        "weights_sha256": parser.weights_sha256,
    }
    provenance = Provenance(
        schema_version=version,
        dataset=dataset,
        parser=settings.parser,
        parser_settings=settings.settings,
        weights_sha256=parser.weights_sha256,
        label_scheme=scheme.name,
        labels=scheme.labels,
        clothes_labels=clothes,
        fill=settings.fill,
        dilate=settings.dilate,
        fill_holes=settings.fill_holes,
        fingerprint=sha256_of_value(content),
    )
    return content, provenance
