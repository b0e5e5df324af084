"""Loads weights by the library's own checkpointer, but safely and strictly. Imports the library: see ``compat``."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from pipeline.errors import InputError

SHOWN_KEYS: Final = 8
"""Keys listed of each kind in an error."""

DAMAGED: Final = (
    OSError, EOFError, RuntimeError, KeyError, ValueError, TypeError, AttributeError, ImportError, AssertionError,
)  # fmt: skip
"""What reading a file raises that is no checkpoint."""


class StrictCheckpointer(DetectionCheckpointer):  # type: ignore[misc]  # the library has no types
    """The library's checkpointer: reads no pickled objects unless trusted, and refuses what does not fit.

    Args:
        network: Gets the weights.
        trust: Allow files whose reading may execute code.
    """

    def __init__(self, network: nn.Module, trust: bool) -> None:
        super().__init__(network)
        self._trust = trust

    def _load_file(self, filename: str) -> Any:
        """Contents of a file; the library's own reader is used for trusted ``.pkl`` files only."""
        if filename.endswith(".pkl"):
            return super()._load_file(filename)
        loaded = torch.load(filename, map_location="cpu", weights_only=not self._trust)
        if not isinstance(loaded, dict):
            raise TypeError(f"expected a dictionary of weights, found {type(loaded).__name__}")
        loaded = loaded if "model" in loaded else {"model": loaded}
        if not isinstance(loaded["model"], Mapping) or not all(isinstance(key, str) for key in loaded["model"]):
            raise TypeError("expected a dictionary from names to tensors")
        return loaded

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        """The library warns here and goes on with random values; counters of batch norms alone are harmless."""
        unexpected = [key for key in incompatible.unexpected_keys if not key.endswith("num_batches_tracked")]
        shapes = [f"{key} {tuple(theirs)} for {tuple(ours)}" for key, theirs, ours in incompatible.incorrect_shapes]
        wrong = {key for key, _, _ in incompatible.incorrect_shapes}
        missing = [key for key in incompatible.missing_keys if key not in wrong]
        problems = [
            f"{len(keys)} {what}: {', '.join(keys[:SHOWN_KEYS])}{', ...' if len(keys) > SHOWN_KEYS else ''}"
            for what, keys in (("missing", missing), ("unknown", unexpected), ("of another shape", shapes))
            if keys
        ]
        if problems:
            raise InputError("the weights do not fit the configuration's network: " + "; ".join(problems))


def load_weights(network: nn.Module, path: Path, trust: bool) -> None:
    """Load a checkpoint into a network, every key of it.

    A ``.pth`` file is read with ``weights_only=True``: nothing in it is executed, and a file that holds other objects
    than tensors and plain values is refused. With ``trust`` it is read without that guard, and ``.pkl`` files of the
    library's model zoo are read too, their names matched by the library's own heuristics.

    Raises:
        InputError: The file is missing, damaged, not allowed, or does not fit.
    """
    if not path.is_file():
        raise InputError(f"weights of the parser detectron2 not found: {path}")
    if path.suffix == ".pkl" and not trust:
        raise InputError(
            f"{path} is a pickle, which may execute code when it is read: only for a file that you trust, with "
            f"parse.settings.trust=true or --trust; or save its weights as .pth"
        )
    if path.suffix not in (".pth", ".pt", ".pkl"):
        raise InputError(f"weights {path}: expected a .pth file, or a .pkl file with parse.settings.trust=true")
    try:
        StrictCheckpointer(network, trust).load(str(path), checkpointables=[])
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} is damaged, or holds other objects than weights, which may execute code when they are read; "
            f"save its weights alone, or if you trust it set parse.settings.trust=true or --trust "
            f"({str(error).splitlines()[0]})"
        ) from error
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} cannot be read as weights: {type(error).__name__}: {reason}") from error
