"""Parameters: defaults of the paper, overrides, and errors that say which key is wrong."""

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from pipeline.config import Parameters, load_parameters
from pipeline.errors import InputError

REPOSITORY = Path(__file__).resolve().parent.parent


def test_defaults_are_the_papers():
    parameters = Parameters()
    assert parameters.model.name == "ViT-B-16-quickgelu"
    assert parameters.model.image_size == (256, 128)
    assert (parameters.prompts.epochs, parameters.prompts.learning_rate, parameters.prompts.batch_size) == (
        120,
        3.5e-4,
        64,
    )
    encoder = parameters.encoder
    assert (encoder.epochs, encoder.learning_rate) == (40, 5e-6)
    assert encoder.identities_per_batch * encoder.images_per_identity == 64
    assert (encoder.lambda_con, encoder.lambda_dis, encoder.triplet_margin) == (0.1, 1.0, 0.3)


def test_the_repositorys_file_is_valid_and_every_section_is_known():
    tree = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    parameters = load_parameters(REPOSITORY / "params.yaml")
    for section, values in tree.items():
        if isinstance(values, dict):
            for key, value in values.items():
                found = getattr(getattr(parameters, section), key)
                assert found == (tuple(value) if isinstance(value, list) else value)


def test_every_parameter_has_a_description_or_is_explained_by_its_section():
    for name, field in Parameters.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and hasattr(section, "model_fields"):
            assert section.__doc__, name


def test_overrides_are_yaml_and_the_last_wins(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("encoder: {epochs: 3}\n")
    parameters = load_parameters(
        path, ["encoder.epochs=4", "encoder.epochs=5", "model.image_size=[128, 64]", "model.pretrained=null"]
    )
    assert parameters.encoder.epochs == 5
    assert parameters.model.image_size == (128, 64)
    assert parameters.model.pretrained is None


def test_parameters_are_frozen():
    with pytest.raises(ValidationError):
        Parameters().encoder.epochs = 3


@pytest.mark.parametrize(("content", "message"), [
    ("encoder: {epoch: 3}", "encoder.epoch is not a parameter; did you mean encoder.epochs?"),
    ("nosuch: 3", "nosuch is not a parameter"),
    ("encoder: {epochs: 0}", "encoder.epochs = 0: Input should be greater than or equal to 1"),
    ("encoder: {disentangle: sin}", "encoder.disentangle = 'sin'"),
    ("- a\n- b", "must be a mapping of sections, not list"),
    ("a: [", "cannot be read as YAML"),
])  # fmt: skip
def test_wrong_files_are_input_errors(tmp_path, content, message):
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        load_parameters(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
