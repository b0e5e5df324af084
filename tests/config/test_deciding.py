"""Which parameters decide an artifact, and that no name in the lists is out of date."""

import pytest

from pipeline.config import Parameters
from pipeline.config import deciding as deciding_module
from pipeline.config.deciding import ONLY_HOW, counting, deciding, deciding_training
from pipeline.config.program import MAKERS
from pipeline.training.settings import PretrainStartSettings

STEPS = ("population", "clip", "data", "shards", "prompts", "encoder", "features", "metrics", "leakage", "oracle")


def changed(**sections) -> Parameters:
    return Parameters.model_validate(sections)


def fields() -> set[str]:
    """Dotted names of all parameters."""
    return {
        f"{section}.{name}" if hasattr(type(field.default), "model_fields") else section
        for section, field in Parameters.model_fields.items()
        for name in getattr(type(field.default), "model_fields", [""])
    }


def test_every_name_is_that_of_a_parameter():
    for kind in MAKERS:
        assert counting(kind) <= fields(), kind
    assert {f"{section}.{name}" for section, names in ONLY_HOW.items() for name in names} <= fields()


def test_every_parameter_counts_for_something_or_is_known_to_change_no_result():
    nothing = {f"{section}.{name}" for section, names in ONLY_HOW.items() for name in names} | {"device", "threads"}
    counted = set().union(*(counting(kind) for kind in MAKERS))
    own = {name for name in fields() if name.startswith("figures.")}  # figures are made on demand, by no stage
    assert fields() - nothing - counted == own
    assert not nothing & counted


@pytest.mark.parametrize("kind", STEPS)
def test_what_changes_no_result_decides_nothing(kind):
    how = {"parse": {"batch_size": 3}, "training": {"accumulation": 2}, "evaluate": {"batch_size": 3}}
    other = changed(device="cuda", threads=3, loading={"threads": 7}, **how)
    assert deciding(kind, other) == deciding(kind, Parameters())


@pytest.mark.parametrize(
    ("kinds", "sections"),
    [
        ({"encoder"}, {"encoder": {"epochs": 3}}),
        ({"encoder"}, {"encoder": {"triplet_margin": 0.5}}),  # of a loss
        ({"encoder"}, {"training": {"evaluate_every": 1}}),
        ({"prompts", "encoder"}, {"training": {"precision": "bf16"}}),
        ({"prompts", "encoder"}, {"training": {"tf32": False}}),
        ({"prompts", "encoder"}, {"encoder": {"method": "clip-reid"}}),
        ({"prompts"}, {"prompts": {"epochs": 3}}),
        ({"clip", "prompts", "encoder", "features"}, {"model": {"stem": "conv"}}),
        ({"shards"}, {"parse": {"parser": "schp"}}),
        ({"shards"}, {"parse": {"shielded_images": "made"}}),
        ({"encoder"}, {"encoder": {"batch_per_worker": True}}),
        ({"shards"}, {"data": {"frames_per_tracklet": 3}}),
        ({"features"}, {"evaluate": {"flip": True}}),
        ({"metrics"}, {"evaluate": {"rerank": True}}),
        ({"population", "data"}, {"synth": {"height": 64}}),
        ({"data"}, {"synth": {"outfits": 5}}),
        ({"leakage"}, {"leakage": {"folds": 3}}),
    ],
)
def test_a_parameter_decides_what_it_is_for(kinds, sections):
    found = {kind for kind in STEPS if deciding(kind, changed(**sections)) != deciding(kind, Parameters())}
    assert found == kinds


def test_the_feature_decides_the_encoder_where_checks_choose_the_best_weights():
    for every in (0, 2):
        training = {"evaluate_every": every}
        usual = deciding("encoder", changed(training=training))
        other = deciding("encoder", changed(training=training, evaluate={"feature": "projected"}))
        assert (usual != other) == bool(every)


def test_weights_from_outside_count_by_what_they_are():
    one, other = (changed(model={"pretrained": place}) for place in ("a.safetensors", "b.safetensors"))
    assert deciding("prompts", one, "hash") == deciding("prompts", other, "hash")
    assert deciding("prompts", one, "hash") != deciding("prompts", one, "other hash")


def test_cudas_arithmetic_decides_on_cuda_and_only_where_it_is_not_as_usual():
    usual = changed(training={"precision": "fp32"})
    unusual = changed(training={"precision": "fp32", "tf32": True, "deterministic": True})
    for kind in ("prompts", "encoder"):
        expected = deciding_training(kind, usual, "cpu")
        assert not {"tf32", "deterministic"} & expected["training"].keys()
        assert deciding_training(kind, unusual, "cpu") == deciding_training(kind, usual, "cuda") == expected
        found = deciding_training(kind, unusual, "cuda:1")["training"]
        assert found == {**expected["training"], "tf32": True, "deterministic": True}


def test_tf32_decides_only_where_it_is_not_what_auto_becomes():
    for precision, became in (("fp32", False), ("bf16", True), ("auto", True)):
        usual = deciding("encoder", changed(training={"precision": precision}))
        for choice in (False, True):
            found = deciding("encoder", changed(training={"precision": precision, "tf32": choice}))
            assert (found == usual) == (choice == became)
            if choice != became:
                assert found["training"] == {**usual["training"], "tf32": choice}


def test_a_training_names_the_precision_that_auto_became(monkeypatch):
    became = {"cpu": "fp32", "cuda": "bf16"}
    monkeypatch.setattr(deciding_module, "resolve_precision", lambda _, device: became[device])
    for kind in ("prompts", "encoder"):
        named = {device: deciding_training(kind, Parameters(), device) for device in ("cpu", "cuda")}
        assert {device: value["training"]["precision"] for device, value in named.items()} == became
        assert deciding(kind, Parameters())["training"]["precision"] == "auto"  # of DVC and studies: any device's


def test_trainings_name_what_they_named_before():
    """Values that stand in checkpoints, and in the fingerprints of states that trainings go on from."""
    parameters = changed(seed=3, training={"evaluate_every": 2}, model={"camera_embedding": 1.0})
    sections = parameters.model_dump(mode="json")
    started = PretrainStartSettings.model_fields.keys()  # named where it is not as it was before it could be chosen
    before = {name: value for name, value in sections["pretrain"].items() if name not in started}
    assert deciding_training("clip", parameters, "cpu") == {"parameters": before, "seed": 3}
    other = changed(seed=3, pretrain={"image_start": "imagenet"}, model={"tokenizer": "files"})
    named = {"parameters": {**before, "image_start": "imagenet"}, "seed": 3, "tokenizer": "files"}
    assert deciding_training("clip", other, "cpu") == named
    assert deciding_training("prompts", parameters, "cpu") == {
        "parameters": sections["prompts"],
        "training": {"clip_gradients": None, "precision": "fp32"},
        "seed": 3,
        "identity_images": "shielding",
    }
    before = {
        name: value
        for name, value in sections["encoder"].items()
        if not name.startswith("redress") and "caption" not in name and name != "batch_per_worker"
    }
    assert deciding_training("encoder", parameters, "cpu") == {
        "parameters": before,
        "training": {
            "clip_gradients": None,
            "evaluate_every": 2,
            "evaluate_metric": "mAP",
            "evaluate_protocol": None,
            "evaluate_split": "test",
            "precision": "fp32",
        },
        "seed": 3,
        "camera_embedding": 1.0,
        "evaluate_feature": "concat",
    }


def test_texts_of_images_decide_only_where_there_are_any_and_by_what_is_in_them():
    assert deciding("encoder", changed(encoder={"caption_scale": 3.0})) == deciding("encoder", changed())
    given = changed(encoder={"captions": "a/texts.parquet", "caption_scale": 3.0, "method": "captions"})
    assert deciding("encoder", given)["encoder"]["captions"] == "a/texts.parquet"  # of DVC and studies
    named = deciding_training("encoder", given, "cpu")["parameters"]
    assert (named["caption_scale"], named["lambda_caption_align"]) == (3.0, 1.0)
    assert "captions" not in named


def test_redressed_views_decide_only_where_there_are_any():
    given = {"redress_kinds": ["colour"], "redress_outfits": 3}
    assert deciding("encoder", changed(encoder=given)) == deciding("encoder", changed())
    found = deciding("encoder", changed(encoder={**given, "redress": 0.5}))["encoder"]
    assert {name: found[name] for name in found if name.startswith("redress")} == {
        "redress": 0.5,
        "redress_kinds": ["colour"],
        "redress_regions": ["upper", "lower", "dress", "coat"],
        "redress_outfits": 3,
        "redress_classes": "none",
    }
