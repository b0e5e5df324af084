"""How much memory the GPUs have, asked without this process touching one."""

import os
import subprocess
import sys

from pipeline.ray_session import gpu_nodes

SECONDS = 60
"""Where a machine has no room to start a process, the answer is not waited for any longer."""

_QUESTION = (
    "import torch; numbers = range(torch.cuda.device_count()); "
    "print(min(torch.cuda.get_device_properties(number).total_memory for number in numbers))"
)


def smallest_gpu_bytes(address: str | None = None) -> int:
    """Memory of the smallest GPU.

    It takes seconds, for processes of their own ask, which leave the GPUs before this returns.

    Args:
        address: Of the cluster that this process has joined, whose machines with GPUs are asked; None: this machine is.

    Returns:
        Bytes; 0 if somebody does not answer, and where there is no GPU.
    """
    return _ask_here() if address is None else _ask_cluster()


def _ask_here() -> int:
    environment = dict(os.environ)
    if environment.get("CUDA_VISIBLE_DEVICES") == "":  # Ray hides the GPUs from a task that takes none
        del environment["CUDA_VISIBLE_DEVICES"]
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _QUESTION],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            env=environment,
        )
        return int(asked.stdout)
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return 0


def _ask_cluster() -> int:
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    ask = ray.remote(num_cpus=0, max_calls=1)(_ask_here)
    answers = [
        ask.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote()
        for node in gpu_nodes()
    ]
    try:
        return int(min(ray.get(answers, timeout=2 * SECONDS), default=0))  # Ray, too, has a process to start
    except ray.exceptions.RayError:
        for answer in answers:
            ray.cancel(answer, force=True)
        return 0
