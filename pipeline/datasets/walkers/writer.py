"""Writes the rendered data set: a folder of images with label maps and attributes, and a table for pre-training."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import __version__
from pipeline.datasets.walkers.factors import FACTORS
from pipeline.datasets.walkers.rows import MEASURES, RenderedShot, render_all
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.files import atomic_folder, write_json

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


def _write_image(folder: Path, done: RenderedShot) -> dict[str, Any]:
    shot = done.shot
    path = f"{shot.split}/{shot.stem}.jpg"
    labels = folder / "labels" / str(shot.split) / f"{shot.stem}.png"
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
    """
    with atomic_folder(folder) as temporary:
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
    """
    schema = PRETRAIN_SCHEMA.with_metadata(_metadata())
    with atomic_folder(folder) as temporary:
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
