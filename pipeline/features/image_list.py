"""Which images get a feature without shards: folders, files, patterns, lists, and tables with paths or image bytes."""

import fnmatch
import glob
import hashlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.datasets.listing import ListingNotes, is_image_name, list_images
from pipeline.datasets.manifest import ManifestRow
from pipeline.errors import BadImageError, InputError
from pipeline.features.feature_set import NO_ID
from pipeline.features.image_tables import COLUMNS, LABELS, TYPES, read_held, read_table
from pipeline.images import check_size, max_bytes
from pipeline.json_text import decode_text
from pipeline.location import FILE_URI_BEGINNING, URI_BEGINNING, Location, is_file_uri, locate
from pipeline.shards.making.sources import Source, open_source
from pipeline.storage import is_file, is_folder, list_files, read_bytes

TABLES: Final = (".csv", ".parquet")
LISTS: Final = (".txt",)
_PATTERN: Final = frozenset("*?[")
_MOST_LIST_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class ImageList:
    """Images in their order, and what is known of each.

    Attributes:
        rows: Columns image_id, path, role (texts) and the :data:`LABELS` (null where not known), one row an image.
        folder: That paths are relative to.
        held: Parquet files whose column :attr:`column` holds the images themselves, with the first of the rows of each
            that count and the one behind the last; they make up the list in this order. Empty: the images are files.
        column: See ``held``.
        notes: Sentences about what could not be listed.
    """

    rows: pa.Table
    folder: Location
    held: tuple[tuple[Location, int, int], ...] = ()
    column: str = "image"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    @property
    def needs_folder(self) -> bool:
        """Whether who reads the images must see :attr:`folder`: not if each of them is a URI of another machine."""
        uris = pc.match_substring_regex(self.rows["path"], f"^{URI_BEGINNING}")
        local = pc.starts_with(self.rows["path"], FILE_URI_BEGINNING, ignore_case=True)
        return bool(self.held) or not pc.all(pc.and_not(uris, local)).as_py()

    def sha256(self) -> str:
        """Hash of the rows; where the images are, and what is in them, does not count."""
        digest = hashlib.sha256()
        for batch in self.rows.combine_chunks().to_batches():
            for column in batch.columns:
                digest.update(repr(column.to_pylist()).encode())
        return digest.hexdigest()

    def with_roles(self, roles: Sequence[str]) -> "ImageList":
        """The images of some roles.

        Raises:
            InputError: There is none; or the images are held by files, of which all rows are read.
        """
        if self.held:
            raise InputError("--role chooses among images that are files, and here the table holds the images")
        chosen = self.rows.filter(pc.is_in(self.rows["role"], pa.array(list(roles), pa.string())))
        if not chosen.num_rows:
            known = ", ".join(sorted(set(self.rows["role"].to_pylist())))
            raise InputError(f"no image has the role {' or '.join(roles)}; there are: {known}")
        return replace(self, rows=chosen)

    def part(self, start: int, stop: int) -> "ImageList":
        """Rows ``start`` to ``stop`` (not included) as a list of its own, which holds no memory of the others."""
        rows = self.rows.take(pa.array(range(start, stop), pa.int64()))
        held, before = [], 0
        for place, first, last in self.held:
            begin, end = max(first, first + start - before), min(last, first + stop - before)
            if begin < end:
                held.append((place, begin, end))
            before += last - first
        return replace(self, rows=rows, held=tuple(held), notes=())

    def absolute(self) -> "ImageList":
        """The same images for a process with another current folder: local places are written out."""
        held = tuple((_absolute(place), first, last) for place, first, last in self.held)
        return replace(self, folder=_absolute(self.folder), held=held)

    def items(self, max_pixels: int) -> Iterator[tuple[ManifestRow, bytes | BadImageError | None]]:
        """All rows, each with its bytes, or with why they are none, where a table holds them.

        Args:
            max_pixels: Larger images are not unpacked.
        """
        rows = (
            ManifestRow(path=path, split=role, person_id=NO_ID)
            for path, role in zip(self.rows["path"].to_pylist(), self.rows["role"].to_pylist(), strict=True)
        )
        if not self.held:
            yield from ((row, None) for row in rows)
            return
        limit = max_bytes(max_pixels)
        held = (data for place, first, last in self.held for data in read_held(place, self.column, first, last, limit))
        yield from zip(rows, held, strict=True)


def _absolute(place: Location) -> Location:
    return place if place.local is None else Location(str(place.local.resolve()))


def open_item(images: Location, row: ManifestRow, data: bytes | BadImageError | None, max_pixels: int) -> Source:
    """An image of the list, read, hashed and looked at as parse does; no pixel is decoded.

    Args:
        images: Folder that its path is relative to.
        row: Its row.
        data: Its bytes, or why they cannot be used, where a table holds it; None: it is a file.
        max_pixels: Of an image that is not too large.

    Raises:
        OSError, StorageError: Nothing can be read just now; it says nothing of the image.
    """
    if data is None:
        try:
            place = locate(row.path)
            if place.local is None or is_file_uri(row.path):  # a URI of its own
                images, row = place.parent, replace(row, path=place.name)
        except (InputError, ValueError) as error:  # of another machine, or no URI at all
            return Source(row, b"", "missing", bad=BadImageError("missing", str(error)))
        return open_source(images, row, max_pixels)
    if isinstance(data, BadImageError):
        return Source(row, b"", data.reason, bad=data)
    digest = hashlib.sha256(data).hexdigest()
    try:
        return Source(row, data, digest, pixels=check_size(data, max_pixels))
    except BadImageError as error:
        return Source(row, data, digest, bad=error)


def list_inputs(
    inputs: Sequence[str], images: str | None = None, columns: Mapping[str, str] | None = None, role: str = "gallery"
) -> ImageList:
    """List what was named.

    Args:
        inputs: Folders (with all below them), image files, patterns such as ``crops/**/*.jpg``, ``.txt`` files with a
            path a line; or tables, ``.csv`` or ``.parquet``, all with paths or all Parquet with image bytes. Local, or
            URIs.
        images: Folder that the paths of tables and lists are relative to; None: the table's own.
        columns: Our name of a table's column (:data:`COLUMNS`): the table's name.
        role: Of images that have none.

    Raises:
        InputError: Something is not there, is none of these, or holds no image; or a table lacks a column.
        StorageError: A remote file system does not answer.
    """
    unknown = sorted(set(columns or ()) - set(COLUMNS))
    if unknown:
        raise InputError(f"there is no column {unknown[0]} to be named; there are: {', '.join(COLUMNS)}")
    places = [place for text in inputs for place in _expand(text)]
    tables = [place for place in places if _ending(place) in TABLES]
    if not tables:
        if columns:
            raise InputError("columns are named, but no table is given")
        return _of_files(places, images, role)
    if len(tables) < len(places):
        raise InputError("tables and images were named together: give either tables or images")
    return _of_tables(tables, images, columns or {}, role)


def _ending(place: Location) -> str:
    return Path(place.name).suffix.lower()


def _expand(text: str) -> list[Location]:
    """The places that an input names: itself, or what fits a pattern.

    In a pattern ``*`` stays within a folder, and ``**`` stands for any folders, local or remote. What follows a ``?``
    in a URI are its options.
    """
    place = locate(text)
    pattern = place.uri if place.local is not None else unquote(urlsplit(place.uri).path)
    if not _PATTERN & set(pattern) or is_file(place) or is_folder(place):
        return [place]
    if place.local is not None:
        found = [Location(name) for name in sorted({*glob.glob(pattern, recursive=True)}) if Path(name).is_file()]  # noqa: PTH207
    else:
        base, parts = place, deque[str]()
        while _PATTERN & set(unquote(urlsplit(base.uri).path)):
            parts.appendleft(base.name)
            base = base.parent
        found = [base / name for name in list_files(base) if _fits(name.split("/"), list(parts))]
    if not found:
        raise InputError(f"nothing fits the pattern {place}")
    return found


def _fits(names: Sequence[str], patterns: Sequence[str]) -> bool:
    """Whether a path, in its parts, fits a pattern in its parts, as it would for :mod:`glob`."""
    if not patterns:
        return not names
    first, rest = patterns[0], patterns[1:]
    if first == "**":
        while rest and rest[0] == "**":
            rest = rest[1:]
        seen = next((number for number, name in enumerate(names) if name.startswith(".")), len(names))
        if not rest:
            return bool(names) and seen == len(names)
        return any(_fits(names[skipped:], rest) for skipped in range(seen + 1))
    hidden = bool(names) and names[0].startswith(".") and not first.startswith(".")
    return bool(names) and not hidden and fnmatch.fnmatchcase(names[0], first) and _fits(names[1:], rest)


def _of_files(places: Sequence[Location], images: str | None, role: str) -> ImageList:
    """Folders and files, one after another; of a single folder or list, paths are relative to it."""
    notes: list[str] = []
    if len(places) == 1 and is_folder(places[0]):
        _refuse_images(images, "a folder")
        paths = _list_folder(places[0], notes)
        return _untabled(paths, places[0], role, notes, f"the folder {places[0]} holds no image")
    if len(places) == 1 and _ending(places[0]) in LISTS:
        folder = places[0].parent if images is None else locate(images)
        return _untabled(_read_list(places[0]), folder, role, notes, f"the list {places[0]} names no image")
    _refuse_images(images, "files")
    paths = []
    for place in places:
        if is_folder(place):
            paths += [(place / name).uri for name in _list_folder(place, notes)]
        elif is_file(place):
            if _ending(place) in LISTS:
                raise InputError(f"{place} is a list of images: give it alone")
            paths.append(place.uri)
        else:
            raise InputError(f"{place}: there is no such file or folder")
    return _untabled(paths, locate("."), role, notes, f"there is no image in {', '.join(map(str, places))}")


def _refuse_images(images: str | None, what: str) -> None:
    if images is not None:
        raise InputError(f"--images {images} goes with a table or a list, which has paths, not with {what}")


def _list_folder(place: Location, notes: list[str]) -> list[str]:
    if place.local is None:
        return [name for name in list_files(place) if is_image_name(name.rpartition("/")[2])]
    listing = ListingNotes()
    found = [path.removeprefix("./") for path in list_images(place.local, ".", listing)]
    notes += listing.problems
    return found


def _read_list(place: Location) -> list[str]:
    try:
        text = decode_text(read_bytes(place, _MOST_LIST_BYTES), f"the list {place}").removeprefix("\ufeff")
    except FileNotFoundError:
        raise InputError(f"{place}: there is no such file or folder") from None
    except OSError as error:
        raise InputError(f"the list {place} cannot be read: {error.strerror or error}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _untabled(paths: Sequence[str], folder: Location, role: str, notes: Sequence[str], none: str) -> ImageList:
    if not paths:
        raise InputError(f"{none}; {notes[0]}" if notes else none)
    try:
        names = pa.array(paths, pa.string())
    except UnicodeEncodeError as error:
        raise InputError(f"a file below {folder} has a name that is no UTF-8 ({error}): rename it") from None
    roles = pa.array([role] * len(paths), pa.string())
    unknown = {name: pa.nulls(len(paths), TYPES.get(name, pa.int64())) for name in LABELS}
    return ImageList(pa.table({"image_id": names, "path": names, "role": roles, **unknown}), folder, notes=tuple(notes))


def _of_tables(tables: Sequence[Location], images: str | None, columns: Mapping[str, str], role: str) -> ImageList:
    read = [read_table(place, columns, role) for place in tables]
    rows = pa.concat_tables([table for table, _ in read])
    if not rows.num_rows:
        raise InputError(f"the table {tables[0]} names no image")
    holding = [held for _, held in read]
    if any(holding) != all(holding):
        raise InputError("some of the tables hold images and others only their paths: give them one kind at a time")
    if not holding[0]:
        if len({str(place.parent) for place in tables}) > 1 and images is None:
            raise InputError("the tables lie in several folders: say by --images what their paths are relative to")
        return ImageList(rows, tables[0].parent if images is None else locate(images))
    if images is not None:
        raise InputError(f"--images {images}: the table holds the images themselves, nothing is read there")
    if not set(rows["image_id"].to_pylist()) - {""}:
        rows = rows.set_column(0, "image_id", pa.array([str(row) for row in range(rows.num_rows)], pa.string()))
    held = tuple((place, 0, table.num_rows) for place, (table, _) in zip(tables, read, strict=True))
    return ImageList(rows, tables[0].parent, held, columns.get("image", "image"))
