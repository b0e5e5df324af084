"""Reads a segmentation model of ``transformers`` from a folder or the hub, without running anybody's code."""

import textwrap
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.files import read_json, sha256_of_file, sha256_of_value
from pipeline.location import expand_home
from pipeline.parsing.transformers.processor import load_processor

EXTRA: Final = "pip install 'ccaf-pipeline[transformers]'"

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

UNIVERSAL: Final = frozenset({"eomt", "eomt_dinov3", "mask2former", "maskformer", "oneformer"})
"""Model types that answer in queries, each a mask and its class."""

_FILLED_UP: Final = frozenset({"eomt", "eomt_dinov3"})
"""Model types whose input has one size only."""

_ONLY_TRAINED_WITH: Final = ("criterion.", "model.text_mapper.")
"""Beginnings of the names of values that only a loss uses: a checkpoint may have them or not."""

_CLIP_VOCABULARY: Final = 49_408

_MESSAGE: Final = 200
"""Characters of another library's message that are passed on."""


@dataclass(frozen=True)
class LoadedModel:
    """A model as it was saved.

    Attributes:
        network: In evaluation mode, full precision, on the CPU.
        processor: The model's image processor.
        id2label: Class names by number.
        weights_sha256: Hash of the weights' file; of the hashes of all if there are several.
        model_type: As config.json has it.
    """

    network: nn.Module
    processor: Any
    id2label: dict[int, str]
    weights_sha256: str
    model_type: str

    @property
    def universal(self) -> bool:
        """Whether it answers in queries (see :mod:`pipeline.parsing.transformers.universal`)."""
        return self.model_type in UNIVERSAL

    @property
    def canvas(self) -> tuple[int, int] | None:
        """Height and width of the one input that it takes; None: any."""
        if self.model_type not in _FILLED_UP:
            return None
        config: Any = self.network.config
        return int(config.image_size), int(config.image_size)

    def inputs(self, task: str) -> dict[str, Tensor]:
        """What it is called with besides the image: OneFormer, with the words of its task as CLIP numbers them.

        Args:
            task: ``semantic`` or ``panoptic``.
        """
        if self.model_type != "oneformer":
            return {}
        import open_clip

        config: Any = self.network.config
        return {"task_inputs": open_clip.tokenize([f"the task is {task}"], config.task_seq_len)}


def load_model(model: str, revision: str | None = None) -> LoadedModel:
    """Read a model.

    Weights are read from safetensors; where there are none, from PyTorch files by the reader that takes tensors only.
    Every weight must be in the file and every one in the file must be used.

    Args:
        model: Folder, or name on the hub.
        revision: Branch, tag or commit on the hub; None: its main branch.

    Raises:
        InputError: transformers is not installed; or the model is not found, damaged, incomplete, needs code of its
            own, or its images cannot be laid over the result.
    """
    transformers = _import_transformers()
    folder = _find_folder(model, revision)
    files = weight_files(folder)
    kind = str(_read_config(folder)["model_type"])
    automatic = "AutoModelForUniversalSegmentation" if kind in UNIVERSAL else "AutoModelForSemanticSegmentation"
    try:
        with _quiet(transformers):
            network, report = getattr(transformers, automatic).from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=files[0].suffix == ".safetensors",
                weights_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # so that the report names them
                output_loading_info=True,
            )
            processor = load_processor(transformers, folder, model, _changes(kind, network.config))
    except InputError:
        raise
    except Exception as error:  # a broken folder makes the library fail in any way
        reason = _short(error)
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own, which this program never runs"
        raise InputError(f"the model {model} cannot be loaded: {reason}") from error
    _check_report(report, model, _ONLY_TRAINED_WITH if kind in UNIVERSAL else ())
    _check_processor(processor, model)
    if kind == "oneformer" and network.config.text_encoder_vocab_size != _CLIP_VOCABULARY:
        raise InputError(
            f"the model {model} does not have CLIP's {_CLIP_VOCABULARY:,} words, in which its task is told"
        )
    network.eval().requires_grad_(False)
    return LoadedModel(network, processor, dict(network.config.id2label), _hash(files), kind)


def _changes(kind: str, config: Any) -> dict[str, Any]:
    """How the image processor of some models must differ from the saved one.

    EoMT takes squares: its processor cuts an image into overlapping ones, or pads it. Here the whole image is scaled to
    fit into one, and filled up by the parser, which knows where. That of OneFormer would download a file of class names
    for its own post-processing.
    """
    if kind in _FILLED_UP:
        side = int(config.image_size)
        whole = {"do_resize": True, "do_split_image": False, "do_pad": False}
        return {**whole, "size": {"shortest_edge": side, "longest_edge": side}}
    return {"class_info_file": None} if kind == "oneformer" else {}


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
    name = _read_config(folder).get(NAMED_WEIGHTS)
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


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise InputError(f"the parser transformers needs the package transformers ({error}); {EXTRA}") from error
    return transformers


def _find_folder(model: str, revision: str | None) -> Path:
    """The model's folder: a local one, or the snapshot of the hub's cache, downloaded if it is not there."""
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
    folder = _download(model, revision, ["*.json", "*.safetensors"])
    if _named_weights(folder) is None and not any((folder / each).is_file() for each in _WEIGHTS[:2]):
        folder = _download(model, revision, ["*.json", "pytorch_model*.bin"])
    _check_folder(folder)
    return folder


def _download(model: str, revision: str | None, patterns: list[str]) -> Path:
    """The snapshot of a model on the hub; from the cache alone where the hub cannot be reached or is switched off."""
    from huggingface_hub import snapshot_download

    try:
        # folders inside hold other formats and checkpoints of the training
        return Path(snapshot_download(model, revision=revision, allow_patterns=patterns, ignore_patterns=["*/*"]))
    except Exception as error:  # network, hub and cache fail in many ways, by classes that change between releases
        at = "" if revision is None else f" at revision {revision}"
        raise InputError(
            f"the model {model}{at} can neither be read from the hub nor from its cache ({_reason(error)}); "
            f"check name and connection, or give parse.settings.model a folder"
        ) from error


def _reason(error: BaseException) -> str:
    """What began it: the error that the others were raised from."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {_short(error)}"


def _short(error: BaseException) -> str:
    """Another library's message in one line, which ends after a word where it is too long."""
    return textwrap.shorten(str(error), _MESSAGE, placeholder=" ...") or type(error).__name__


def _check_folder(folder: Path) -> None:
    """Say what is missing before the library guesses."""
    _read_config(folder)
    if not (folder / "preprocessor_config.json").is_file() and not (folder / "processor_config.json").is_file():
        raise InputError(f"no preprocessor_config.json in {folder}: the model's image processor must be saved with it")


def _read_config(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json", "configuration of the model")
    if not isinstance(config, dict) or "model_type" not in config:
        raise InputError(f"{folder / 'config.json'} is no configuration of a transformers model: it has no model_type")
    return config


def _check_report(report: Mapping[str, Any], model: str, unimportant: tuple[str, ...]) -> None:
    """Refuse what the library would only warn of: values that it made up, and values that it did not use.

    Args:
        report: The library's.
        model: As the user calls it.
        unimportant: Beginnings of names that do not count.
    """
    for kind in ("missing", "unexpected", "mismatched"):
        # a mismatch comes with the two shapes
        names = sorted(each if isinstance(each, str) else str(each[0]) for each in report[f"{kind}_keys"])
        names = [each for each in names if not each.startswith(unimportant)]
        if names:
            raise InputError(
                f"the weights of the model {model} do not fit its config.json: {len(names)} {kind} "
                f"({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            )


def _check_processor(processor: Any, model: str) -> None:
    if getattr(processor, "pad_size", None):
        raise InputError(
            f"the image processor of the model {model} pads its images to one size (pad_size in "
            f"preprocessor_config.json); set it to null there: this parser needs no padding"
        )
    for what, name in (("do_center_crop", "crops"), ("do_pad", "pads")):
        if getattr(processor, what, False):
            raise InputError(
                f"the image processor of the model {model} {name} its images ({what} in preprocessor_config.json), so "
                f"its result cannot be laid over the image; set {what} to false there if the model works without"
            )


def _hash(files: list[Path]) -> str:
    if len(files) == 1:
        return sha256_of_file(files[0])
    return sha256_of_value({file.name: sha256_of_file(file) for file in files})


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No bars and reports of the library: what matters is raised as an error."""
    logging = transformers.utils.logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
