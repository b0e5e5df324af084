"""Lent memory comes back when nobody holds it, and not before."""

import gc
import pickle
import threading

import numpy as np
import torch

from pipeline.buffers import Buffers


def address(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def test_memory_is_used_again_after_the_last_tensor_is_gone():
    buffers = Buffers()
    tensor = torch.from_numpy(buffers.take((4, 5), np.float32))
    place = address(tensor)
    view = tensor[1:].T
    del tensor
    other = torch.from_numpy(buffers.take((5, 4), np.float32))
    assert address(other) != place  # a view is alive
    del view
    assert address(torch.from_numpy(buffers.take((2, 10), np.float32))) == place


def test_a_slice_of_an_array_holds_its_memory():
    buffers = Buffers()
    row = buffers.take((4, 5), np.float32)[1]
    row.fill(2.0)
    buffers.take((4, 5), np.float32).fill(9.0)
    assert row.tolist() == [2.0] * 5
    del row
    assert len(buffers._free) == 2


def test_what_autograd_saved_is_not_overwritten():
    buffers = Buffers()
    weight = torch.ones(6, requires_grad=True)
    batch = torch.from_numpy(buffers.take((6,), np.float32))
    batch.fill_(3.0)
    loss = (weight * batch).sum()
    del batch
    buffers.take((6,), np.float32).fill(7.0)
    loss.backward()
    assert weight.grad.tolist() == [3.0] * 6


def test_another_size_gets_new_memory_and_a_flat_array_is_lent_like_any_other():
    buffers = Buffers()
    assert buffers.take((3,), np.float32).shape == (3,)
    gc.collect()
    assert buffers.take((2, 2), np.float32).shape == (2, 2)
    first = buffers.take((4,), np.float32)
    second = buffers.take((4,), np.float32)
    assert not np.shares_memory(first, second)


def test_no_more_than_keep_arrays_are_kept_and_a_copy_starts_empty():
    buffers = Buffers(keep=2)
    held = [buffers.take((8,), np.float32) for _ in range(5)]
    held.clear()
    assert len(buffers._free) == 2
    assert len(pickle.loads(pickle.dumps(buffers))._free) == 0


def test_threads_never_share_memory():
    buffers = Buffers()

    def work(number: int) -> None:
        for _ in range(200):
            array = buffers.take((64,), np.float32)
            array.fill(number)
            wrong.extend(array[array != number].tolist())

    wrong: list[float] = []
    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
