"""Reading files of weights: TorchScript archives, checkpoints, what is around the tensors; nothing of them runs."""

import json
import os
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from weight_forms import CONFIG, Touch, openai_archive, pickled, plain_clip, rewritten

from pipeline.errors import InputError
from pipeline.models.weight_files import read_weight_file


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with an archive in OpenAI's form, and the tensors that are in it."""
    folder = tmp_path_factory.mktemp("forms")
    config = folder / "form-clip.json"
    config.write_text(json.dumps(CONFIG))
    model = plain_clip(config)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    openai_archive(model, folder / "archive.pt")
    return folder / "archive.pt", state


def test_an_archive_of_torchscript_holds_the_tensors_of_the_model(made):
    archive, state = made
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = read_weight_file(archive)
    assert file.openai
    assert file.tensors.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(file.tensors[name], value.half()), name


def test_the_three_numbers_tell_openais_archives_from_others(tmp_path):
    module = torch.nn.Linear(2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(module), tmp_path / "other.pt")
    file = read_weight_file(tmp_path / "other.pt")
    assert not file.openai
    assert torch.equal(file.tensors["weight"], module.weight)


@pytest.mark.parametrize("call", [os.mkdir, eval, exec, getattr, os.system])
def test_an_archive_that_would_run_code_is_refused_and_runs_none(made, tmp_path, call):
    marker = tmp_path / "ran"
    arguments = {
        os.mkdir: (str(marker),),
        eval: (f"__import__('os').mkdir({str(marker)!r})",),
        exec: (f"__import__('os').mkdir({str(marker)!r})",),
        getattr: (1, "real"),
        os.system: (f"mkdir {marker}",),
    }[call]
    harm = pickled({"weight": Touch(call, *arguments)})
    rewritten(made[0], tmp_path / "archive.pt", {"/data.pkl": lambda _: harm})
    torch.save({"weight": torch.zeros(2), "more": Touch(call, *arguments)}, tmp_path / "saved.pt")
    torch.save(Touch(call, *arguments), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    for name in ("archive.pt", "saved.pt", "old.pt"):
        with pytest.raises(InputError, match=r"object of [\w.]+, which could run code, and is not read: save") as got:
            read_weight_file(tmp_path / name)
        assert "weights_only" not in str(got.value)
    assert not marker.exists()


def larger(data: bytes) -> bytes:
    """The first tensor claims a million rows."""
    at = data.index(b"K\x18K\x10")  # the positions of the text: 24 rows of 16 numbers
    return data[:at] + b"J\x00\x00\x0f\x00K\x10" + data[at + 4 :]


@pytest.mark.parametrize(
    "change",
    [
        {"/data.pkl": lambda data: data[:-20]},
        {"/data.pkl": larger},
        {"/data/0": lambda data: data[:-2]},
        {"/byteorder": lambda _: b"big"},
        {"/data.pkl": lambda _: pickled([1, 2])},
        {"/data.pkl": lambda _: pickled("x" * 100)[:-1] + b"b."},
    ],
)
def test_a_damaged_archive_is_one_sentence(made, tmp_path, change):
    rewritten(made[0], tmp_path / "bad.pt", change)
    with pytest.raises(InputError, match=r"bad\.pt: the file is damaged or cut short"):
        read_weight_file(tmp_path / "bad.pt")


def test_an_archive_whose_files_are_packed_is_refused_before_they_fill_the_memory(made, tmp_path):
    rewritten(made[0], tmp_path / "bad.pt", {"/data/0": lambda _: bytes(50_000_000)}, packed=True)
    assert (tmp_path / "bad.pt").stat().st_size < 50_000_000
    with pytest.raises(InputError, match="damaged or cut short"):
        read_weight_file(tmp_path / "bad.pt")


def test_a_trainers_checkpoint_is_unwrapped(tmp_path):
    weight = torch.randn(3, 2)
    optimizer = torch.optim.AdamW([torch.nn.Parameter(weight.clone())])
    torch.save(
        {
            "epoch": 3,
            "name": "run",
            "best": np.float64(0.5),
            "best_epoch": np.int64(2),
            "history": np.arange(3.0),
            "state_dict": {"module.visual.proj": weight, "module.logit_scale": torch.tensor(1.0)},
            "optimizer": optimizer.state_dict(),
        },
        tmp_path / "epoch_3.pt",
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file = read_weight_file(tmp_path / "epoch_3.pt")
    assert file.tensors.keys() == {"visual.proj", "logit_scale"}
    assert torch.equal(file.tensors["visual.proj"], weight)
    assert file.inside == ("state_dict", "module.")


@pytest.mark.parametrize(
    ("content", "inside"),
    [
        ({"a": torch.zeros(1)}, ()),
        ({"model": {"a": torch.zeros(1)}, "lr": 0.1}, ("model",)),
        ({"model": {"a": torch.zeros(1)}, "loss": torch.zeros(1)}, ("model",)),
        ({"state_dict": {"model": {"module.a": torch.zeros(1)}}}, ("state_dict", "model", "module.")),
        ({"anything": {"a": torch.zeros(1)}, "step": 4}, ("anything",)),
        ({"model.module.a": torch.zeros(1)}, ("model.", "module.")),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_what_is_around_the_tensors_is_taken_off_and_named(tmp_path, content, inside, zipped):
    torch.save(content, tmp_path / "w.bin", _use_new_zipfile_serialization=zipped)
    file = read_weight_file(tmp_path / "w.bin")
    assert (list(file.tensors), file.inside) == (["a"], inside)


def test_the_content_and_not_the_ending_decides(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.pt", metadata={"grid": "4x2"})
    file = read_weight_file(tmp_path / "w.pt")
    assert torch.equal(file.tensors["a"], torch.ones(2))
    assert file.metadata == {"grid": "4x2"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"hello", "neither a file of PyTorch nor one of safetensors"),
        (b"PK\x03\x04" + bytes(50), "is damaged or cut short"),
        (b"\x80\x02}q\x00(X", "is damaged or cut short"),
        (b"\x05\x00\x00\x00\x00\x00\x00\x00{1234", "is damaged or cut short"),
    ],
)
def test_files_that_are_no_weights(tmp_path, data, message):
    path = tmp_path / "weights.pt"
    path.write_bytes(data)
    with pytest.raises(InputError, match=rf"^weights {path}: the file .*{message}"):
        read_weight_file(path)


def test_files_without_plain_tensors(tmp_path):
    torch.save({"epoch": 3, "name": "run"}, tmp_path / "none.pt")
    with pytest.raises(InputError, match="holds no tensors; its entries are epoch, name"):
        read_weight_file(tmp_path / "none.pt")
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    with pytest.raises(InputError, match="a are quantised, sparse or without values"):
        read_weight_file(tmp_path / "sparse.pt")
