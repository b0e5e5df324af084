"""Rows of shards out of pictures and their parses; and a finished folder of rows that are at hand."""

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.datasets.manifest import ManifestRow
from pipeline.images import LabelMap, Mask, RgbImage, encode_image, encode_label_map, encode_mask
from pipeline.labels import LIP, LabelScheme
from pipeline.location import Place, locate
from pipeline.parsing.masks import Fill, shielding_image
from pipeline.parsing.quality import Quality
from pipeline.shards.making.writer import QuarantineRow, ShardRow, describe_shard, open_shard, write_quarantine
from pipeline.shards.record import Record, write_record
from pipeline.shards.schema import MADE_VERSION, SCHEMA_VERSION, Provenance, shard_name


def make_row(
    row: ManifestRow,
    image: RgbImage,
    label_map: LabelMap,
    mask: Mask,
    quality: Quality,
    fill: Fill = "white",
    data: bytes | None = None,
    shielded: bool = True,
) -> ShardRow:
    """The row of one parsed image.

    Args:
        row: What the manifest says of it.
        image: uint8 (height, width, 3).
        label_map: uint8 (height, width).
        mask: Of its clothes, boolean (height, width).
        quality: Of its parse.
        fill: What covers its clothes in the shielding image.
        data: Its encoded file, which the shard keeps; None: it is encoded.
        shielded: Keep its shielding image; without it readers make it.
    """
    return ShardRow(
        image_id=row.image_id,
        path=row.path,
        split=row.split,
        person_id=row.person_id,
        camera_id=row.camera_id,
        clothes_id=row.clothes_id,
        tracklet_id=row.tracklet_id,
        width=mask.shape[1],
        height=mask.shape[0],
        image=encode_image(image) if data is None else data,
        label_map=encode_label_map(label_map),
        clothes_mask=encode_mask(mask),
        shielded_image=encode_image(shielding_image(image, mask, fill)) if shielded else None,
        clothes_fraction=quality.clothes_fraction,
        person_fraction=quality.person_fraction,
        confidence=quality.confidence,
        flags=quality.flags,
    )


def write_rows(
    folder: Place,
    dataset: str,
    rows: Sequence[ShardRow],
    quarantine: Sequence[QuarantineRow] = (),
    *,
    parser: str = "none",
    parser_settings: Mapping[str, Any] | None = None,
    weights_sha256: str = "",
    scheme: LabelScheme = LIP,
    fingerprint: str = "0" * 64,
    versions: Mapping[str, str] | None = None,
    shards: int = 1,
    row_group_rows: int = 64,
) -> Record:
    """Write a finished shard folder of rows whose parses were made elsewhere; for a run on images: :func:`run_job`.

    Args:
        folder: The shard folder, local or remote.
        dataset: Name of the data set.
        rows: Cut into equal shards in the order of their image ids; with their shielding images, or all without.
        quarantine: Images that could not be used; the first shard names them.
        parser: What the label maps come from.
        parser_settings: Its settings.
        weights_sha256: Hash of its weights.
        scheme: Of the label maps; its clothes are what the masks cover.
        fingerprint: What the folder is bound to.
        versions: Of the programs that made the rows.
        shards: Number of shards.
        row_group_rows: Images in a Parquet row group.

    Raises:
        OSError: A shard cannot be written.
    """
    made = bool(rows) and all(row.shielded_image is None for row in rows)
    provenance = Provenance(
        schema_version=MADE_VERSION if made else SCHEMA_VERSION,
        dataset=dataset,
        parser=parser,
        parser_settings=dict(parser_settings or {}),
        weights_sha256=weights_sha256,
        label_scheme=scheme.name,
        labels=scheme.labels,
        clothes_labels=tuple(scheme.labels[number] for number in sorted(scheme.clothes)),
        fill="white",
        dilate=0,
        fill_holes=False,
        fingerprint=fingerprint,
    )
    ordered = sorted(rows, key=lambda row: row.image_id)
    size, longer = divmod(len(ordered), shards)
    entries, start = [], 0
    for number in range(shards):
        stop = start + size + (number < longer)
        place = locate(folder) / shard_name(number, shards)
        with open_shard(place, provenance, row_group_rows) as writer:
            for bad in quarantine if number == 0 else ():
                writer.add(bad)
            for row in ordered[start:stop]:
                writer.add(row)
            writer.finish(sources_sha256="0" * 64)
        entries.append(describe_shard(place))
        start = stop
    write_quarantine(folder, list(quarantine))
    return write_record(
        folder, fingerprint, dataset, {"fill": provenance.fill}, dict(versions or {}), entries, {"seconds": 1.0}
    )
