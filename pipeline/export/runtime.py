"""ONNX files: written by PyTorch's exporter, made smaller by onnxruntime's quantiser, run by onnxruntime.

The three packages come with the extra ``export`` and are imported when they are needed.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import WorkError, one_line
from pipeline.export.choices import ImageInput
from pipeline.export.graph import ExportedNetwork
from pipeline.features.feature_set import Floats
from pipeline.onnx_packages import INPUT_NAME, PACKAGES, load_package, quiet, trace_network

OUTPUT_NAME: Final = "features"
MOST_BYTES_WITHIN: Final = 1_800_000_000
"""Of weights inside the file; a protobuf message has at most 2 GiB, so larger ones lie beside it."""
_QUANTISED: Final = ("MatMul", "Gemm", "Conv")
_TRACED_IMAGES: Final = 2
"""Of the batch that is traced; a batch of one image would be taken for the only one there is."""


def check_packages() -> None:
    """Import what an export needs, before anything is computed.

    Raises:
        InputError: A package is not installed.
    """
    for name in PACKAGES:
        load_package(name)


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """PyTorch's fused path of attention has no form in ONNX."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


def write_onnx(network: ExportedNetwork, shape: tuple[int, int, int], path: Path, notes: Mapping[str, str]) -> None:
    """Write a network for batches of any size.

    Args:
        network: In evaluation mode.
        shape: Of one image.
        path: The file; weights beyond :data:`MOST_BYTES_WITHIN` lie beside it in ``<name>.data``.
        notes: What the file says of itself, in its ``metadata_props``.

    Raises:
        InputError: A package is not installed.
        WorkError: PyTorch cannot export this network.
    """
    onnx = load_package("onnx")
    load_package("onnxscript")
    kind = torch.uint8 if network.form.input is ImageInput.UINT8 else torch.float32
    batch = torch.zeros(_TRACED_IMAGES, *shape, dtype=kind)
    try:
        with _plain_attention():
            shapes = {"images": {0: torch.export.Dim("batch")}}
            model = _cleaned(trace_network(network, batch, output_names=[OUTPUT_NAME], dynamic_shapes=shapes))
    except Exception as error:  # the exporter has many kinds of its own
        raise WorkError(f"PyTorch {torch.__version__} cannot export this network: {one_line(error)[:300]}") from error
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise WorkError(f"PyTorch {torch.__version__} fixed the batch at {_TRACED_IMAGES} images in the exported file")
    onnx.helper.set_model_props(model, dict(notes))
    _save(model, path)


def _cleaned(model: Any) -> Any:
    """Without the exporter's notes on every node, which have paths of this machine and are larger than the graph."""
    model.doc_string = model.graph.doc_string = ""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        for node in graph.node:
            node.ClearField("metadata_props")
            node.ClearField("doc_string")
    for part in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    del model.graph.metadata_props[:]
    return model


def _save(model: Any, path: Path) -> None:
    onnx = load_package("onnx")
    outside = sum(len(tensor.raw_data) for tensor in model.graph.initializer) > MOST_BYTES_WITHIN
    onnx.save_model(
        model, str(path), save_as_external_data=outside, location=f"{path.name}.data", all_tensors_to_one_file=True
    )


def write_int8(source: Path, target: Path) -> None:
    """Quantise the products of a file dynamically: weights as int8 once, the other operand as it comes.

    Args:
        source: In float32.
        target: The smaller file; its notes are those of ``source``.

    Raises:
        InputError: A package is not installed.
        WorkError: onnxruntime cannot quantise it.
    """
    quantization = load_package("onnxruntime.quantization")
    outside = (source.parent / f"{source.name}.data").is_file()
    try:
        model: Any = str(source)
        if not outside:
            model = load_package("onnx").load(str(source))
            del model.graph.value_info[:]  # shapes within, of products that the quantiser turns over
        # its temporary files go beside the target, which is on a disk with room
        with quiet(), tempfile.TemporaryDirectory(dir=target.parent) as folder, _temporary_files_in(Path(folder)):
            quantization.quantize_dynamic(
                model,
                str(target),
                op_types_to_quantize=list(_QUANTISED),
                per_channel=True,
                weight_type=quantization.QuantType.QUInt8,
                use_external_data_format=outside,
            )
    except Exception as error:  # onnx, onnxruntime and protobuf have many kinds
        raise WorkError(f"onnxruntime cannot quantise the file: {one_line(error)[:300]}") from error


@contextlib.contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    before = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = before


def check_loads(path: Path) -> None:
    """Load a file in a process of its own: onnxruntime 1.32 can crash while it optimises networks in float16.

    Raises:
        WorkError: The process died.
    """
    program = "import sys, onnxruntime as o; o.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])"
    done = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, check=False)
    if done.returncode < 0:
        version = load_package("onnxruntime").__version__
        raise WorkError(
            f"onnxruntime {version} crashes when it loads {path.name} on the CPU: leave this form out, or try another "
            "release of it"
        )


class OnnxEncoder:
    """An exported file, run on the CPU.

    Args:
        path: The file.
        threads: Of the runtime; 0: as many as there are cores.

    Raises:
        InputError: onnxruntime is not installed.
        WorkError: It cannot load the file.
    """

    def __init__(self, path: Path, threads: int = 0) -> None:
        runtime = load_package("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads or len(os.sched_getaffinity(0))
        options.log_severity_level = 3
        try:
            self._session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # pybind has kinds of its own
            raise WorkError(f"onnxruntime cannot load {path.name}: {one_line(error)[:300]}") from error
        self.notes: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, images: NDArray[Any]) -> Floats:
        """Images as the file wants them -> features (B, D), float32."""
        (features,) = self._session.run([OUTPUT_NAME], {INPUT_NAME: np.ascontiguousarray(images)})
        found: Floats = features
        return found
