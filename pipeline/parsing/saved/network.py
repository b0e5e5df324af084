"""Reads a network that ``transformers`` saved, strictly, and without running anybody's code."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

from pipeline.errors import InputError
from pipeline.parsing.saved.folder import import_transformers, short, weight_files

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
        with _quiet(import_transformers("transformers")):
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
