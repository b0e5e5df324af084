"""A view as a training makes it for a GPU, real or pretended: cropped on the CPU, one copy, finished over there."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.models.preprocess import pixel_constants
from pipeline.training.views import Geometry, crop_and_flip, erasing, finish_view
from pipeline.transfer import Carrier

Colour = tuple[float, float, float]


def view_on(
    device: str, images: NDArray[np.uint8], geometry: Geometry, *, mean: Colour, std: Colour, pad: int = 10
) -> Tensor:
    """As ``augment`` on the CPU, float32 (B, 3, H, W) on the device."""
    shift, scale = pixel_constants(mean, std)
    erased = erasing(geometry, geometry.noise())
    arrays = {"images": crop_and_flip(images, geometry, pad), "shift": shift, "scale": scale, **erased}
    sent = Carrier(device).send(arrays).take()
    return finish_view(sent["images"], sent["shift"], sent["scale"], sent["box"], sent["noise"])
