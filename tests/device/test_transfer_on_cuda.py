"""Arrays to the pretended GPU and back: one copy, no wait, and nothing is read before it has arrived."""

import numpy as np
import pytest
import torch
from device_views import view_on

from pipeline.models.preprocess import normalise
from pipeline.training.views import augment, draw_geometry
from pipeline.transfer import Carrier, Returned

pytestmark = pytest.mark.usefixtures("cuda")


def test_arrays_of_many_kinds_take_one_copy_and_may_be_changed_at_once(cuda):
    arrays = {
        "odd": np.arange(5, dtype=np.uint8), "flags": np.array([True, False, True]), "none": np.zeros((0, 4)),
        "labels": np.array([[3, -1]]), "scalars": np.array([0.5, 2], dtype=np.float32),
        "turned": np.arange(6, dtype=np.int16).reshape(2, 3).T,
    }  # fmt: skip
    expected = {name: array.tolist() for name, array in arrays.items()}
    with cuda.section() as sending:
        taken = Carrier("cuda").send(arrays).take()
    assert (sending.host_to_device, sending.blocking_host_to_device, sending.waits) == (1, 0, 0)
    for array in arrays.values():
        array.fill(0)
    assert {name: tensor.tolist() for name, tensor in taken.items()} == expected
    assert all(tensor.is_cuda for tensor in taken.values())
    assert taken["labels"].dtype == torch.int64


def test_what_returns_is_waited_for_when_it_is_asked_for(cuda):
    tensor = torch.arange(3.0, device="cuda")
    with cuda.section() as returning:
        returned = Returned(tensor)
    assert (returning.device_to_host, returning.waits) == (1, 0)
    assert returned.take().tolist() == [0, 1, 2]


@pytest.mark.parametrize("chance", [0.0, 0.5, 1.0])
def test_views_are_the_cpus_in_one_copy(cuda, chance):
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (6, 3, 32, 16), dtype=np.uint8)
    geometry = draw_geometry(generator, 6, (32, 16), pad=4, erase_probability=chance)
    colours = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.3, 0.4)}
    one = augment(images, geometry, geometry.noise(), **colours, pad=4)
    other = view_on("cuda", images, geometry, **colours, pad=4)
    assert cuda.waits == 0
    assert cuda.host_to_device == 1
    torch.testing.assert_close(other.cpu(), one, rtol=0, atol=2e-6)
    assert (geometry.box[:, 2] > 0).any() == bool(chance)
    plain = normalise(torch.from_numpy(images).permute(0, 2, 3, 1), (0.5, 0.4, 0.3), (0.2, 0.3, 0.4))
    assert not torch.equal(one, plain)
