"""``torch.cuda`` of the pretended GPU, and the switch."""

import ctypes
import importlib
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor

from pretended.gpu import Gpu
from pretended.log import Log
from pretended.tensor import DEVICE, OnGpu, PretendedTensor

NO_OP_DEVICES = 64
"""PyTorch puts a guard that does nothing in the place of the missing driver; it claims to have so many devices."""

MEMORY = 80 * 2**30
PROPERTIES = SimpleNamespace(
    name="Pretended GPU", major=9, minor=0, total_memory=MEMORY, multi_processor_count=132, is_integrated=False
)


class Event:
    """``torch.cuda.Event``: moments of the CPU's clock."""

    def __init__(self, enable_timing: bool = False, **_: Any) -> None:
        self._timed = enable_timing
        self._at: float | None = None

    def record(self, stream: Any = None) -> None:
        self._at = time.perf_counter()

    def wait(self, stream: Any = None) -> None:
        """On a stream, which the CPU does not wait for."""

    def query(self) -> bool:
        Gpu.current().settle()
        return True

    def synchronize(self) -> None:
        _wait("Event.synchronize")

    def elapsed_time(self, end: "Event") -> float:
        if not self._timed or self._at is None or end._at is None:
            raise ValueError("Both events must be created with enable_timing and recorded")
        return 1000 * (end._at - self._at)


class Stream:
    """``torch.cuda.Stream``: there is one queue, whatever its name."""

    device = DEVICE

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def wait_stream(self, stream: Any) -> None:
        pass

    def wait_event(self, event: Any) -> None:
        pass

    def record_event(self, event: Any = None) -> Any:
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self) -> None:
        _wait("Stream.synchronize")

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def _wait(what: str) -> None:
    Gpu.current().log.add("wait", what, waits=True)
    Gpu.current().settle()


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """Scaled dot-product attention as one kernel: PyTorch's choice among a GPU's would ask the real driver."""
    if torch.is_autocast_enabled("cuda"):
        short = torch.get_autocast_dtype("cuda")
        query, key, value = (tensor.to(short) for tensor in (query, key, value))
        attn_mask = attn_mask if attn_mask is None or attn_mask.dtype == torch.bool else attn_mask.to(short)
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        attn_mask = torch.zeros_like(attn_mask, dtype=query.dtype).masked_fill(~attn_mask, -torch.inf)
    if dropout_p or enable_gqa or query.dim() != 4:
        result: Tensor = torch.ops.aten._scaled_dot_product_attention_math(
            query, key, value, attn_mask, dropout_p, is_causal, None, scale=scale, enable_gqa=enable_gqa
        )[0]
        return result
    flash: Tensor = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]
    return flash


def _patches(gpu: Gpu) -> dict[tuple[Any, str], Any]:
    """What is exchanged in PyTorch: object and attribute -> value."""
    attention = F.scaled_dot_product_attention
    run_thread = threading.Thread.run

    def chosen_attention(query: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return (_attention if isinstance(query, PretendedTensor) else attention)(query, *args, **kwargs)

    def run_with_gpu(thread: threading.Thread) -> None:
        with _lifting(), OnGpu(gpu):
            run_thread(thread)

    def set_state(state: Tensor, *_: Any) -> None:
        gpu.random.state = state.clone()

    cuda = {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "_initialized": True,
        "_is_in_bad_fork": lambda: False,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda device: None,
        "_exchange_device": lambda device: 0,
        "_maybe_exchange_device": lambda device: 0,
        "is_bf16_supported": lambda *_, **__: True,
        "get_device_name": lambda *_: PROPERTIES.name,
        "get_device_capability": lambda *_: (PROPERTIES.major, PROPERTIES.minor),
        "get_device_properties": lambda *_: PROPERTIES,
        "mem_get_info": lambda *_: (MEMORY, MEMORY),
        "memory_allocated": lambda *_: 0,
        "max_memory_allocated": lambda *_: 0,
        "memory_reserved": lambda *_: 0,
        "max_memory_reserved": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "empty_cache": lambda: None,
        "synchronize": lambda *_: _wait("torch.cuda.synchronize"),
        "manual_seed": gpu.random.seed,
        "manual_seed_all": gpu.random.seed,
        "get_rng_state": lambda *_: gpu.random.state.clone(),
        "set_rng_state": set_state,
        "Event": Event,
        "Stream": Stream,
        "current_stream": Stream,
        "default_stream": Stream,
        "stream": lambda stream: stream,
    }
    foreach, optimizers = (
        importlib.import_module(f"torch.{name}") for name in ("utils._foreach_utils", "optim.optimizer")
    )
    return {
        **{(torch.cuda, name): value for name, value in cuda.items()},
        (torch.backends.cudnn, "is_available"): lambda: False,
        (F, "scaled_dot_product_attention"): chosen_attention,
        (threading.Thread, "run"): run_with_gpu,
        **{
            (module, "_foreach_supported_types"): [*module._foreach_supported_types, PretendedTensor]
            for module in (foreach, optimizers)
            if hasattr(module, "_foreach_supported_types")
        },
    }


@contextmanager
def _lifting() -> Iterator[None]:
    """In this thread ``torch.tensor(..., device="cuda")`` makes a CPU tensor, which is copied."""
    before = torch._C._only_lift_cpu_tensors()
    torch._C._set_only_lift_cpu_tensors(True)
    try:
        yield
    finally:
        torch._C._set_only_lift_cpu_tensors(before)


@contextmanager
def _settings() -> Iterator[None]:
    """PyTorch's own switches; they are put back."""
    exchange = torch.__future__.get_swap_module_params_on_conversion()
    cudnn = torch.backends.cudnn.enabled
    torch.backends.cudnn.enabled = False  # composite operators would choose its kernels, which the CPU does not have
    torch.__future__.set_swap_module_params_on_conversion(True)  # .to() keeps a parameter what it is, as on a GPU
    try:
        with _lifting(), torch.autograd.set_multithreading_enabled(False):  # backward beneath the project's own line
            yield
    finally:
        torch.backends.cudnn.enabled = cudnn
        torch.__future__.set_swap_module_params_on_conversion(exchange)


@contextmanager
def pretended_cuda() -> Iterator[Log]:
    """There is a GPU inside, and threads that are begun inside see it, too; yields its log.

    Raises:
        RuntimeError: The process was started without the shim (see :mod:`pretended.process`).
    """
    library = ctypes.CDLL(None)
    if not hasattr(library, "pretend_device_count"):
        raise RuntimeError("this process was started without the pretended GPU's shim")
    torch._C._ensureCUDADeviceGuardSet()
    library.pretend_device_count(NO_OP_DEVICES)
    gpu = Gpu()
    try:
        with ExitStack() as stack:
            stack.enter_context(_settings())
            for (owner, name), value in _patches(gpu).items():
                stack.enter_context(patch.object(owner, name, value))
            stack.enter_context(gpu.switched_on())
            stack.enter_context(OnGpu(gpu))
            yield gpu.log
    finally:
        library.pretend_device_count(0)
