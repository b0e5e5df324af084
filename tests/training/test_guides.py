"""Guides of CLIP pre-training: what they look at, and that the checkpoint knows nothing of them."""

from pathlib import Path

import pytest
import torch
from clips import make_clip

from pipeline.models.clip import Clip, clip_state
from pipeline.models.positions import waves
from pipeline.training.guides import Guides, start_positions
from pipeline.training.pretrain_data import FactorPhrases

FACTORS = (FactorPhrases("hair", False, ("red", "green", "blue")), FactorPhrases("coat", True, ("light", "dark")))


@pytest.fixture
def clip(tiny_clip_config: Path) -> Clip:
    return make_clip(tiny_clip_config, stem="conv", image_size=(64, 32), seed=1)


def test_guides_see_the_feature_and_the_patches_row_by_row(clip: Clip) -> None:
    encoder = clip.image_encoder.eval()
    guides = Guides(encoder, clip.spec.grid, FACTORS)
    images = torch.randn(3, 3, 64, 32)
    with torch.no_grad():
        with guides.watch(encoder):
            features = encoder(images).projected
        on_feature, on_rows = guides(features)
        patches = encoder.tower.conv1(images)  # (3, C, rows, columns)
    assert [part.shape for part in on_feature] == [(3, 3), (3, 2)]
    assert torch.allclose(torch.cat(on_feature, dim=1), guides.on_feature(features))
    channels, rows = patches.shape[1], clip.spec.grid[0]
    assert guides.on_rows is not None
    for image in range(3):
        for logit in range(5):
            score = guides.on_rows.bias[logit].item()
            for channel in range(channels):
                for row in range(rows):
                    mean = patches[image, channel, row].clamp(min=0).mean().item()
                    score += guides.on_rows.weight[logit, channel * rows + row].item() * mean
            assert torch.cat(on_rows, dim=1)[image, logit].item() == pytest.approx(score, abs=1e-4)


def test_gradients_of_the_guides_reach_the_stem(clip: Clip) -> None:
    guides = Guides(clip.image_encoder, clip.spec.grid, FACTORS)
    with guides.watch(clip.image_encoder):
        features = clip.image_encoder(torch.randn(4, 3, 64, 32)).projected
    _, on_rows = guides(features)
    on_rows[0].sum().backward()
    assert clip.image_encoder.tower.conv1.layers[0].weight.grad.abs().sum() > 0
    assert clip.image_encoder.tower.proj.grad is None


def test_nothing_is_kept_of_images_that_are_not_watched(clip: Clip) -> None:
    guides = Guides(clip.image_encoder, clip.spec.grid, FACTORS)
    features = clip.image_encoder(torch.randn(2, 3, 64, 32)).projected
    assert len(guides(features)) == 1  # on the feature only
    assert not clip.image_encoder.tower.conv1._forward_hooks


def test_the_checkpoint_holds_no_guide(clip: Clip) -> None:
    before = set(clip_state(clip))
    Guides(clip.image_encoder, clip.spec.grid, FACTORS)
    assert set(clip_state(clip)) == before


def test_positions_start_from_waves_and_the_class_token_keeps_its_own(clip: Clip) -> None:
    positions = clip.image_encoder.tower.positional_embedding
    before = positions.detach().clone()
    start_positions(clip.image_encoder, clip.spec.grid)
    assert torch.equal(positions[0], before[0])
    assert positions[1:].abs().max() <= 0.5
    assert torch.allclose(positions[1:], 0.5 * waves(clip.spec.grid, positions.shape[1]))
