"""Published models chosen by one word, and what is said of their licences."""

import pytest
from transformers_samples import ATR_LIKE, FASHN, pictures, save_model

from pipeline.errors import InputError
from pipeline.labels import ATR, LIP
from pipeline.parsing.listing import list_parsers
from pipeline.parsing.transformers.backend import create_transformers
from pipeline.parsing.transformers.labels import own_labels
from pipeline.parsing.transformers.named import PRESET_NAMES, PRESETS, load_preset, preset_labels

CLASSES = {"clothes-b2": ATR_LIKE, "clothes-b3": ATR_LIKE, "fashn": FASHN}


def test_every_file_is_a_preset():
    assert sorted(path.stem for path in PRESETS.iterdir()) == sorted(PRESET_NAMES) == sorted(CLASSES)


@pytest.mark.parametrize("name", PRESET_NAMES)
def test_classes_of_the_published_models_have_labels(name):
    preset = load_preset(name)
    labels = preset_labels(preset, CLASSES[name])
    assert labels.numbers == tuple(range(18))
    assert preset.model.count("/") == 1
    assert "non-commercial" in preset.licence


def test_what_the_presets_cover():
    assert preset_labels(load_preset("clothes-b2"), ATR_LIKE).scheme == ATR
    scheme = preset_labels(load_preset("fashn"), FASHN).scheme
    covered = {scheme.labels[number] for number in scheme.clothes}
    assert (scheme.name, covered) == ("fashn", {"top", "dress", "skirt", "pants", "belt"})
    assert not scheme.garments_only


def test_a_preset_reads_the_model_from_a_folder_that_the_user_names(tmp_path):
    save_model(tmp_path / "anything", FASHN)
    parser = create_transformers(str(tmp_path / "anything"), preset="fashn")
    assert parser.scheme.name == "fashn"
    own = create_transformers(str(tmp_path / "anything"))
    image = pictures((64, 48))[0]
    assert (parser.parse([image])[0].label_map == own.parse([image])[0].label_map).all()
    other = dict.fromkeys(FASHN, "background") | {"top": "upper-clothes"}
    assert create_transformers(str(tmp_path / "anything"), preset="fashn", scheme="lip", labels=other).scheme.name == (
        LIP.name
    )


def test_without_a_folder_the_presets_name_on_the_hub_is_read(monkeypatch):
    asked = []

    def load(model, revision):
        asked.append((model, revision))
        raise InputError("stop")

    monkeypatch.setattr("pipeline.parsing.transformers.backend.load_model", load)
    with pytest.raises(InputError, match="stop"):
        create_transformers(preset="fashn", revision="v1")
    assert asked == [("fashn-ai/fashn-human-parser", "v1")]


def test_another_model_under_a_preset_is_refused(atr_folder):
    with pytest.raises(InputError, match=r"other classes \(Background, Hat, .* than fashn-ai/fashn-human-parser"):
        create_transformers(str(atr_folder), preset="fashn")


def test_unknown_presets_and_the_one_that_a_licence_forbids():
    with pytest.raises(InputError, match=r"unknown preset 'fashion' .* known: clothes-b2, clothes-b3, fashn"):
        create_transformers(preset="fashion")
    for name in ("sapiens2", "Sapiens2-1b"):
        with pytest.raises(InputError, match="licence of Sapiens2 forbids surveillance and biometric processing"):
            create_transformers(preset=name)


def test_the_list_of_parsers_says_each_licence_and_why_sapiens_is_missing():
    listed = {parser.name: parser for parser in list_parsers()}
    said = next(setting.description for setting in listed["transformers"].settings if setting.name == "preset")
    for name in PRESET_NAMES:
        assert f"{name} ({load_preset(name).licence})" in said
    assert "Sapiens2 has no preset, as its licence forbids surveillance" in said
    assert "former name of transformers" in listed["segformer"].about


def test_garments_of_sapiens_are_known_to_whoever_chooses_it_themselves():
    scheme = own_labels("mine", ["Background", "Apparel", "Hair", "Lower_Clothing", "Upper_Clothing", "Torso"]).scheme
    assert {scheme.labels[number] for number in scheme.clothes} == {"apparel", "lower-clothing", "upper-clothing"}
