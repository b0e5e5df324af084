"""Resizing position embeddings between grids that are not square."""

import math

import pytest
import torch

from pipeline.models.positions import resize_positions, waves


def test_a_linear_ramp_stays_a_ramp_and_the_class_token_stays():
    rows = torch.arange(4.0)[:, None].expand(4, 2).reshape(8, 1)  # value = row of the 4 x 2 grid
    positions = torch.cat([torch.tensor([[99.0]]), rows])
    resized = resize_positions(positions, (4, 2), (8, 4))
    assert resized.shape == (33, 1)
    assert resized[0, 0] == 99.0
    grid = resized[1:, 0].reshape(8, 4)
    assert torch.equal(grid[:, 0], grid[:, 3])  # constant along the width
    assert grid[2:6, 0].tolist() == pytest.approx([0.75, 1.25, 1.75, 2.25])


def test_the_same_grid_changes_nothing():
    positions = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    assert resize_positions(positions, (4, 2), (4, 2)) is positions


def test_a_transposed_grid_is_not_taken_for_the_same():
    positions = torch.randn(9, 5, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(resize_positions(positions, (4, 2), (2, 4)), positions)


def test_a_wrong_number_of_rows_is_refused():
    with pytest.raises(ValueError, match="do not fit"):
        resize_positions(torch.zeros(8, 5), (4, 2), (2, 4))


def test_waves_tell_every_place_apart_and_near_ones_are_more_alike() -> None:
    places = waves((8, 4), 128)
    assert places.shape == (32, 128)
    assert places.abs().max() <= 1
    likeness = torch.corrcoef(places)
    grid = torch.stack(torch.meshgrid(torch.arange(8), torch.arange(4), indexing="ij"), dim=2).reshape(-1, 2).float()
    distance = torch.cdist(grid, grid)
    assert (likeness[distance > 0] < 0.99).all()
    means = [likeness[distance == steps].mean().item() for steps in range(4)]
    assert means == sorted(means, reverse=True)
    row, column = 5, 2  # by the formula
    lengths = [4.0 * 10 ** (number / 32) for number in range(32)]
    angles = [2 * math.pi * place / length for place in (row, column) for length in lengths]
    expected = [f(angle) for half in (angles[:32], angles[32:]) for f in (math.sin, math.cos) for angle in half]
    assert places[row * 4 + column].tolist() == pytest.approx(expected, abs=1e-5)
