"""Scores against sets of pixels counted one by one."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.parsing.scoring.scores import MaskTally, class_iou, confusion_matrix, mean_over_present, pixel_accuracy

CLASSES = 4
MAPS = arrays(np.uint8, (3, 5), elements=st.integers(0, CLASSES - 1))
WITH_IGNORED = arrays(np.uint8, (3, 5), elements=st.integers(0, CLASSES + 1))
MASKS = arrays(np.bool_, (3, 4))


@given(WITH_IGNORED, MAPS)
def test_class_iou_and_accuracy_agree_with_sets_of_pixels(truth, predicted):
    confusion = confusion_matrix(truth, predicted, CLASSES)
    counted = [place for place in np.ndindex(truth.shape) if truth[place] < CLASSES]
    iou = class_iou(confusion)
    for label in range(CLASSES):
        true = {place for place in counted if truth[place] == label}
        found = {place for place in counted if predicted[place] == label}
        if true | found:
            assert iou[label] == pytest.approx(len(true & found) / len(true | found))
        else:
            assert math.isnan(iou[label])
    right = sum(truth[place] == predicted[place] for place in counted)
    accuracy = pixel_accuracy(confusion)
    assert math.isnan(accuracy) if not counted else accuracy == pytest.approx(right / len(counted))


def test_confusion_has_the_truth_in_rows():
    confusion = confusion_matrix(np.array([[1, 1, 0]], np.uint8), np.array([[2, 1, 0]], np.uint8), 3)
    assert confusion.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]


@given(st.lists(st.tuples(MASKS, MASKS), max_size=4))
def test_tally_adds_up_pixels_and_averages_images(pairs):
    tally = MaskTally()
    single = [tally.add(truth, predicted) for truth, predicted in pairs]
    intersection = sum(int(np.logical_and(*pair).sum()) for pair in pairs)
    union = sum(int(np.logical_or(*pair).sum()) for pair in pairs)
    assert tally.images == len(pairs)
    assert tally.per_image == single
    assert math.isnan(tally.iou) if union == 0 else tally.iou == pytest.approx(intersection / union)
    assert math.isnan(tally.mean_image_iou) if not pairs else tally.mean_image_iou == pytest.approx(np.mean(single))


def test_two_empty_masks_agree():
    empty = np.zeros((2, 2), np.bool_)
    assert MaskTally().add(empty, empty) == 1.0
    assert MaskTally().add(empty, ~empty) == 0.0


def test_wrong_shapes_and_labels_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        confusion_matrix(np.zeros((2, 2), np.uint8), np.zeros((2, 3), np.uint8), 2)
    with pytest.raises(ValueError, match="3 is not below 2"):
        confusion_matrix(np.zeros((1, 1), np.uint8), np.full((1, 1), 3, np.uint8), 2)
    with pytest.raises(ValueError, match="differ in shape"):
        MaskTally().add(np.zeros((2, 2), np.bool_), np.zeros((2, 3), np.bool_))


def test_mean_over_present_leaves_out_nan():
    assert mean_over_present([1.0, float("nan"), 0.0]) == 0.5
    assert math.isnan(mean_over_present([float("nan")]))
