"""Tokenizers of open_clip's models, and what they put around a text."""

import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import open_clip
from torch import Tensor

from pipeline.errors import InputError
from pipeline.extras import how_to_install

Tokenizer = Callable[[list[str]], Tensor]

_FILES = "tokenizer.json and tokenizer_config.json"


@dataclass(frozen=True)
class Sentence:
    """Token numbers of a sentence with a gap in it.

    Attributes:
        before: The words before the gap, after the start-of-text token where there is one; (L,).
        after: The words behind it, and the end-of-text token where there is one; (L',).
        padding: The token that fills the context behind a text.
    """

    before: Tensor
    after: Tensor
    padding: int


def _shared_start(one: Tensor, other: Tensor) -> int:
    """How many tokens two texts have in common at the start."""
    differ = (one != other).nonzero()
    return int(differ[0]) if len(differ) else len(one)


def _length(tokens: Tensor, padding: int) -> int:
    """Tokens before the padding."""
    others = (tokens != padding).nonzero()
    return int(others[-1]) + 1 if len(others) else 0


def split_sentence(tokenizer: Tokenizer, before: str, after: str) -> Sentence:
    """The tokens of a sentence around a gap; what marks start and end is found out from the tokens of no text.

    CLIP's tokenizer puts one token before a text and one behind it, and pads with zeros; SigLIP's puts one behind it,
    which may be what it pads with.

    Args:
        tokenizer: Of a model.
        before: The words before the gap.
        after: The words behind it.
    """
    empty, first, second = tokenizer(["", before, after])
    padding = int(empty[-1])
    start = min(_shared_start(empty, first), _length(empty, padding))
    marks = _length(empty, padding) - start  # tokens that mark the end
    words = _length(first, padding) - marks
    end = _length(second, padding)
    if padding == int(second[min(end, len(second) - 1)]) and marks == 0:
        end += 1  # the end is marked with what texts are padded with
    return Sentence(first[:words], second[start:end], padding)


def load_tokenizer(name: str, folder: str | None = None) -> Tokenizer:
    """The tokenizer of a registered open_clip model.

    Args:
        name: Of the model.
        folder: Files of a Hugging Face tokenizer in place of those that the model's configuration names.

    Raises:
        InputError: The model's tokenizer is one of Hugging Face, and it cannot be had; or a folder is named for a
            model that has CLIP's own tokenizer.
    """
    text = open_clip.get_model_config(name).get("text_cfg", {})
    source = text.get("hf_tokenizer_name", "")
    if not source:
        if folder is not None:
            raise InputError(f"model.tokenizer: {name} has CLIP's own tokenizer, which needs no files: set it to null")
        own: Tokenizer = open_clip.get_tokenizer(name)
        return own
    if folder is not None and not Path(folder).is_dir():
        raise InputError(f"model.tokenizer: there is no folder {folder}")
    try:
        found: Tokenizer = open_clip.tokenizer.HFTokenizer(
            folder or source,
            context_length=text.get("context_length", 77),
            tokenizer_mode=text.get("tokenizer_mode"),
            **text.get("tokenizer_kwargs", {}),
        )
        found(["a word"])  # files without a padding token fail here, not in the middle of a training
        return found
    except ImportError as error:
        raise InputError(
            f"the tokenizer of {name} needs the package transformers: {how_to_install('transformers')}"
        ) from error
    except Exception as error:  # whatever the network, the hub, the files or the disk say
        reason = textwrap.shorten(str(error) or type(error).__name__, 160, placeholder=" ...").rstrip(".")
        if folder is not None:
            raise InputError(f"model.tokenizer: {folder} holds no tokenizer that can be read ({reason})") from error
        raise InputError(
            f"the tokenizer of {name} cannot be had ({reason}); fetch {_FILES} of the repository {source} of "
            f"huggingface.co, put them into a folder here, and name it: --set model.tokenizer=/PATH/TO/FOLDER"
        ) from error
