"""The one decoder, the one resize and the one lossless encoder of images, label maps and masks.

Every stage decodes here, so that EXIF rotation, colour order and bit depth are the same everywhere.
Images are uint8 arrays of shape (height, width, 3) in RGB order.
"""

import io
import warnings
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import BadImageError

RgbImage: TypeAlias = NDArray[np.uint8]
LabelMap: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.bool_]

DEFAULT_MAX_PIXELS = 64_000_000


def read_bytes(path: Path) -> bytes:
    """Read a file's bytes.

    Raises:
        BadImageError: ``missing`` or ``unreadable``.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadImageError("missing", f"no file at {path}") from None
    except OSError as error:
        raise BadImageError("unreadable", f"{path}: {error.strerror or error}") from error


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header alone, before any pixel is decoded.

    Raises:
        BadImageError: ``empty`` or ``not_an_image``.
    """
    if not data:
        raise BadImageError("empty", "the file has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as header:
                return header.size
    except Image.DecompressionBombError as error:
        raise BadImageError("too_large", str(error)) from error
    except UnidentifiedImageError:
        raise BadImageError("not_an_image", "no known image format") from None
    except Exception as error:  # Pillow raises many kinds on broken headers; all mean the same to us
        raise BadImageError("not_an_image", f"the header is broken ({error})") from error


def decode_image(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> RgbImage:
    """Decode an encoded image to RGB uint8 of shape (height, width, 3); EXIF rotation is applied.

    Grey, palette, alpha and 16-bit images become 8-bit RGB; of an animation, the first frame is taken.

    Raises:
        BadImageError: ``empty``, ``not_an_image``, ``too_large`` (checked on the header) or ``truncated``.
    """
    width, height = image_size(data)
    if width * height > max_pixels:
        raise BadImageError("too_large", f"{width} x {height} pixels; the limit is {max_pixels}")
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise BadImageError("truncated", f"decoding failed: {error}") from error
    if decoded is None:
        raise BadImageError("truncated", "the header is an image's, the pixels cannot be decoded")
    image: RgbImage = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)
    return image


def resize_image(image: RgbImage, size: tuple[int, int]) -> RgbImage:
    """Resize to (height, width): bicubic when it grows, area averaging when it shrinks (no aliasing)."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    shrinks = image.shape[0] * image.shape[1] > height * width
    resized: RgbImage = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return resized


def _encode_png(array: NDArray[np.uint8], options: list[int]) -> bytes:
    done, buffer = cv2.imencode(".png", array, options)
    if not done:
        raise ValueError(f"PNG encoding failed for an array of shape {array.shape}")
    return buffer.tobytes()


def encode_image(image: RgbImage) -> bytes:
    """Lossless PNG of an RGB image."""
    return _encode_png(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [])


def encode_label_map(label_map: LabelMap) -> bytes:
    """8-bit grey PNG whose values are label numbers; ``label_map`` is uint8 (height, width)."""
    return _encode_png(label_map, [])


def decode_label_map(data: bytes) -> LabelMap:
    """Inverse of :func:`encode_label_map`.

    Raises:
        BadImageError: ``not_an_image`` if the bytes are no 8-bit single-channel image.
    """
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    if decoded is None or decoded.ndim != 2 or decoded.dtype != np.uint8:
        raise BadImageError("not_an_image", "expected an 8-bit single-channel label map")
    label_map: LabelMap = decoded
    return label_map


def encode_mask(mask: Mask) -> bytes:
    """1-bit PNG of a boolean mask of shape (height, width); true is white."""
    return _encode_png(mask.astype(np.uint8) * 255, [cv2.IMWRITE_PNG_BILEVEL, 1])


def decode_mask(data: bytes) -> Mask:
    """Inverse of :func:`encode_mask`: boolean (height, width)."""
    return decode_label_map(data) > 127
