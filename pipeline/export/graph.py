"""The network that is exported: images as a runtime has them in, the feature that is compared out."""

import copy
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.export.choices import Cameras, ImageInput
from pipeline.models.clip import ClipSpec
from pipeline.models.image_encoder import CameraEmbedding, FeatureKind, ImageEncoder, ImageFeatures


@dataclass(frozen=True)
class ExportForm:
    """What is exported.

    Attributes:
        input: ``float``: float32 (B, 3, H, W) in 0..1; ``uint8``: uint8 (B, H, W, 3).
        feature: See :meth:`ImageEncoder.compared`.
        flip: Average the features of an image and of its mirror image, as ``evaluate.flip`` does.
        cameras: What becomes of a camera embedding.
    """

    input: ImageInput = ImageInput.FLOAT
    feature: FeatureKind = "concat"
    flip: bool = False
    cameras: Cameras = Cameras.REFUSE

    def shape(self, spec: ClipSpec) -> tuple[int, int, int]:
        """Shape of one image."""
        height, width = spec.image_size
        return (3, height, width) if self.input is ImageInput.FLOAT else (height, width, 3)

    def given(self, images: Tensor) -> Tensor:
        """uint8 images (B, H, W, 3) as this form gives them."""
        return images if self.input is ImageInput.UINT8 else images.permute(0, 3, 1, 2).float() / 255


class _FixedCamera(nn.Module):
    """In the place of a camera embedding: one vector for every image."""

    vector: Tensor

    def __init__(self, vector: Tensor) -> None:
        super().__init__()
        self.register_buffer("vector", vector)

    def forward(self, cameras: Tensor) -> Tensor:
        """(B,) -> (B, width)."""
        return self.vector.expand(cameras.shape[0], -1)


class _InFloat32(nn.Module):
    """A module that computes in float32 among others in float16."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner.float()

    def forward(self, values: Tensor) -> Tensor:
        """See the module."""
        found: Tensor = self.inner(values.float())
        return found.to(values.dtype)


def _halve(encoder: nn.Module) -> None:
    """Let all but the layer norms compute in float16.

    Their sums of squares leave the range of float16 first; and onnxruntime 1.32 crashes on the CPU when it optimises
    a vision transformer whose layer norms and GELUs are both in float16.
    """
    encoder.half()
    for module in list(encoder.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.LayerNorm):
                setattr(module, name, _InFloat32(child))


def check_cameras(encoder: ImageEncoder, cameras: Cameras) -> None:
    """Refuse an encoder whose features depend on the camera, unless the mean vector is wanted.

    Raises:
        InputError: It is one.
    """
    if encoder.camera_embedding is not None and cameras is Cameras.REFUSE:
        raise InputError(
            f"the encoder has an embedding of {len(encoder.camera_embedding.cameras)} cameras, and a file has "
            "no input for the camera, so that its features would not be those of extract: --cameras mean gives every "
            "image the mean vector, as extract does for cameras that were not trained on"
        )


class ExportedNetwork(nn.Module):
    """E_v with the colour normalisation before it and the L2 normalisation behind it.

    Args:
        encoder: It is copied.
        spec: Its architecture.
        form: What is exported.
        half: The encoder computes in float16; both normalisations stay in float32.

    Raises:
        InputError: See :func:`check_cameras`.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, encoder: ImageEncoder, spec: ClipSpec, form: ExportForm, half: bool = False) -> None:
        check_cameras(encoder, form.cameras)
        super().__init__()
        self.encoder = copy.deepcopy(encoder).cpu().float().requires_grad_(False)
        if encoder.camera_embedding is not None:
            cameras: CameraEmbedding = encoder.camera_embedding
            vector = (cameras.scale * cameras.weight.detach().mean(dim=0)).cpu()
            self.encoder.camera_embedding = cast(CameraEmbedding, _FixedCamera(vector))
        if half:
            _halve(self.encoder)
        self.form, self.numbers = form, torch.float16 if half else torch.float32
        divisor = 255.0 if form.input is ImageInput.UINT8 else 1.0
        mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (spec.pixel_mean, spec.pixel_std))
        self.register_buffer("scale", 1.0 / (std * divisor))
        self.register_buffer("shift", -mean / std)
        self.eval()

    def _encode(self, images: Tensor) -> ImageFeatures:
        places = None
        if self.encoder.camera_embedding is not None:
            places = torch.zeros(images.shape[0], dtype=torch.int64)
        features: ImageFeatures = self.encoder(images, places)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Images as the form says -> features (B, D), float32; every row has length 1."""
        if self.form.input is ImageInput.UINT8:
            images = images.permute(0, 3, 1, 2).to(torch.float32)
        normalised = (images * self.scale + self.shift).to(self.numbers)
        features = self._encode(normalised)
        if self.form.flip:
            mirrored = self._encode(normalised.flip(3))
            features = ImageFeatures(*((one + other) / 2 for one, other in zip(features, mirrored, strict=True)))
        features = ImageFeatures(*(part.to(torch.float32) for part in features))
        return self.encoder.compared(features, self.form.feature)
