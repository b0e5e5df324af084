"""Addresses of Ray clusters; sessions and jobs on real ones are in test_faults.py and tests/stages."""

import pytest

from pipeline.errors import InputError
from pipeline.ray_session import ray_session


def test_a_ray_client_address_is_refused() -> None:
    with pytest.raises(InputError, match="Ray Client is not supported"), ray_session("ray://127.0.0.1:10001"):
        pass
