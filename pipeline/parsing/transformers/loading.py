"""Reads a segmentation model of ``transformers`` from a folder or the hub, without running anybody's code."""

from dataclasses import dataclass
from typing import Any, Final

from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.parsing.saved.folder import find_folder, hash_of, import_transformers, read_config, weight_files
from pipeline.parsing.saved.network import read_saved
from pipeline.parsing.saved.processor import load_processor

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
