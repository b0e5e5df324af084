"""The question is put to a process that imports a torch of its own, with three GPUs; the real one has none here."""

from pathlib import Path

import pytest
import torch

from pipeline.gpu_memory import smallest_gpu_bytes
from pipeline.ray_session import Resources, gpu_nodes, ray_session

TORCH = """
import os
seen = os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2")
numbers = [int(number) for number in seen.split(",") if number]

class cuda:
    device_count = staticmethod(lambda: len(numbers))
    get_device_properties = staticmethod(
        lambda number: type("Properties", (), {"total_memory": (80, 24, 40)[numbers[number]]})
    )
"""


@pytest.fixture
def three_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text(TORCH)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_nobody_answers_without_a_gpu() -> None:
    assert smallest_gpu_bytes() == 0


@pytest.mark.usefixtures("three_gpus")
def test_the_smallest_gpu_that_can_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    assert smallest_gpu_bytes() == 24
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert smallest_gpu_bytes() == 40


@pytest.mark.usefixtures("three_gpus")
def test_a_machine_of_the_cluster_answers_for_all_of_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)  # Ray then counts them
    with ray_session(None) as resources:
        assert resources.gpus == 3
        assert resources.cpus_per_gpu == resources.cpus / 3
        assert len(gpu_nodes()) == 1
        assert smallest_gpu_bytes("the cluster that was joined") == 24


def test_nodes_on_which_no_worker_can_run_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    h100, a100 = {"accelerator_type:H100": 1.0}, {"accelerator_type:A100": 1.0}
    nodes: list[dict[str, object]] = [
        {"NodeID": "head", "Alive": True, "Resources": {"CPU": 0.0, "GPU": 1.0, **a100}},
        {"NodeID": "one", "Alive": True, "Resources": {"CPU": 32.0, "GPU": 2.0, **h100}},
        {"NodeID": "two", "Alive": True, "Resources": {"CPU": 64.0, "GPU": 8.0, **h100}},
        {"NodeID": "three", "Alive": True, "Resources": {"CPU": 12.0, "GPU": 1.0, **a100}},
        {"NodeID": "gone", "Alive": False, "Resources": {"CPU": 8.0, "GPU": 8.0}},
        {"NodeID": "decoder", "Alive": True, "Resources": {"CPU": 96.0}},
    ]
    with ray_session(None):
        monkeypatch.setattr("ray.nodes", lambda: nodes)
        with ray_session(None) as resources:
            assert resources == Resources(cpus=204, gpus=11, node_cpus=96, cpus_per_gpu=8)
        assert [node["NodeID"] for node in gpu_nodes()] == ["one", "two", "three"]


def test_a_cluster_without_a_gpu_has_no_memory_of_one() -> None:
    with ray_session(None):
        assert gpu_nodes() == []
        assert smallest_gpu_bytes("the cluster that was joined") == 0
