"""The switches of CUDA's arithmetic: set for a block, put back after it, left alone on a CPU."""

import os

import pytest
import torch

from pipeline.arithmetic import WORKSPACE_NAME, arithmetic, uses_cuda
from pipeline.errors import InputError


def switches():
    return {
        "matmul": torch.backends.cuda.matmul.allow_tf32,
        "cudnn": torch.backends.cudnn.allow_tf32,
        "benchmark": torch.backends.cudnn.benchmark,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn_deterministic": torch.backends.cudnn.deterministic,
        "workspace": os.environ.get(WORKSPACE_NAME),
    }


@pytest.fixture(autouse=True)
def _others_settings(monkeypatch):
    """What another part of a program may have chosen; it must be found again after each block."""
    monkeypatch.delenv(WORKSPACE_NAME, raising=False)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark
    matmul.allow_tf32 = cudnn.allow_tf32 = cudnn.benchmark = True
    yield
    matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark = before


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
@pytest.mark.parametrize("tf32", [False, True])
def test_tf32_is_set_for_products_and_convolutions_alike_and_put_back(device, tf32):
    before = switches()
    with arithmetic(device, tf32=tf32):
        assert switches() == {**before, "matmul": tf32, "cudnn": tf32}
    assert switches() == before


def test_deterministic_algorithms_for_a_block_even_if_it_fails():
    before, within = switches(), {}

    def fails():
        within.update(switches())
        raise KeyError

    with pytest.raises(KeyError), arithmetic("cuda", deterministic=True):
        fails()
    assert within == {
        "matmul": False,
        "cudnn": False,
        "benchmark": False,
        "deterministic": True,
        "cudnn_deterministic": True,
        "workspace": ":4096:8",
    }
    assert switches() == before


@pytest.mark.parametrize(("given", "used"), [(":16:8", ":16:8"), (":0:0", ":4096:8")])
def test_a_workspace_of_the_users_is_kept_if_it_repeats(monkeypatch, given, used):
    monkeypatch.setenv(WORKSPACE_NAME, given)
    with arithmetic("cuda", deterministic=True):
        assert os.environ[WORKSPACE_NAME] == used
    assert os.environ[WORKSPACE_NAME] == given


def test_nothing_changes_on_a_cpu():
    before = switches()
    with arithmetic("cpu", deterministic=True, tf32=True):
        assert switches() == before


def scatter() -> None:
    """PyTorch has no deterministic form of this one, on a CPU neither."""
    torch.zeros(4).put_(torch.tensor([1, 1]), torch.tensor([1.0, 2.0]))


def test_an_operation_without_a_deterministic_form_is_one_line_that_names_it():
    with pytest.raises(InputError) as caught, arithmetic("cuda", deterministic=True):
        scatter()
    assert str(caught.value) == (
        "training.deterministic: put_ has no deterministic form on cuda; set training.deterministic=false"
    )
    with arithmetic("cuda"):
        scatter()


def test_other_errors_are_left_alone():
    with pytest.raises(RuntimeError, match="invalid for input"), arithmetic("cuda", deterministic=True):
        torch.zeros(4).view(3)


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert [uses_cuda(name) for name in ("auto", "cpu", "cuda:1")] == [True, False, True]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert not uses_cuda("auto")
