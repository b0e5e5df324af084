"""Presets: each loads, is of a data set that is known, and states the paper's recipe."""

from pathlib import Path

import open_clip
import pytest

from pipeline.config import load_parameters
from pipeline.datasets.catalog import load_facts
from pipeline.errors import InputError
from pipeline.presets import parameter_file, preset_names

PAPERS = {"prcc", "ltcc", "vcclothes", "deepchange"}
OURS = {"celeb_reid", "celeb_reid_light", "last", "ccvid"}


def test_there_is_one_for_each_data_set_of_the_paper_and_of_the_extension():
    assert set(preset_names()) >= PAPERS | OURS


@pytest.mark.parametrize("name", sorted(PAPERS | OURS))
def test_a_data_sets_preset_is_the_papers_recipe(name):
    parameters = load_parameters(Path(f"preset:{name}"))
    facts = load_facts(parameters.data.dataset)
    assert facts.name == name
    assert facts.roles.get("train")
    assert (parameters.model.name, parameters.model.pretrained) == ("ViT-B-16-quickgelu", "openai")
    assert parameters.model.image_size == (256, 128)
    prompts, encoder = parameters.prompts, parameters.encoder
    assert (prompts.epochs, prompts.learning_rate, prompts.batch_size) == (120, 3.5e-4, 64)
    assert (encoder.method, encoder.epochs, encoder.learning_rate) == ("ccaf", 40, 5e-6)
    assert (encoder.identities_per_batch, encoder.images_per_identity) == (16, 4)
    assert (encoder.lambda_con, encoder.lambda_dis, encoder.triplet_margin) == (0.1, 1.0, 0.3)
    without_labels = {"celeb_reid": "cluster", "celeb_reid_light": "image"}
    assert prompts.clothes_classes == without_labels.get(name, "labels")


def test_the_baseline_on_eva_is_that_of_its_source():
    parameters = load_parameters(Path("preset:eva02-l"))
    model, encoder = parameters.model, parameters.encoder
    assert (model.name, model.pretrained, model.image_size) == ("EVA02-L-14", "merged2b_s4b_b131k", (224, 224))
    assert model.pretrained in {tag for name, tag in open_clip.list_pretrained() if name == model.name}
    assert (encoder.method, encoder.epochs, encoder.learning_rate) == ("baseline", 60, 2e-6)
    assert (encoder.identities_per_batch, encoder.images_per_identity) == (8, 4)
    assert encoder.warmup_fraction * encoder.epochs == pytest.approx(20)


def test_options_win_over_a_preset():
    parameters = load_parameters(Path("preset:prcc"), ["encoder.method=clip-reid", "data.root=/data"])
    assert (parameters.encoder.method, parameters.data.root) == ("clip-reid", "/data")


def test_an_unknown_preset_is_refused_with_the_names():
    with pytest.raises(InputError, match=r"preset 'prc' is not known; presets are: .*ltcc.*prcc"):
        load_parameters(Path("preset:prc"))


def test_any_other_path_stays_a_path():
    assert parameter_file(Path("a/preset:b.yaml")) == Path("a/preset:b.yaml")
