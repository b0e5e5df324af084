"""The one decoder, the one resize and the one lossless encoder of images, label maps and masks.

Every stage decodes here, so that EXIF rotation, colour order and bit depth are the same everywhere.
Images are uint8 arrays of shape (height, width, 3) in RGB order.
"""

import errno
import io
import warnings
from pathlib import Path
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import BadImageError
from pipeline.limited_reading import FileTooLargeError, read_limited

RgbImage: TypeAlias = NDArray[np.uint8]
LabelMap: TypeAlias = NDArray[np.uint8]
Mask: TypeAlias = NDArray[np.bool_]

DEFAULT_MAX_PIXELS = 64_000_000
MAX_SIDES_RATIO = 100
"""The longer side as a multiple of the shorter one: a thinner image shows no person, and breaks resizing."""
BYTES_PER_PIXEL = 4
OTHER_BYTES = 16 * 1024 * 1024


def max_bytes(max_pixels: int = DEFAULT_MAX_PIXELS) -> int:
    """Bytes that the file of an image of so many pixels may have: its pixels uncompressed, and 16 MiB of notes."""
    return BYTES_PER_PIXEL * max_pixels + OTHER_BYTES


_MACHINES_FAULT = {
    errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN,
}  # fmt: skip
"""Errors that tell of the machine or of its network, not of one file: no reason to give an image up."""


def read_bytes(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> bytes:
    """Read a file's bytes, if there are not too many for an image: see :func:`max_bytes`.

    Raises:
        BadImageError: ``missing``, ``unreadable`` (no permission, no regular file, a broken disk) or ``too_large``.
        OSError: The machine cannot read just now, whatever the file: too many open files, a file server that is gone.
    """
    try:
        return read_limited(path, max_bytes(max_pixels))
    except (FileNotFoundError, NotADirectoryError):
        raise BadImageError("missing", f"no file at {path}") from None
    except OSError as error:
        if error.errno in _MACHINES_FAULT:
            raise
        raise BadImageError("unreadable", f"{path}: {error.strerror or error or type(error).__name__}") from error
    except FileTooLargeError as error:
        raise BadImageError("too_large", f"{path}: {error}") from error
    except ValueError as error:  # a null byte in the name
        raise BadImageError("missing", f"no file can have the name {path!r}: {error}") from error


def image_size(data: bytes) -> tuple[int, int]:
    """Width and height from the header alone, before any pixel is decoded.

    Raises:
        BadImageError: ``empty`` or ``not_an_image``.
    """
    if not data:
        raise BadImageError("empty", "the file has no bytes")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # oddities that Pillow tells of are judged by the result
            with Image.open(io.BytesIO(data)) as header:
                return header.size
    except Image.DecompressionBombError as error:
        raise BadImageError("too_large", str(error)) from error
    except UnidentifiedImageError:
        raise BadImageError("not_an_image", "no known image format") from None
    except Exception as error:  # Pillow raises many kinds on broken headers; all mean the same to us
        raise BadImageError("not_an_image", f"the header is broken ({error})") from error


def check_size(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> int:
    """Number of pixels by the header alone.

    Raises:
        BadImageError: ``empty``, ``not_an_image``, ``too_thin`` (see :data:`MAX_SIDES_RATIO`) or ``too_large``.
    """
    width, height = image_size(data)
    if max(width, height) > MAX_SIDES_RATIO * min(width, height):
        raise BadImageError(
            "too_thin", f"{width} x {height} pixels; one side may be at most {MAX_SIDES_RATIO} times the other"
        )
    if width * height > max_pixels:
        raise BadImageError("too_large", f"{width} x {height} pixels; the limit is {max_pixels}")
    return width * height


def decode_image(data: bytes, max_pixels: int = DEFAULT_MAX_PIXELS) -> RgbImage:
    """Decode an encoded image to RGB uint8 of shape (height, width, 3); EXIF rotation is applied.

    Grey, palette, alpha and 16-bit images become 8-bit RGB; of an animation, the first frame is taken.

    Raises:
        BadImageError: ``empty``, ``not_an_image``, ``too_thin`` or ``too_large`` (checked on the header), ``truncated``
            or ``unsupported``.
    """
    check_size(data, max_pixels)
    return decode_pixels(data)


def decode_pixels(data: bytes) -> RgbImage:
    """As :func:`decode_image`, for data whose header was checked.

    Raises:
        BadImageError: ``truncated`` or ``unsupported``.
    """
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise BadImageError("truncated", f"decoding failed: {error}") from error
    if decoded is None:
        raise _undecodable(data)
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


_DECODED = {"JPEG", "MPO", "PNG", "WEBP", "GIF", "BMP", "PPM", "JPEG2000"}
"""Formats of which OpenCV decodes every kind, so that one it refuses is damaged."""

_DECODED_MOSTLY = {"TIFF", "AVIF"}
"""Formats that have kinds which OpenCV does not decode: it tells whether Pillow can."""


def _undecodable(data: bytes) -> BadImageError:
    """Why OpenCV refuses what has an image's header: Pillow, which knows more formats, tells."""
    damaged = BadImageError("truncated", "the header is an image's, the pixels cannot be decoded")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(data)) as image:
                if image.format in _DECODED:
                    return damaged
                if image.format in _DECODED_MOSTLY:
                    image.load()
                return BadImageError("unsupported", f"{image.format} images of mode {image.mode} are not decoded")
    except Exception:  # as above, many kinds
        return damaged


def _encode_png(array: NDArray[np.uint8], options: list[int]) -> bytes:
    done, buffer = cv2.imencode(".png", array, options)
    if not done:
        raise ValueError(f"PNG encoding failed for an array of shape {array.shape}")
    return buffer.tobytes()


_PHOTOGRAPH = [
    cv2.IMWRITE_PNG_COMPRESSION, 1,
    cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP,
]  # fmt: skip
"""On crops of people both faster and smaller than OpenCV's default, and several times faster than level 6."""


def encode_image(image: RgbImage) -> bytes:
    """Lossless PNG of an RGB image."""
    return _encode_png(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), _PHOTOGRAPH)


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
