"""From CCP's labels to LIP: names, the division of the body, mirroring."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from lite_samples import CCP_NAMES, ccp_person

from pipeline.errors import InputError
from pipeline.labels import LIP
from pipeline.parsing.lite.targets import (
    BAG,
    CLASSES,
    IGNORE,
    LIP_NUMBER,
    NO_PERSON,
    OUTPUTS,
    SOME_ARM,
    SOME_CLOTHES,
    SOME_LEG,
    SOME_SHOE,
    SOME_SKIN,
    TARGETS,
    WIDE_TARGETS,
    is_clothes,
    meaning,
    mirror,
)
from pipeline.parsing.lite.training.body_parts import divide_body
from pipeline.parsing.lite.training.ccp_labels import CCP_TO_TARGET, ccp_target, label_table, read_label_table

WIDE = {SOME_SKIN, SOME_ARM, SOME_LEG, SOME_SHOE, SOME_CLOTHES}


def test_every_label_of_the_real_list_is_known(real_images):
    table = read_label_table(real_images / "ccp_parsing" / "label_list.json")
    assert table[0] == 0
    assert set(table[:59].tolist()) <= set(range(TARGETS))
    assert (table[59:] == IGNORE).all()
    assert len(CCP_TO_TARGET) == 59


def test_a_foreign_label_is_refused():
    with pytest.raises(InputError, match=r"list.json: no known CCP label: trouser"):
        label_table(["null", "trouser"], "list.json")


def test_a_list_that_is_no_list_is_refused(tmp_path):
    (tmp_path / "label_list.json").write_text('{"null": 0}')
    with pytest.raises(InputError, match="expected a JSON list of names"):
        read_label_table(tmp_path / "label_list.json")


def test_bags_are_told_from_the_background_only_where_asked():
    table = label_table(CCP_NAMES, "test")
    plain, bags = (ccp_target(ccp_person(), table, bags=asked) for asked in (False, True))
    bag = ccp_person() == CCP_NAMES.index("bag")
    assert (bags[bag] == BAG).all()
    assert (plain[bag] == LIP_NUMBER["background"]).all()
    assert np.array_equal(plain[~bag], bags[~bag])


def test_the_output_for_bags_is_right_for_bags_and_possible_where_nobody_says():
    assert [meaning(target, OUTPUTS) for target in (0, 5, BAG, NO_PERSON)] == [(0,), (5,), (20,), (0, 20)]
    assert [meaning(target, CLASSES) for target in (0, 5, BAG, NO_PERSON)] == [(0,), (5,), (0,), (0,)]
    assert meaning(SOME_ARM, OUTPUTS) == meaning(SOME_ARM, CLASSES) == (14, 15)


def test_wide_targets_are_sets_of_lip_labels():
    for labels in WIDE_TARGETS.values():
        assert set(labels) <= set(range(len(LIP.labels)))
    assert set(WIDE_TARGETS[SOME_CLOTHES]) == LIP.clothes


def test_a_person_who_faces_the_camera_is_divided():
    target = ccp_target(ccp_person(), label_table(CCP_NAMES, "test"))
    expected = {
        (12, 40): "hair", (18, 40): "face", (40, 40): "upper-clothes", (50, 25): "right-arm", (50, 54): "left-arm",
        (70, 40): "pants", (90, 33): "right-leg", (90, 46): "left-leg", (106, 33): "right-shoe",
        (106, 46): "left-shoe", (70, 58): "background", (5, 5): "background",
    }  # fmt: skip
    found = {place: LIP.labels[target[place]] for place in expected}
    assert found == expected
    assert target[61, 40] == SOME_CLOTHES


def test_sides_stay_undecided_where_no_face_is_seen():
    labels = ccp_person()
    labels[14:26, 35:45] = 2  # hair all over: seen from behind
    target = ccp_target(labels, label_table(CCP_NAMES, "test"))
    assert target[50, 25] == target[50, 54] == SOME_ARM
    assert target[90, 33] == target[90, 46] == SOME_LEG
    assert target[106, 33] == target[106, 46] == SOME_SHOE


def test_skin_from_neck_to_hand_is_cut_and_the_doubtful_part_left_open():
    labels = ccp_person()
    labels[22:62, 26:30] = labels[22:26, 26:36] = 1  # a bare shoulder joins the neck to the arm
    target = ccp_target(labels, label_table(CCP_NAMES, "test"))
    assert target[16, 40] == LIP_NUMBER["face"]
    assert target[40, 27] == SOME_SKIN
    assert target[58, 27] == LIP_NUMBER["right-arm"]


@given(arrays(np.uint8, (12, 8), elements=st.sampled_from([0, 2, 5, SOME_SKIN, SOME_SHOE, IGNORE])))
def test_division_touches_only_skin_and_shoes(target):
    divided = divide_body(target)
    assert divided.dtype == np.uint8
    skin, shoes = target == SOME_SKIN, target == SOME_SHOE
    assert np.array_equal(divided[~(skin | shoes)], target[~(skin | shoes)])
    assert set(divided[skin].tolist()) <= {13, 14, 15, 16, 17, SOME_SKIN, SOME_ARM, SOME_LEG}
    assert set(divided[shoes].tolist()) <= {18, 19, SOME_SHOE}


@given(arrays(np.uint8, (4, 7), elements=st.integers(0, TARGETS - 1)))
def test_mirroring_flips_and_exchanges_sides(target):
    swapped = {14: 15, 15: 14, 16: 17, 17: 16, 18: 19, 19: 18}
    mirrored = mirror(target)
    for y, x in np.ndindex(target.shape):
        label = int(target[y, x])
        assert mirrored[y, 6 - x] == swapped.get(label, label)
    assert np.array_equal(mirror(mirrored), target)


@given(arrays(np.uint8, (4, 7), elements=st.integers(0, TARGETS - 1)))
def test_clothes_are_lips_clothes_decided_or_not(target):
    expected = [[int(label) in LIP.clothes or label == SOME_CLOTHES for label in row] for row in target]
    assert is_clothes(target).tolist() == expected
