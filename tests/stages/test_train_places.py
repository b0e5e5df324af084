"""Places of train: what somebody else uses or owns is left alone, and what cannot work is said before any work."""

import errno
import os

import pytest

from pipeline.files import read_json
from pipeline.locks import hold
from stages import encoder as encoder_inputs
from stages import prompts as prompts_stage
from stages.cli import run


@pytest.fixture
def train(figures, tmp_path, capsys):
    """Runs the command in a folder of its own; returns exit code and what it said."""

    def call(*more: str) -> tuple[int, str]:
        places = ["--prompts", str(tmp_path / "prompts"), "--out", str(tmp_path / "encoder")]
        code = run(
            ["train", "--params", str(figures.params), "--shards", str(figures.shards), *places, "--quiet", *more]
        )
        return code, capsys.readouterr().err

    return call


@pytest.fixture
def no_decoding(monkeypatch):
    """Whoever reads the training images fails the test."""

    def read(*arguments, **more):
        raise AssertionError("images are decoded although the command cannot work")

    monkeypatch.setattr(prompts_stage, "read_training_data", read)
    monkeypatch.setattr(encoder_inputs, "read_training_data", read)


@pytest.mark.parametrize("name", ["prompts", "encoder"])
def test_two_runs_do_not_train_into_one_place(train, tmp_path, no_decoding, name):
    with hold(tmp_path / name):
        code, error = train()
    assert code == 2
    assert f"error: another run is using {tmp_path / name} (process {os.getpid()} on " in error
    assert len(error.splitlines()) == 1


def test_prompts_that_are_read_may_be_read_by_others_but_not_written(train, tmp_path):
    with hold(tmp_path / "prompts", shared=True):
        code, error = train("--stage", "prompts")
        assert (code, "another run is using" in error) == (2, True)
        code, error = train("--stage", "encoder")
        assert (code, "no prompts checkpoint at" in error) == (2, True)


@pytest.mark.parametrize("place", ["encoder/notes.txt", "encoder.partial/thesis.tex", "encoder-timings.json"])
def test_somebodys_own_files_are_left_alone_from_the_start(train, tmp_path, no_decoding, place):
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_text("mine")
    code, error = train("--restart")
    assert code == 2
    assert len(error.splitlines()) == 1
    assert (tmp_path / place).read_text() == "mine"


def test_notes_in_a_checkpoint_are_not_trained_over(train, tmp_path):
    assert train()[0] == 0
    (tmp_path / "encoder" / "notes.txt").write_text("mine")
    before = read_json(tmp_path / "prompts" / "config.json", "config")
    code, error = train("--seed", "5")
    assert code == 2
    assert "encoder holds what ccaf-pipeline did not write (notes.txt): move it elsewhere" in error
    assert read_json(tmp_path / "prompts" / "config.json", "config") == before, "nothing was done"
    assert (tmp_path / "encoder" / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("name", ["prompts", "encoder"])
def test_places_that_cannot_be_written_are_told_at_the_start(train, tmp_path, no_decoding, name):
    (tmp_path / "file").write_text("x")
    option = "--prompts" if name == "prompts" else "--out"
    code, error = train(option, str(tmp_path / "file" / name))
    assert code == 2
    assert f"cannot write {tmp_path / 'file' / name}: {tmp_path / 'file'} is a file, not a folder" in error


def test_one_place_for_both_checkpoints_is_refused(train, tmp_path, no_decoding):
    code, error = train("--out", str(tmp_path / "prompts"))
    assert (code, "give each checkpoint a place of its own" in error) == (2, True)


def test_a_wrong_weights_path_is_told_before_any_image_is_decoded(train, tmp_path, no_decoding):
    code, error = train("--set", f"model.pretrained={tmp_path / 'none.pt'}")
    assert code == 2
    assert "none.pt" in error


def test_a_fault_of_the_machine_is_one_line(train, monkeypatch):
    def fail(*arguments, **more):
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/file")

    monkeypatch.setattr(prompts_stage, "read_training_data", fail)
    code, error = train()
    assert code == 1
    assert error == "error: /somewhere/file: No space left on device; run the same command again to go on\n"
