"""Painting and the central person, against loops over pixels."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.parsing.detectron2.painting import label_semantic
from pipeline.parsing.instances import Instances, confidence, paint_instances
from pipeline.parsing.person import central_box, central_group, keep_group, most_central


def instances(masks, scores, classes):
    return Instances(classes, scores, lambda index: (masks[index], np.full(masks[index].shape, 0.5, np.float32)))


@given(st.data())
@settings(max_examples=40, deadline=None)
def test_each_pixel_has_the_label_of_its_best_instance(data):
    count = data.draw(st.integers(0, 5))
    masks = [data.draw(arrays(np.bool_, (4, 3))) for _ in range(count)]
    scores = data.draw(st.lists(st.sampled_from([0.1, 0.5, 0.6, 0.9]), min_size=count, max_size=count))
    classes = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    targets = (7, None, 3)
    label_map, probability = paint_instances(instances(masks, scores, classes), targets, (4, 3), 0.5)
    for row, column in np.ndindex(4, 3):
        best, label = 0.0, 0
        for mask, score, number in zip(masks, scores, classes, strict=True):
            if mask[row, column] and score > 0.5 and targets[number] is not None and score >= best:
                best, label = score, targets[number]
        assert label_map[row, column] == label
        assert probability[row, column] == pytest.approx(0.5 * best)
    painted = probability[label_map > 0]
    assert confidence(label_map, probability) == pytest.approx(painted.mean() if painted.size else 0.0)


def test_what_is_beneath_is_painted_first_whatever_its_score():
    masks = [np.zeros((1, 3), np.bool_) for _ in range(3)]
    masks[0][0, :], masks[1][0, 1:], masks[2][0, 2] = True, True, True
    found = instances(masks, [0.9, 0.6, 0.8], [0, 1, 2])
    assert paint_instances(found, (1, 5, 6), (1, 3), 0.5, beneath=(0,))[0].tolist() == [[1, 5, 6]]
    assert paint_instances(found, (1, 5, 6), (1, 3), 0.5)[0].tolist() == [[1, 1, 1]]


def test_only_what_lies_in_the_person_by_half_is_painted():
    person = np.zeros((2, 4), np.bool_)
    person[:, :2] = True
    masks = [np.zeros((2, 4), np.bool_) for _ in range(2)]
    masks[0][0, 1:3] = True  # half inside
    masks[1][1, 1:4] = True  # a third inside
    label_map, _ = paint_instances(instances(masks, [0.9, 0.9], [0, 1]), (5, 6), (2, 4), 0.5, person)
    assert label_map.tolist() == [[0, 5, 5, 0], [0, 0, 0, 0]]


@given(
    st.integers(0, 10**6),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
)
@settings(max_examples=30, deadline=None)
def test_semantic_labels_are_summed_softmaxes_at_the_images_size(seed, shape, rows):
    logits = torch.from_numpy(np.random.default_rng(seed).normal(0, 3, (5, *rows))).float()
    targets = (0, 2, None, 2, 1)
    label_map, probability = label_semantic(logits, targets, shape, values=20)
    scaled = torch.nn.functional.interpolate(logits[None], shape, mode="bilinear", align_corners=False)[0].softmax(0)
    summed = torch.stack([scaled[0] + scaled[2], scaled[4], scaled[1] + scaled[3]])
    np.testing.assert_allclose(probability, summed.max(0).values, atol=1e-5)
    clear = (summed.topk(2, dim=0).values.diff(dim=0)[0].abs() > 1e-4).numpy()
    np.testing.assert_array_equal(label_map[clear], summed.argmax(0).numpy()[clear])


def test_strips_change_nothing():
    logits = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(0))
    whole = label_semantic(logits, (0, 1, 2, 3), (40, 30))
    strips = label_semantic(logits, (0, 1, 2, 3), (40, 30), values=1)
    np.testing.assert_array_equal(whole[0], strips[0])
    np.testing.assert_allclose(whole[1], strips[1], rtol=1e-6)


def test_the_central_box_is_the_middle_half():
    assert central_box((8, 4)) == (slice(2, 6), slice(1, 3))
    assert central_box((1, 2)) == (slice(0, 1), slice(0, 2))


def naive_group(present, radius):
    """Flood fill from pixel to pixel over gaps of at most 2 * radius pixels in both directions."""
    left, best, most = set(zip(*np.nonzero(present), strict=True)), None, 0
    box = np.zeros(present.shape, np.bool_)
    box[central_box(present.shape)] = True
    while left:
        group, todo = set(), [next(iter(left))]
        while todo:
            pixel = todo.pop()
            if pixel in left:
                left.remove(pixel)
                group.add(pixel)
                todo += [q for q in left if max(abs(pixel[0] - q[0]), abs(pixel[1] - q[1])) <= 2 * radius + 1]
        inside = sum(bool(box[pixel]) for pixel in group)
        if inside > most:
            best, most = group, inside
        elif inside == most and best is not None:
            best = best | {None}  # a tie: either may win
    return best


@given(arrays(np.bool_, (12, 9), elements=st.sampled_from([False] * 9 + [True])))
@settings(max_examples=60, deadline=None)
def test_the_central_group_is_that_of_a_flood_fill(present):
    expected = naive_group(present, 1)
    group = central_group(present)
    if expected is None:
        assert group is None
    elif None not in expected:
        assert set(zip(*np.nonzero(group), strict=True)) == expected


def test_gaps_of_one_person_grow_with_the_image():
    present = np.zeros((100, 20), np.bool_)
    present[40:48, 10] = True
    present[52:60, 10] = True  # 4 rows lie between; 2% of 100 on both sides
    assert central_group(present).sum() == 16
    present[52] = False
    assert central_group(present).sum() == 8


def test_nothing_in_the_middle_keeps_everything():
    label_map = np.zeros((20, 20), np.uint8)
    label_map[0, 0] = 3
    probability = np.ones((20, 20), np.float32)
    assert not keep_group(label_map, probability)
    assert label_map.sum() == 3
    label_map[10, 10] = 4
    assert keep_group(label_map, probability)
    assert label_map.sum() == 4


def test_the_most_central_mask():
    masks = [np.zeros((8, 8), np.bool_) for _ in range(3)]
    masks[0][0, :] = True
    assert most_central([masks[0]]) is None
    assert most_central([]) is None
    masks[1][3, 3] = masks[2][3, 3:5] = True
    assert most_central(masks) is masks[2]
