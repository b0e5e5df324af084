"""Label maps out of logits, against torch's interpolation and a plain softmax."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from pipeline.parsing import labelling
from pipeline.parsing.labelling import label_map, scaling_taps, taps_at


def random_logits(classes, height, width, seed=0):
    return 3 * torch.randn(classes, height, width, generator=torch.Generator().manual_seed(seed))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_scaled_labels_and_confidence_are_those_of_torch(rows, columns, height, width, seed):
    logits = random_logits(5, rows, columns, seed)
    large = interpolate(logits[None], size=(height, width), mode="bilinear", align_corners=False)[0]
    parsing = label_map(logits, scaling_taps(rows, height), scaling_taps(columns, width))
    top = large.topk(2, dim=0).values
    clear = (top[0] - top[1] > 1e-4).numpy()
    assert np.array_equal(parsing.label_map[clear], large.argmax(0).numpy()[clear])
    if clear.all():
        person = large.argmax(0) > 0
        expected = float(large.softmax(0).amax(0)[person].mean()) if person.any() else 0.0
        assert parsing.confidence == pytest.approx(expected, abs=1e-5)


def test_strips_change_nothing(monkeypatch):
    logits = random_logits(20, 24, 12)
    taps = scaling_taps(24, 37), scaling_taps(12, 21)
    whole = label_map(logits, *taps)
    monkeypatch.setattr(labelling, "STRIP_VALUES", 20 * 21 * 5)
    striped = label_map(logits, *taps)
    assert np.array_equal(whole.label_map, striped.label_map)
    assert whole.confidence == pytest.approx(striped.confidence, abs=1e-6)


def test_classes_get_their_numbers_and_number_zero_is_nobody():
    logits = torch.tensor([4.0, 0.0, 1.0])[:, None, None].repeat(1, 2, 2)
    logits[:, 0, 0] = torch.tensor([0.0, 0.0, 2.0])
    taps = scaling_taps(2, 2), scaling_taps(2, 2)
    parsing = label_map(logits, *taps, numbers=torch.tensor([0, 7, 3]))
    assert parsing.label_map.tolist() == [[3, 0], [0, 0]]
    assert parsing.confidence == pytest.approx(np.exp(2) / (2 + np.exp(2)), abs=1e-6)
    assert label_map(logits, *taps, numbers=torch.tensor([0, 7, 0])).confidence == 0.0


def test_positions_beyond_the_edges_repeat_them():
    taps = taps_at(torch.tensor([-3.0, 0.25, 1.0, 9.0], dtype=torch.float64), 2)
    assert taps.first.tolist() == [0, 0, 1, 1]
    assert taps.second.tolist() == [1, 1, 1, 1]
    assert taps.weight.tolist() == [0.0, 0.25, 0.0, 0.0]
