"""How far two parsers agree, against loops over pixels."""

import math

import numpy as np
import pytest

from pipeline.parsing.scoring.agreement import AgreementTally

FIRST = ("background", "Face", "coat", "pants", "hat")
SECOND = ("nothing", "shoes", "pants", "coat", "face", "bag")
SHARED = {"background": "nothing", "Face": "face", "coat": "coat", "pants": "pants"}


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(3)
    first = [generator.integers(0, len(FIRST), (9, 7)).astype(np.uint8) for _ in range(4)]
    second = [generator.integers(0, len(SECOND), (9, 7)).astype(np.uint8) for _ in range(4)]
    first.append(np.full((9, 7), 4, np.uint8))  # hat: a label that the other has not
    second.append(np.full((9, 7), 5, np.uint8))
    return list(zip(first, second, strict=True))


@pytest.fixture(scope="module")
def counted(images):
    tally = AgreementTally(FIRST, SECOND)
    masks = [(np.isin(one, (2, 3)), np.isin(two, (2, 3))) for one, two in images]
    return tally, [tally.add(pair, mask) for pair, mask in zip(images, masks, strict=True)], masks


def test_each_image_against_a_loop(images, counted):
    _, found, masks = counted
    for (one, two), (left, right), agreement in zip(images, masks, found, strict=True):
        both = either = differ = compared = other = 0
        for row, column in np.ndindex(one.shape):
            both += bool(left[row, column] and right[row, column])
            either += bool(left[row, column] or right[row, column])
            differ += bool(left[row, column] != right[row, column])
            names = FIRST[one[row, column]], SECOND[two[row, column]]
            if names[0] in SHARED and names[1] in SHARED.values():
                compared += 1
                other += SHARED[names[0]] != names[1]
        assert agreement.clothes_iou == pytest.approx(both / either if either else 1.0)
        assert agreement.clothes_differ == pytest.approx(differ / one.size)
        if compared:
            assert agreement.labels_differ == pytest.approx(other / compared)
        else:
            assert math.isnan(agreement.labels_differ)


def test_labels_and_confusions_against_a_loop(images, counted):
    tally = counted[0]
    pairs = [
        (FIRST[a], SECOND[b])
        for one, two in images
        for a, b in zip(one.flatten(), two.flatten(), strict=True)
    ]  # fmt: skip
    for label in tally.by_label:
        other = SHARED[label.name]
        both = sum(a == label.name and b == other for a, b in pairs)
        either = sum(a == label.name or b == other for a, b in pairs)
        assert label.iou == pytest.approx(both / either)
        assert label.first == pytest.approx(sum(a == label.name for a, _ in pairs) / len(pairs))
        assert label.second == pytest.approx(sum(b == other for _, b in pairs) / len(pairs))
    assert [label.name for label in tally.by_label] == list(SHARED)
    assert tally.only_one_has == (("hat",), ("shoes", "bag"))
    different = {pair: pairs.count(pair) for pair in pairs if SHARED.get(pair[0]) != pair[1]}
    shown = tally.confusions(5)
    assert [round(each.share * len(pairs)) for each in shown] == sorted(different.values(), reverse=True)[:5]
    for each in shown:
        count = different[each.first, each.second]
        assert each.of_first == pytest.approx(count / sum(a == each.first for a, _ in pairs))
    same = [pair for pair in pairs if pair[0] in SHARED and pair[1] in SHARED.values()]
    assert tally.labels_differ == pytest.approx(sum(SHARED[a] != b for a, b in same) / len(same))


def test_masks_of_nothing_agree_and_numbers_without_names_are_refused():
    tally, nothing = AgreementTally(FIRST, SECOND), np.zeros((3, 3), np.uint8)
    agreement = tally.add((nothing, nothing), (nothing > 0, nothing > 0))
    assert (agreement.clothes_iou, agreement.clothes_differ, agreement.labels_differ) == (1.0, 0.0, 0.0)
    assert tally.confusions(3) == ()
    for first, second in ((nothing + 5, nothing), (nothing, nothing + 6)):
        with pytest.raises(ValueError, match="is not below"):
            tally.add((first, second), (nothing > 0, nothing > 0))
