"""The published layout, key for key, and what is said of any other file."""

import pickle

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schp_samples import CLASSES, FILES, PUBLISHED_TENSORS, published_layout, save_published

from pipeline.errors import InputError
from pipeline.parsing.schp.checkpoint import find_weights, load_schp
from pipeline.parsing.schp.network import SchpNetwork
from pipeline.parsing.schp.variants import VARIANTS

LIP = VARIANTS["lip"]
WHERE = r"expected exp-schp-201908261155-lip\.pth, which the README of GoGoDuck912/Self-Correction-Human-Parsing"


@pytest.mark.parametrize("variant", ["lip", "atr", "pascal"])
def test_the_network_has_the_published_tensors_and_no_other(variant):
    with torch.device("meta"):
        network = SchpNetwork(CLASSES[variant])
    own = {name.removeprefix("backbone."): tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    assert own == published_layout(CLASSES[variant])
    assert len(own) == PUBLISHED_TENSORS


@pytest.mark.parametrize(("variant", "size"), [("lip", 473), ("atr", 512), ("pascal", 512)])
def test_variants_are_the_published_ones(variant, size):
    assert VARIANTS[variant].file_name == FILES[variant]
    assert VARIANTS[variant].size == size
    assert VARIANTS[variant].scheme.name == variant
    assert len(VARIANTS[variant].scheme.labels) == CLASSES[variant]


def test_every_value_of_the_file_arrives(lip_network, lip_tensors):
    loaded = lip_network.state_dict()
    assert len(loaded) == PUBLISHED_TENSORS
    for name, tensor in loaded.items():
        assert torch.equal(tensor, lip_tensors[name.removeprefix("backbone.")]), name
    assert not lip_network.training


def test_both_file_formats_of_pytorch_are_read(lip_tensors, tmp_path):
    path = save_published(tmp_path / "new.pth", lip_tensors, legacy=False)
    network = load_schp(path, LIP)
    assert torch.equal(network.fushion[3].weight, lip_tensors["fushion.3.weight"])


def test_a_folder_is_searched_for_the_published_name(tmp_path):
    (tmp_path / FILES["atr"]).touch()
    assert find_weights(tmp_path, VARIANTS["atr"]) == tmp_path / FILES["atr"]
    with pytest.raises(InputError, match=rf"no weights .* in the folder .*{WHERE}.*parse\.settings\.variant=atr"):
        find_weights(tmp_path, LIP)
    with pytest.raises(InputError, match=f"not found: .*absent.pth; {WHERE}"):
        find_weights(tmp_path / "absent.pth", LIP)


def refused(tmp_path, tensors, message, variant="lip", **more):
    path = save_published(tmp_path / "other.pth", tensors, **more)
    with pytest.raises(InputError, match=message) as error:
        load_schp(path, VARIANTS[variant])
    assert "\n" not in str(error.value)


def without_values(variant):
    """The layout with a single stored number for each tensor: the file stays small."""
    return {name: torch.zeros(1).expand(shape) for name, shape in published_layout(CLASSES[variant]).items()}


@pytest.mark.parametrize(("given", "asked"), [("lip", "atr"), ("atr", "lip"), ("pascal", "lip")])
def test_weights_of_another_variant_are_recognised(given, asked, tmp_path):
    message = f"{CLASSES[given]} classes: they are those of the variant {given}, not of {asked}.*variant={given}"
    refused(tmp_path, without_values(given), message, asked)


def test_missing_and_unknown_tensors_are_listed(tmp_path):
    tensors = without_values("lip")
    del tensors["layer3.22.bn2.bias"]
    tensors["layer5.0.weight"] = torch.zeros(1)
    refused(
        tmp_path,
        tensors,
        rf"1 of 603 tensors are missing \(layer3\.22\.bn2\.bias\); 1 are not known \(layer5\.0\.weight\); {WHERE}",
    )
    refused(tmp_path, {"fc.weight": torch.zeros(3)}, r"603 of 603 tensors are missing .*\.\.\.")


def test_other_shapes_values_and_types_are_refused(tmp_path):
    tensors = without_values("lip")
    refused(
        tmp_path, tensors | {"conv1.weight": torch.zeros(64, 3, 7, 7)}, r"conv1\.weight is \(64, 3, 7, 7\) and .*3, 3"
    )
    refused(tmp_path, tensors | {"bn1.bias": torch.full((64,), torch.nan)}, r"not finite \(bn1\.bias\)")
    refused(tmp_path, tensors | {"bn1.bias": torch.zeros(64, dtype=torch.int64)}, r"module\.bn1\.bias in 'state_dict'")
    refused(tmp_path, tensors | {"fushion.3.weight": torch.tensor(1.0)}, r"fushion\.3\.weight is \(\) and should")
    # 21 classes are of no published variant
    refused(tmp_path, tensors | {"fushion.3.weight": torch.zeros(21, 256, 1, 1)}, r"fushion\.3\.weight is \(21")


def test_files_without_the_published_frame_are_refused(tmp_path):
    path = tmp_path / "bare.pth"
    torch.save(without_values("lip"), path)
    with pytest.raises(InputError, match=f"no entry 'state_dict'; {WHERE}"):
        load_schp(path, LIP)
    torch.save({"state_dict": {"conv1.weight": torch.zeros(64, 3, 3, 3)}}, path)
    with pytest.raises(InputError, match=r"conv1\.weight in 'state_dict'.*starts with 'module\.'"):
        load_schp(path, LIP)


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_one_clear_line(legacy, share, tmp_path):
    tensors = {name: torch.randn(shape) for name, shape in published_layout(20).items() if len(shape) == 1}
    path = save_published(tmp_path / FILES["lip"], tensors, legacy=legacy)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(InputError, match=f"cannot be read, the file is truncated.*{WHERE}") as error:
        load_schp(path, LIP)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content", [b"<html>quota exceeded</html>", b"\x80\x04garbage", b"PK\x03\x04garbage", b"\0" * 64]
)
def test_a_file_of_something_else_is_one_clear_line(content, tmp_path):
    path = tmp_path / FILES["lip"]
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"cannot be read.*{WHERE}") as error:
        load_schp(path, LIP)
    assert "\n" not in str(error.value)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=40), st.from_regex(rb"[a-z]{1,20}: [a-z0-9]{1,20}\n", fullmatch=True)))
def test_whatever_the_bytes_it_is_one_clear_line(tmp_path, content):
    path = tmp_path / FILES["lip"]
    path.write_bytes(content)
    with pytest.raises(InputError, match=WHERE) as error:
        load_schp(path, LIP)
    assert "\n" not in str(error.value)


class Planted:
    """Touches a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_file_is_not_run(tmp_path):
    path, trace = tmp_path / "planted.pth", tmp_path / "trace"
    torch.save({"state_dict": Planted(trace)}, path)
    with pytest.raises(InputError, match="it holds more than tensors"):
        load_schp(path, LIP)
    path.write_bytes(pickle.dumps({"state_dict": Planted(trace)}))
    with pytest.raises(InputError, match="cannot be read"):
        load_schp(path, LIP)
    assert not trace.exists()
