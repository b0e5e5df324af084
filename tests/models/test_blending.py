"""Points between a trained encoder and the one before training."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.models.blending import PAIR_KEY, PairedEncoder, average_weights, join_features
from pipeline.models.image_encoder import ImageFeatures
from pipeline.models.settings import BlendSettings
from tests.clips import make_clip

SIZE = (64, 32)


@pytest.fixture(scope="module")
def encoders(tiny_clip_config):
    return [make_clip(tiny_clip_config, image_size=SIZE, seed=seed).image_encoder.eval() for seed in (1, 2)]


def images(count=3):
    return torch.rand(count, 3, *SIZE, generator=torch.Generator().manual_seed(0))


def cosine(one, other):
    return float(np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other))


def test_weights_are_averaged_number_by_number():
    trained = {"a": torch.tensor([1.0, 2.0]), "steps": torch.tensor(7)}
    first = {"a": torch.tensor([3.0, -2.0]), "steps": torch.tensor(0)}
    found = average_weights(trained, first, 0.75)
    assert found["a"].tolist() == [0.75 * 1 + 0.25 * 3, 0.75 * 2 - 0.25 * 2]
    assert found["steps"] == 7
    assert torch.equal(average_weights(trained, first, 1.0)["a"], trained["a"])


@given(st.floats(0, 100), st.integers(0, 2**31))
def test_the_cosine_of_joined_features_is_the_weighted_mean_of_both(weight, seed):
    random = torch.Generator().manual_seed(seed)
    trained, first = torch.randn(2, 5, generator=random), torch.randn(2, 3, generator=random)
    found = join_features(trained, first, torch.tensor(weight)).numpy()
    expected = (cosine(*trained.numpy()) + weight * cosine(*first.numpy())) / (1 + weight)
    assert cosine(*found) == pytest.approx(expected, abs=1e-5)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1], abs=1e-5)


@pytest.mark.parametrize("kind", ["concat", "projected"])
def test_a_pair_compares_both_features_of_a_kind(encoders, kind):
    trained, first = encoders
    pair = PairedEncoder(trained, first, 0.25)
    with torch.no_grad():
        found = pair.compared(pair(images()), kind).numpy()
        one, other = (encoder.compared(encoder(images()), kind).numpy() for encoder in encoders)
    expected = (one @ one.T + 0.25 * other @ other.T) / 1.25
    np.testing.assert_allclose(found @ found.T, expected, atol=1e-5)


def test_features_of_a_pair_may_be_averaged_before_they_are_compared(encoders):
    """As those of an image and its mirror image are: each encoder's own are averaged, not their joined form."""
    pair = PairedEncoder(*encoders, 0.25)
    with torch.no_grad():
        halves = zip(pair(images()), pair(images().flip(3)), strict=True)
        found = pair.compared(ImageFeatures(*((one + other) / 2 for one, other in halves)), "projected")
        means = [(encoder(images()).projected + encoder(images().flip(3)).projected) / 2 for encoder in encoders]
    torch.testing.assert_close(found, join_features(*means, torch.tensor(0.25)))


def test_a_pair_has_both_sets_of_weights_and_tells_its_dimensions(encoders):
    pair = PairedEncoder(*encoders, 0.25)
    features = pair(images())
    dimensions = (pair.projected_dim, pair.hidden_dim, pair.earlier_dim)
    assert tuple(feature.shape[1] for feature in features) == dimensions
    own = {f"{name}.{key}" for name in ("trained", "first") for key in encoders[0].state_dict()}
    assert pair.state_dict().keys() == {PAIR_KEY, *own}


@pytest.mark.parametrize(
    ("given", "nothing"), [({}, True), ({"trained_share": 0.9}, False), ({"clip_weight": 0.1}, False)]
)
def test_settings_know_whether_they_change_anything(given, nothing):
    assert BlendSettings(**given).changes_nothing == nothing


@pytest.mark.parametrize("wrong", [{"trained_share": 0}, {"trained_share": 1.1}, {"clip_weight": -0.1}])
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValidationError):
        BlendSettings(**wrong)
