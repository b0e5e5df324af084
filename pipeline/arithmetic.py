"""How a GPU computes while a block runs: full or TF32 products of float32, any or only repeatable algorithms.

PyTorch keeps these choices in global switches, and their defaults differ: TF32 (10 bits of mantissa instead of 23) is
off for matrix products and on for convolutions. Here both are set, and put back at the end. On a CPU nothing is
changed: its float32 is float32, and its algorithms are repeatable with one number of threads.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.errors import InputError

WORKSPACE_NAME = "CUBLAS_WORKSPACE_CONFIG"
WORKSPACES = (":4096:8", ":16:8")
"""The fixed workspaces with which cuBLAS repeats its sums; it reads the variable when it is first used."""

_NO_FORM = re.compile(r"^(\S+) does not have a deterministic implementation")


def uses_cuda(name: str) -> bool:
    """Whether work on the device of this name, which may be ``auto``, is done by CUDA."""
    return name.startswith("cuda") or (name == "auto" and torch.cuda.is_available())


@contextmanager
def arithmetic(device: str, *, deterministic: bool = False, tf32: bool = False) -> Iterator[None]:
    """Let CUDA compute like that within the block, which must be entered before CUDA computes anything.

    Args:
        device: Name of the device, which may be ``auto``.
        deterministic: Only algorithms that give equal bits each time; slower.
        tf32: Products of float32 may round their operands to TF32; faster.

    Raises:
        InputError: An operation in the block has no deterministic form.
    """
    if not uses_cuda(device):
        yield
        return
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic
    modes = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    workspace = os.environ.get(WORKSPACE_NAME)
    matmul.allow_tf32 = cudnn.allow_tf32 = tf32
    try:
        if deterministic:
            if workspace not in WORKSPACES:
                os.environ[WORKSPACE_NAME] = WORKSPACES[0]
            cudnn.benchmark, cudnn.deterministic = False, True
            torch.use_deterministic_algorithms(True)
        yield
    except RuntimeError as error:
        found = _NO_FORM.match(str(error))
        if found is None or not deterministic:
            raise
        raise InputError(
            f"training.deterministic: {found[1]} has no deterministic form on {device}; "
            f"set training.deterministic=false"
        ) from error
    finally:
        matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic = before
        torch.use_deterministic_algorithms(modes[0], warn_only=modes[1])
        if workspace is None:
            os.environ.pop(WORKSPACE_NAME, None)
        else:
            os.environ[WORKSPACE_NAME] = workspace
