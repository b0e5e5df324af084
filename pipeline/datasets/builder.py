"""Collects a reader's rows straight into Arrow columns, and numbers the outfits over the whole data set."""

import json
from array import array

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.listing import ListingNotes
from pipeline.datasets.manifest import MANIFEST_SCHEMA, check_manifest
from pipeline.errors import InputError

CHUNK_ROWS = 32_768
_NONE = -(2**63)  # stands for null in the integer buffers


class ManifestBuilder:
    """Takes one row after another and makes the manifest of them.

    A row costs its bytes in Arrow buffers, not a Python object, so that memory stays flat on large data sets.

    Attributes:
        notes: Other files and problems, filled by the listing.
        unmatched: Image files whose names do not follow the data set's layout.
        label_names: For columns whose labels are text: the texts in the order of their numbers.
    """

    def __init__(self) -> None:
        self.notes = ListingNotes()
        self.unmatched: list[str] = []
        self.label_names: dict[str, list[str]] = {}
        self._strings: dict[str, list[str]] = {"path": [], "split": []}
        self._chunks: dict[str, list[pa.Array]] = {"path": [], "split": []}
        self._integers = {name: array("q") for name in ("person_id", "camera_id", "clothes_id", "tracklet_id")}
        self._outfits: dict[tuple[int, str | int], int] = {}
        self._final_clothes = False

    def add(
        self,
        path: str,
        split: str,
        person_id: int,
        camera_id: int | None = None,
        outfit: str | int | None = None,
        tracklet_id: int | None = None,
        clothes_id: int | None = None,
    ) -> None:
        """Add one image.

        Args:
            path: Relative to the data set's folder, with ``/`` between names.
            split: Name of its split.
            person_id: Identity.
            camera_id: Camera, if the data set has any.
            outfit: Name or number of the outfit among those of this person; the same type in the whole data set.
            tracklet_id: Number of the tracklet, unique over the data set.
            clothes_id: Number of the outfit, unique over the data set already; in place of ``outfit``.

        Raises:
            ValueError: Some rows give ``outfit`` and others ``clothes_id``.
        """
        if not _is_utf8(path):
            self.unmatched.append(path.encode("utf-8", "backslashreplace").decode())
            return
        self._strings["path"].append(path)
        self._strings["split"].append(split)
        number = _NONE
        if clothes_id is not None:
            number, self._final_clothes = clothes_id, True
        if outfit is not None:
            number = self._outfits.setdefault((person_id, outfit), len(self._outfits))
        if self._final_clothes and self._outfits:
            raise ValueError("give outfit or clothes_id, not both")
        self._integers["person_id"].append(person_id)
        self._integers["camera_id"].append(_NONE if camera_id is None else camera_id)
        self._integers["clothes_id"].append(number)
        self._integers["tracklet_id"].append(_NONE if tracklet_id is None else tracklet_id)
        if len(self._strings["path"]) >= CHUNK_ROWS:
            self._flush()

    def __len__(self) -> int:
        return len(self._integers["person_id"])

    def table(self) -> pa.Table:
        """The manifest, sorted by image_id.

        Where rows gave an ``outfit``, ``clothes_id`` is the rank of the pair (person_id, outfit) among all sorted pairs
        of the data set, from 0.

        If labels were texts, the metadata entry ``label_names`` holds them by column, as JSON, in the order of their
        numbers.

        Raises:
            InputError: There is no row, or two rows have the same image_id.
        """
        if not len(self):
            raise InputError("the data set has no image whose name follows its layout")
        self._flush()
        path = pa.chunked_array(self._chunks["path"], type=pa.string())
        split = pa.chunked_array(self._chunks["split"], type=pa.string())
        columns = {
            "image_id": pc.binary_join_element_wise(split, pc.utf8_ltrim(path, characters="/"), "/"),
            "path": path,
            "split": split,
            "person_id": pa.array(np.frombuffer(self._integers["person_id"], dtype=np.int64)),
            "camera_id": self._column("camera_id"),
            "clothes_id": self._clothes(),
            "tracklet_id": self._column("tracklet_id"),
        }
        metadata = {"label_names": json.dumps(self.label_names)} if self.label_names else None
        return check_manifest(pa.table(columns).cast(MANIFEST_SCHEMA.with_metadata(metadata)))

    def _flush(self) -> None:
        for name, values in self._strings.items():
            self._chunks[name].append(pa.array(values, type=pa.string()))
            values.clear()

    def _column(self, name: str) -> pa.Array:
        values = np.frombuffer(self._integers[name], dtype=np.int64)
        return pa.array(values, mask=values == _NONE)

    def _clothes(self) -> pa.Array:
        if not self._outfits:
            return self._column("clothes_id")
        provisional = np.frombuffer(self._integers["clothes_id"], dtype=np.int64)
        rank = np.zeros(len(self._outfits) + 1, dtype=np.int64)
        for position, pair in enumerate(sorted(self._outfits)):
            rank[self._outfits[pair]] = position
        missing = provisional == _NONE
        return pa.array(rank[np.where(missing, 0, provisional)], mask=missing)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
