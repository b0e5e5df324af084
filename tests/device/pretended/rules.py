"""Which operators wait for a GPU, which are no kernels, and which operands a GPU refuses."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from pretended.log import project_lines

WAITING = {
    "_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive", "equal",
    "is_nonzero", "bincount", "_linalg_svd", "_linalg_eigh", "_linalg_solve_ex", "linalg_eig", "nms",
}  # fmt: skip
"""Operators whose result, or whose result's size, the CPU must know."""

NO_KERNEL = {
    "_unsafe_view", "detach", "alias", "lift", "lift_fresh", "empty", "empty_like", "empty_strided", "new_empty",
    "new_empty_strided", "empty_permuted", "is_same_size", "resolve_conj", "resolve_neg", "_local_scalar_dense",
    "set_", "resize_", "_has_compatible_shallow_copy_type",
}  # fmt: skip
"""Operators that only describe memory or reserve it; views are recognised by their schema."""

INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
"""Their indices may lie on the CPU: they are copied."""

SCALAR_OPERANDS = {"masked_fill", "masked_fill_", "fill", "fill_", "where", "index_fill", "index_fill_", *INDEXING}
"""Besides pointwise and foreach operators, those that take a CPU tensor without dimensions as a number."""

MIXING = {"_to_copy", "copy_", "copy", "_foreach_copy_"}
"""Operators that are there to go from one device to another."""


def name_of(func: Any) -> str:
    """Name of an operator without its namespace and overload."""
    return str(func._schema.name.split("::")[1])


def launches(func: Any) -> bool:
    """Whether a GPU has something to compute."""
    return not (func.is_view or torch.Tag.inplace_view in func.tags or name_of(func) in NO_KERNEL)


def waits(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> bool:
    """Whether the CPU has to wait for this operator (see :data:`WAITING`), copies aside."""
    name = name_of(func)
    if name == "repeat_interleave":
        return kwargs.get("output_size") is None
    if name in INDEXING:
        return any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in args[1])
    return name in WAITING


def where_am_i() -> str:
    """The project's lines, for a message."""
    return " < ".join(project_lines(3)) or "(no line of the project)"


def check_operands(func: Any, args: Sequence[Any], gpu: Sequence[Tensor], cpu: Iterable[Tensor]) -> list[Tensor]:
    """Refuse CPU tensors that a CUDA operator refuses; returns the index tensors among them, which it copies.

    Raises:
        RuntimeError: As on a GPU, with the shapes and the project's lines.
    """
    name = name_of(func)
    scalars = torch.Tag.pointwise in func.tags or name.startswith("_foreach_") or name in SCALAR_OPERANDS
    copied = []
    for tensor in cpu:
        if tensor.dim() == 0 and scalars:
            if name in INDEXING:
                copied.append(tensor)
            continue
        if name in INDEXING and any(args[0] is other for other in gpu) and any(tensor is index for index in args[1]):
            copied.append(tensor)
            continue
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"({name} of a CPU tensor {tuple(tensor.shape)} with {[tuple(other.shape) for other in gpu][:3]} "
            f"on the GPU, at {where_am_i()})"
        )
    return copied


def check_generator(func: Any, generator: torch.Generator | None) -> None:
    """Refuse a CPU generator for an operator of the GPU.

    Raises:
        RuntimeError: As on a GPU.
    """
    if generator is not None and generator.device.type != "cuda":
        raise RuntimeError(
            f"Expected a 'cuda' device type for generator but found '{generator.device.type}' "
            f"({name_of(func)} at {where_am_i()})"
        )


def check_device(device: Any) -> None:
    """Refuse a second GPU: there is one.

    Raises:
        RuntimeError: As on a GPU.
    """
    if device is not None and torch.device(device).type == "cuda" and (torch.device(device).index or 0) > 0:
        raise RuntimeError("CUDA error: invalid device ordinal")


def is_fused_copy(targets: Sequence[Tensor], sources: Sequence[Tensor]) -> bool:
    """Whether ``_foreach_copy_`` is fused: all on the GPU, each list of one type, each pair of one shape and layout."""
    pairs = zip(targets, sources, strict=True)
    return (
        all(tensor.is_cuda for tensor in (*targets, *sources))
        and all(len({tensor.dtype for tensor in tensors}) == 1 for tensors in (targets, sources))
        and all(one.shape == other.shape and one.stride() == other.stride() for one, other in pairs)
    )
