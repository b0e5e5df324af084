"""Reads SAM 3 as transformers saves it, from a folder or the hub."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.parsing.saved.folder import find_folder, hash_of, import_transformers, read_config, weight_files
from pipeline.parsing.saved.network import read_saved
from pipeline.parsing.saved.processor import load_processor

TYPES: Final = ("sam3", "sam3_video")
"""Model types that hold the network: alone, or (as it is published) with the tracker of videos, which is not used."""

_ADVICE: Final = (
    "accept the licence on its page there and log in with `hf auth login`, or check name and connection"  # it is gated
)


@dataclass(frozen=True)
class LoadedSam3:
    """A model as it was saved.

    Attributes:
        network: In evaluation mode, full precision, on the CPU.
        processor: Its image processor.
        tokenizer: Its tokenizer.
        words: Most tokens of a phrase, begin and end included.
        weights_sha256: Hash of the weights.
    """

    network: nn.Module
    processor: Any
    tokenizer: Any
    words: int
    weights_sha256: str


def load_sam3(model: str, revision: str | None = None) -> LoadedSam3:
    """Read a model.

    Args:
        model: Folder, or name on the hub.
        revision: Branch, tag or commit on the hub; None: its main branch.

    Raises:
        InputError: transformers is not installed; or the model is not found, is none of SAM 3, damaged or incomplete.
    """
    transformers = import_transformers("sam3")
    folder = find_folder(model, revision, _ADVICE)
    kind = str(read_config(folder)["model_type"])
    if kind not in TYPES:
        raise InputError(f"the model {model} is a {kind}, and the parser sam3 needs one of {' or '.join(TYPES)}")
    _check_tokenizer(folder)

    def besides(_: Any) -> tuple[Any, Any]:
        tokenizer = transformers.CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        return load_processor(transformers, folder, model), tokenizer

    network, (processor, tokenizer) = read_saved(transformers.Sam3Model, folder, model, besides)
    words = int(network.config.text_config.max_position_embeddings)
    return LoadedSam3(network, processor, tokenizer, words, hash_of(weight_files(folder)))


def _check_tokenizer(folder: Path) -> None:
    if not (folder / "tokenizer.json").is_file():
        raise InputError(f"no tokenizer.json in {folder}: the model's tokenizer must be saved with it")


def tokens_of(loaded: LoadedSam3, phrases: tuple[str, ...]) -> tuple[Tensor, Tensor]:
    """Numbers of the phrases' tokens and which of them count, both int64 (phrases, words).

    Args:
        loaded: The model.
        phrases: The phrases.

    Raises:
        InputError: A phrase is too long.
    """
    counts = [len(each) for each in loaded.tokenizer(list(phrases))["input_ids"]]
    long = [phrase for phrase, count in zip(phrases, counts, strict=True) if count > loaded.words]
    if long:
        raise InputError(f"parse.settings.phrases: {long[0][:60]!r} is too long: {loaded.words} tokens are the most")
    encoded = loaded.tokenizer(list(phrases), return_tensors="pt", padding="max_length", max_length=loaded.words)
    return encoded["input_ids"], encoded["attention_mask"]
