"""One checkpoint of random values for all tests of SCHP: a file of 268 MB takes its time."""

import pytest
import torch
from schp_samples import FILES, pictures, random_tensors, save_published

from pipeline.parsing.schp.checkpoint import load_schp
from pipeline.parsing.schp.network import SchpNetwork
from pipeline.parsing.schp.transform import normalise, warp_to_input
from pipeline.parsing.schp.variants import VARIANTS


@pytest.fixture(scope="session")
def lip_tensors():
    """Published names without prefix; not to be changed.

    The last layer is evened out over an image: with random values alone, one class would win everywhere.
    """
    tensors = random_tensors("lip")
    network = SchpNetwork(20)
    heads = ("context_encoding", "edge", "decoder", "fushion")
    network.load_state_dict({name if name.startswith(heads) else f"backbone.{name}": tensors[name] for name in tensors})
    image = torch.from_numpy(warp_to_input(pictures((65, 65))[0], 65))[None]
    with torch.inference_mode():
        logits = network(normalise(image)).fusion
    spread = 3 / logits.std((0, 2, 3)).mean()
    tensors["fushion.3.bias"] = (tensors["fushion.3.bias"] - logits.mean((0, 2, 3))) * spread
    tensors["fushion.3.weight"] *= spread
    return tensors


@pytest.fixture(scope="session")
def lip_file(lip_tensors, tmp_path_factory):
    """A checkpoint under its published name, in a folder of its own."""
    return save_published(tmp_path_factory.mktemp("schp") / FILES["lip"], lip_tensors, cycle_n=5)


@pytest.fixture
def lip_network(lip_file):
    return load_schp(lip_file, VARIANTS["lip"])
