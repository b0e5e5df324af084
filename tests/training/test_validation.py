"""Checks between epochs: which features they are made by, and what is refused before a training."""

from dataclasses import replace

import pytest
import torch
import yaml

from pipeline.datasets.catalog import load_facts
from pipeline.errors import InputError
from pipeline.features.settings import FeatureSettings
from pipeline.models.clip import load_clip
from pipeline.models.settings import ModelSettings
from pipeline.shards.settings import LoadingSettings
from pipeline.training.settings import ValidationSettings
from pipeline.training.training_data import TrainingData, read_training_data
from pipeline.training.validation import make_validation

CHECKS = ValidationSettings(evaluate_every=1, evaluate_split="val", evaluate_protocol="general")


@pytest.fixture(scope="module")
def data(picture_shards, tmp_path_factory) -> TrainingData:
    """Random pictures, which are not symmetric, of people in one outfit each; they are trained on and checked on."""
    facts = load_facts("ltcc").model_dump(mode="json") | {
        "name": "pictures", "roles": {"train": ["train"], "val": ["train"]}, "counts": [],
    }  # fmt: skip
    path = tmp_path_factory.mktemp("facts") / "pictures.yaml"
    path.write_text(yaml.safe_dump(facts))
    found = read_training_data(picture_shards, str(path), (64, 32), loading=LoadingSettings(pixels="never"))
    found.reader.ids = replace(found.reader.ids, clothes_id=found.reader.ids.person_id)
    return found


@pytest.fixture(scope="module")
def model(tiny_clip_config) -> ModelSettings:
    return ModelSettings(name=str(tiny_clip_config), pretrained=None, image_size=(64, 32))


def check(data, model, cameras: float = 0.0, settings: ValidationSettings = CHECKS, **features) -> dict[str, float]:
    clip = load_clip(model, seed=1)
    if cameras:
        clip.image_encoder.add_cameras(torch.tensor([1, 2]), cameras, torch.Generator().manual_seed(2))
    wanted = FeatureSettings(**features)
    validation, _ = make_validation(settings, wanted, data, clip.image_encoder, clip.spec, seed=0, device="cpu")
    return validation.score()


def test_everything_that_makes_features_makes_those_of_the_checks(data, model):
    """What they are made by is compared with extract and evaluate in the tests of the train command."""
    found = [
        check(data, model),
        check(data, model, flip=True),
        check(data, model, feature="projected"),
        check(data, model, cameras=40.0),
        check(data, model, cameras=40.0, flip=True),
    ]
    assert len({item["mAP"] for item in found}) == len(found)
    assert check(data, model, flip=True) == found[1]
    assert check(data, model, batch_size=len(data.rows))["mAP"] == pytest.approx(found[0]["mAP"])


def test_there_are_none_unless_they_are_asked_for(data, model):
    clip = load_clip(model, seed=1)
    made = make_validation(
        ValidationSettings(), FeatureSettings(), data, clip.image_encoder, clip.spec, seed=0, device="cpu"
    )
    assert made == (None, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evaluate_split": "test"}, "training.evaluate_split: data set pictures has no role query"),
        ({"evaluate_protocol": "nothing"}, "training.evaluate_protocol, training.evaluate_split: unknown protocol"),
    ],
)
def test_what_cannot_be_scored_is_refused_before_the_training(data, model, change, message):
    with pytest.raises(InputError, match=message):
        check(data, model, settings=CHECKS.model_copy(update=change))
