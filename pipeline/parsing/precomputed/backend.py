"""The parser ``precomputed``: looks up the label map or mask that the user already has for an image."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipeline.errors import BadImageError, InputError
from pipeline.images import LabelMap, RgbImage
from pipeline.labels import LabelScheme, find_scheme
from pipeline.parsing.label_files import UNREADABLE, read_values
from pipeline.parsing.parser import Parsing, register_parser
from pipeline.parsing.precomputed.meaning import Colour, Colours, Meaning, Numbers, TwoValued
from pipeline.parsing.precomputed.names import NO_LABEL_MAP, check_pattern, label_path
from pipeline.settings import SettingsGroup

MIRRORED = ("{folder}/{stem}.png", "{folder}/{stem}.npy")
CLOTHES_ONLY = LabelScheme("mask", ("background", "clothes"), frozenset({1}), garments_only=True)
"""The scheme of masks of which nothing else is said."""


class PrecomputedParser:
    """Reads label files by the images' paths.

    The confidence of a parse is 1 where the file shows a person and 0 where it shows none: files do not say how sure
    their maker was.

    Args:
        root: Folder of the label files.
        patterns: Naming rules, see :func:`pipeline.parsing.precomputed.names.label_path`; the first file that exists
            is taken.
        scheme: Of the label maps.
        meaning: How values become label numbers.
    """

    name = "precomputed"
    weights_sha256 = ""

    def __init__(self, root: Path, patterns: Sequence[str], scheme: LabelScheme, meaning: Meaning) -> None:
        self._root = root
        self._patterns = tuple(patterns)
        self._scheme = scheme
        self._meaning = meaning

    @property
    def scheme(self) -> LabelScheme:
        """As set."""
        return self._scheme

    def parse(self, images: Sequence[RgbImage], paths: Sequence[str] | None = None) -> list[Parsing | BadImageError]:
        """Look up the label map of each image.

        Raises:
            ValueError: The images' paths are not given.
        """
        if paths is None or len(paths) != len(images):
            raise ValueError("the parser precomputed finds label maps by the images' paths: give one for each image")
        outcomes: list[Parsing | BadImageError] = []
        for image, path in zip(images, paths, strict=True):
            try:
                label_map = self._label_map(path, (image.shape[0], image.shape[1]))
            except BadImageError as error:
                outcomes.append(error)
            else:
                outcomes.append(Parsing(label_map, 1.0 if label_map.any() else 0.0))
        return outcomes

    def source_digest(self, path: str) -> str:
        """Name and hash of the label file of an image, or the reason why there is none; shards follow its changes."""
        try:
            name, data = self._find(path)
        except BadImageError as error:
            return error.reason
        return f"{name}\0{hashlib.sha256(data).hexdigest()}"

    def _find(self, path: str) -> tuple[str, bytes]:
        """Name and bytes of the first label file that exists.

        Raises:
            BadImageError: ``no_label_map`` or ``label_map_unreadable``.
        """
        names = [str(label_path(pattern, path)) for pattern in self._patterns]
        for name in names:
            try:
                return name, (self._root / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            except (OSError, ValueError) as error:
                raise BadImageError(UNREADABLE, f"{name}: {getattr(error, 'strerror', None) or error}") from error
        raise BadImageError(NO_LABEL_MAP, f"no file {' or '.join(names)} in the folder of label maps")

    def _label_map(self, path: str, shape: tuple[int, int]) -> LabelMap:
        name, data = self._find(path)
        by_colour = isinstance(self._meaning, Colours)
        lossy = isinstance(self._meaning, TwoValued) and self._meaning.threshold is not None
        return self._meaning.label_map(read_values(data, name, shape, colours=by_colour, lossy=lossy), name)


class PrecomputedSettings(SettingsGroup):
    """Settings of the parser ``precomputed``."""

    root: Path = Field(description="folder of the label maps or masks")
    kind: Literal["labels", "mask"] = Field("labels", description="labels: maps of label numbers; mask: two values")
    pattern: list[str] | str = Field(
        list(MIRRORED),
        description="path of a label file in root; one or several, the first that exists is taken; {folder}, {stem}, "
        "{name}, {suffix} are of the image's path in its data set (quote it on a command line: '\"{stem}.png\"')",
    )
    scheme: dict[str, Any] | str | None = Field(
        None,
        description="label scheme: a name, a YAML file, or name, labels and clothes in place; "
        "null: lip for labels, one label clothes for masks",
    )
    mask_label: str | None = Field(
        None, description="mask only: the label that its pixels stand for; null: the scheme's only clothes label"
    )
    threshold: float | None = Field(
        None, description="mask only: values above it are the mask; null: files must have 0 and 1, or 0 and 255, only"
    )
    values: dict[int, str] | None = Field(
        None, description="labels only, for another numbering: value in the file to label name; null: the scheme's own"
    )
    colours: dict[str, list[tuple[int, int, int]] | tuple[int, int, int]] | None = Field(
        None, description="labels only, for colour-coded files: label name to [red, green, blue], one or several"
    )


@register_parser("precomputed", PrecomputedSettings)
def create_precomputed(
    root: Path,
    device: str = "cpu",
    kind: Literal["labels", "mask"] = "labels",
    pattern: list[str] | str = list(MIRRORED),  # noqa: B006 - never changed
    scheme: dict[str, Any] | str | None = None,
    mask_label: str | None = None,
    threshold: float | None = None,
    values: dict[int, str] | None = None,
    colours: dict[str, list[Colour] | Colour] | None = None,
) -> PrecomputedParser:
    """Build the parser; ``device`` makes no difference, the rest is as in :class:`PrecomputedSettings`.

    Raises:
        InputError: The folder does not exist, a pattern or a label is wrong, or settings contradict each other.
    """
    patterns = [check_pattern(text) for text in ([pattern] if isinstance(pattern, str) else pattern)]
    if not patterns:
        raise InputError("parser precomputed: the list pattern is empty; name one, such as {folder}/{stem}.png")
    if not root.is_dir():
        raise InputError(f"parser precomputed: there is no folder {root} with label maps (parse.settings.root)")
    if kind == "mask":
        _refuse(kind, values=values, colours=colours)
        found = CLOTHES_ONLY if scheme is None else find_scheme(scheme)
        number = _mask_number(found, mask_label)
        found = replace(found, garments_only=number in found.clothes)
        meaning: Meaning = TwoValued(number, threshold)
    else:
        _refuse(kind, mask_label=mask_label, threshold=threshold)
        found = find_scheme("lip" if scheme is None else scheme)
        meaning = _labels_meaning(found, values, colours)
    return PrecomputedParser(root, patterns, found, meaning)


def _refuse(kind: str, **settings: Any) -> None:
    given = [name for name, value in settings.items() if value is not None]
    if given:
        raise InputError(f"parser precomputed: the setting {given[0]} has no meaning for kind {kind}; take it out")


def _mask_number(scheme: LabelScheme, label: str | None) -> int:
    if label is None:
        if len(scheme.clothes) != 1:
            raise InputError(
                f"parser precomputed: say by mask_label which label of the scheme {scheme.name} a mask's pixels stand "
                f"for; it has: {', '.join(scheme.labels[1:])}"
            )
        (number,) = scheme.clothes
    else:
        (number,) = scheme.numbers_of([label])
    if number == 0:
        raise InputError(f"parser precomputed: mask_label {label} is the background")
    return number


def _labels_meaning(
    scheme: LabelScheme, values: dict[int, str] | None, colours: dict[str, list[Colour] | Colour] | None
) -> Meaning:
    if colours is None:
        table = None if values is None else {value: _number(scheme, label) for value, label in values.items()}
        return Numbers(scheme, table)
    _refuse("labels with colours", values=values)
    coded: dict[Colour, int] = {}
    for label, listed in colours.items():
        for colour in listed if isinstance(listed, list) else [listed]:
            if not all(0 <= part <= 255 for part in colour):
                raise InputError(f"parser precomputed: colours: {label}: {list(colour)} is not within 0 and 255")
            if coded.setdefault(colour, _number(scheme, label)) != _number(scheme, label):
                raise InputError(f"parser precomputed: colours: {list(colour)} stands for two labels")
    return Colours(coded)


def _number(scheme: LabelScheme, label: str) -> int:
    (number,) = scheme.numbers_of([label])
    return number
