"""Two folders of shards that hold the same images, parsed by two parsers."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.reporting.inspection import Selection
from pipeline.reporting.overview import list_quarantine
from pipeline.shards.reader import ShardIds, ShardReader

Readers = tuple[ShardReader, ShardReader]


@dataclass(frozen=True)
class Matched:
    """The images that both folders hold, in the order of their ids.

    Attributes:
        readers: The shards of either parser.
        rows: Their rows in either folder.
        ids: Their ids, with the flags of either parse.
        chosen: Places in ``rows`` and ``ids`` of the images that are looked at.
        selection: Which these are, in words; empty for all.
        only: Images that only one of the parsers could parse.
    """

    readers: Readers
    rows: tuple[NDArray[np.int64], NDArray[np.int64]]
    ids: ShardIds
    chosen: NDArray[np.int64]
    selection: str
    only: tuple[int, int]

    def __len__(self) -> int:
        return len(self.chosen)


def match_shards(readers: Readers, selection: Selection) -> Matched:
    """Match the images of both folders.

    Args:
        readers: The shards of either parser.
        selection: Which images to look at; a flag counts if either parser's parse has it.

    Raises:
        InputError: They are of different data sets or images, or nothing is selected.
    """
    first, second = readers
    where = f"{first.folder} and {second.folder}"
    datasets = [reader.metadata.dataset for reader in readers]
    if datasets[0] != datasets[1]:
        raise InputError(
            f"{where} cannot be compared: they are of the data sets {datasets[0]} and {datasets[1]}; "
            f"parse the same images with both parsers"
        )
    names = [reader.ids.image_id.astype(str) for reader in readers]
    only = []
    for side in (0, 1):
        own = names[side][~np.isin(names[side], names[1 - side])]
        excused = {row["image_id"] for row in list_quarantine(readers[1 - side].folder)}
        foreign = [name for name in own.tolist() if name not in excused]
        if foreign:
            raise InputError(
                f"{where} cannot be compared: {len(foreign)} images are only in {readers[side].folder} ({foreign[0]}); "
                f"parse the same images with both parsers"
            )
        only.append(len(own))
    shared, *rows = np.intersect1d(names[0], names[1], assume_unique=True, return_indices=True)
    if not len(shared):
        raise InputError(f"{where} cannot be compared: no image could be parsed by both")
    ids, other = _rows_of(first.ids, rows[0]), second.ids.flags[rows[1]]
    either = np.empty(len(shared), dtype=np.object_)
    either[:] = [tuple(dict.fromkeys((*mine, *theirs))) for mine, theirs in zip(ids.flags, other, strict=True)]
    ids = replace(ids, flags=either)
    return Matched(readers, (rows[0], rows[1]), ids, selection.rows(ids), selection.text, (only[0], only[1]))


def _rows_of(ids: ShardIds, rows: NDArray[np.int64]) -> ShardIds:
    return ShardIds(**{name: values[rows] for name, values in vars(ids).items()})
