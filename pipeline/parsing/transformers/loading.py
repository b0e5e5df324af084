"""Reads a segmentation model of ``transformers`` from a folder or the hub, without running anybody's code."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.parsing.transformers.folder import (
    find_folder,
    hash_of,
    import_transformers,
    read_config,
    short,
    weight_files,
)
from pipeline.parsing.transformers.processor import load_processor

UNIVERSAL: Final = frozenset({"eomt", "eomt_dinov3", "mask2former", "maskformer", "oneformer"})
"""Model types that answer in queries, each a mask and its class."""

_FILLED_UP: Final = frozenset({"eomt", "eomt_dinov3"})
"""Model types whose input has one size only."""

_ONLY_TRAINED_WITH: Final = ("criterion.", "model.text_mapper.")
"""Beginnings of the names of values that only a loss uses: a checkpoint may have them or not."""

_CLIP_VOCABULARY: Final = 49_408


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
    transformers = import_transformers("transformers")
    folder = find_folder(model, revision)
    files = weight_files(folder)
    kind = str(read_config(folder)["model_type"])
    automatic = "AutoModelForUniversalSegmentation" if kind in UNIVERSAL else "AutoModelForSemanticSegmentation"
    network, processor = read_saved(
        getattr(transformers, automatic),
        folder,
        model,
        lambda network: load_processor(transformers, folder, model, _changes(kind, network.config)),
        _ONLY_TRAINED_WITH if kind in UNIVERSAL else (),
    )
    _check_processor(processor, model)
    if kind == "oneformer" and network.config.text_encoder_vocab_size != _CLIP_VOCABULARY:
        raise InputError(
            f"the model {model} does not have CLIP's {_CLIP_VOCABULARY:,} words, in which its task is told"
        )
    return LoadedModel(network, processor, dict(network.config.id2label), hash_of(files), kind)


Besides = TypeVar("Besides")


def read_saved(
    kind: Any, folder: Path, model: str, besides: Callable[[Any], Besides], unimportant: tuple[str, ...] = ()
) -> tuple[Any, Besides]:
    """A network as it was saved, in evaluation mode, in full precision and without gradients, and what goes with it.

    Args:
        kind: Class of transformers that reads it.
        folder: Where it was saved.
        model: As the user calls it.
        besides: Reads what goes with it, such as its processor; called with the network.
        unimportant: Beginnings of names of values that may be missing or left over.

    Raises:
        InputError: It is damaged, incomplete, or needs code of its own.
    """
    files = weight_files(folder)
    try:
        with quiet(import_transformers("transformers")):
            network, report = kind.from_pretrained(
                str(folder),
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=files[0].suffix == ".safetensors",
                weights_only=True,
                dtype=torch.float32,
                ignore_mismatched_sizes=True,  # so that the report names them
                output_loading_info=True,
            )
            more = besides(network)
    except InputError:
        raise
    except Exception as error:  # a broken folder makes the library fail in any way
        reason = short(error)
        if "trust_remote_code" in str(error):
            reason = "it needs code of its own, which this program never runs"
        raise InputError(f"the model {model} cannot be loaded: {reason}") from error
    _check_report(report, model, unimportant)
    return network.eval().requires_grad_(False), more


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


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
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
