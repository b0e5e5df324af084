"""Resizing position embeddings between grids that are not square."""

import pytest
import torch

from pipeline.models.positions import resize_positions


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
