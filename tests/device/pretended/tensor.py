"""Tensors that claim to be on ``cuda:0`` and hold their data on the CPU, and the operators on them."""

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_flatten, tree_map

from pretended.gpu import Gpu
from pretended.rules import (
    MIXING,
    check_device,
    check_generator,
    check_operands,
    is_fused_copy,
    launches,
    name_of,
    waits,
)

DEVICE = torch.device("cuda:0")


class PretendedTensor(torch.Tensor):
    """A tensor of the pretended GPU.

    PyTorch itself takes it for a CUDA tensor: autograd, CUDA's rules of autocast, devices of new tensors and the
    choices of optimizers are the real ones. Only what would be executed on the GPU is executed on ``data_on_cpu``.
    """

    data_on_cpu: Tensor

    @staticmethod
    def __new__(cls, real: Tensor, requires_grad: bool = False) -> "PretendedTensor":
        real = real.detach()
        with torch.inference_mode(real.is_inference()):  # a view of a tensor from outside inference mode is none itself
            return cls._made(real, requires_grad)

    @classmethod
    def _made(cls, real: Tensor, requires_grad: bool) -> "PretendedTensor":
        made: PretendedTensor = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls,
            real.size(),
            strides=real.stride(),
            storage_offset=real.storage_offset(),
            dtype=real.dtype,
            layout=real.layout,
            device=DEVICE,
            requires_grad=requires_grad,
        )
        made.data_on_cpu = real
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return execute(Gpu.current(), func, args, kwargs or {})

    def __deepcopy__(self, memo: dict[int, Any]) -> "PretendedTensor":
        if id(self) not in memo:
            with torch.no_grad():
                copied = PretendedTensor(self.data_on_cpu.clone(), self.requires_grad)
            if getattr(self, "_is_param", False):
                copied._is_param = True  # type: ignore[attr-defined]
            memo[id(self)] = copied
        return memo[id(self)]  # type: ignore[no-any-return]

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a tensor of the pretended GPU cannot be pickled: write what is on the CPU")

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError(
            "can't convert cuda:0 device type tensor to numpy. "
            "Use Tensor.cpu() to copy the tensor to host memory first."
        )

    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        return self.numpy()

    def record_stream(self, stream: Any) -> None:
        """There is one queue: memory is never used by two."""

    def tolist(self) -> Any:
        Gpu.current().log.add("device to host", "tolist", waits=True)
        Gpu.current().settle()
        return self.data_on_cpu.tolist()

    def __format__(self, format_spec: str) -> str:
        return format(self.detach().item() if self.dim() == 0 else str(self), format_spec)

    def __repr__(self, **kwargs: Any) -> str:  # type: ignore[override]
        return f"PretendedTensor({self.data_on_cpu!r})"

    @property
    def data(self) -> Tensor:  # type: ignore[override]
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, PretendedTensor) or value.shape != self.shape:
            raise NotImplementedError("the pretended GPU: .data can only be set to a tensor of the GPU of equal shape")
        torch.Tensor.data.__set__(self, value)  # type: ignore[attr-defined]
        self.data_on_cpu = value.data_on_cpu


class OnGpu(TorchDispatchMode):
    """Sees operators that have no tensor of the GPU among their arguments: new tensors, and copies to it."""

    def __init__(self, gpu: Gpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if not self.gpu.active:  # a thread that outlived the test
            return func(*args, **(kwargs or {}))
        return execute(self.gpu, func, args, kwargs or {}, self)


def _is_cuda(device: Any) -> bool:
    return device is not None and torch.device(device).type == "cuda"


def _on_cpu(value: Any) -> Any:
    return value.data_on_cpu if isinstance(value, PretendedTensor) else value


def execute(gpu: Gpu, func: Any, args: Any, kwargs: dict[str, Any], mode: OnGpu | None = None) -> Any:
    """Run one operator as the GPU would, or as the CPU does if nothing in it is the GPU's.

    ``mode`` sees the parts of a composite operator.

    Raises:
        RuntimeError: A GPU would refuse it.
    """
    name = name_of(func)
    values, _ = tree_flatten((args, kwargs))
    tensors = [value for value in values if isinstance(value, Tensor)]
    ours = [tensor for tensor in tensors if isinstance(tensor, PretendedTensor)]
    others = [tensor for tensor in tensors if not isinstance(tensor, PretendedTensor)]
    device = next((value for value in values if isinstance(value, torch.device)), None)
    check_device(device)
    if name in ("pin_memory", "_pin_memory", "is_pinned") and not ours:
        return gpu.pin(args[0], name)
    if not ours and not _is_cuda(device):
        return _plain(gpu, func, args, kwargs)
    if torch.is_inference_mode_enabled() and func._can_decompose():  # composite operators arrive whole there
        with mode or nullcontext():
            result = func.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
    if name in MIXING:
        return _copy(gpu, func, name, args, kwargs)
    to_gpu = _is_cuda(device) if device is not None else bool(ours)
    if ours and not name.startswith("new_"):
        for _ in check_operands(func, args, ours, others):
            gpu.log.add("host to device", f"{name}: index or value", waits=True)
            gpu.settle()
    if to_gpu:
        check_generator(func, next((value for value in values if isinstance(value, torch.Generator)), None))
        if launches(func):
            gpu.log.add("kernel", name)
    if ours and waits(func, args, kwargs):
        gpu.log.add("device to host" if name == "_local_scalar_dense" else "wait", name, waits=True)
        gpu.settle()
    drawn = to_gpu and torch.Tag.nondeterministic_seeded in func.tags
    with gpu.random.drawing() if drawn else nullcontext():
        result = _compute(func, name, args, kwargs)
    if torch.Tag.inplace_view in func.tags:
        _mirror(func, args, kwargs)
    return _wrapped(result, func, ours, others) if to_gpu else result


def _plain(gpu: Gpu, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """An operator of the CPU alone."""
    pinned = bool(kwargs.get("pin_memory"))
    result = func(*args, **{**kwargs, "pin_memory": False} if pinned else kwargs)
    return gpu.pin(result, "_pin_memory", copy=False) if pinned else result


def _compute(func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """The operator on the CPU."""
    args, kwargs = tree_map(_on_cpu, args), tree_map(_on_cpu, kwargs)
    if _is_cuda(kwargs.get("device")):
        kwargs["device"] = torch.device("cpu")
    if kwargs.get("pin_memory"):
        raise RuntimeError("Only dense CPU tensors can be pinned")
    with _disable_current_modes():
        # a GPU's softmax widens short types on its way; the CPU's does not know how
        if name in ("_softmax", "_log_softmax") and args[2]:
            return func(args[0].float(), args[1], False)
        if name in ("_softmax_backward_data", "_log_softmax_backward_data") and args[0].dtype != args[3]:
            return func(args[0], args[1].float(), args[2], args[0].dtype).to(args[3])
        if name == "native_dropout" and args[2]:  # as the CPU draws, for whom this is no operator of its own
            kept = torch.empty_like(args[0]).bernoulli_(1 - args[1])
            return args[0] * (kept / (1 - args[1])), kept.bool()
        return func(*args, **kwargs)


def _copy(gpu: Gpu, func: Any, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
    """Copies inside a device and from one to the other."""
    if name == "_foreach_copy_":
        if is_fused_copy(*args[:2]):
            gpu.log.add("kernel", name)
            return _compute(func, name, args, kwargs)
        for target, source in zip(args[0], args[1], strict=True):
            target.copy_(source, non_blocking=bool(kwargs.get("non_blocking")))
        return None
    source = args[0] if name == "_to_copy" else args[1]
    from_gpu = isinstance(source, PretendedTensor)
    device = kwargs.get("device")
    if name == "_to_copy":
        to_gpu = _is_cuda(device) if device is not None else from_gpu
        later = bool(kwargs.get("non_blocking"))
    else:
        to_gpu = isinstance(args[0], PretendedTensor)
        later = bool(args[2] if len(args) > 2 else kwargs.get("non_blocking"))
    size = source.numel() * source.element_size()
    if from_gpu and to_gpu:
        gpu.log.add("kernel", name)
        return _wrapped(_compute(func, name, args, kwargs), func, [args[0]], [])
    if to_gpu:
        what = name if not later or gpu.is_pinned(source) else f"{name}, not pinned"
        gpu.log.add("host to device", what, not later, size)
        if later:
            gpu.sent(source)
        else:
            gpu.settle()
        result = _compute(func, name, args, kwargs)
        return args[0] if name != "_to_copy" else PretendedTensor(result)
    gpu.log.add("device to host", name, not later, size)
    if later:
        result = _compute(func, name, args, kwargs)
        gpu.arriving(result)
        return result
    gpu.settle()
    return _compute(func, name, args, kwargs)


def _mirror(func: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Change the shape that PyTorch sees as that of the data was changed (``unsqueeze_`` and its like)."""
    with _disable_current_modes(), torch._C._DisableTorchDispatch():  # type: ignore[attr-defined]
        before = torch._C._meta_in_tls_dispatch_include()
        torch._C._set_meta_in_tls_dispatch_include(True)
        try:
            func(*args, **kwargs)
        finally:
            torch._C._set_meta_in_tls_dispatch_include(before)


def _wrapped(result: Any, func: Any, ours: list[Any], others: list[Tensor]) -> Any:
    """The results as tensors of the GPU; what the operator has changed in place stays the same tensor."""
    known = {id(tensor.data_on_cpu): tensor for tensor in ours}
    for tensor in ours:
        if tensor.data_on_cpu.shape != tensor.shape or tensor.data_on_cpu.stride() != tensor.stride():
            raise NotImplementedError(f"the pretended GPU: {func} changed the shape of an argument")

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor) or isinstance(value, PretendedTensor):
            return value
        if id(value) in known:
            return known[id(value)]
        return value if any(value is other for other in others) else PretendedTensor(value)

    return tree_map(wrap, result)
