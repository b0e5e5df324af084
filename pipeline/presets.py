"""Parameter files that come with the package: ``--params preset:prcc``."""

import importlib.util
from pathlib import Path

from pipeline.errors import InputError

PREFIX = "preset:"
FOLDER = "presets"
DVC_FILE = "dvc.yaml"


def packaged_files(folder: str) -> dict[str, Path]:
    """YAML files of a folder of ``data_manifests`` by their names without ``.yaml``; DVC's own file is none of them."""
    spec = importlib.util.find_spec("data_manifests")
    folders = [] if spec is None else [Path(entry) for entry in spec.submodule_search_locations or ()]
    # the first folder on the path wins, as in every import
    found = (path for entry in reversed(folders) for path in sorted((entry / folder).glob("*.yaml")))
    return {path.stem: path for path in found if path.name != DVC_FILE}


def preset_names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(packaged_files(FOLDER))


def parameter_file(path: Path) -> Path:
    """The file itself, or the one that ``preset:NAME`` stands for.

    Raises:
        InputError: There is no such preset.
    """
    text = str(path)
    if not text.startswith(PREFIX):
        return path
    name = text.removeprefix(PREFIX)
    files = packaged_files(FOLDER)
    if name not in files:
        raise InputError(f"preset {name!r} is not known; presets are: {', '.join(sorted(files))}")
    return files[name]
