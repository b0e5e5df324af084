"""The network of ``lite`` run by onnxruntime, which needs less processor time for it than PyTorch does."""

import importlib.util
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.extras import how_to_install
from pipeline.onnx_packages import EXTRA, INPUT_NAME, PACKAGES, load_package, trace_network

WANTED_BY: Final = "parse.settings.backend: onnxruntime"


def check_backend(device: str, settings: Mapping[str, Any]) -> None:
    """Check that a device and this machine can do the setting ``backend``; nothing is loaded.

    Raises:
        InputError: The device is no CPU, or a package is not installed.
    """
    if settings["backend"] == "torch":
        return
    if torch.device(device).type != "cpu":
        raise InputError(f"{WANTED_BY} computes on the CPU, the device here is {device}: use torch, or device=cpu")
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InputError(f"{WANTED_BY} needs {', '.join(missing)}: {how_to_install(EXTRA)}")


class OnnxNetwork:
    """A network for batches of one shape, as an onnxruntime session with so many threads as torch has.

    Args:
        network: In evaluation mode; its weights are copied.
        shape: Of its input, (batch, 3, height, width).

    Raises:
        InputError: A package is not installed.
    """

    def __init__(self, network: nn.Module, shape: tuple[int, int, int, int]) -> None:
        runtime = load_package("onnxruntime", WANTED_BY)
        for name in PACKAGES:
            load_package(name, WANTED_BY)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores as well
        model = trace_network(network, torch.zeros(shape)).SerializeToString()
        self._session = runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def __call__(self, images: Tensor) -> Tensor:
        """Images (batch, 3, height, width) of the shape that it was made for -> the network's output, float32."""
        (logits,) = self._session.run(None, {INPUT_NAME: np.ascontiguousarray(images.numpy())})
        return torch.from_numpy(logits)
