"""Provenance: parts that were not made from one another are named, other data sets are refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.reporting.numbers import Absent, Metrics
from pipeline.reporting.origin import Inputs, check_data_set, clothes_sentence, mismatches, provenance, what_ran
from pipeline.reporting.runs import Run

ABSENT = Absent("none", "make it")
MODEL = {"name": "tiny", "stem": "patch", "image_size": [64, 32], "grid": [4, 2]}


@pytest.fixture
def inputs(people):
    """Parts that belong together."""
    made = {"dataset": "people", "shards_sha256": people.record_sha256, "clip_sha256": "clip", "model": MODEL}
    made |= {"seed": 5, "version": "0.1"}
    prompts = {
        **made, "weights_sha256": "prompts", "identities": 2, "clothes_classes": 3, "images": 4,
        "clothes_source": "labels", "images_without_clothes_class": 1, "parameters": {"cluster_distance": 0.2},
    }  # fmt: skip
    encoder = {
        **made, "weights_sha256": "encoder", "prompts_sha256": "prompts", "clothes_feature_minimisation": True,
        "parameters": {"epochs": 2, "identities_per_batch": 2, "images_per_identity": 4},
    }  # fmt: skip
    place = Path("x")
    return Inputs(
        reader=people,
        metrics=Metrics(place, {"dataset": "people", "checkpoint_sha256": "encoder"}, ()),
        frozen=Metrics(place, {"dataset": "people", "checkpoint_sha256": "clip"}, ()),
        prompts=Run(place, prompts, (0.0,), {}),
        encoder=Run(place, encoder, (0.0, 1.0), {}),
        features={"dataset": "people", "checkpoint_sha256": "encoder", "shards_sha256": people.record_sha256},
    )


def altered(inputs, part, **changes):
    value = getattr(inputs, part)
    if part == "features":
        return replace(inputs, features={**value, **changes})
    return replace(inputs, **{part: replace(value, config={**value.config, **changes})})


def test_parts_that_belong_together_bring_no_warning(inputs):
    check_data_set(inputs)
    assert mismatches(inputs) == ()


@pytest.mark.parametrize(("part", "key", "sentence"), [
    ("prompts", "shards_sha256", "prompts were learned on other shards"),
    ("encoder", "shards_sha256", "encoder was trained on other shards"),
    ("encoder", "prompts_sha256", "trained with other prompts"),
    ("features", "shards_sha256", "features were extracted from other shards"),
    ("features", "checkpoint_sha256", "ranked galleries are of another encoder"),
    ("frozen", "checkpoint_sha256", "frozen metrics are of another CLIP"),
])  # fmt: skip
def test_each_mismatch_is_named_alone(inputs, part, key, sentence):
    (warning,) = mismatches(altered(inputs, part, **{key: "another"}))
    assert sentence in warning
    assert "run `ccaf-pipeline" in warning


def test_metrics_of_another_encoder_are_named(inputs):
    found = mismatches(altered(inputs, "metrics", checkpoint_sha256="another"))
    assert found[0].startswith("The metrics are of another encoder")


def test_warnings_of_the_evaluation_are_passed_on(inputs):
    found = mismatches(altered(inputs, "metrics", warnings=["3 identities are in training and test"]))
    assert found == ("Evaluation warned: 3 identities are in training and test",)


@pytest.mark.parametrize("part", ["metrics", "frozen", "prompts", "encoder", "features"])
def test_another_data_set_is_refused(inputs, part):
    with pytest.raises(InputError, match=r"of data set other, the shards in .* of people"):
        check_data_set(altered(inputs, part, dataset="other"))


def test_what_is_absent_is_neither_compared_nor_described(inputs):
    bare = replace(inputs, frozen=ABSENT, prompts=ABSENT, encoder=ABSENT, features=ABSENT)
    check_data_set(bare)
    assert mismatches(bare) == ()
    groups = {group.title: group.facts for group in provenance(bare, "9.9")}
    assert groups["Stage 1, prompts"] == groups["Stage 2, encoder"] == groups["Model"] == ABSENT
    assert [fact.name for fact in what_ran(bare)] == ["parse", "evaluate"]
    assert "Not known" in clothes_sentence(bare.prompts)


def facts_of(inputs) -> dict[str, str]:
    groups = [group.facts for group in provenance(inputs, "9.9")]
    return {fact.name: fact.value for facts in groups if not isinstance(facts, Absent) for fact in facts}


def test_provenance_names_every_hash_and_setting(inputs):
    facts = facts_of(inputs)
    assert facts["ccaf-pipeline"] == "9.9"
    assert facts["parser"] == "truth (size: 3)"
    assert facts["parser's weights, sha256"] == "a" * 64
    assert facts["covered as clothes"] == "upper-clothes, dress, coat, pants, jumpsuits, skirt"
    assert facts["record of the shards, sha256"] == inputs.reader.record_sha256
    assert facts["CLIP's weights, sha256"] == "clip"
    assert facts["input"] == "64 × 32 pixels (height × width), grid 4 × 2"
    assert facts["batch"] == "2 identities × 4 images"
    assert facts["checkpoint scored, sha256"] == "encoder"
    assert facts["seed"] == "5"


def test_random_weights_are_said_to_be_random(inputs):
    facts = facts_of(altered(inputs, "encoder", clip_sha256=""))
    assert facts["CLIP's weights, sha256"] == "random weights"


def test_a_damaged_configuration_is_refused(inputs):
    broken = replace(inputs, encoder=replace(inputs.encoder, config={"seed": 1}))
    with pytest.raises(InputError, match="configuration of a checkpoint is damaged"):
        provenance(broken, "9")


@pytest.mark.parametrize(("source", "sentence"), [
    ("labels", "3 classes, the data set's own labels. 1 of 4 training images have none."),
    ("cluster", "3 classes, clusters of the clothes images' features within each identity (cosine distance up to 0.2)"),
    ("image", "3 classes, one an image. 1 of 4"),
    ("none", "switched off"),
])  # fmt: skip
def test_the_source_of_clothes_classes_is_told(inputs, source, sentence):
    assert sentence in clothes_sentence(altered(inputs, "prompts", clothes_source=source).prompts)
