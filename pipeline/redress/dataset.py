"""Writes a redressed data set: images, a table, the YAML file that describes them, and a record of how it was made."""

import csv
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray

from pipeline import __version__
from pipeline.artifacts import Artifact, Sha256, Word, read_json_artifact
from pipeline.datasets.catalog import DatasetFacts
from pipeline.errors import InputError
from pipeline.files import write_json
from pipeline.garments import Region
from pipeline.images import RgbImage
from pipeline.overlap import map_ahead
from pipeline.ownership import refuse_foreign
from pipeline.redress.notice import with_notice
from pipeline.redress.outfits import Outfit
from pipeline.redress.redress import redress
from pipeline.redress.regions import RegionTable
from pipeline.redress.settings import Kind
from pipeline.redress.wardrobes import OWN, Worn, number_clothes, number_tracklets, persons_only
from pipeline.shards.reader import NO_ID, ShardReader

TABLE_NAME: Final = "table.csv"
FACTS_NAME: Final = "dataset.yaml"
RECORD_NAME: Final = "_record.json"
SHEET_NAME: Final = "sheet.html"
JPEG_QUALITY: Final = 95
COLUMNS: Final = ("path", "split", "person_id", "camera_id", "clothes_id", "tracklet_id", "outfit", "source")
NOTICE: Final = "Clothes were changed by software: these images show what nobody wore."
_LONGEST_SPLIT: Final = 40


@dataclass(frozen=True)
class RedressPlan:
    """What a redressed data set is made of.

    Attributes:
        outfits: Of each person, the own clothes included.
        pool: Outfits that people share.
        kinds: Of the outfits in the pool, in turn.
        regions: Garments that change.
        every: Each image in all outfits of its person.
        seed: Of everything random.
    """

    outfits: int
    pool: int
    kinds: tuple[Kind, ...]
    regions: tuple[Region, ...]
    every: bool
    seed: int


class _RecordFields(Artifact):
    made_by: Word
    shards_sha256: Sha256


def written_files(folder: Path) -> Collection[str]:
    """The files, relative, of a redressed data set, as its record and its table list them; none without a record."""
    try:
        record = read_json_artifact(folder / RECORD_NAME, "record of a redressed data set", _RecordFields)
    except InputError:
        return ()
    if record.made_by != "ccaf-pipeline redress":
        return ()
    names = {RECORD_NAME, TABLE_NAME, FACTS_NAME, SHEET_NAME}
    try:
        with (folder / TABLE_NAME).open(newline="") as stream:
            paths = [row.get("path") or "" for row in csv.DictReader(stream)]
    except (OSError, ValueError, csv.Error):
        return names
    return names | {path for path in paths if PurePosixPath(path).name and "\0" not in path}


def check_place(folder: Path) -> None:
    """Refuse a folder that a data set may not take the place of: whatever is in it would be deleted.

    Raises:
        InputError: It is a file, or holds what this command did not write.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"cannot write {folder}: it is a file, not a folder")
    refuse_foreign(folder, written_files(folder))


def useful_rows(reader: ShardReader, facts: DatasetFacts) -> NDArray[np.int64]:
    """Images whose split has a role, but junk: persons below 0. Other persons that stand for nobody stay.

    Raises:
        InputError: There are none, or none of a person.
    """
    splits = sorted({split for splits in facts.roles.values() for split in splits})
    fits = np.isin(reader.ids.split.astype(str), splits) & (reader.ids.person_id >= 0)  # below: junk, no person
    rows = np.flatnonzero(fits).astype(np.int64)
    if not len(rows):
        raise InputError(f"no image in {reader.folder} is in a split that {facts.name} has a role for")
    if not len(persons_only(reader.ids, rows, facts.no_person_ids)):
        raise InputError(f"no image in {reader.folder} is of a person: all have ids that stand for nobody")
    return rows


def _folder_of(split: str, number: int) -> str:
    """A split's folder: its name where that is a plain word."""
    plain = split.isascii() and split.replace("-", "").replace("_", "").isalnum() and len(split) <= _LONGEST_SPLIT
    return split if plain else f"split-{number}"


def _jpeg(image: RgbImage) -> bytes:
    done, buffer = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )
    if not done:
        raise ValueError(f"JPEG encoding failed for an array of shape {image.shape}")
    return buffer.tobytes()


def write_images(
    folder: Path,
    reader: ShardReader,
    worn: Sequence[Worn],
    pool: Sequence[Outfit],
    table: RegionTable,
    *,
    threads: int = 1,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[list[str], list[Worn]]:
    """Write every image as it is worn, those in own clothes too, all as JPEG of one quality.

    An image in which no garment was found stays in its own clothes, unless it is a frame of a tracklet.

    Returns:
        Path of each image, relative, and what is really worn in it.
    """
    ids = reader.ids
    splits = {split: _folder_of(split, number) for number, split in enumerate(reader.splits)}
    for name in set(splits.values()):
        (folder / name).mkdir(exist_ok=True)

    def make(item: Worn) -> tuple[str, Worn]:
        image, really = reader.image(item.row), item
        if item.outfit != OWN:
            done = redress(image, reader.label_map(item.row), pool[item.outfit], table)
            image = done.image
            if not done.changed and ids.tracklet_id[item.row] == NO_ID:
                really = Worn(item.row, OWN)
        camera = int(ids.camera_id[item.row])
        outfit = "own" if item.outfit == OWN else f"{item.outfit:03d}"
        name = (
            f"{int(ids.person_id[item.row]):05d}_{outfit}{'' if camera == NO_ID else f'_c{camera}'}_{item.row:07d}.jpg"
        )
        path = f"{splits[str(ids.split[item.row])]}/{name}"
        (folder / path).write_bytes(_jpeg(image))
        return path, really

    paths, final = [], []
    with ThreadPoolExecutor(threads, thread_name_prefix="redress") as executor:
        for path, really in map_ahead(executor, make, iter(worn), 8 * threads):
            paths.append(path)
            final.append(really)
            advance(1)
    return paths, final


def write_table(
    folder: Path,
    reader: ShardReader,
    paths: Sequence[str],
    worn: list[Worn],
    every: bool,
    nobody: Collection[int] = (),
) -> dict[str, int]:
    """Write the table; returns counts of what is in it. Images that became the same are left out and removed.

    Args:
        folder: Of the data set.
        reader: The shards.
        paths: Of the images, relative.
        worn: What is worn in each.
        every: Each image is worn in all outfits of its person.
        nobody: Person ids that stand for nobody: their images are counted, but no identities and no clothes.
    """
    ids = reader.ids
    if every:  # without a garment an image has but one form
        first: dict[Worn, int] = {}
        for place, item in enumerate(worn):
            if first.setdefault(item, place) != place:
                (folder / paths[place]).unlink()
        kept = sorted(first.values())
        paths, worn = [paths[place] for place in kept], [worn[place] for place in kept]
    clothes = number_clothes(ids, worn)
    tracklets = number_tracklets(ids, worn, every)
    with (folder / TABLE_NAME).open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(COLUMNS)
        for path, item, number, tracklet in zip(paths, worn, clothes.tolist(), tracklets, strict=True):
            camera = int(ids.camera_id[item.row])
            writer.writerow(
                [
                    path,
                    ids.split[item.row],
                    int(ids.person_id[item.row]),
                    "" if camera == NO_ID else camera,
                    number,
                    "" if tracklet is None else tracklet,
                    item.outfit,
                    ids.image_id[item.row],
                ]
            )
    persons = ids.person_id[[item.row for item in worn]]
    known = ~np.isin(persons, list(nobody))
    counts = {
        "images": len(worn),
        "redressed": sum(item.outfit != OWN for item in worn),
        "identities": len(np.unique(persons[known])),
        "clothes": len(np.unique(clothes[known])),
    }
    by_split = Counter(str(ids.split[item.row]) for item in worn)
    return counts | {f"images of {split}": count for split, count in sorted(by_split.items())}


def write_facts(folder: Path, place: Path, source: DatasetFacts, reader: ShardReader, counts: dict[str, int]) -> None:
    """Write the YAML file that makes the folder a data set, ready for ``manifest`` and ``parse``."""
    there = set(reader.splits)
    roles = {role: [split for split in splits if split in there] for role, splits in source.roles.items()}
    cameras = bool((reader.ids.camera_id != NO_ID).any())
    tested = bool(roles.get("query")) and bool(roles.get("gallery"))
    protocols = ["cc", "sc", "general"] if cameras and tested else list(source.protocols) if tested else []
    facts: dict[str, Any] = {
        "name": f"{source.name}-redressed",
        "title": f"{source.title}, redressed",
        "reader": "custom",
        "home": source.home,
        "access": f"made from {source.title} by ccaf-pipeline redress; {source.access}",
        "terms": with_notice(source.terms, NOTICE),
        "folder": place.name,
        "layout": f"{TABLE_NAME} and the images that it names",
        "markers": [TABLE_NAME],
        "roles": {role: splits for role, splits in roles.items() if splits},
        "protocols": protocols,
        "no_person_ids": list(source.no_person_ids),
        "counts": [
            {"of": name.removeprefix("images of "), "splits": [name.removeprefix("images of ")], "images": count}
            for name, count in counts.items()
            if name.startswith("images of ")
        ],
        "settings": {"table": TABLE_NAME},
    }
    (folder / FACTS_NAME).write_text(f"# {NOTICE}\n" + yaml.safe_dump(facts, sort_keys=False, allow_unicode=True))


def write_record(folder: Path, reader: ShardReader, plan: RedressPlan, counts: dict[str, int]) -> None:
    """Write what made the data set."""
    made = reader.metadata
    value = {
        "made_by": "ccaf-pipeline redress",
        "notice": NOTICE,
        "source": made.dataset,
        "shards_sha256": reader.record_sha256,
        "parser": made.parser,
        "weights_sha256": made.weights_sha256,
        "label_scheme": made.label_scheme,
        "parameters": {
            "seed": plan.seed,
            "outfits": plan.outfits,
            "pool": plan.pool,
            "kinds": list(plan.kinds),
            "regions": list(plan.regions),
            "all": plan.every,
        },
        "counts": counts,
        "versions": {"ccaf-pipeline": __version__, "numpy": np.__version__, "opencv": cv2.__version__},
    }
    write_json(folder / RECORD_NAME, value)
