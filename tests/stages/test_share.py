"""push and pull against a stand-in of the hub: what is pushed, what a card says, and what of a stranger is refused."""

import hashlib
import json
import pickle
import re

import numpy as np
import pytest
import torch
import yaml
from clips import make_clip
from hub_server import serving
from safetensors.torch import save

import pipeline
from pipeline.errors import InputError
from pipeline.features.encoders import trained_encoder
from pipeline.files import sha256_of_file, write_json
from pipeline.images import encode_image
from pipeline.models.blending import PairedEncoder
from pipeline.models.checkpoint import save_checkpoint
from pipeline.sharing.hub import fetch_checkpoint
from stages.cli import run

FILES = ["README.md", "config.json", "weights.safetensors"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An encoder checkpoint of the small model that comes with the package, with metrics of it."""
    folder = tmp_path_factory.mktemp("share")
    clip = make_clip("walker-clip", image_size=(64, 32), stem="conv", seed=1)
    tensors = {f"image_encoder.{name}": value for name, value in clip.image_encoder.state_dict().items()}
    config = {
        "model": clip.spec.to_dict(), "dataset": "walkers", "method": "ccaf", "seed": 3, "epochs": 2, "images": 40,
        "identities": 4, "shards_sha256": "1" * 64, "clip_sha256": "2" * 64, "parameters": {"learning_rate": 0.1},
        "somebody": "/home/somebody/secret",
    }  # fmt: skip
    save_checkpoint(folder / "encoder", "encoder", tensors, config, files={"record.json": '{"root": "/home/me"}'})
    entry = {
        "name": "cc", "meaning": "other clothes", "n_query": 12, "n_gallery": 34, "n_skipped": 0,
        "rank1": 61.25, "rank1_interval": [50.0, 70.0], "mAP": 40.5, "mAP_interval": [33.3, 44.4],
        "rank5": 80.0, "rank10": 90.0, "rank20": 95.0, "mINP": 20.0,
    }  # fmt: skip
    sha256 = sha256_of_file(folder / "encoder/weights.safetensors")
    metrics = {"protocols": {"cc": entry}, "dataset": "walkers", "checkpoint_sha256": sha256, "bootstrap": 1000}
    write_json(folder / "metrics.json", {**metrics, "warnings": ["few | queries"], "seed": 0})
    return folder


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty hub, and an empty cache for what is fetched of it."""
    with serving() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setenv("HF_HUB_DISABLE_XET", "1")
        monkeypatch.setenv("HF_TOKEN", "secret")
        yield server


def push(checkpoint, *words):
    given = ["--checkpoint", str(checkpoint / "encoder"), "--metrics", str(checkpoint / "metrics.json")]
    return run(["push", "some/encoder", "--licence", "cc-by-nc-4.0", *given, "--quiet", *words])


def stranger(hub, checkpoint, change=lambda config: None, weights=None, **files):
    """A repository that holds the checkpoint with something changed."""
    config = json.loads((checkpoint / "encoder/config.json").read_text())
    data = (checkpoint / "encoder/weights.safetensors").read_bytes() if weights is None else weights
    change(config)
    return hub.put("some/stranger", {"config.json": json.dumps(config).encode(), "weights.safetensors": data, **files})


def test_a_dry_run_writes_what_would_be_pushed(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody is asked
    assert push(checkpoint, "--dry-run", "--out", str(tmp_path / "shared")) == 0
    assert sorted(path.name for path in (tmp_path / "shared").iterdir()) == FILES
    assert trained_encoder(tmp_path / "shared").method == "ccaf"
    config = (tmp_path / "shared/config.json").read_text()
    assert "home" not in config, "unknown fields are not passed on"
    card = (tmp_path / "shared/README.md").read_text()
    _, header, text = card.split("---\n", 2)
    assert yaml.safe_load(header)["license"] == "cc-by-nc-4.0"
    assert "| cc | 12 | 34 | 61.2 [50.0, 70.0] | 40.5 [33.3, 44.4] |" in text
    for words in (
        "95% intervals from 1,000 resamples", "few \\| queries", "method | ccaf", "walker-clip", "64 x 32 pixels",
        "ccaf-pipeline pull some/encoder", "## What it must not be used for", "## Limits", "The weights: cc-by-nc-4.0",
        sha256_of_file(checkpoint / "encoder/weights.safetensors"), "1" * 64,
    ):  # fmt: skip
        assert words in text, words


def test_the_lines_of_python_on_the_card_work_as_printed(checkpoint, hub, tmp_path, monkeypatch):
    hub.tokens.append("secret")
    assert push(checkpoint) == 0
    card = hub.repositories["some/encoder"]["main"]["README.md"].decode()
    (lines,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    assert 'load_encoder("some/encoder", revision="main")' in lines
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("one.jpg", "two.jpg")):
        pixels = np.random.default_rng(seed).integers(0, 256, (60, 25, 3), dtype=np.uint8)
        (tmp_path / name).write_bytes(encode_image(pixels))
    known: dict = {}
    exec(lines, known)
    assert known["similarity"].shape == (2, 2)
    np.testing.assert_allclose(np.diag(known["similarity"]), 1, atol=1e-5)


def test_a_dry_run_does_not_write_over_the_checkpoint(checkpoint, capsys):
    assert push(checkpoint, "--dry-run", "--out", str(checkpoint / "encoder")) == 2
    assert "is the checkpoint itself" in capsys.readouterr().err
    assert (checkpoint / "encoder/record.json").exists()


def test_what_was_pushed_is_pulled(checkpoint, hub, tmp_path, capsys):
    hub.tokens.append("secret")
    (tmp_path / "card.md").write_text("# mine\n")
    assert push(checkpoint, "--card", str(tmp_path / "card.md")) == 0
    assert sorted(hub.repositories["some/encoder"]["main"]) == FILES
    first = hub.commit_of("some/encoder", "main")
    hub.put("some/encoder", {"README.md": b"# emptied\n"})
    capsys.readouterr()
    out = tmp_path / "pulled"
    assert run(["pull", "some/encoder", "--revision", first, "--out", str(out), "--quiet", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["commit"] == first
    assert (out / "README.md").read_text() == "# mine\n"
    pulled, own = trained_encoder(out), trained_encoder(checkpoint / "encoder")
    assert pulled.spec == own.spec
    for name, value in own.encoder.state_dict().items():
        torch.testing.assert_close(pulled.encoder.state_dict()[name], value, rtol=0, atol=0)
    assert run(["pull", "some/encoder", "--revision", first, "--out", str(out), "--quiet"]) == 0, "its own is replaced"
    assert run(["pull", "some/encoder", "--out", str(out), "--quiet"]) == 2
    assert "lacks config.json or weights.safetensors" in capsys.readouterr().err


def test_a_pair_of_networks_is_pushed_with_what_it_is(checkpoint, tmp_path):
    clips = [make_clip("walker-clip", image_size=(64, 32), stem="conv", seed=seed) for seed in (1, 2)]
    pair = PairedEncoder(*(clip.image_encoder for clip in clips), 0.25)
    tensors = {f"image_encoder.{name}": value for name, value in pair.state_dict().items()}
    blend = {"trained_share": 0.75, "clip_weight": 0.25, "checkpoint_sha256": "3" * 64}
    save_checkpoint(tmp_path / "pair", "encoder", tensors, {"model": clips[0].spec.to_dict(), "blend": blend})
    words = ["--checkpoint", str(tmp_path / "pair"), "--licence", "mit", "--dry-run", "--out", str(tmp_path / "shared")]
    assert run(["push", "some/pair", *words, "--quiet"]) == 0
    card = (tmp_path / "shared/README.md").read_text()
    assert (
        "| blended with its CLIP | share of the trained weights 0.75, weight of the CLIP's own features 0.25 |" in card
    )
    found = trained_encoder(tmp_path / "shared").encoder
    assert all(torch.equal(value, found.state_dict()[name]) for name, value in pair.state_dict().items())


def test_a_fetched_checkpoint_is_used_again_where_the_hub_is_gone(checkpoint, hub, monkeypatch, unused_endpoint):
    commit = stranger(hub, checkpoint)
    folder = fetch_checkpoint("some/stranger")
    assert folder.name == commit
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "weights.safetensors"]
    monkeypatch.setenv("HF_ENDPOINT", unused_endpoint)
    assert fetch_checkpoint("some/stranger") == folder
    assert fetch_checkpoint("some/stranger", commit) == folder


def test_load_encoder_takes_a_repository(checkpoint, hub, tmp_path, monkeypatch):
    """A folder of that name goes before it, and a wrong path is called one."""
    commit = stranger(hub, checkpoint)
    own = trained_encoder(checkpoint / "encoder")
    for revision in (None, commit):
        found = pipeline.load_encoder("some/stranger", "cpu", revision=revision)
        assert found.chosen.sha256 == own.sha256
    with pytest.raises(InputError, match="some/nobody is no folder here; as a repository of the hub: "):
        pipeline.load_encoder("some/nobody", "cpu")
    with pytest.raises(InputError, match=r"revision v1 is of a repository of the hub, but .*encoder is a path"):
        pipeline.load_encoder(checkpoint / "encoder", "cpu", revision="v1")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "some/stranger").mkdir(parents=True)
    with pytest.raises(InputError, match=r"some/stranger"):
        pipeline.load_encoder("some/stranger", "cpu")


def damage(key, value):
    return lambda config: config.__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (damage("kind", "prompts"), "is no encoder checkpoint"),
        (damage("weights_sha256", "0" * 64), "is not the file that was saved"),
        (damage("epochs", "many"), "epochs"),
        (lambda config: config.pop("model"), "does not describe its model"),
        (lambda config: config["model"].update(name="/etc/passwd"), "its model is the file /etc/passwd"),
        (lambda config: config["model"].update(name="evil.json"), "its model is the file evil.json"),
        (lambda config: config["model"].update(image_size=[10**9, 32]), "image_size"),
        (lambda config: config["model"].update(code="run"), "code"),
        (lambda config: config["model"].update(name="ViT-B-32"), "grid"),
    ],
)
def test_a_strangers_checkpoint_is_checked(checkpoint, hub, tmp_path, capsys, change, message):
    stranger(hub, checkpoint, change)
    assert run(["pull", "some/stranger", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said
    assert not (tmp_path / "out").exists()


def test_weights_that_are_no_safetensors_are_refused(checkpoint, hub, tmp_path, capsys):
    for data in (pickle.dumps({"image_encoder.x": 1}), save({"image_encoder.x": torch.zeros(2)})):
        stranger(hub, checkpoint, damage("weights_sha256", hashlib.sha256(data).hexdigest()), weights=data)
        assert run(["pull", "some/stranger", "--out", str(tmp_path / "out"), "--quiet"]) == 2
        assert capsys.readouterr().err.startswith("error: ")
        assert not (tmp_path / "out").exists()


def test_other_files_of_a_repository_are_not_fetched_and_large_ones_neither(checkpoint, hub, tmp_path, capsys):
    stranger(hub, checkpoint, **{"pytorch_model.bin": b"x", "README.md": b"# hello\n"})
    assert run(["pull", "some/stranger", "--out", str(tmp_path / "out"), "--quiet"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == FILES
    assert not list((tmp_path / "cache").rglob("pytorch_model.bin"))
    hub.large["weights.safetensors"] = 1 << 40
    assert run(["pull", "some/stranger", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert f"weights.safetensors of some/stranger has {1 << 40} bytes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["nobody/nothing"], 2, "no such repository"),
        (["some/stranger", "--revision", "v9"], 2, "no such revision"),
        (["some/stranger", "--revision", "../../x"], 2, "is no revision"),
        (["../evil"], 2, "is no repository of the hub: give OWNER/NAME"),
        (["encoder"], 2, "give OWNER/NAME"),
    ],
)
def test_what_is_not_there_is_one_line(checkpoint, hub, tmp_path, capsys, words, code, message):
    stranger(hub, checkpoint)
    assert run(["pull", *words, "--out", str(tmp_path / "out"), "--quiet"]) == code
    said = capsys.readouterr().err.strip()
    assert message in said
    assert "\n" not in said


def test_without_an_answer_it_is_one_line(checkpoint, tmp_path, monkeypatch, capsys, unused_endpoint):
    monkeypatch.setenv("HF_ENDPOINT", unused_endpoint)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_TOKEN", "secret")
    assert run(["pull", "some/encoder", "--out", str(tmp_path / "out"), "--quiet"]) == 1
    said = capsys.readouterr().err.strip()
    assert "cannot fetch some/encoder: the hub is not reached and there is no copy here" in said
    assert "\n" not in said
    assert push(checkpoint) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith("error: cannot push some/encoder")
    assert "\n" not in said


def test_a_wrong_token_is_one_line(checkpoint, hub, capsys):
    assert push(checkpoint) == 2
    said = capsys.readouterr().err.strip()
    assert "cannot push some/encoder: nobody is logged in who may (`hf auth login`" in said
    assert "\n" not in said


def test_a_card_is_made_of_what_belongs_together(checkpoint, tmp_path, capsys):
    other = json.loads((checkpoint / "metrics.json").read_text()) | {"checkpoint_sha256": "9" * 64}
    write_json(tmp_path / "metrics.json", other)
    dry = ["--dry-run", "--out", str(tmp_path / "shared")]
    assert push(checkpoint, *dry, "--metrics", str(tmp_path / "metrics.json")) == 2
    assert "is of other weights than" in capsys.readouterr().err
    assert push(checkpoint, *dry, "--licence", "My: own\nlicence") == 2
    assert "give the hub's identifier" in capsys.readouterr().err
    assert push(checkpoint, "--out", str(tmp_path / "shared")) == 2
    assert "goes with --dry-run" in capsys.readouterr().err
    assert not (tmp_path / "shared").exists()


def test_a_model_of_ones_own_file_is_not_pushed(tiny_clip_config, tmp_path, capsys):
    clip = make_clip(tiny_clip_config, image_size=(64, 32))
    tensors = {f"image_encoder.{name}": value for name, value in clip.image_encoder.state_dict().items()}
    save_checkpoint(tmp_path / "encoder", "encoder", tensors, {"model": clip.spec.to_dict()})
    words = ["--checkpoint", str(tmp_path / "encoder"), "--licence", "other", "--dry-run", "--out", str(tmp_path / "x")]
    assert run(["push", "some/encoder", *words, "--quiet"]) == 2
    assert "only models that open_clip or this package knows by name" in capsys.readouterr().err


def test_names_that_lead_elsewhere_are_refused():
    for name in ("a/b/c", "a/../b", "/a/b", "a/b\n", "https://x/y", "-a/b"):
        with pytest.raises(InputError, match="is no repository"):
            fetch_checkpoint(name)
