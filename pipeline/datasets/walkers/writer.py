"""Writes the rendered data set: a folder of images with label maps and attributes, and a table for pre-training."""

import json
from collections import Counter
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__
from pipeline.artifacts import Artifact, Word, read_json_artifact
from pipeline.datasets.walkers.factors import FACTORS
from pipeline.datasets.walkers.rows import MEASURES, RenderedShot, render_all
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.errors import InputError
from pipeline.files import atomic_folder, write_json
from pipeline.ownership import refuse_foreign

ATTRIBUTES_NAME: Final = "attributes.parquet"
PRETRAIN_NAME: Final = "pretrain.parquet"
RECORD_NAME: Final = "_record.json"
PHRASES_KEY: Final = b"phrases"
"""Key of the table's metadata: JSON, phrases of every factor's values."""
CLOTHES_FACTORS_KEY: Final = b"clothes_factors"
ROW_GROUP: Final = 256

_CAPTIONS = ("caption_identity", "caption_clothes", "caption_full")
_DESCRIPTION: Final[list[pa.Field]] = [
    pa.field("camera_id", pa.int32()),
    pa.field("view", pa.string()),
    pa.field("yaw", pa.float32()),
    pa.field("occluded", pa.bool_()),
    *(pa.field(name, pa.int32()) for name in FACTORS),
    *(pa.field(name, pa.float32()) for name in MEASURES),
    *(pa.field(name, pa.string()) for name in _CAPTIONS),
]
ATTRIBUTES_SCHEMA: Final = pa.schema(
    [
        pa.field("path", pa.string()),
        pa.field("split", pa.string()),
        pa.field("person_id", pa.int64()),
        pa.field("clothes_id", pa.int64()),
        *_DESCRIPTION,
    ]
)
PRETRAIN_SCHEMA: Final = pa.schema([pa.field("image", pa.binary()), pa.field("label_map", pa.binary()), *_DESCRIPTION])


def _metadata() -> dict[bytes, bytes]:
    phrases = {name: factor.phrases() for name, factor in FACTORS.items()}
    clothes = [name for name, factor in FACTORS.items() if factor.of_clothes]
    return {PHRASES_KEY: json.dumps(phrases).encode(), CLOTHES_FACTORS_KEY: json.dumps(clothes).encode()}


def _write_record(folder: Path, settings: SynthSettings, seed: int, counts: dict[str, int]) -> None:
    versions = {"ccaf-pipeline": __version__, "numpy": np.__version__, "opencv": cv2.__version__}
    parameters = {"seed": seed, **settings.model_dump()}
    write_json(folder / RECORD_NAME, {"parameters": parameters, "counts": counts, "versions": versions})


class _RecordFields(Artifact):
    versions: dict[Word, Word]


def rendered_files(folder: Path) -> Collection[str]:
    """The files, relative, of what was rendered into a folder, as its record and its table list them.

    A folder that has no record of this program's, or whose table is damaged, lists no images.
    """
    try:
        record = read_json_artifact(folder / RECORD_NAME, "record of the walkers", _RecordFields)
    except InputError:
        return ()
    if "ccaf-pipeline" not in record.versions:
        return ()
    names = {RECORD_NAME, PRETRAIN_NAME, ATTRIBUTES_NAME}
    if (folder / ATTRIBUTES_NAME).is_file():
        try:
            paths = pq.read_table(folder / ATTRIBUTES_NAME, columns=["path"])["path"].to_pylist()
        except (OSError, pa.ArrowException, KeyError):
            return names
        images = [path for path in paths if isinstance(path, str) and PurePosixPath(path).name and "\0" not in path]
        names |= {*images, *(str(_label_path(path)) for path in images)}
    return names


def check_renderable(folder: Path) -> None:
    """Refuse a folder that rendering may not take the place of: whatever is in it would be deleted.

    Raises:
        InputError: It is a file, or holds what was not rendered.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write {folder}: it is a file, not a folder")
    refuse_foreign(folder, rendered_files(folder))


def _label_path(path: str) -> PurePosixPath:
    """Where the label map of an image lies, relative to the data set."""
    return PurePosixPath("labels", path).with_suffix(".png")


def _write_image(folder: Path, done: RenderedShot) -> dict[str, Any]:
    shot = done.shot
    path = f"{shot.split}/{shot.stem}.jpg"
    labels = folder / _label_path(path)
    for file, data in ((folder / path, done.image), (labels, done.label_map)):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    identity = {"split": shot.split, "person_id": shot.person_id, "clothes_id": shot.clothes_id}
    return {"path": path, **identity, **done.values}


def render_walkers(
    folder: Path,
    settings: SynthSettings,
    seed: int,
    *,
    workers: int = 1,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, int]:
    """Render training and test into ``folder``; an earlier data set there is replaced when the new one is complete.

    Writes ``{train,query,gallery}/<person>_<outfit>_c<camera>_<number>.jpg``, ``labels/<split>/<same name>.png`` with
    LIP labels, ``attributes.parquet`` and ``_record.json``.

    Args:
        folder: The data set's folder.
        settings: Size and variant; the same settings and seed give the same bytes.
        seed: Of everything random.
        workers: Processes.
        advance: Called with the number of images finished since the last call.

    Returns:
        Images by split, identities by population, and outfits.

    Raises:
        InputError: See :func:`check_renderable`; or nothing can be written there.
        DiskError: The disk is full.
    """
    check_renderable(folder)
    with atomic_folder(folder, rendered_files) as temporary:
        rows = [_write_image(temporary, done) for done in render_all(settings, seed, False, workers, advance)]
        rows.sort(key=lambda row: str(row["path"]))
        table = pa.Table.from_pylist(rows, schema=ATTRIBUTES_SCHEMA.with_metadata(_metadata()))
        pq.write_table(table, temporary / ATTRIBUTES_NAME)
        counts = dict(Counter(str(row["split"]) for row in rows))
        counts |= {
            "train_identities": settings.train_identities,
            "test_identities": settings.test_identities,
            "outfits": len({row["clothes_id"] for row in rows}),
        }
        _write_record(temporary, settings, seed, counts)
    return counts


def render_pretraining(
    folder: Path,
    settings: SynthSettings,
    seed: int,
    *,
    workers: int = 1,
    advance: Callable[[int], None] = lambda count: None,
) -> dict[str, int]:
    """Render the separate population for pre-training into ``folder``/``pretrain.parquet``.

    Columns: ``image`` (JPEG), ``label_map`` (PNG), one integer a factor (-1: does not apply), continuous measures, and
    three captions. The schema's metadata hold the phrases of every factor's values, in the order of the values.

    Args:
        folder: Where the table goes; an earlier one is replaced when the new one is complete.
        settings: Size and variant; the same settings and seed give the same bytes.
        seed: Of everything random.
        workers: Processes.
        advance: Called with the number of images finished since the last call.

    Returns:
        The number of images.

    Raises:
        InputError: See :func:`check_renderable`; or nothing can be written there.
        DiskError: The disk is full.
    """
    schema = PRETRAIN_SCHEMA.with_metadata(_metadata())
    check_renderable(folder)
    with atomic_folder(folder, rendered_files) as temporary:
        with pq.ParquetWriter(temporary / PRETRAIN_NAME, schema, compression="none") as writer:
            rows: list[dict[str, Any]] = []
            for done in render_all(settings, seed, True, workers, advance):
                rows.append({"image": done.image, "label_map": done.label_map, **done.values})
                if len(rows) == ROW_GROUP:
                    writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=ROW_GROUP)
                    rows.clear()
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema=schema), row_group_size=ROW_GROUP)
        counts = {"pretrain": settings.pretrain_images}
        _write_record(temporary, settings, seed, counts)
    return counts
