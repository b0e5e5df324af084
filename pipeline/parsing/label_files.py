"""Label maps and masks as other programs write them: the raw values of a PNG or ``.npy`` file, before any meaning.

Palette files give their indices, not their colours, and grey files of 1, 2 or 4 bits the numbers that were stored:
decoders for viewing scale those up. A grey picture that was saved in colour, with equal channels, is grey.
"""

import io
import warnings
from collections.abc import Callable
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from pipeline.errors import BadImageError

UNREADABLE: Final = "label_map_unreadable"
SIZE: Final = "label_map_size"

Values = NDArray[Any]
"""(height, width) of integers, booleans or floats; or (height, width, 3) of colours, uint8 unless told otherwise."""

_PNG_START: Final = b"\x89PNG\r\n\x1a\n"
_BIT_DEPTH, _COLOUR_TYPE = 24, 25
"""Where a PNG file's header has them."""
_SEVERAL_CHANNELS: Final = (2, 4, 6)
"""Colour types of PNG files in colour, grey with alpha, and colour with alpha."""
_INDICES: Final = ("1", "L", "P", "I", "I;16", "I;16B", "I;16L")
_EXPANDED: Final = {2: 85, 4: 17}
"""Factor by which the decoder stretches grey values of so many bits to 8."""
_LOSSY: Final = ("JPEG", "MPO", "WEBP")


def read_values(
    data: bytes, name: str, shape: tuple[int, int], *, colours: bool = False, lossy: bool = False
) -> Values:
    """The raw values of a label file; the size is checked before any pixel is decoded.

    A file whose colour channels are all equal holds grey values: these are given, (height, width), unless ``colours``
    asks for colours. Alpha is left aside.

    Args:
        data: The file's bytes.
        name: Of the file, for messages; ``.npy`` is NumPy's format, everything else an image's.
        shape: Height and width of the image that it belongs to.
        colours: Give a palette file's colours instead of its indices.
        lossy: Accept formats that do not keep values exactly, such as JPEG; good enough for a mask with a threshold.

    Raises:
        BadImageError: ``label_map_unreadable`` or ``label_map_size``.
    """
    if not data:
        raise BadImageError(UNREADABLE, f"{name} has no bytes")
    if name.lower().endswith(".npy"):
        values = _read_array(data, name, shape)
    else:
        values = _read_picture(data, name, shape, colours, lossy)
    return values if colours else _without_equal_channels(values)


def _without_equal_channels(values: Values) -> Values:
    """(height, width) if there is one channel or all are equal, else the values as they are."""
    if values.ndim == 3 and (values == values[..., :1]).all():
        return np.ascontiguousarray(values[..., 0])
    return values


def _check_shape(name: str, found: tuple[int, ...], shape: tuple[int, int]) -> None:
    if found == shape:
        return
    if len(found) != 2:
        raise BadImageError(SIZE, f"{name} is an array of shape {found}; expected (height, width) = {shape}")
    turned = ""
    if found == shape[::-1]:
        turned = "; it is turned by a quarter: was it made without the image's EXIF rotation, or transposed?"
    raise BadImageError(
        SIZE, f"{name} is {found[1]} x {found[0]} pixels, its image {shape[1]} x {shape[0]} (width x height){turned}"
    )


def _read_array(data: bytes, name: str, shape: tuple[int, int]) -> Values:
    stream = io.BytesIO(data)
    read_header: dict[tuple[int, int], Callable[..., tuple[tuple[int, ...], bool, np.dtype[np.generic]]]] = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    try:
        found, _, kind = read_header[np.lib.format.read_magic(stream)](stream)
    except Exception as error:  # NumPy reads the header as Python text, and a broken one fails in many ways
        raise BadImageError(UNREADABLE, f"{name} is no .npy file that can be read ({error})") from error
    if kind.kind not in "biuf":
        raise BadImageError(UNREADABLE, f"{name} holds values of type {kind}; expected integers or booleans")
    has_channels = len(found) == 3 and found[2] in (1, 3)
    _check_shape(name, found[:2] if has_channels else found, shape)
    stream.seek(0)
    try:
        values: Values = np.load(stream, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise BadImageError(UNREADABLE, f"{name} cannot be read ({error})") from error
    return values


def _read_picture(data: bytes, name: str, shape: tuple[int, int], colours: bool, lossy: bool) -> Values:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(data)) as picture:
                if picture.format in _LOSSY and not lossy:
                    raise BadImageError(
                        UNREADABLE,
                        f"{name} is a {picture.format} file, which need not keep label numbers exactly; "
                        f"label maps must be PNG or .npy",
                    )
                _check_shape(name, (picture.height, picture.width), shape)
                values = _decode(picture, _grey_factor(data), colours)
                return values if colours or not _is_deep_colour(data) else _deep_values(data)
    except BadImageError:
        raise
    except Exception as error:  # Pillow raises many kinds on broken files; all mean the same to us
        raise BadImageError(UNREADABLE, f"{name} cannot be read as an image ({_brief(error, data)})") from error


def _brief(error: Exception, data: bytes) -> str:
    if isinstance(error, UnidentifiedImageError):
        return f"no known format; it begins with {data[:8]!r}"
    return str(error) or type(error).__name__


def _is_deep_colour(data: bytes) -> bool:
    """Whether it is a PNG file of several channels with 16 bits each, of which Pillow keeps the upper 8."""
    has_header = data.startswith(_PNG_START) and len(data) > _COLOUR_TYPE
    return has_header and data[_BIT_DEPTH] == 16 and data[_COLOUR_TYPE] in _SEVERAL_CHANNELS


def _deep_values(data: bytes) -> Values:
    """All 16 bits of such a file, uint16 (height, width, 3); grey with alpha has three equal channels."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.ndim != 3 or decoded.dtype != np.uint16:
        raise ValueError("a PNG file with 16 bits a channel that cannot be decoded")
    return np.ascontiguousarray(decoded[..., :3] if decoded.shape[2] >= 3 else decoded[..., :1])


def _grey_factor(data: bytes) -> int:
    is_grey = data.startswith(_PNG_START) and len(data) > _COLOUR_TYPE and data[_COLOUR_TYPE] == 0
    return _EXPANDED.get(data[_BIT_DEPTH], 1) if is_grey else 1


def _decode(picture: Image.Image, factor: int, colours: bool) -> Values:
    if picture.mode == "P" and colours:
        return np.asarray(picture.convert("RGB"))
    if picture.mode in _INDICES:
        values = np.asarray(picture)
        return values if factor == 1 else values // factor
    if picture.mode in ("LA", "La"):
        return np.asarray(picture.getchannel(0))
    return np.asarray(picture.convert("RGB"))
