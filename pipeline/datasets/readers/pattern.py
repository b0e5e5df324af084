"""Any data set whose labels stand in its paths: the YAML file has a regular expression for each of its folders.

A pattern is matched against a whole path below its folder, without the ending. Its named groups are the labels:

- ``person`` (needed) and ``camera``: whole numbers; a person may be -1.
- ``outfit``: the outfit among those of the person; whole numbers count as such, so that 01 is 1.
- ``tracklet``: the frames with one text below one folder are a tracklet; they are numbered from 0 as they are met.
- ``split``: the split, where the rule names none.
"""

import re
from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from pipeline.datasets.builder import ManifestBuilder
from pipeline.datasets.listing import list_folders, list_images
from pipeline.datasets.readers.names import without_ending
from pipeline.datasets.readers.registry import ReaderSettings, Source, register_reader

GROUPS: Final = ("person", "camera", "outfit", "tracklet", "split")
HERE: Final = "."
"""The data set's own folder: what stands in its subfolders."""
_PERSON: Final = re.compile(r"-1|\d{1,18}", re.ASCII)
_CAMERA: Final = re.compile(r"\d{1,9}", re.ASCII)
_OUTFIT_DIGITS: Final = 18


def _below(folder: str) -> str:
    if folder.startswith("/") or "\\" in folder or ".." in folder.split("/") or folder != folder.strip("/"):
        raise ValueError(f"{folder!r} must be a folder below the data set's, such as images/train, or {HERE}")
    return folder


def _labels(pattern: str) -> str:
    try:
        groups = re.compile(pattern, re.ASCII).groupindex
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"{pattern!r} is no regular expression: {error}") from None
    unknown = sorted(groups.keys() - set(GROUPS))
    if unknown:
        raise ValueError(f"{pattern!r} has the group {unknown[0]}; there are {', '.join(GROUPS)}")
    if "person" not in groups:
        raise ValueError(f"{pattern!r} has no group (?P<person>...)")
    return pattern


class Rule(ReaderSettings):
    """What the paths below one folder say."""

    folder: Annotated[str, AfterValidator(_below)] = Field(min_length=1, description="folder below the data set's")
    pattern: Annotated[str, AfterValidator(_labels)] = Field(description="regular expression with named groups")
    split: str | None = Field(None, min_length=1, description="split of the images; none: the group split says")

    @model_validator(mode="after")
    def _has_one_split(self) -> Self:
        if (self.split is None) != ("split" in re.compile(self.pattern, re.ASCII).groupindex):
            raise ValueError(f"{self.folder}: give a split, or a pattern with the group split, and not both")
        return self


class PatternSettings(ReaderSettings):
    """Settings of the reader ``pattern``."""

    rules: tuple[Rule, ...] = Field(min_length=1, description="of one folder, the first whose pattern fits counts")


class _Labeller:
    """Makes rows of paths; holds the numbers of the tracklets."""

    def __init__(self, source: Source, rows: ManifestBuilder) -> None:
        self._splits = {split for splits in source.roles.values() for split in splits}
        self._rows = rows
        self._tracklets: dict[tuple[str, str], int] = {}

    def add(self, path: str, rule: Rule, match: re.Match[str]) -> bool:
        """Add the image; False where its labels are no numbers, or its split is none of the data set's."""
        found = {name: text for name, text in match.groupdict().items() if text is not None}
        person, camera = found.get("person", ""), found.get("camera")
        split = rule.split or found.get("split", "")
        if _PERSON.fullmatch(person) is None or split not in self._splits:
            return False
        if camera is not None and _CAMERA.fullmatch(camera) is None:
            return False
        outfit = found.get("outfit")
        tracklet = found.get("tracklet")
        self._rows.add(
            path,
            split,
            int(person),
            None if camera is None else int(camera),
            # the text of a number as wide as any sorts as the number does, and beside words
            None if outfit is None else outfit.lstrip("0").zfill(_OUTFIT_DIGITS) if outfit.isdecimal() else outfit,
            None if tracklet is None else self._number((rule.folder, tracklet)),
        )
        return True

    def _number(self, tracklet: tuple[str, str]) -> int:
        return self._tracklets.setdefault(tracklet, len(self._tracklets))


@register_reader("pattern", PatternSettings)
def read_pattern(source: Source, rows: ManifestBuilder) -> None:
    """Add the images of all folders, in the order of the rules; names that no pattern fits are unmatched."""
    settings: PatternSettings = source.settings
    rules: dict[str, list[tuple[Rule, re.Pattern[str]]]] = {}
    for rule in settings.rules:
        rules.setdefault(rule.folder, []).append((rule, re.compile(rule.pattern, re.ASCII)))
    labeller = _Labeller(source, rows)
    for folder, known in rules.items():
        skipped = 0 if folder == HERE else len(folder) + 1
        for start in list_folders(source.folder) if folder == HERE else [folder]:
            for path in list_images(source.folder, start, rows.notes):
                stem = without_ending(path[skipped:])
                fits = ((rule, match) for rule, pattern in known if (match := pattern.fullmatch(stem)) is not None)
                first = next(fits, None)
                if first is None or not labeller.add(path, *first):
                    rows.unmatched.append(path)
