"""Parameter files that come with the package: ``--params preset:prcc``."""

import importlib.util
from pathlib import Path

from pipeline.errors import InputError

PREFIX = "preset:"
FOLDER = "presets"


def _files() -> dict[str, Path]:
    spec = importlib.util.find_spec("data_manifests")
    folders = [] if spec is None else [Path(entry) for entry in spec.submodule_search_locations or ()]
    # the first folder on the path wins, as in every import
    return {path.stem: path for folder in reversed(folders) for path in sorted((folder / FOLDER).glob("*.yaml"))}


def preset_names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(_files())


def parameter_file(path: Path) -> Path:
    """The file itself, or the one that ``preset:NAME`` stands for.

    Raises:
        InputError: There is no such preset.
    """
    text = str(path)
    if not text.startswith(PREFIX):
        return path
    name = text.removeprefix(PREFIX)
    files = _files()
    if name not in files:
        raise InputError(f"preset {name!r} is not known; presets are: {', '.join(sorted(files))}")
    return files[name]
