"""Values that no setting may have: each is refused where it is read, with its key."""

import pytest

from pipeline.config import Parameters, load_parameters
from pipeline.errors import InputError
from pipeline.settings import LARGEST_NUMBER

LARGE = f"whole numbers go up to {LARGEST_NUMBER:,}"
FINITE = "Input should be a finite number"


@pytest.mark.parametrize(("change", "message"), [
    ("model.image_size=[0, 0]", "model.image_size.0 = 0: Input should be greater than or equal to 1"),
    ("model.image_size=[-64, 32]", "model.image_size.0 = -64"),
    ("model.image_size=[128, 1000000]", "model.image_size.1 = 1000000: Input should be less than or equal to 4096"),
    ("model.pixel_std=[0.5, 0, 0.5]", "model.pixel_std.1 = 0: Input should be greater than 0"),
    ("model.pixel_std=[.nan, 1, 1]", f"model.pixel_std.0 = nan: {FINITE}"),
    ("model.pixel_mean=[1, .inf, 1]", f"model.pixel_mean.1 = inf: {FINITE}"),
    ("training.clip_gradients=.inf", f"training.clip_gradients = inf: {FINITE}"),
    ("encoder.learning_rate=.inf", f"encoder.learning_rate = inf: {FINITE}"),
    ("seed=9223372036854775808", f"seed = 9223372036854775808: {LARGE}"),
    ("seed=2147483648", f"seed = 2147483648: {LARGE}"),
    ("encoder.epochs=1.0e+30", "encoder.epochs = 1e+30"),
    ("encoder.milestones=[3, 99999999999]", LARGE),
    ("encoder.start_epochs={cal: 99999999999}", LARGE),
    ("data.root=[[[[]]]]", "data.root = [[[[]]]]: Input should be a valid string"),
    ("seed=" + "[" + "x, " * 500 + "]", "..."),
])  # fmt: skip
def test_such_a_value_is_refused_with_its_key_in_one_short_line(change: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_parameters(None, [change])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_the_largest_seed_reaches_every_generator() -> None:
    import numpy as np
    import torch

    seed = load_parameters(None, [f"seed={LARGEST_NUMBER}"]).seed
    torch.Generator().manual_seed(seed * 2**32 + 2**32 - 1)  # as the heads' generators are seeded, at the most
    np.random.default_rng([seed, 0])


def test_defaults_are_within_the_bounds() -> None:
    assert Parameters.model_validate(Parameters().model_dump()) == Parameters()
