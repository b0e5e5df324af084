"""The blend command: what it writes is used as any encoder, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
from clips import make_clip
from safetensors.torch import load_file, save_file

import pipeline
from pipeline.export.runtime import OnnxEncoder
from pipeline.features.feature_set import read_features
from pipeline.models.checkpoint import read_checkpoint
from pipeline.models.clip import clip_state
from stages.cli import run


@pytest.fixture(scope="module")
def trained(figures, tiny_clip_config, tmp_path_factory):
    """An encoder trained from weights that lie in a file, its features, and the frozen ones."""
    folder = tmp_path_factory.mktemp("blend")
    save_file(
        clip_state(make_clip(tiny_clip_config, image_size=(64, 32), seed=8)),
        folder / "clip.safetensors",
        metadata={"grid": "4x2"},
    )
    places = ["--prompts", str(folder / "prompts"), "--out", str(folder / "encoder")]
    assert command("train", figures, folder, *places, "--set", "encoder.learning_rate=0.01") == 0
    for name, which in (("trained", ["--checkpoint", str(folder / "encoder")]), ("frozen", ["--frozen"])):
        assert command("extract", figures, folder, *which, "--out", str(folder / f"{name}.parquet")) == 0
    return folder


def command(name, figures, folder, *more):
    model = ["--set", f"model.pretrained={folder / 'clip.safetensors'}"]
    shards = [] if name == "blend" else ["--shards", str(figures.shards)]
    return run([name, "--params", str(figures.params), "--quiet", *shards, *model, *more])


def blend(figures, folder, out, *more):
    return command("blend", figures, folder, "--checkpoint", str(folder / "encoder"), "--out", str(out), *more)


def features(figures, folder, checkpoint):
    out = checkpoint.with_suffix(".parquet")
    assert command("extract", figures, folder, "--checkpoint", str(checkpoint), "--out", str(out)) == 0
    return read_features(out)[0].features


def test_similarities_are_the_weighted_mean_of_those_of_both_encoders(figures, trained, tmp_path):
    assert blend(figures, trained, tmp_path / "pair", "--clip-weight", "0.25") == 0
    found = features(figures, trained, tmp_path / "pair")
    one, other = (read_features(trained / f"{name}.parquet")[0].features for name in ("trained", "frozen"))
    assert np.abs(one @ one.T - other @ other.T).max() > 0.01, "training changed something"
    np.testing.assert_allclose(found @ found.T, (one @ one.T + 0.25 * other @ other.T) / 1.25, atol=1e-5)


def test_averaged_weights_are_those_of_a_plain_encoder(figures, trained, tmp_path):
    out = tmp_path / "averaged"
    assert blend(figures, trained, out, "--trained-share", "0.75") == 0
    trained_state = read_checkpoint(trained / "encoder", "encoder", "").part("image_encoder")
    first = {
        key.removeprefix("visual."): value
        for key, value in load_file(trained / "clip.safetensors").items()
        if key.startswith("visual.")
    }
    found = read_checkpoint(out, "encoder", "").part("image_encoder")
    assert found.keys() == trained_state.keys()
    for name, value in found.items():
        expected = 0.75 * trained_state[name] + 0.25 * first[name.removeprefix("tower.")].reshape(value.shape)
        np.testing.assert_allclose(value.numpy(), expected.numpy(), atol=1e-6)
    assert features(figures, trained, out).shape == (24, 56)


def test_the_checkpoint_says_what_it_was_made_of(figures, trained, tmp_path):
    out = tmp_path / "blended"
    assert blend(figures, trained, out, "--clip-weight", "0.1", "--set", "blend.trained_share=0.5") == 0
    made = json.loads((out / "config.json").read_text())
    before = json.loads((trained / "encoder" / "config.json").read_text())
    assert made["blend"] == {
        "trained_share": 0.5, "clip_weight": 0.1, "checkpoint_sha256": before["weights_sha256"],
    }  # fmt: skip
    assert {name for name in before if made[name] != before[name]} == {"weights_sha256", "files"}
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "weights.safetensors"]


def test_another_weight_is_another_encoder_to_whatever_knows_features_again(figures, trained, tmp_path):
    hashes = set()
    for weight in ("0.1", "0.2"):
        assert blend(figures, trained, tmp_path / weight, "--clip-weight", weight) == 0
        hashes.add(json.loads((tmp_path / weight / "config.json").read_text())["weights_sha256"])
    assert len(hashes) == 2
    again = (tmp_path / "0.2" / "weights.safetensors").read_bytes()
    assert blend(figures, trained, tmp_path / "0.1", "--clip-weight", "0.2") == 0
    assert (tmp_path / "0.1" / "weights.safetensors").read_bytes() == again, "an earlier one is replaced"


def test_python_and_an_exported_file_give_the_features_of_extract(figures, trained, tmp_path):
    out = tmp_path / "pair"
    assert blend(figures, trained, out, "--clip-weight", "0.25", "--trained-share", "0.9") == 0
    expected = features(figures, trained, out)
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 32, 3), dtype=np.uint8)
    encoder = pipeline.load_encoder(out, device="cpu")
    found = encoder.embed(list(images))
    assert found.shape == (3, encoder.dim) == (3, expected.shape[1])
    place = ["--checkpoint", str(out), "--out", str(tmp_path / "onnx")]
    assert command("export", figures, trained, *place) == 0
    exported = OnnxEncoder(tmp_path / "onnx" / "reid.onnx", 1)(images.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    np.testing.assert_allclose(exported, found, atol=1e-5)


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([], "nothing to blend: give --trained-share below 1"),
        (["--trained-share", "0"], "blend.trained_share = 0"),
        (["--clip-weight", "-1"], "blend.clip_weight = -1"),
        (["--clip-weight", "1", "--set", "model.pretrained=null"], "which model.pretrained must name; that is null"),
    ],
)
def test_wrong_shares_are_refused_in_one_line(figures, trained, tmp_path, capsys, more, says):
    assert blend(figures, trained, tmp_path / "out", *more) == 2
    message = capsys.readouterr().err.strip()
    assert says in message
    assert "\n" not in message
    assert not (tmp_path / "out").exists()


def test_wrong_encoders_and_places_are_refused_in_one_line(figures, trained, tiny_clip_config, tmp_path, capsys):
    def refused(says, *words):
        assert command("blend", figures, trained, "--clip-weight", "1", *words) == 2
        message = capsys.readouterr().err.strip()
        assert says in message
        assert "\n" not in message

    own = ["--checkpoint", str(trained / "encoder")]
    refused("is the trained encoder itself", *own, "--out", str(trained / "encoder"))
    refused("no encoder checkpoint at", "--checkpoint", str(tmp_path / "none"), "--out", str(tmp_path / "out"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("mine")
    refused("is no encoder checkpoint that could be replaced", *own, "--out", str(tmp_path / "mine"))
    shutil.copytree(trained / "encoder", tmp_path / "other")
    refused("other is a trained encoder: write", *own, "--out", str(tmp_path / "other"))
    assert (tmp_path / "other" / "weights.safetensors").is_file()
    save_file(clip_state(make_clip(tiny_clip_config, image_size=(64, 32), seed=9)), tmp_path / "other.safetensors")
    other = ["--set", f"model.pretrained={tmp_path / 'other.safetensors'}"]
    refused("did not begin as model.pretrained=", *own, *other, "--out", str(tmp_path / "out"))
    assert blend(figures, trained, tmp_path / "once", "--clip-weight", "1") == 0
    refused("is blended already", "--checkpoint", str(tmp_path / "once"), "--out", str(tmp_path / "out"))


def test_a_pair_is_no_start_for_a_training(figures, trained, tmp_path, capsys):
    assert blend(figures, trained, tmp_path / "pair", "--clip-weight", "1") == 0
    places = ["--prompts", str(tmp_path / "prompts"), "--out", str(tmp_path / "encoder")]
    assert command("train", figures, trained, *places, "--set", f"model.pretrained={tmp_path / 'pair'}") == 2
    message = capsys.readouterr().err.strip()
    assert "pair" in message
    assert "\n" not in message


def test_figures_of_a_pair_are_all_but_the_maps(figures, trained, tmp_path, capsys):
    assert blend(figures, trained, tmp_path / "pair", "--clip-weight", "1") == 0
    compared = ["--checkpoint", str(tmp_path / "pair"), "--against", str(trained / "encoder")]
    wanted = ["--figure", "feature-distances", "--figure", "maps", "--out", str(tmp_path / "page"), "--json"]
    capsys.readouterr()
    assert command("figures", figures, trained, *compared, *wanted) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["figures"] == ["feature-distances"]
    assert result["absent"] == {"maps": "pair (ccaf) compares the features of two networks, and a map shows one."}
