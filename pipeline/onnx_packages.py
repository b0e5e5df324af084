"""The packages that write and run ONNX files, and how a network becomes one.

They come with the extra ``export`` and are imported when needed.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipeline.extras import import_extra

EXTRA: Final = "export"
PACKAGES: Final = ("onnx", "onnxscript", "onnxruntime")
OPSET: Final = 18
"""Of ONNX (December 2022): what PyTorch's exporter writes of its own accord, and onnxruntime reads since 1.14."""
INPUT_NAME: Final = "images"


def load_package(name: str, needed_by: str = "export") -> Any:
    """Import a package of the extra.

    Raises:
        InputError: It is not installed.
    """
    return import_extra(name, EXTRA, needed_by)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Exporter and quantiser print and warn of what a comparison of results would find."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


def trace_network(network: nn.Module, images: Tensor, **more: Any) -> Any:
    """A network as the model of an ONNX file, an ``onnx.ModelProto``, whose input is called :data:`INPUT_NAME`.

    Args:
        network: In evaluation mode.
        images: A batch that it is called with.
        more: What else ``torch.onnx.export`` is told, such as ``dynamic_shapes``; sizes are fixed otherwise.

    Raises:
        Exception: PyTorch cannot export this network; its exporter has many kinds of its own.
    """
    with quiet(), torch.no_grad():
        program = torch.onnx.export(
            network, (images,), dynamo=True, opset_version=OPSET, input_names=[INPUT_NAME], verbose=False, **more
        )
    return program.model_proto  # type: ignore[union-attr]
