"""CLIP weights of the package: they are what their record says, and load by name and by file alike."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from pipeline.config import load_parameters
from pipeline.config.deciding import deciding_training
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.datasets.walkers.writer import render_pretraining
from pipeline.errors import InputError
from pipeline.models.builtin import WEIGHTS_FOLDER, builtin_weights, portable_name, weights_on_disk
from pipeline.models.checkpoint import read_checkpoint
from pipeline.models.clip import clip_state, load_clip
from pipeline.training.pretrain_data import read_captioned_images
from pipeline.training.pretrain_task import PretrainTask, zero_shot_accuracy

REPOSITORY = Path(__file__).resolve().parent.parent.parent
NAME = "builtin:walker-clip"


@pytest.fixture(scope="module")
def parameters():
    return load_parameters(REPOSITORY / "params.yaml", [])


def load(parameters, pretrained):
    return load_clip(parameters.model.model_copy(update={"pretrained": pretrained})).freeze()


def test_the_demo_names_the_weights_as_a_file(parameters):
    path = REPOSITORY / parameters.model.pretrained
    assert path == weights_on_disk(NAME) == builtin_weights()[NAME]
    by_name, by_file = load(parameters, NAME), load(parameters, str(path))
    assert by_name.weights_sha256 == by_file.weights_sha256
    assert all((clip_state(by_file)[key] == value).all() for key, value in clip_state(by_name).items())


def test_the_record_is_of_these_weights_and_of_the_demos_parameters(parameters):
    folder = builtin_weights()[NAME].parent
    checkpoint = read_checkpoint(folder, "clip", "")  # compares the hash of the weights with the recorded one
    clip = load(parameters, NAME)
    assert checkpoint.config["model"] == json.loads(json.dumps(clip.spec.to_dict()))
    assert checkpoint.config["parameters"] == deciding_training("clip", parameters, "cpu")["parameters"]
    assert checkpoint.config["seed"] == parameters.seed
    made = checkpoint.config["images"] + checkpoint.config["images_held_out"]
    assert made == parameters.synth.pretrain_images


def test_the_card_names_the_hash_and_the_commands_of_the_stages():
    folder = builtin_weights()[NAME].parent
    card = (folder / "MODEL_CARD.md").read_text()
    assert json.loads((folder / "config.json").read_text())["weights_sha256"] in card
    stages = yaml.safe_load((REPOSITORY / "data_manifests" / "pretrain" / "dvc.yaml").read_text())["stages"]
    assert len(stages) == 2
    for stage in stages.values():
        assert stage["cmd"] in card


def test_phrases_are_found_on_people_whom_the_weights_never_saw(parameters, tmp_path):
    render_pretraining(tmp_path / "people", SynthSettings(pretrain_images=200), seed=987)
    model = parameters.model
    images = read_captioned_images(tmp_path / "people", model.image_size)

    def accuracy(pretrained):
        task = PretrainTask(load(parameters, pretrained), images.factors)
        return zero_shot_accuracy(task, images, model.pixel_mean, model.pixel_std)

    trained, random = accuracy(NAME), accuracy(None)
    for factor in ("hair_colour", "upper_colour"):
        assert trained[factor]["accuracy"] > trained[factor]["chance"] + 20 > random[factor]["accuracy"]


def test_other_names_and_files(tmp_path):
    with pytest.raises(InputError, match=rf"builtin:other does not come with this package; it has {NAME}$"):
        weights_on_disk("builtin:other")
    assert weights_on_disk("openai") is None
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"mine")
    assert weights_on_disk(str(own)) == own


def test_a_copy_of_built_in_weights_has_their_name_on_another_machine(tmp_path):
    copy = tmp_path / "copy.safetensors"
    shutil.copy(builtin_weights()[NAME], copy)
    assert portable_name(str(copy)) == NAME
    with copy.open("ab") as stream:
        stream.write(b"x")
    assert portable_name(str(copy)) == str(copy)
    for value in (None, "openai", NAME, str(tmp_path / "absent.safetensors")):
        assert portable_name(value) == value


def test_every_file_of_the_weights_goes_into_a_wheel():
    import tomllib

    patterns = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    package = REPOSITORY / "pipeline"
    packed = {path for pattern in patterns["pipeline"] for path in package.glob(pattern)}
    files = {path for path in WEIGHTS_FOLDER.rglob("*") if path.is_file()}
    assert files
    assert files <= packed
