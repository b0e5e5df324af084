"""The way from an image to the network's input and back, against a direct computation with OpenCV and by hand."""

import hashlib

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.parsing.labelling import label_map
from pipeline.parsing.schp.transform import normalise, taps_back, warp_to_input

SIZE = 57


def published_matrix(height, width, size, back):
    """The extractor's matrix: three corresponding points, solved by OpenCV."""
    box = np.float32([width - 1, height - 1])
    centre, side = box / 2, max(box)
    image_points = np.float32([centre, centre - [0, side / 2], centre - side / 2])
    middle = (size - 1) / 2
    input_points = np.float32([[middle, middle], [middle, 0], [0, 0]])
    return cv2.getAffineTransform(*((input_points, image_points) if back else (image_points, input_points)))


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


sizes = st.tuples(st.integers(1, 200), st.integers(1, 200)).filter(lambda size: size != (1, 1))


OPENCV_4 = cv2.__version__.startswith("4.")
LEVELS = 0 if OPENCV_4 else 8
"""OpenCV 5 does not round positions to 32nds of a pixel: along each side, 1/64 of 255 levels."""


@settings(max_examples=30, deadline=None)
@given(sizes, st.sampled_from([SIZE, 64]))
def test_the_input_is_the_published_warp(shape, size):
    """To the last bit where OpenCV 4 is installed, as in the environment of make test-oldest."""
    image = picture(*shape)
    expected = cv2.warpAffine(image, published_matrix(*shape, size, back=False), (size, size), flags=cv2.INTER_LINEAR)
    found = warp_to_input(image, size)
    assert np.abs(found.astype(int) - expected).max() <= LEVELS


def formula(height, width):
    """A picture that no generator of random numbers can change."""
    rows, columns, channels = np.ogrid[:height, :width, :3]
    return ((rows * rows * 31 + columns * 57 + rows * columns * 13 + channels * 101) % 256).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "size", "sha256"),
    [
        (128, 64, 473, "05da275797ccef98"),
        (256, 128, 512, "979bbccddf505779"),
        (211, 97, 473, "4d1348855179c31d"),
        (97, 211, 473, "d5fe4dec89800297"),
        (384, 192, 57, "50663122b7887f38"),
        (600, 600, 57, "e175d3e8ae33ce62"),
        (3, 5, 9, "587f5b7fac274d45"),
        (1, 2, 9, "b335953b90e94810"),
        (1, 1, 8, "bb154e31956c383c"),
        (300, 1, 57, "ff585bcaa74593ff"),
        (2, 5000, 57, "b9685d56ee1dc5f0"),
        (5000, 1, 56, "2a42ca28eb429bd5"),  # falls between the samples: all black
    ],
)
def test_the_input_has_the_bytes_of_opencv_4(height, width, size, sha256):
    """Hashes of what cv2.warpAffine makes of the picture in OpenCV 4.5.5, 4.8.1 and 4.11.0 to 4.14.0."""
    found = warp_to_input(formula(height, width), size)
    assert hashlib.sha256(found.tobytes()).hexdigest().startswith(sha256)


def test_an_input_of_opencv_4_in_full():
    """The first channel of one of the pictures above, as OpenCV 4.12.0 gives it."""
    assert warp_to_input(formula(3, 5), 9)[:, :, 0].tolist() == [
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
        [0, 14, 29, 43, 57, 71, 86, 100, 114],
        [0, 29, 57, 86, 114, 143, 171, 200, 228],
        [16, 47, 79, 111, 143, 174, 206, 174, 142],
        [31, 66, 101, 136, 171, 206, 241, 148, 55],
        [78, 116, 154, 128, 103, 141, 179, 153, 128],
        [124, 166, 207, 121, 34, 76, 117, 159, 200],
        [62, 83, 104, 60, 17, 38, 59, 79, 100],
        [0, 0, 0, 0, 0, 0, 0, 0, 0],
    ]


def test_the_input_by_hand():
    """A wide image of 3 x 5 in an input of 9: two input pixels for each of the image's, black above and below."""
    image = picture(3, 5)
    found = warp_to_input(image, 9).astype(float)
    for row in range(9):
        for column in range(9):
            y, x = (row - 4) / 2 + 1, column / 2
            value = np.zeros(3)
            for v in (int(np.floor(y)), int(np.floor(y)) + 1):
                for u in (int(np.floor(x)), int(np.floor(x)) + 1):
                    if 0 <= v < 3 and 0 <= u < 5:
                        value += max(0.0, 1 - abs(y - v)) * max(0.0, 1 - abs(x - u)) * image[v, u]
            assert np.abs(found[row, column] - value).max() <= 0.5 + 1e-6


def test_channels_are_turned_to_bgr_and_normalised_in_that_order():
    image = torch.tensor([[[[255, 51, 0]]]], dtype=torch.uint8)
    found = normalise(image)
    assert found.shape == (1, 3, 1, 1)
    expected = [(0.0 - 0.406) / 0.225, (0.2 - 0.456) / 0.224, (1.0 - 0.485) / 0.229]
    assert found.flatten().tolist() == pytest.approx(expected, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(sizes, st.integers(0, 9))
def test_logits_go_back_as_the_published_warp_takes_them(shape, seed):
    height, width = shape
    logits = np.random.default_rng(seed).normal(size=(6, SIZE, SIZE)).astype(np.float32)
    matrix = published_matrix(height, width, SIZE, back=True)
    expected = np.stack([cv2.warpAffine(each, matrix, (width, height), flags=cv2.INTER_LINEAR) for each in logits])
    rows, columns = taps_back(height, width, SIZE)
    across = torch.lerp(*(torch.from_numpy(logits)[:, :, at] for at in (columns.first, columns.second)), columns.weight)
    found = torch.lerp(across[:, rows.first], across[:, rows.second], rows.weight[:, None]).numpy()
    # OpenCV 5 has the positions in single precision; OpenCV 4 rounds them to 32nds of a pixel, along each side
    nearby = max(np.abs(np.diff(logits, axis=axis)).max() for axis in (1, 2))
    difference = 2 * nearby / 64 + 2e-3 if OPENCV_4 else 2e-3
    assert np.abs(found - expected).max() < difference
    # and through the labels: equal wherever the two best classes are not a tie
    parsing = label_map(torch.from_numpy(logits), rows, columns)
    top = np.sort(expected, axis=0)
    clear = top[-1] - top[-2] > 2.5 * difference
    assert np.array_equal(parsing.label_map[clear], expected.argmax(0)[clear])
    probability = np.exp(top[-1]) / np.exp(expected).sum(0)
    person = expected.argmax(0) > 0
    assert parsing.confidence == pytest.approx(probability[person].mean() if person.any() else 0.0, abs=2e-2)


@pytest.mark.parametrize("shape", [(1, 1), (1, 2), (300, 1), (2, 5000)])
def test_extreme_shapes_go_there_and_back(shape):
    image = np.full((*shape, 3), 200, np.uint8)
    warped = warp_to_input(image, SIZE)
    assert warped.max() == 200
    parsing = label_map(
        torch.from_numpy(warped[:, :, :2].astype(np.float32)).permute(2, 0, 1), *taps_back(*shape, SIZE)
    )
    assert parsing.label_map.shape == shape


def test_an_image_of_the_inputs_size_is_left_as_it_is():
    image = picture(SIZE, SIZE)
    assert np.array_equal(warp_to_input(image, SIZE), image)
    rows, columns = taps_back(SIZE, SIZE, SIZE)
    for taps in (rows, columns):
        assert taps.first.tolist() == list(range(SIZE))
        assert taps.weight.abs().max() == 0
