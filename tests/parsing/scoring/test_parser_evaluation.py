"""Scores of a parser against a truth of the same or of another scheme, beside a plain loop over pixels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadImageError, InputError
from pipeline.labels import ATR, LIP, LabelScheme
from pipeline.parsing.parser import Parsing
from pipeline.parsing.scoring.crops import Example
from pipeline.parsing.scoring.evaluation import match_labels, score
from pipeline.parsing.scoring.ground_truth import TruthScheme, truth_scheme

MINE = LabelScheme("mine", ("none", "Face", "shirt", "UPPER clothes", "left_arm"), frozenset({2, 3}))


class Given:
    """Gives the label maps that it was made with, by the images' names."""

    name, weights_sha256 = "given", ""

    def __init__(self, scheme, maps):
        self.scheme, self.maps = scheme, maps

    def parse(self, images, paths=None):
        found = [self.maps[path] for path in paths]
        return [item if isinstance(item, BadImageError) else Parsing(item, 1.0) for item in found]


def examples(targets):
    return [Example(str(index), np.zeros((*target.shape, 3), np.uint8), target) for index, target in enumerate(targets)]


def test_names_match_whatever_their_signs():
    assert match_labels(MINE.labels, LIP.labels) == [(0, 0), (1, 13), (3, 5), (4, 14)]
    assert match_labels(LIP.labels, LIP.labels) == [(number, number) for number in range(20)]
    assert match_labels(("null", "b", "nothing"), ("nothing", "c", "B.")) == [(0, 0), (1, 2)]


def naive(truth, targets, parser, maps, parser_clothes):
    """Scores by a loop over pixels."""
    names = ["".join(filter(str.isalnum, name.lower())) for name in parser.labels]
    pairs = {0: 0}
    for number, name in enumerate(truth.labels[1:], 1):
        plain = "".join(filter(str.isalnum, name.lower()))
        if plain in names:
            pairs[number] = names.index(plain)
    both = dict.fromkeys(pairs, 0)
    either = dict.fromkeys(pairs, 0)
    right = counted = clothes_both = clothes_either = 0
    for target, predicted in zip(targets, maps, strict=True):
        for true, found in zip(target.ravel().tolist(), predicted.ravel().tolist(), strict=True):
            clothes_both += true in truth.clothes and found in parser_clothes
            clothes_either += true in truth.clothes or found in parser_clothes
            if true >= len(truth.labels):
                continue
            for number, other in pairs.items():
                both[number] += true == number and found == other
                either[number] += true == number or found == other
            if true in pairs:
                counted += 1
                right += pairs[true] == found
    iou = {truth.labels[number]: both[number] / either[number] for number in pairs if either[number]}
    return iou, right / counted if counted else None, clothes_both / clothes_either if clothes_either else None


@given(st.integers(0, 10_000), st.sampled_from([MINE, LIP, ATR]), st.sampled_from([MINE, LIP, ATR]), st.integers(1, 4))
def test_scores_agree_with_a_loop_over_pixels(seed, truth_labels, parser_labels, batch_size):
    rng = np.random.default_rng(seed)
    base = truth_scheme(truth_labels, truth_labels.clothes)
    truth = TruthScheme(base.name, base.labels, base.clothes | {len(base.labels)}, base.nobody)
    targets = [rng.integers(0, len(truth.labels) + 2, (4, 5), dtype=np.uint8) for _ in range(3)]
    maps = [rng.integers(0, len(parser_labels.labels), (4, 5), dtype=np.uint8) for _ in range(3)]
    parser = Given(parser_labels, {str(index): found for index, found in enumerate(maps)})
    scores = score(parser, iter(examples(targets)), truth, batch_size=batch_size)
    iou, accuracy, clothes = naive(truth, targets, parser_labels, maps, parser_labels.clothes)
    assert scores.class_iou == pytest.approx(iou)
    assert scores.pixel_accuracy == pytest.approx(accuracy, nan_ok=True) if accuracy is not None else True
    assert scores.clothes_iou == pytest.approx(clothes) if clothes is not None else True
    assert scores.images == 3
    assert set(scores.compared) | set(scores.truth_only) == set(truth.labels)


def test_the_scope_of_a_comparison_is_told():
    target = np.array([[0, 1, 2, 3]], np.uint8)
    scores = score(
        Given(LIP, {"0": np.array([[0, 13, 5, 5]], np.uint8)}), examples([target]), truth_scheme(MINE, MINE.clothes)
    )
    assert scores.compared == ("none", "Face", "UPPER clothes", "left_arm")
    assert scores.truth_only == ("shirt",)
    assert {"hat", "pants"} <= set(scores.parser_only)
    assert scores.class_iou == {"none": 1.0, "Face": 1.0, "UPPER clothes": 0.5}
    assert scores.clothes_iou == scores.pixel_accuracy == 1.0
    assert scores.as_dict()["truth_only"] == ["shirt"]


def test_images_that_the_parser_refuses_are_counted_apart():
    target = np.array([[0, 5]], np.uint8)
    refused = BadImageError("no_label_map", "none")
    truth = truth_scheme(LIP, LIP.clothes)
    seen = []
    scores = score(Given(LIP, {"0": target, "1": refused}), examples([target, target]), truth, advance=seen.append)
    assert (scores.images, scores.unparsed, scores.clothes_iou, seen) == (1, {"no_label_map": 1}, 1.0, [2])
    with pytest.raises(InputError, match="given could parse no image: no_label_map: none"):
        score(Given(LIP, {"0": refused}), examples([target]), truth)
    with pytest.raises(ValueError, match="no examples"):
        score(Given(LIP, {}), [], truth)
