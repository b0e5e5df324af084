"""A model's own image processor, which scales and normalises its images, from the file that was saved with it."""

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipeline.errors import InputError
from pipeline.files import read_json

FILES: Final = ("processor_config.json", "preprocessor_config.json")
"""Where the settings may be, in the order of preference, which is that of transformers; in the first under a key."""

_KEY: Final = "image_processor"
_OLD, _NEW = "FeatureExtractor", "ImageProcessor"


def load_processor(transformers: Any, folder: Path, model: str, changes: Mapping[str, Any] | None = None) -> Any:
    """Read the image processor, also one that was saved by transformers 4 under a class name of that time.

    Until release 4 each image processor had a second class, such as ``SegformerFeatureExtractor`` beside
    ``SegformerImageProcessor``, with the same fields; release 5 has the second name only.

    Args:
        transformers: The package.
        folder: The model's.
        model: As the user calls it.
        changes: Settings in the place of the saved ones.

    Raises:
        InputError: There are no settings, they cannot be read, or their class is none of transformers.
        Exception: Whatever transformers raises where the settings do not fit the class.
    """
    file, values = _read_settings(folder)
    named = values.get("image_processor_type")
    if named is None:  # transformers finds the class by other keys or by the model's type
        return _from_folder(transformers, folder, changes)
    if not isinstance(named, str):
        raise InputError(f"{file}: image_processor_type must be the name of a class, not {json.dumps(named)[:40]}")
    name = named.removesuffix(_OLD) + _NEW if named.endswith(_OLD) else named
    if not _is_known(transformers, name) and "auto_map" not in values:
        raise InputError(
            f"the image processor of the model {model} cannot be loaded: {file} names the class {named}, "
            f"which transformers {transformers.__version__} does not have"
        )
    if name == named:
        return _from_folder(transformers, folder, changes)
    with tempfile.TemporaryDirectory() as renamed:
        (Path(renamed) / FILES[1]).write_text(json.dumps({**values, "image_processor_type": name}))
        return _from_folder(transformers, Path(renamed), changes)


def _read_settings(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The file that transformers takes, and the settings in it."""
    for name in FILES:
        file = folder / name
        if not file.is_file():
            continue
        values = read_json(file, "settings of the image processor")
        if name == FILES[0] and isinstance(values, dict):
            values = values.get(_KEY)
            if values is None:
                continue
        if not isinstance(values, dict):
            raise InputError(f"{file} holds no settings of an image processor")
        return file, values
    raise InputError(f"no preprocessor_config.json in {folder}: the model's image processor must be saved with it")


def _is_known(transformers: Any, name: str) -> bool:
    # release 4 had a second, fast class of many; release 5 takes their names
    return hasattr(transformers, name) or hasattr(transformers, name.removesuffix("Fast"))


def _from_folder(transformers: Any, folder: Path, changes: Mapping[str, Any] | None) -> Any:
    return transformers.AutoImageProcessor.from_pretrained(
        str(folder), local_files_only=True, trust_remote_code=False, **(changes or {})
    )
