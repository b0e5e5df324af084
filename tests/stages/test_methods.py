"""Every method and every choice that method.md leaves open, through the commands, on a tiny data set."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.models.checkpoint import read_checkpoint
from pipeline.shards.reader import ShardReader
from pipeline.studies.reading import load_study
from pipeline.training.methods import METHODS
from stages.cli import run


def train(dataset, folder, *more: str) -> int:
    return run([
        "train", "--params", str(dataset.params), "--shards", str(dataset.shards),
        "--prompts", str(folder / "prompts"), "--out", str(folder / "encoder"), "--quiet", *more,
    ])  # fmt: skip


def with_settings(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


ONE_EPOCH = with_settings("encoder.epochs=1", "prompts.epochs=1")


@pytest.fixture(scope="module")
def prompts(figures, tmp_path_factory):
    """A folder with the prompts of the default method: shielding images and clothes labels."""
    folder = tmp_path_factory.mktemp("prompts")
    assert train(figures, folder, "--stage", "prompts", *ONE_EPOCH) == 0
    return folder


def train_encoder(figures, prompts, folder, *settings: str):
    words = ["--stage", "encoder", "--out", str(folder / "encoder"), *ONE_EPOCH, *with_settings(*settings)]
    assert train(figures, prompts, *words) == 0
    return read_checkpoint(folder / "encoder", "encoder", "")


def write_captions(figures, folder):
    """Texts about each image: of its person, and of its outfit."""
    ids = ShardReader(figures.shards, copy=False).ids
    texts = {
        about: [np.random.default_rng(int(number)).standard_normal(6).tolist() for number in numbers]
        for about, numbers in (("identity", ids.person_id), ("clothes", ids.clothes_id))
    }
    pq.write_table(pa.table({"image_id": ids.image_id.tolist(), **texts}), folder / "texts.parquet")
    return folder / "texts.parquet"


@pytest.mark.parametrize("method", [name for name in METHODS if name != "clip-reid"])
def test_one_prompts_checkpoint_serves_the_methods_and_the_record_says_what_was_trained(
    figures, prompts, tmp_path, method
):
    more = [f"encoder.captions={write_captions(figures, tmp_path)}"] if method == "captions" else []
    checkpoint = train_encoder(figures, prompts, tmp_path, f"encoder.method={method}", *more)
    assert checkpoint.config["method"] == method
    assert ("captions_sha256" in checkpoint.config) == (method == "captions")
    assert set(checkpoint.config["terms"]) == set(METHODS[method].terms)
    assert checkpoint.config["parameters"]["method"] == method
    header = (tmp_path / "encoder" / "curves.csv").read_text().splitlines()[0].split(",")
    assert set(header) >= set(METHODS[method].terms)
    shielded = any(key.startswith("shielding_encoder.") for key in checkpoint.tensors)
    assert shielded == ("identity_shielding" in METHODS[method].terms)
    assert run([
        "extract", "--params", str(figures.params), "--shards", str(figures.shards), "--quiet",
        "--checkpoint", str(tmp_path / "encoder"), "--out", str(tmp_path / "features.parquet"),
    ]) == 0  # fmt: skip


def test_clip_reid_learns_its_prompts_from_raw_images(figures, prompts, tmp_path, capsys):
    method = with_settings("encoder.method=clip-reid")
    assert train(figures, tmp_path, *ONE_EPOCH, *method) == 0
    raw = read_checkpoint(tmp_path / "prompts", "prompts", "")
    shielding = read_checkpoint(prompts / "prompts", "prompts", "")
    assert (raw.config["identity_images"], shielding.config["identity_images"]) == ("raw", "shielding")
    assert not torch.equal(raw.tensors["identity_texts"], shielding.tensors["identity_texts"])
    capsys.readouterr()
    assert train(figures, prompts, "--stage", "encoder", "--out", str(tmp_path / "e"), *method) == 2
    message = capsys.readouterr().err
    assert "were learned from shielding images, method clip-reid needs raw ones" in message
    chosen = with_settings("prompts.identity_images=shielding")
    assert (
        train(figures, prompts, "--stage", "encoder", "--out", str(tmp_path / "e"), *method, *chosen, *ONE_EPOCH) == 0
    )


@pytest.mark.parametrize("settings", [
    ["encoder.similarity=cosine", "encoder.label_smoothing=0.0"],
    ["encoder.identity_features=projected"],
    *([f"encoder.disentangle={form}"] for form in ("cos", "abs", "as-printed")),
    ["encoder.method=ccaf-plus", "encoder.target=computed"],
    ["model.pixel_mean=[0.48145466,0.4578275,0.40821073]", "model.pixel_std=[0.26862954,0.26130258,0.27577711]"],
])  # fmt: skip
def test_choices_change_the_weights_and_are_recorded(figures, prompts, tmp_path, settings):
    folder = prompts
    if settings[0].startswith("model."):  # other pixels are another CLIP: its prompts are its own
        folder = tmp_path
        assert train(figures, folder, "--stage", "prompts", *ONE_EPOCH, *with_settings(*settings)) == 0
    plain = train_encoder(figures, prompts, tmp_path / "plain", *(s for s in settings if "method" in s))
    changed = train_encoder(figures, folder, tmp_path / "changed", *settings)
    assert plain.sha256 != changed.sha256
    recorded = changed.config["model"] if settings[0].startswith("model.") else changed.config["parameters"]
    for setting in settings:
        key, value = setting.split(".", 1)[1].split("=")
        assert str(recorded[key]).replace(" ", "") == value


def test_weights_of_terms_can_be_set_by_name(figures, prompts, tmp_path):
    checkpoint = train_encoder(figures, prompts, tmp_path, "encoder.weights={centre: 0.5, i2t_shielding: 0}")
    assert checkpoint.config["terms"] == {
        "identity": 1.0, "i2t": 1.0, "identity_shielding": 1.0, "centre": 0.5, "i2t_clothes": 1.0, "disentangle": 1.0,
    }  # fmt: skip


def test_alternate_execution_trains_both_sides(figures, prompts, tmp_path):
    alternating = train_encoder(figures, prompts, tmp_path / "a", "encoder.alternate=[1,1]", "encoder.epochs=2")
    together = train_encoder(figures, prompts, tmp_path / "b", "encoder.epochs=2")
    frozen = train_encoder(figures, prompts, tmp_path / "c", "encoder.learning_rate=1e-30", "encoder.epochs=2")
    for key in ("parts.clothes_projection.weight", "image_encoder.tower.proj"):
        assert not torch.equal(alternating.tensors[key], together.tensors[key])
        assert not torch.allclose(alternating.tensors[key], frozen.tensors[key], atol=1e-7)


def test_one_clothes_class_an_image(figures, tmp_path):
    assert (
        train(figures, tmp_path, "--stage", "prompts", *ONE_EPOCH, *with_settings("prompts.clothes_classes=image")) == 0
    )
    checkpoint = read_checkpoint(tmp_path / "prompts", "prompts", "")
    assert checkpoint.config["clothes_source"] == "image"
    classes = checkpoint.tensors["image_clothes_classes"]
    assert sorted(classes.tolist()) == list(range(32))
    assert len(checkpoint.tensors["clothes_texts"]) == 32


def test_methods_without_clothes_classes(figures, tmp_path, capsys):
    none = with_settings("prompts.clothes_classes=none")
    assert train(figures, tmp_path, "--stage", "prompts", *ONE_EPOCH, *none) == 0
    checkpoint = train_encoder(figures, tmp_path, tmp_path / "ccaf")
    assert "i2t_clothes" not in checkpoint.config["terms"]
    assert checkpoint.config["clothes_feature_minimisation"] is False
    capsys.readouterr()
    assert train(figures, tmp_path, "--stage", "encoder", *with_settings("encoder.method=cal")) == 2
    assert "method cal needs clothes classes" in capsys.readouterr().err


def test_images_without_clothes_are_kept_or_dropped_and_counted(bare_figures, tmp_path):
    for choice, images, dropped in (("keep", 32, 0), ("drop", 28, 4)):
        folder = tmp_path / choice
        setting = with_settings(f"prompts.without_clothes={choice}")
        assert train(bare_figures, folder, *ONE_EPOCH, *setting) == 0
        config = read_checkpoint(folder / "prompts", "prompts", "").config
        assert (config["images"], config["images_dropped"]) == (images, dropped)
        assert config["images_without_clothes_class"] == 4 - dropped


def test_a_camera_embedding_is_trained_recorded_and_used_at_test_time(figures, prompts, tmp_path):
    checkpoint = train_encoder(figures, prompts, tmp_path, "model.camera_embedding=1.0")
    weights = checkpoint.part("image_encoder")
    assert weights["camera_embedding.cameras"].tolist() == [1, 2]
    assert checkpoint.config["camera_embedding"] == 1.0
    out = tmp_path / "features.parquet"
    words = ["--params", str(figures.params), "--shards", str(figures.shards), "--quiet", "--out", str(out)]
    assert run(["extract", *words, "--checkpoint", str(tmp_path / "encoder")]) == 0
    assert pq.read_table(out).num_rows == 24


def test_flip_averaging_changes_the_features_and_is_recorded(figures, tmp_path):
    features = {}
    for flip in ("false", "true"):
        out = tmp_path / f"{flip}.parquet"
        words = ["--params", str(figures.params), "--shards", str(figures.shards), "--quiet", "--out", str(out)]
        assert run(["extract", "--frozen", *words, "--set", f"evaluate.flip={flip}"]) == 0
        features[flip] = np.array(pq.read_table(out)["feature"].to_pylist())
        assert json.loads(pq.read_schema(out).metadata[b"flip"]) == (flip == "true")
    assert not np.allclose(features["false"], features["true"])
    np.testing.assert_allclose(np.linalg.norm(features["true"], axis=1), 1, atol=1e-5)


def test_features_are_scored_in_one_go_as_evaluate_scores_them(figures, tmp_path, capsys):
    out = tmp_path / "features-frozen.parquet"
    params = ["--params", str(figures.params), "--set", "evaluate.rerank=true"]
    words = ["--frozen", "--score", "--shards", str(figures.shards), "--out", str(out)]
    assert run(["extract", *params, *words]) == 0
    shown = capsys.readouterr()
    assert "next: ccaf-pipeline report" in shown.err
    metrics = tmp_path / "metrics-frozen.json"
    assert str(metrics) in shown.err
    apart = tmp_path / "apart.json"
    assert run(["evaluate", *params, "--features", str(out), "--out", str(apart), "--quiet"]) == 0
    assert metrics.read_bytes() == apart.read_bytes()
    head, table = shown.out.split("\n", 1)
    assert head == f"{out}: 24 rows"
    assert table == capsys.readouterr().out
    assert "re-ranked" in table
    assert run(["extract", *params, *words, "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == json.loads(metrics.read_text())


def test_features_of_a_checkpoint_and_of_the_frozen_clip_are_one_or_the_other(tmp_path, capsys):
    assert run(["extract", "--frozen", "--checkpoint", str(tmp_path / "encoder")]) == 2
    assert f"--frozen and --checkpoint {tmp_path / 'encoder'}: give one of the two" in capsys.readouterr().err


def test_features_that_cannot_be_scored_are_kept_and_the_reason_is_told(figures, tmp_path, capsys):
    out = tmp_path / "train.parquet"
    words = ["--frozen", "--role", "train", "--shards", str(figures.shards), "--out", str(out)]
    assert run(["extract", "--params", str(figures.params), *words, "--score", "--quiet"]) == 2
    assert "error: " in capsys.readouterr().err
    assert pq.read_table(out).num_rows > 0
    assert not (tmp_path / "metrics.json").exists()


@pytest.mark.parametrize(("setting", "message"), [
    ("encoder.method=clipreid", "encoder.method = 'clipreid': unknown method; methods are: baseline, clip-reid"),
    ("encoder.weights={center: 1}", "encoder.weights: center is not a term; terms are: identity"),
    ("encoder.start_epochs={cal_adversarial: 1}", "encoder.start_epochs: cal_adversarial is no term of this training"),
    ("encoder.start_epochs={centre: 2}", "{'centre': 2} is never reached in 2 epochs (encoder.epochs)"),
    ("encoder.alternate=[1,0]", "both numbers must be at least 1"),
    ("model.stride=40", "model.stride 40 is larger than the patch"),
])  # fmt: skip
def test_wrong_choices_are_one_line(figures, prompts, tmp_path, capsys, setting, message):
    assert train(figures, prompts, "--stage", "encoder", "--out", str(tmp_path / "e"), "--set", setting) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("row", ["clip-reid+redress", "ccaf+redress", "ccaf-plus+redress"])
def test_the_methods_of_the_study_redress_run(figures, prompts, tmp_path, row):
    given = dict(load_study("redress").methods[row])
    chosen = given.pop("encoder.redress")
    settings = [f"{name}={value}" for name, value in given.items()]
    settings += ["prompts.identity_images=shielding"]  # so that one checkpoint of prompts serves all
    plain, redressed = (
        train_encoder(figures, prompts, tmp_path / name, *settings, f"encoder.redress={chance}")
        for name, chance in (("plain", 0), ("redressed", chosen))
    )
    assert "redress" not in plain.config["parameters"]
    assert redressed.config["parameters"]["redress"] == chosen > 0
    name = "parts.raw_heads.projected.neck.weight"
    assert not torch.equal(plain.tensors[name], redressed.tensors[name])


def test_settings_of_redressed_views_change_nothing_without_any(figures, prompts, tmp_path):
    train_encoder(figures, prompts, tmp_path / "a")
    train_encoder(figures, prompts, tmp_path / "b", "encoder.redress_outfits=2", "encoder.redress_classes=donor")
    first, second = (tmp_path / name / "encoder" for name in ("a", "b"))
    for name in ("weights.safetensors", "config.json", "curves.csv"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
