"""Pictures of a page: small copies as data URIs, label maps in colours, masks in black and white."""

import base64
import colorsys
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.images import LabelMap, Mask, RgbImage, encode_mask

Colour = tuple[int, int, int]
Palette = NDArray[np.uint8]

JPEG_QUALITY = 82
LABEL_OPACITY = 0.7
OUTLINE = (255, 0, 190)
"""Colour of the outline of a mask: one that clothes seldom have."""
_LABEL_COLOURS = (
    "000000", "1f77d0", "e8b520", "17becf", "5b2a86", "f58231", "7d1128", "2e9e3f", "9c6b4a", "d7263d",
    "0a6e6e", "f49ac1", "b33fc4", "ffe08a", "8fd14f", "3a86ff", "ff6fae", "8d99ae", "00c49a", "6c584c",
)  # fmt: skip
_GOLDEN_RATIO = 0.6180339887498949


@dataclass(frozen=True)
class Box:
    """The largest height and width of a picture, in pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class Picture:
    """A picture that the page carries in itself.

    Attributes:
        uri: ``data:image/...;base64,...``.
        width: In pixels.
        height: In pixels.
        alt: What it shows, in words.
    """

    uri: str
    width: int
    height: int
    alt: str


def fitted_size(height: int, width: int, box: Box) -> tuple[int, int]:
    """Height and width of an image that was made to fit into a box; small images are not enlarged."""
    scale = min(1.0, box.height / height, box.width / width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def shrink_image(image: RgbImage, box: Box) -> RgbImage:
    """A copy of an RGB image (height, width, 3) that fits into a box, averaged over areas."""
    height, width = fitted_size(image.shape[0], image.shape[1], box)
    small: RgbImage = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return small


def shrink_labels(labels: LabelMap, box: Box) -> LabelMap:
    """A copy of a label map (height, width) that fits into a box; labels are picked, never mixed."""
    height, width = fitted_size(labels.shape[0], labels.shape[1], box)
    small: LabelMap = cv2.resize(labels, (width, height), interpolation=cv2.INTER_NEAREST)
    return small


def label_palette(count: int) -> Palette:
    """Colours of ``count`` labels, uint8 (count, 3): black for the background, then colours that are told apart.

    The first twenty, as many as the LIP scheme has, are chosen by hand; more go round the hues.
    """
    colours = [list(bytes.fromhex(colour)) for colour in _LABEL_COLOURS[:count]]
    for number in range(len(colours), count):
        lightness = (0.62, 0.45, 0.75)[number % 3]
        red, green, blue = colorsys.hls_to_rgb(number * _GOLDEN_RATIO % 1.0, lightness, 0.8)
        colours.append([round(255 * red), round(255 * green), round(255 * blue)])
    return np.array(colours, dtype=np.uint8)


def hex_colour(colour: NDArray[np.uint8]) -> str:
    """``#rrggbb`` of an RGB colour (3,)."""
    return "#" + "".join(f"{int(channel):02x}" for channel in colour)


def label_overlay(image: RgbImage, labels: LabelMap, palette: Palette) -> RgbImage:
    """The image in grey with its labels in colours over it; the background (label 0) stays plain grey.

    Args:
        image: RGB uint8 (height, width, 3).
        labels: uint8 (height, width), values below ``len(palette)``.
        palette: uint8 (labels, 3).
    """
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    opacity = np.where(labels > 0, LABEL_OPACITY, 0.0)[..., None]
    blended: RgbImage = np.round(grey * (1 - opacity) + palette[labels] * opacity).astype(np.uint8)
    return blended


def mask_outline(image: RgbImage, mask: Mask, box: Box) -> RgbImage:
    """The image, enlarged to fill a box, with the outline of a mask as a bright line.

    Args:
        image: RGB uint8 (height, width, 3).
        mask: Boolean (height, width).
        box: Small images are enlarged into it too, so that the line is fine.
    """
    scale = min(box.height / image.shape[0], box.width / image.shape[1])
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    drawn = cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    pixels = cv2.resize(mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    lines, _ = cv2.findContours(pixels, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(drawn, lines, -1, OUTLINE, 2)
    return np.asarray(drawn, dtype=np.uint8)


def _uri(kind: str, data: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def photo_bytes(image: RgbImage) -> bytes:
    """An RGB image (height, width, 3) as a JPEG whose colours have the full resolution."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
        cv2.IMWRITE_JPEG_OPTIMIZE, 1,
    ]  # fmt: skip
    done, buffer = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"JPEG encoding failed for an array of shape {image.shape}")
    return bytes(buffer.tobytes())


def photo(image: RgbImage, alt: str) -> Picture:
    """An RGB image (height, width, 3) as :func:`photo_bytes` encodes it."""
    height, width = image.shape[:2]
    return Picture(_uri("jpeg", photo_bytes(image)), width, height, alt)


def mask_picture(mask: Mask, alt: str) -> Picture:
    """A boolean mask (height, width) as a 1-bit PNG, true is white."""
    height, width = mask.shape
    return Picture(_uri("png", encode_mask(mask)), width, height, alt)


def picture_pixels(picture: Picture) -> RgbImage:
    """The pixels of a picture, RGB uint8 (height, width, 3)."""
    data = np.frombuffer(base64.b64decode(picture.uri.split(",", 1)[1]), dtype=np.uint8)
    pixels: RgbImage = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    return pixels
