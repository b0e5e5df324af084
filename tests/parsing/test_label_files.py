"""Raw values of label files, against a PNG writer of our own that stores exactly the bits it is told."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pipeline.errors import BadImageError
from pipeline.parsing.label_files import read_values

GREY, COLOUR, PALETTE, GREY_ALPHA, COLOUR_ALPHA = 0, 2, 3, 4, 6


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(values: np.ndarray, depth: int, colour_type: int = GREY, palette: bytes = b"") -> bytes:
    """A PNG whose samples are ``values``, (height, width) or (height, width, channels), packed by hand."""
    height, width = values.shape[:2]
    rows = b""
    for row in values.reshape(height, -1):
        bits = "".join(format(int(value), f"0{depth}b") for value in row)
        bits += "0" * (-len(bits) % 8)
        rows += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [chunk(b"IHDR", header)] + [chunk(b"PLTE", palette)] * bool(palette)
    return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")])


def npy(array: np.ndarray, version: tuple[int, int] = (1, 0)) -> bytes:
    stream = io.BytesIO()
    np.lib.format.write_array(stream, array, version=version, allow_pickle=True)
    return stream.getvalue()


def reason_of(data: bytes, name: str = "a.png", shape=(3, 4), **options) -> tuple[str, str]:
    with pytest.raises(BadImageError) as caught:
        read_values(data, name, shape, **options)
    return caught.value.reason, caught.value.detail


@st.composite
def label_arrays(draw, depths):
    depth = draw(st.sampled_from(depths))
    height, width = draw(st.integers(1, 9)), draw(st.integers(1, 19))
    seed = draw(st.integers(0, 1000))
    return depth, np.random.default_rng(seed).integers(0, 2**depth, (height, width))


@given(label_arrays([1, 2, 4, 8, 16]))
def test_grey_files_give_the_numbers_that_were_stored(case):
    depth, values = case
    assert np.array_equal(read_values(png(values, depth), "a.png", values.shape), values)


@given(label_arrays([1, 2, 4, 8]))
def test_palette_files_give_indices_and_colours_only_if_asked(case):
    depth, values = case
    palette = np.random.default_rng(0).integers(0, 256, (2**depth, 3), dtype=np.uint8)
    data = png(values, depth, PALETTE, palette.tobytes())
    assert np.array_equal(read_values(data, "a.png", values.shape), values)
    assert np.array_equal(read_values(data, "a.png", values.shape, colours=True), palette[values])


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int16, np.uint32, np.int64, np.float32])
@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
def test_arrays_are_read_as_they_are(kind, version):
    values = np.arange(12).reshape(3, 4).astype(kind)
    for array in (values, np.asfortranarray(values)):
        found = read_values(npy(array, version), "a.NPY", (3, 4))
        assert found.dtype == kind
        assert np.array_equal(found, values)


def test_colour_files_keep_their_colours_and_lose_their_alpha():
    colours = np.random.default_rng(1).integers(0, 256, (3, 4, 4), dtype=np.uint8)
    for mode, expected in (("RGBA", colours[..., :3]), ("LA", colours[..., 0])):
        stream = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(colours if mode == "RGBA" else colours[..., :2]), mode).save(stream, "PNG")
        assert np.array_equal(read_values(stream.getvalue(), "a.png", (3, 4)), expected)


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize(("kind", "channels"), [(COLOUR, 3), (COLOUR_ALPHA, 4), (GREY_ALPHA, 2)])
def test_equal_channels_are_one_of_numbers(depth, kind, channels):
    labels = np.random.default_rng(2).integers(0, 20, (3, 4))
    values = np.repeat(labels[..., None], channels, axis=2)
    if channels != 3:
        values[..., -1] = 2**depth - 1  # alpha: of another value, and without a meaning
    found = read_values(png(values, depth, kind), "a.png", (3, 4))
    assert (found.ndim, found.tolist()) == (2, labels.tolist())
    if kind != GREY_ALPHA and depth == 8:
        as_colours = read_values(png(values, depth, kind), "a.png", (3, 4), colours=True)
        assert np.array_equal(as_colours, values[..., :3])
    values[1, 2, 0] += 1
    if kind != GREY_ALPHA:
        assert read_values(png(values, depth, kind), "a.png", (3, 4)).shape == (3, 4, 3)


def test_arrays_with_equal_channels_or_one_are_maps():
    labels = np.random.default_rng(3).integers(0, 20, (3, 4))
    for channels in (1, 3):
        array = np.repeat(labels[..., None], channels, axis=2)
        assert np.array_equal(read_values(npy(array), "a.npy", (3, 4)), labels)
    assert reason_of(npy(np.repeat(labels[..., None], 2, axis=2)), "a.npy")[0] == "label_map_size"


def test_pickles_are_not_opened():
    class Bomb:
        def __reduce__(self):
            return (pytest.fail, ("a pickle was loaded",))

    data = npy(np.array([[Bomb()] * 4] * 3, dtype=object))
    assert reason_of(data, "a.npy") == (
        "label_map_unreadable", "a.npy holds values of type object; expected integers or booleans",
    )  # fmt: skip


def test_another_size_is_told_before_pixels_are_decoded():
    reason, detail = reason_of(png(np.zeros((4, 4), int), 8)[:60], shape=(3, 4))  # no pixels in it
    assert (reason, "4 x 4 pixels, its image 4 x 3" in detail) == ("label_map_size", True)
    huge = npy(np.zeros((3, 4), np.uint8)).replace(b"(3, 4)", b"(3000000000, 4000000000)")
    assert reason_of(huge, "a.npy")[0] in ("label_map_size", "label_map_unreadable")
    assert reason_of(npy(np.zeros((1, 3, 4), int)), "a.npy")[0] == "label_map_size"


def test_a_turned_label_map_gets_a_hint():
    assert "EXIF rotation" in reason_of(png(np.zeros((4, 3), int), 8))[1]


def test_lossy_files_are_taken_for_masks_with_a_threshold_only():
    for kind in ("JPEG", "WEBP"):
        stream = io.BytesIO()
        Image.new("L", (4, 3), 255).save(stream, kind)
        reason, detail = reason_of(stream.getvalue())
        assert reason == "label_map_unreadable"
        assert kind in detail
        assert read_values(stream.getvalue(), "a.jpg", (3, 4), lossy=True).min() > 250


@given(st.binary(max_size=200), st.sampled_from(["a.png", "a.npy"]))
def test_rubbish_is_unreadable_never_an_exception(data, name):
    assert reason_of(data, name)[0] == "label_map_unreadable"


@given(st.integers(0, 300), st.integers(0, 255))
def test_damaged_files_are_reported_or_read_never_an_exception(position, value):
    for name, data in (
        ("a.png", png(np.arange(12).reshape(3, 4), 8)),
        ("a.npy", npy(np.arange(12, dtype=np.int32).reshape(3, 4))),
    ):
        broken = bytearray(data)
        broken[position % len(data)] = value
        with contextlib.suppress(BadImageError):
            assert read_values(bytes(broken), name, (3, 4)).shape[:2] == (3, 4)
