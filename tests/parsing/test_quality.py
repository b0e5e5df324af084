"""Quality figures and each of their flags."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.parser import Parsing
from pipeline.parsing.quality import FLAGS, assess, main_piece_share

UPPER, FACE = 5, 13


def quality_of(label_map, confidence=0.9, **thresholds):
    return assess(Parsing(label_map, confidence), clothes_mask(label_map, LIP.clothes), **thresholds)


def dressed_person():
    label_map = np.zeros((20, 10), np.uint8)
    label_map[2:5, 4:7] = FACE
    label_map[5:15, 3:8] = UPPER
    return label_map


def test_figures_of_a_good_parse():
    quality = quality_of(dressed_person(), 0.875)
    assert quality.person_fraction == pytest.approx((9 + 50) / 200)
    assert quality.clothes_fraction == pytest.approx(50 / 200)
    assert quality.confidence == 0.875
    assert quality.flags == ()


def test_no_person_silences_what_would_say_the_same():
    quality = quality_of(np.zeros((4, 4), np.uint8), confidence=0.0)
    assert quality.flags == ("no_person", "low_confidence")
    assert quality.person_fraction == quality.clothes_fraction == 0.0


def test_no_person_even_if_no_share_is_asked_for():
    assert "no_person" in quality_of(np.zeros((4, 4), np.uint8), min_person_fraction=0.0).flags


def test_no_clothes():
    label_map = dressed_person()
    label_map[label_map == UPPER] = FACE
    assert quality_of(label_map).flags == ("no_clothes",)


def test_almost_all_clothes():
    label_map = dressed_person()
    label_map[label_map == FACE] = UPPER
    assert quality_of(label_map).flags == ("almost_all_clothes",)


def test_low_confidence_is_below_the_threshold():
    assert quality_of(dressed_person(), 0.49).flags == ("low_confidence",)
    assert quality_of(dressed_person(), 0.5).flags == ()


def test_fragmented():
    label_map = dressed_person()
    label_map[10, :] = 0
    above, below = 9 + 5 * 5, 4 * 5
    assert main_piece_share(label_map) == pytest.approx(above / (above + below))
    assert quality_of(label_map).flags == ("fragmented",)
    assert quality_of(label_map, min_main_piece=0.5).flags == ()


def test_pieces_that_touch_at_a_corner_are_one():
    assert main_piece_share(np.eye(4, dtype=np.uint8)) == 1.0
    assert main_piece_share(np.zeros((3, 3), np.uint8)) == 0.0


@given(arrays(np.uint8, (6, 5), elements=st.integers(0, 19)), st.floats(0, 1))
def test_fractions_are_bounded_and_flags_are_known(label_map, confidence):
    quality = quality_of(label_map, confidence)
    assert 0 <= quality.clothes_fraction <= quality.person_fraction <= 1
    assert list(quality.flags) == [flag for flag in FLAGS if flag in quality.flags]
    assert ("low_confidence" in quality.flags) == (confidence < 0.5)


def test_of_garments_only_no_flag_speaks_of_the_person():
    """Two garments with a gap between them, and nothing else, are as good as such a parse can be."""
    label_map = dressed_person()
    label_map[label_map == FACE] = 0
    label_map[9:11] = 0
    assert quality_of(label_map).flags == ("almost_all_clothes", "fragmented")
    assert quality_of(label_map, garments_only=True).flags == ()
    empty = np.zeros((4, 4), np.uint8)
    assert quality_of(empty, 0.0, garments_only=True).flags == ("no_clothes", "low_confidence")
    assert quality_of(empty, 0.9, garments_only=True, min_clothes_fraction=0.0).flags == ("no_clothes",)


def test_notes_of_the_parse_become_flags_after_the_others():
    parsing = Parsing(dressed_person(), 0.4, ("no_central_person",))
    quality = assess(parsing, clothes_mask(parsing.label_map, LIP.clothes))
    assert quality.flags == ("low_confidence", "no_central_person")


def test_shapes_must_agree():
    with pytest.raises(ValueError, match="one shape"):
        assess(Parsing(np.zeros((2, 2), np.uint8), 0.5), np.zeros((2, 3), np.bool_))
