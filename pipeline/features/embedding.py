"""An encoder for images that are in no shards: files, arrays, pictures of Pillow, tensors."""

import io
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from torch import Tensor

from pipeline.arithmetic import uses_cuda
from pipeline.errors import BadImageError, InputError
from pipeline.features.builder import FeatureImages, build_features, launch_features
from pipeline.features.encoders import ChosenEncoder
from pipeline.features.feature_set import NO_ID, Floats, Integers, normalise_rows
from pipeline.features.settings import FeatureSettings
from pipeline.images import RgbImage, decode_image, read_bytes, resize_image

AnyImage: TypeAlias = NDArray[np.generic] | Image.Image | Tensor | Path | str

_DEEP_MODES = {"I", "I;16", "I;16L", "I;16B", "I;16N"}
"""Modes of Pillow whose values it would cut off at 255; as a PNG they go through the decoder, which scales them."""


@dataclass(frozen=True)
class Encoder:
    """An image encoder: images in, features that are compared by cosine out.

    Threads may share one: nothing in it changes after it was made.

    Attributes:
        chosen: The network and where it came from.
        device: Where it runs.
        settings: Which feature is made, whether mirrored images count, how many images at once.
    """

    chosen: ChosenEncoder
    device: str = "cpu"
    settings: FeatureSettings = field(default_factory=FeatureSettings)
    _alone: Lock = field(default_factory=Lock, repr=False, compare=False)
    """CUDA's switches are the process's: threads take turns there."""

    def __post_init__(self) -> None:
        self.chosen.encoder.to(self.device).eval()

    @property
    def size(self) -> tuple[int, int]:
        """Height and width that images are scaled to, in pixels."""
        return self.chosen.spec.image_size

    @property
    def dim(self) -> int:
        """Numbers of a feature."""
        encoder = self.chosen.encoder
        joined = self.settings.feature == "concat"
        return encoder.projected_dim + (encoder.hidden_dim if joined else 0)

    def embed(
        self, images: Sequence[AnyImage] | Tensor, cameras: Sequence[int] | None = None, batch_size: int | None = None
    ) -> Floats:
        """Features of images, as ``ccaf-pipeline extract`` and ``embed`` compute them.

        Args:
            images: Each of any size, and one of: an image file; a uint8 array (H, W, 3) in RGB order; a picture of
                Pillow; a tensor (3, H, W), uint8 or with numbers from 0 to 1. A tensor (N, 3, H, W) is N of them.
            cameras: Camera id of each image, for an encoder with a camera embedding; None: not known.
            batch_size: Images per forward pass; None: that of the settings.

        Returns:
            float32 (N, D); every row has length 1.

        Raises:
            InputError: A file cannot be read as an image, or an image has another shape or type.
            WorkError: Memory does not suffice.
        """
        if isinstance(images, str | Path | Image.Image) or (isinstance(images, Tensor) and images.ndim != 4):
            raise InputError("images must be a list of them, also where there is only one")
        count = len(images)
        if cameras is not None and len(cameras) != count:
            raise InputError(f"{len(cameras)} cameras were given for {count} images")
        if not count:
            return np.empty((0, self.dim), dtype=np.float32)
        settings = self.settings
        if batch_size is not None and batch_size < 1:
            raise InputError(f"batch_size must be at least 1, not {batch_size}")
        if batch_size is not None:
            settings = FeatureSettings(**{**settings.model_dump(), "batch_size": batch_size})
        places = np.full(count, NO_ID) if cameras is None else np.asarray(cameras)
        loaded = _unlabelled(lambda rows: self._load([images[row] for row in rows]), places)
        return normalise_rows(self._features(loaded, settings))

    def launch(self, pixels: Tensor, cameras: Integers) -> Callable[[], Floats]:
        """Begin to compute the features of one batch of decoded images, as a feature file holds them.

        Args:
            pixels: uint8 (B, H, W, 3) at :attr:`size`.
            cameras: Camera ids, (B,), ``NO_ID`` where not known.

        Returns:
            What waits for the features, float32 (B, D). A CPU has computed them already.

        Raises:
            WorkError: Memory does not suffice, which may also be found when they are waited for.
        """
        chosen = self.chosen
        with self._switches():
            return launch_features(chosen.encoder, chosen.spec, pixels, cameras, self.settings, device=self.device)

    def _switches(self) -> AbstractContextManager[object]:
        return self._alone if uses_cuda(self.device) else nullcontext()

    def _features(self, images: FeatureImages, settings: FeatureSettings) -> Floats:
        with self._switches():
            return build_features(self.chosen.encoder, self.chosen.spec, images, settings, device=self.device).features

    def _load(self, images: Sequence[AnyImage]) -> Tensor:
        return torch.from_numpy(np.stack([resize_image(rgb_pixels(image), self.size) for image in images]))


def _unlabelled(load: Callable[[Sequence[int]], Tensor], cameras: NDArray[np.integer]) -> FeatureImages:
    """Images of which nothing is known but the camera, if that; ``load`` as in :class:`FeatureImages`."""
    count = len(cameras)
    unknown = np.full(count, NO_ID, dtype=np.int64)
    return FeatureImages(
        load=load,
        image_id=np.array([str(row) for row in range(count)], dtype=np.str_),
        role=np.full(count, "gallery", dtype=np.str_),
        person_id=unknown,
        camera_id=cameras.astype(np.int64),
        clothes_id=unknown,
        tracklet_id=unknown,
    )


def rgb_pixels(image: AnyImage) -> RgbImage:
    """The pixels of an image, uint8 (H, W, 3) in RGB order.

    Raises:
        InputError: It cannot be read, or has another shape or type.
    """
    if isinstance(image, Tensor):
        return _of_tensor(image)
    if isinstance(image, Image.Image):
        return _of_picture(image)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise InputError(f"an image must be uint8 (H, W, 3) in RGB order, not {image.dtype} {image.shape}")
        pixels: RgbImage = image.astype(np.uint8, copy=False)
        return pixels
    if not isinstance(image, str | Path):
        raise InputError(f"an image must be a path, an array, a tensor or a picture of Pillow, not {type(image)}")
    try:
        return decode_image(read_bytes(Path(image)))
    except BadImageError as error:
        raise InputError(f"{image} cannot be used as an image: {error.detail}") from None


def _of_tensor(image: Tensor) -> RgbImage:
    if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
        raise InputError(f"a tensor of an image must be (3, H, W) in RGB order, not {tuple(image.shape)}")
    values = image.detach().cpu()
    if values.is_floating_point():
        values = values.float()
        if not bool(((values >= 0) & (values <= 1)).all()):  # also false for NaN
            raise InputError(
                "a tensor of an image must be uint8, or have numbers from 0 to 1, before any normalisation"
            )
        values = (values * 255).round().to(torch.uint8)
    if values.dtype != torch.uint8:
        raise InputError(f"a tensor of an image must be uint8, or have numbers from 0 to 1, not {image.dtype}")
    pixels: RgbImage = np.ascontiguousarray(values.permute(1, 2, 0).numpy())
    return pixels


def _of_picture(image: Image.Image) -> RgbImage:
    """Turned as its EXIF says; grey, palette and alpha become RGB as in files."""
    try:
        if image.mode in _DEEP_MODES:
            stream = io.BytesIO()
            image.save(stream, "PNG")
            return decode_image(stream.getvalue())
        if image.mode == "F":
            raise InputError("a picture of mode F has no range that is known: give an array or a tensor")
        turned = ImageOps.exif_transpose(image)
        pixels: RgbImage = np.array(turned if turned.mode == "RGB" else turned.convert("RGB"), dtype=np.uint8)
    except (OSError, ValueError, BadImageError) as error:
        raise InputError(f"a picture of Pillow cannot be read: {error}") from error
    return pixels
