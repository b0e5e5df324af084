"""A GPU for machines without one.

Half of this product runs on a GPU, and most machines that test it have none. Inside :func:`pretended_cuda` PyTorch
believes that there is one. Tensors claim to be on ``cuda:0`` and hold their data on the CPU, so that every number is
what the CPU computes, and the project's own code runs from end to end as it does on a GPU. What a GPU refuses is
refused: operands on two devices, a generator of the CPU, ``numpy()`` of a tensor that is not on the CPU. What costs
time on a GPU is counted by the line of the project that asks for it: kernels, copies, and waits. Copies that may
happen later are treated as if they did: what arrives is rubbish until somebody waits, and pinned memory that is
written before somebody has waited is an error.

What it cannot see: speed, memory, numbers of a real GPU's arithmetic, several GPUs, and CUDA's own libraries.
``tests/gpu`` is for these.

Autograd asks CUDA's libraries, not Python, about the devices of a graph, and insists that theirs is the machine's
accelerator; so a backend of PyTorch's ``PrivateUse1`` kind cannot play CUDA, and a shim of four lines of C is loaded
before PyTorch is. :mod:`pretended.process` compiles it and runs a folder's tests in a process that has it; each test
is reported as if it had run here.

    with pretended_cuda() as log:
        network = nn.Linear(3, 4).to("cuda")
        with log.section() as step:
            network(torch.ones(2, 3, device="cuda")).sum().backward()
        assert step.device_to_host_waits == 0
        assert step.host_to_device <= 4
"""

from pretended.log import Event, Log
from pretended.runtime import pretended_cuda
from pretended.tensor import PretendedTensor

__all__ = ["Event", "Log", "PretendedTensor", "pretended_cuda"]
