"""Which label file belongs to an image: rules that turn the image's path into paths of label files."""

from pathlib import PurePosixPath
from string import Formatter

from pipeline.errors import BadImageError, InputError

NO_LABEL_MAP = "no_label_map"
FIELDS = ("folder", "stem", "name", "suffix")


def check_pattern(pattern: str) -> str:
    """Check a naming rule and return it.

    Raises:
        InputError: It has an unknown field, names one file for all images, or leads out of the root folder.
    """
    example = "such as {folder}/{stem}.png"
    try:
        parts = [part for part in Formatter().parse(pattern) if part[1] is not None]
    except ValueError as error:
        raise InputError(f"pattern {pattern!r}: {error}; expected a path {example}") from None
    for _, name, specification, conversion in parts:
        if name not in FIELDS or specification or conversion:
            raise InputError(f"pattern {pattern!r}: {{{name}}} is unknown; known: {{{'}, {'.join(FIELDS)}}}")
    if not {"stem", "name"} & {part[1] for part in parts}:
        raise InputError(f"pattern {pattern!r} has neither {{stem}} nor {{name}}; expected a path {example}")
    path = PurePosixPath(pattern)
    if path.is_absolute() or ".." in path.parts:
        raise InputError(f"pattern {pattern!r} must stay in the root folder; expected a path {example}")
    return pattern


def label_path(pattern: str, image: str) -> PurePosixPath:
    """Path of a label file, relative to the root, by one rule.

    Args:
        pattern: One that :func:`check_pattern` accepts. ``{folder}`` is the image's folder inside the data set,
            ``{stem}`` its name without the suffix, ``{suffix}`` the suffix with its dot, ``{name}`` both.
        image: Path of the image inside its data set.

    Raises:
        BadImageError: ``no_label_map``: the path would lead out of the root.
    """
    path = PurePosixPath(image)
    folder = "" if str(path.parent) == "." else str(path.parent)
    text = pattern if folder else pattern.replace("{folder}/", "")
    found = PurePosixPath(text.format(folder=folder, stem=path.stem, name=path.name, suffix=path.suffix))
    if found.is_absolute() or ".." in found.parts:
        raise BadImageError(NO_LABEL_MAP, f"the path {found} would lead out of the folder of label maps")
    return found
