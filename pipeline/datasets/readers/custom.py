"""Any data set that comes as a table: a CSV or Parquet file with a path, a split and a person in each row."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.neighbours import find_near, is_regular_file
from pipeline.datasets.readers.registry import ReaderSettings, Source, register_reader
from pipeline.datasets.readers.tables import RowProblems, read_columns

Column = Literal["path", "split", "person_id", "camera_id", "clothes_id", "tracklet_id"]
COLUMNS: tuple[Column, ...] = get_args(Column)
REQUIRED_COLUMNS = ("path", "split", "person_id")
LABEL_COLUMNS = COLUMNS[2:]
LEFT_OUT = ""
_WHOLE_NUMBER = re.compile(r"\s*([+-]?\d{1,25})(?:\.0*)?\s*", re.ASCII)  # 3.0: how integers with gaps are often stored


class CustomSettings(ReaderSettings):
    """Settings of the reader ``custom``."""

    table: str = Field(description="CSV or Parquet file, relative to the data set's folder")
    columns: Mapping[Column, str] = Field(
        default_factory=dict, description="our name: the table's name; a column that is not named has our name"
    )
    splits: Mapping[str, str | None] | None = Field(
        None, description="the table's value: our split, or null to leave such rows out; without it values are kept"
    )
    labels: Literal["integer", "text"] = Field(
        "integer", description="text: a label column that holds anything but whole numbers is numbered by sorted text"
    )
    delimiter: str = Field(",", min_length=1, max_length=1, description="separator of a CSV file")


@register_reader("custom", CustomSettings)
def read_custom(source: Source, rows: ManifestBuilder) -> None:
    """Add the rows of a table.

    Numbers of the columns are kept. Under ``labels: text`` a label column that is not all whole numbers is replaced by
    the ranks of its texts (sorted by code point, from 0). ``clothes_id`` is kept if each value belongs to one person;
    otherwise the pairs (person_id, clothes_id) are numbered in sorted order over the whole table.

    Raises:
        InputError: The table cannot be used; the message lists the first problems with their rows.
    """
    settings: CustomSettings = source.settings
    table = source.folder / settings.table
    names: dict[str, str] = {name: settings.columns.get(name, name) for name in COLUMNS}
    required = [name for name in COLUMNS if name in REQUIRED_COLUMNS or name in settings.columns]
    columns = read_columns(table, names, required, settings.delimiter, "name its columns under settings: columns:")
    problems = RowProblems(table)
    splits = _splits(columns["split"], settings.splits, source.roles, problems)
    problems.ignore(row for row, split in enumerate(splits, start=1) if split == LEFT_OUT)
    paths = _paths(columns["path"], source.folder, problems)
    labels: dict[str, list[int | None]] = {}
    for name in LABEL_COLUMNS:
        values: Sequence[Any] = columns.get(name, [None] * len(paths))
        if settings.labels == "text":
            values, texts = _number_texts(values)
            if texts:
                rows.label_names[name] = texts
        labels[name] = _integers(values, name, 31 if name == "camera_id" else 63, problems)
    people = labels["person_id"]
    kept = [index for index, split in enumerate(splits) if split not in (None, LEFT_OUT)]
    _check_duplicates(paths, splits, people, kept, problems)
    _check_leaks(splits, people, kept, source.roles, problems)
    problems.raise_if_any()
    rows.notes.others.extend(path for path, split in zip(paths, splits, strict=True) if split == LEFT_OUT)
    shared = _is_shared(people, labels["clothes_id"])
    for index in kept:
        split, person, clothes = splits[index], people[index], labels["clothes_id"][index]
        assert split is not None
        assert person is not None  # an empty one was raised above
        rows.add(
            paths[index],
            split,
            person,
            camera_id=labels["camera_id"][index],
            outfit=clothes if shared else None,
            tracklet_id=labels["tracklet_id"][index],
            clothes_id=None if shared else clothes,
        )


def _splits(
    values: Sequence[Any],
    mapping: Mapping[str, str | None] | None,
    roles: Mapping[str, tuple[str, ...]],
    problems: RowProblems,
) -> list[str | None]:
    """Our split of each row; LEFT_OUT where the row is to be left out, None where it has a problem."""
    useful = {split for splits in roles.values() for split in splits}
    result: list[str | None] = []
    for row, value in enumerate(values, start=1):
        text = "" if value is None else str(value)
        split: str | None = None
        if not text:
            problems.add(row, "split is empty")
        elif mapping is not None and text not in mapping:
            problems.add(row, f"split {text!r} is not under settings: splits:, which has {', '.join(mapping)}")
        else:
            split = text if mapping is None else mapping[text] or LEFT_OUT
            if split != LEFT_OUT and split not in useful:
                problems.add(row, f"split {split!r} has no role; under roles: are {', '.join(sorted(useful))}")
        result.append(split)
    return result


def _paths(values: Sequence[Any], folder: Path, problems: RowProblems) -> list[str]:
    """The paths, without detours, relative to the folder where they lie in it; a missing file is a problem.

    A backslash is a separator, as Windows writes it, where there is no file of the literal name.
    """
    base = f"{folder.absolute().as_posix().rstrip('/')}/"
    result = []
    looked_around = False
    for row, value in enumerate(values, start=1):
        path = posixpath.normpath(str(value)).removeprefix(base) if value else ""
        if not path:
            problems.add(row, "path is empty")
        elif not is_regular_file(folder, path):
            path = posixpath.normpath(path.replace("\\", "/"))
            if not is_regular_file(folder, path):
                advice = "" if looked_around else _elsewhere(folder, path)  # once: the others lie alike
                looked_around = True
                problems.add(row, f"no file at {path}{advice}")
        result.append(path)
    return result


def _elsewhere(folder: Path, path: str) -> str:
    near = find_near(folder, lambda other: is_regular_file(other, path))
    return "" if near is None else f"; it is below {near}, but paths are relative to {folder}"


def _whole_number(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    match = _WHOLE_NUMBER.fullmatch(str(value))
    return int(match[1]) if match else None


def _number_texts(values: Sequence[Any]) -> tuple[Sequence[Any], list[str]]:
    """Replace the values by the ranks of their texts if any is no whole number; also the sorted texts."""
    present = [value for value in values if value is not None]
    if all(_whole_number(value) is not None for value in present):
        return values, []
    texts = sorted({str(value) for value in present})
    rank = {text: number for number, text in enumerate(texts)}
    return [None if value is None else rank[str(value)] for value in values], texts


def _integers(values: Sequence[Any], name: str, bits: int, problems: RowProblems) -> list[int | None]:
    """The values as integers of a signed type with ``bits`` bits beside the sign."""
    result: list[int | None] = []
    for row, value in enumerate(values, start=1):
        number = None if value is None else _whole_number(value)
        if value is None:
            if name == "person_id":
                problems.add(row, "person_id is empty")
        elif number is None:
            problems.add(row, f"{name} {value!r} is not a whole number (for names set labels: text)")
        elif not -(2**bits) < number < 2**bits:
            problems.add(row, f"{name} {value!r} is too large")
            number = None
        result.append(number)
    return result


def _check_duplicates(
    paths: Sequence[str],
    splits: Sequence[str | None],
    people: Sequence[int | None],
    kept: Sequence[int],
    problems: RowProblems,
) -> None:
    """The same image may stand in two splits, but not twice in one, and never with two identities."""
    in_split: dict[tuple[str | None, str], int] = {}
    anywhere: dict[str, int] = {}
    for index in kept:
        path = paths[index]
        first = in_split.setdefault((splits[index], path), index)
        earliest = anywhere.setdefault(path, index)
        if first != index:
            problems.add(index + 1, f"{splits[index]}/{path} stands in row {first + 1} already")
        elif people[earliest] != people[index]:
            problems.add(
                index + 1, f"{path} has person_id {people[earliest]} in row {earliest + 1}, here {people[index]}"
            )


def _check_leaks(
    splits: Sequence[str | None],
    people: Sequence[int | None],
    kept: Sequence[int],
    roles: Mapping[str, tuple[str, ...]],
    problems: RowProblems,
) -> None:
    """No identity may be trained on and tested on; each is reported once, at its first row in the test part."""
    train = set(roles.get("train", ()))
    test = {*roles.get("query", ()), *roles.get("gallery", ())} - train
    first_train: dict[int | None, int] = {}
    first_test: dict[int | None, int] = {}
    for index in kept:
        if splits[index] in train:
            first_train.setdefault(people[index], index)
        elif splits[index] in test:
            first_test.setdefault(people[index], index)
    for person in first_test.keys() & first_train.keys() - {None}:
        index = first_test[person]
        problems.add(
            index + 1, f"person_id {person} is in {splits[index]} and, in row {first_train[person] + 1}, in train"
        )


def _is_shared(people: Sequence[int | None], clothes: Sequence[int | None]) -> bool:
    """Whether any clothes number is used for two persons."""
    wearer: dict[int, int | None] = {}
    return any(
        number is not None and wearer.setdefault(number, person) != person
        for person, number in zip(people, clothes, strict=True)
    )
