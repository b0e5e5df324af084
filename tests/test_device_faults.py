"""Which errors are faults of the device, and the line about memory that did not suffice."""

import subprocess
import sys

import pytest
import torch
import torch.distributed

from pipeline.device_faults import (
    describe_fault,
    describe_memory,
    is_device_fault,
    is_out_of_memory,
    memory_asked_for,
    out_of_memory_line,
)

ACCELERATOR_ERROR = getattr(torch, "AcceleratorError", RuntimeError)
"""PyTorch 2.8 began to give these errors a type of their own."""

CUDA_MEMORY = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 79.11 GiB.\n"
    "See documentation for Memory Management"
)
ILLEGAL = (
    "CUDA error: an illegal memory access was encountered\n"
    "CUDA kernel errors might be asynchronously reported at some other API call\n"
)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError(CUDA_MEMORY),
        RuntimeError("CUDA error: out of memory"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        MemoryError(),
    ],
)
def test_lack_of_memory_is_a_fault_of_the_device(error):
    assert is_out_of_memory(error)
    assert is_device_fault(error)


@pytest.mark.parametrize(
    "error",
    [
        *([ACCELERATOR_ERROR("anything")] if ACCELERATOR_ERROR is not RuntimeError else []),
        torch.distributed.DistBackendError("NCCL error in: ProcessGroupNCCL.cpp:1, unhandled system error"),
        RuntimeError(ILLEGAL),
        RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(...)`"),
        RuntimeError("CUDA error: device-side assert triggered"),
        RuntimeError("NCCL error: remote process exited or there was a network error"),
        RuntimeError("GET was unable to find an engine to execute this computation"),
    ],
)
def test_other_faults_of_the_device(error):
    assert is_device_fault(error)
    assert not is_out_of_memory(error)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu!"),
        RuntimeError("shape '[2, 3]' is invalid for input of size 5"),
        ValueError("CUDA error: a text that no device wrote"),
        OSError("cannot identify image file"),
        KeyError("out of memory"),
    ],
)
def test_errors_of_the_program_or_the_image_are_none(error):
    assert not is_device_fault(error)
    assert not is_out_of_memory(error)


def test_the_real_allocator_of_the_machine():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)
    assert memory_asked_for(caught.value) == f"{4 * 10**15 / 2**30:.2f} GiB"


def test_ray_has_an_error_of_the_same_name_that_means_a_killed_process():
    kind = type("OutOfMemoryError", (Exception,), {"__module__": "ray.exceptions"})
    assert not is_device_fault(kind("Task was killed due to the node running low on memory"))


def _wrapped(hidden: bool) -> BaseException:
    try:
        try:
            raise torch.OutOfMemoryError(CUDA_MEMORY)
        except RuntimeError as error:
            raise ValueError("parser failed") from (None if hidden else error)
    except ValueError as error:
        return error


@pytest.mark.parametrize("hidden", [False, True])
def test_a_fault_is_found_behind_the_error_that_wraps_it(hidden):
    error = _wrapped(hidden)
    assert is_out_of_memory(error)
    assert describe_fault(error).startswith("CUDA out of memory. Tried to allocate 2.50 GiB")
    assert memory_asked_for(error) == "2.50 GiB"


def test_what_ray_carries_beside_the_chain_is_looked_at():
    error = Exception("RayTaskError")
    error.cause = RuntimeError(ILLEGAL)
    assert is_device_fault(error)


def test_a_chain_that_bites_its_tail_ends():
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    assert not is_device_fault(first)


def test_a_fault_is_described_by_its_first_line():
    assert describe_fault(RuntimeError(ILLEGAL)) == "CUDA error: an illegal memory access was encountered"
    assert describe_fault(MemoryError()) == "MemoryError"


def test_memory_of_the_machine_and_of_a_device(monkeypatch):
    assert describe_memory("cpu").endswith("of the machine's memory")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30 * (1 + device.index), 4 * 2**30))
    assert describe_memory("cuda:1") == "2.00 GiB free of 4.00 GiB on cuda:1"


def test_a_device_that_answers_no_more_is_no_second_error(monkeypatch):
    def broken(device):
        raise ACCELERATOR_ERROR(ILLEGAL)

    monkeypatch.setattr(torch.cuda, "mem_get_info", broken)
    assert "does not say" in describe_memory("cuda")


def test_the_line_about_memory(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 4 * 2**30))
    line = out_of_memory_line(
        torch.OutOfMemoryError(CUDA_MEMORY), "a step of 64 images", "cuda:0", ["a.b=2", "c.d=true"]
    )
    assert line == (
        "out of memory: a step of 64 images: 2.50 GiB more were asked for, 1.00 GiB free of 4.00 GiB on cuda:0; "
        "less is needed with a.b=2, or c.d=true"
    )
    assert "\n" not in line


def test_the_line_names_the_machine_where_it_was_the_machines_memory():
    assert out_of_memory_line(MemoryError(), "a step", "cuda:0", []).endswith("of the machine's memory")


def test_the_module_does_not_load_torch():
    code = "import sys, pipeline.device_faults; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
