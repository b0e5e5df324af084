"""The folder of a saved model of ``transformers``: on this machine, or from the Hugging Face hub and its cache."""

import textwrap
from pathlib import Path
from typing import Any, Final

from pipeline.errors import InputError
from pipeline.extras import import_extra
from pipeline.files import read_json, sha256_of_file, sha256_of_value
from pipeline.location import expand_home

_WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Names of weights in the order of preference, which is that of transformers."""

NAMED_WEIGHTS: Final = "transformers_weights"
"""Key of config.json that names other weights, which transformers then takes."""

_SAFE_ENDINGS: Final = (".safetensors", ".safetensors.index.json")

_MESSAGE: Final = 200
"""Characters of another library's message that are passed on."""


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights, sorted.

    They are those that config.json names, else those under the usual names.

    Raises:
        InputError: There are none, or an index cannot be read or names a file that is not there.
    """
    name = _named_weights(folder) or next((each for each in _WEIGHTS if (folder / each).is_file()), None)
    if name is None:
        raise InputError(f"no weights in {folder}: it has none of {', '.join(_WEIGHTS)}")
    if not name.endswith(".json"):
        return [folder / name]
    index = read_json(folder / name, "index of the weights")
    try:
        names = sorted({str(each) for each in index["weight_map"].values()})
    except (KeyError, TypeError, AttributeError):
        raise InputError(f"{folder / name} is no index of weights: it has no weight_map") from None
    files = [folder / each for each in names]
    missing = [each for each in names if Path(each).name != each or not (folder / each).is_file()]
    if missing or not files:
        raise InputError(f"{folder / name} names weights that are not beside it: {', '.join(missing[:3]) or 'none'}")
    return files


def _named_weights(folder: Path) -> str | None:
    """The weights that config.json names, as transformers takes these and no others; None: it names none."""
    config = folder / "config.json"
    name = read_config(folder).get(NAMED_WEIGHTS)
    if name is None:
        return None
    if not isinstance(name, str) or Path(name).name != name or not name.endswith(_SAFE_ENDINGS):
        raise InputError(
            f"{config}: {NAMED_WEIGHTS} must name a file beside it that ends in {' or '.join(_SAFE_ENDINGS)}, not "
            f"{textwrap.shorten(str(name), 60, placeholder=' ...')!r}"
        )
    if not (folder / name).is_file():
        raise InputError(f"{config}: {NAMED_WEIGHTS} names {name}, which is not beside it")
    return name


def import_transformers(parser: str) -> Any:
    """The library.

    Raises:
        InputError: It is not installed.
    """
    return import_extra("transformers", "transformers", f"the parser {parser}")


def find_folder(model: str, revision: str | None, advice: str = "check name and connection") -> Path:
    """The model's folder: a local one, or the snapshot of the hub's cache, downloaded if it is not there.

    Args:
        model: Folder, or name on the hub.
        revision: Branch, tag or commit on the hub; None: its main branch.
        advice: What to do where the hub does not give it.

    Raises:
        InputError: It is not found, or files are missing in it.
    """
    path = Path(expand_home(model))
    if path.is_dir():
        if revision is not None:
            raise InputError(f"parse.settings.revision goes with a name on the hub, but {model} is a folder")
        _check_folder(path)
        return path
    if path.is_file() or path.is_absolute() or model.startswith((".", "~")) or model.count("/") != 1:
        raise InputError(
            f"the model {model} is neither a folder (with config.json, weights and preprocessor_config.json) nor a "
            f"name on the hub (owner/name)"
        )
    folder = _download(model, revision, ["*.json", "*.safetensors"], advice)
    if _named_weights(folder) is None and not any((folder / each).is_file() for each in _WEIGHTS[:2]):
        folder = _download(model, revision, ["*.json", "pytorch_model*.bin"], advice)
    _check_folder(folder)
    return folder


def _download(model: str, revision: str | None, patterns: list[str], advice: str) -> Path:
    """The snapshot of a model on the hub; from the cache alone where the hub cannot be reached or is switched off."""
    from huggingface_hub import snapshot_download

    try:
        # folders inside hold other formats and checkpoints of the training
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except Exception as error:  # network, hub and cache fail in many ways, by classes that change between releases
        at = "" if revision is None else f" at revision {revision}"
        raise InputError(
            f"the model {model}{at} can neither be read from the hub nor from its cache ({_reason(error)}); "
            f"{advice}, or give parse.settings.model a folder"
        ) from error


def _reason(error: BaseException) -> str:
    """What began it: the error that the others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {short(error)}"


def short(error: BaseException) -> str:
    """Another library's message in one line, which ends after a word where it is too long."""
    return textwrap.shorten(str(error), _MESSAGE, placeholder=" ...") or type(error).__name__


def _check_folder(folder: Path) -> None:
    """Say what is missing before the library guesses."""
    read_config(folder)
    if not (folder / "preprocessor_config.json").is_file() and not (folder / "processor_config.json").is_file():
        raise InputError(f"no preprocessor_config.json in {folder}: the model's image processor must be saved with it")


def read_config(folder: Path) -> dict[str, Any]:
    """The model's config.json.

    Raises:
        InputError: It is none.
    """
    config = read_json(folder / "config.json", "configuration of the model")
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"{folder / 'config.json'} is no configuration of a transformers model: it has no model_type")
    return config


def hash_of(files: list[Path]) -> str:
    """Hash of the weights' file; of the hashes of all if there are several."""
    if len(files) == 1:
        return sha256_of_file(files[0])
    return sha256_of_value({file.name: sha256_of_file(file) for file in files})
