"""CHIRLA: CSV lists ``benchmark/metadata/reid_<scenario>_{train,val,gallery,query}.csv`` of images below ``benchmark``.

A row is ``image_path,id,camera,sequence,subset``; the path is ``reid/<scenario>/{train,test}/<subset>/<sequence>/imgs/
<camera>/<id>/<frame>.png`` and says the same. Subset ``test_k`` is searched in ``train_k`` alone: their splits are
``query_k`` and ``gallery_k``. The lists ``val`` and ``train`` are the pair 0, for development: the splits ``val_query``
and ``val_gallery``. Negative ids are unknown persons.
"""

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.neighbours import is_regular_file
from pipeline.datasets.readers.names import compile_name
from pipeline.datasets.readers.registry import ReaderSettings, Source, register_reader
from pipeline.datasets.readers.tables import RowProblems, read_columns
from pipeline.errors import InputError

LISTS: Final = {"gallery": "train", "query": "test", "train": "train", "val": "test"}
"""Each list, and the folder of its images."""
BENCHMARK: Final = "benchmark"
"""The folder of lists (in its folder ``metadata``) and images, which the paths of the lists are below."""
_COLUMNS: Final = ("image_path", "id", "camera", "sequence", "subset")
_CAMERA: Final = compile_name(r"camera_(\d{1,9})_[^/]+")
_SUBSET: Final = compile_name(r"(train|test)_(\d{1,4})")
_PERSON: Final = compile_name(r"-?\d{1,18}")


class ChirlaSettings(ReaderSettings):
    """Settings of the reader ``chirla``."""

    scenario: Literal["long_term", "multi_camera", "multi_camera_long_term", "reappearance"] = Field(
        description="which of the re-identification scenarios"
    )


def _list_file(folder: Path, scenario: str, part: str) -> Path:
    table = folder / BENCHMARK / "metadata" / f"reid_{scenario}_{part}.csv"
    if not table.is_file():
        raise InputError(
            f"no {table.name} in {table.parent}: the lists of CHIRLA are in {BENCHMARK}/metadata of the repository "
            f"that is its home page; copy them there"
        )
    return table


def _split_of(part: str, subset: str) -> str | None:
    """Our split of a subset that a list names; None where the list must not name it."""
    match = _SUBSET.fullmatch(subset)
    if match is None or match[1] != LISTS[part]:
        return None
    side = "gallery" if match[1] == "train" else "query"
    if part in ("train", "val"):
        return f"val_{side}" if int(match[2]) == 0 else None
    return f"{side}_{int(match[2])}" if int(match[2]) else None


def _problem(row: dict[str, Any], part: str, scenario: str) -> str | None:
    """What is wrong with a row of a list."""
    empty = next((name for name in _COLUMNS if not row[name]), None)
    if empty is not None:
        return f"{empty} is empty"
    if _PERSON.fullmatch(row["id"]) is None:
        return f"id {row['id']!r} is not a whole number"
    if _CAMERA.fullmatch(row["camera"]) is None:
        return f"camera {row['camera']!r} is not camera_<number>_<time>"
    if _split_of(part, row["subset"]) is None:
        return f"subset {row['subset']!r} does not belong into this list"
    folders = ["reid", scenario, LISTS[part], row["subset"], row["sequence"], "imgs", row["camera"], row["id"]]
    path = row["image_path"].split("/")
    if path[:-1] != folders or path[-1] in ("", ".", "..") or "\0" in path[-1]:
        return f"path {row['image_path']!r} is not below {'/'.join(folders)}"
    return None


@register_reader("chirla", ChirlaSettings)
def read_chirla(source: Source, rows: ManifestBuilder) -> None:
    """Add what the four lists of a scenario name; there are no clothes labels.

    Raises:
        InputError: The lists are missing or damaged, or name images that are not there or twice.
    """
    settings: ChirlaSettings = source.settings
    for part in LISTS:
        table = _list_file(source.folder, settings.scenario, part)
        columns = read_columns(table, {name: name for name in _COLUMNS}, _COLUMNS)
        problems = RowProblems(table)
        seen: dict[str, int] = {}
        for number, values in enumerate(zip(*(columns[name] for name in _COLUMNS), strict=True), start=1):
            row = dict(zip(_COLUMNS, values, strict=True))
            path = f"{BENCHMARK}/{row['image_path']}"
            problem = _problem(row, part, settings.scenario)
            if problem is None and seen.setdefault(path, number) != number:
                problem = f"{path} stands in row {seen[path]} already"
            if problem is None and not is_regular_file(source.folder, path):
                problem = f"no file at {path}"
            split, camera = _split_of(part, row["subset"] or ""), _CAMERA.fullmatch(row["camera"] or "")
            if problem is not None or split is None or camera is None:
                problems.add(number, problem or "cannot be read")
            else:
                rows.add(path, split, int(row["id"]), int(camera[1]))
        problems.raise_if_any()
