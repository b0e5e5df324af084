"""Arrays on the CPU go nowhere; those to a GPU are tested on the pretended one, in tests/device."""

import numpy as np
import torch

from pipeline.transfer import Carrier, Returned


def test_on_a_cpu_arrays_stay_where_they_are():
    arrays = {"images": np.arange(6, dtype=np.uint8).reshape(2, 3), "labels": np.array([3, -1])}
    taken = Carrier("cpu").send(arrays).take()
    assert taken.keys() == arrays.keys()
    for name, array in arrays.items():
        assert taken[name].data_ptr() == array.ctypes.data
        assert taken[name].tolist() == array.tolist()


def test_on_a_cpu_what_returns_is_there():
    tensor = torch.ones(3)
    assert Returned(tensor).take() is tensor
