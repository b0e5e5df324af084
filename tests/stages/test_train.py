"""The train command end to end on a tiny data set: artifacts, repetition, resume, refusals."""

import csv
import json
import shutil
from itertools import count

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import load_parameters
from pipeline.errors import WorkError
from pipeline.features.feature_set import read_features
from pipeline.files import read_json, sha256_of_file
from pipeline.models.checkpoint import read_checkpoint
from pipeline.shards.reader import ShardReader
from pipeline.trainer import gradients
from pipeline.trainer import loop as trainer
from pipeline.training.validation import FIGURES
from stages import encoder_run
from stages import prompts as prompts_stage
from stages.cli import run
from stages.console import Console
from stages.encoder import Places, read_inputs


def train(dataset, folder, *more: str) -> int:
    return run([
        "train", "--params", str(dataset.params), "--shards", str(dataset.shards),
        "--prompts", str(folder / "prompts"), "--out", str(folder / "encoder"), "--quiet", *more,
    ])  # fmt: skip


def files_of(folder):
    """Every file of prompts and encoder; times are beside them, in *-timings.json."""
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*/*")) if path.is_file()}


def interrupt(*_):
    raise KeyboardInterrupt


def made_of_stage_2(parameters, places):
    """What decides a training of stage 2, as its record holds it."""
    return json.loads(json.dumps(read_inputs(parameters, Console(quiet=True), places, "cpu").made_of))


@pytest.fixture(scope="module")
def trained(figures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    assert train(figures, folder) == 0
    return folder


def test_both_stages_write_checkpoints_that_say_what_made_them(trained):
    prompts = read_checkpoint(trained / "prompts", "prompts", "")
    encoder = read_checkpoint(trained / "encoder", "encoder", "")
    assert prompts.config["identities"] == 4
    assert prompts.config["clothes_classes"] == 8
    assert prompts.config["clothes_source"] == "labels"
    assert prompts.config["identity_ids"] == [1, 2, 3, 4]
    assert prompts.tensors["identity_texts"].shape == (4, 24)
    assert prompts.tensors["clothes_texts"].shape == (8, 24)
    assert encoder.config["prompts_sha256"] == prompts.sha256
    assert encoder.config["shards_sha256"] == prompts.config["shards_sha256"]
    assert encoder.config["model"]["grid"] == [4, 2]
    assert set(encoder.part("image_encoder")) >= {"tower.conv1.weight", "tower.proj"}


def test_curves_have_a_row_an_epoch_and_every_loss(trained):
    lines = (trained / "encoder" / "curves.csv").read_text().splitlines()
    assert len(lines) == 3
    assert set(lines[0].split(",")) >= {
        "epoch", "learning_rate", "total", "identity", "i2t", "identity_shielding", "i2t_shielding", "centre",
        "i2t_clothes", "disentangle",
    }  # fmt: skip


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(trained, figures, tmp_path):
    assert train(figures, tmp_path / "same") == 0
    assert files_of(tmp_path / "same") == files_of(trained)
    assert train(figures, tmp_path / "other", "--seed", "7") == 0
    weights = "encoder/weights.safetensors"
    assert (tmp_path / "other" / weights).read_bytes() != (trained / weights).read_bytes()


def test_stages_run_one_by_one_end_with_the_same_bytes(trained, figures, tmp_path):
    assert train(figures, tmp_path, "--stage", "prompts") == 0
    assert not (tmp_path / "encoder").exists()
    assert train(figures, tmp_path, "--stage", "encoder") == 0
    assert files_of(tmp_path) == files_of(trained)


def test_an_interrupted_encoder_goes_on_inside_the_epoch_and_ends_with_the_same_bytes(
    trained, figures, tmp_path, monkeypatch, capsys
):
    assert train(figures, tmp_path, "--stage", "prompts") == 0
    steps = count(1)
    whole = gradients.GradientMaker.losses

    def interrupted(self, batch):
        if next(steps) == 5:
            raise KeyboardInterrupt
        return whole(self, batch)

    monkeypatch.setattr(gradients.GradientMaker, "losses", interrupted)
    every_three = ("--stage", "encoder", "--set", "training.save_steps=3")
    assert train(figures, tmp_path, *every_three) == 130
    assert not (tmp_path / "encoder").exists()
    state = read_json(next((tmp_path / "encoder.partial").glob("step-*/state.json")), "state")
    assert (state["epoch"], state["step"], state["done"]) == (0, 3, 3)
    assert state["config"]["parameters"]["epochs"] == 2
    assert train(figures, tmp_path, "--stage", "encoder") == 0  # how often states are saved changes no result
    assert not (tmp_path / "encoder.partial").exists()
    assert files_of(tmp_path) == files_of(trained)


def test_an_interrupted_training_of_both_stages_keeps_the_prompts_that_are_finished(
    trained, figures, tmp_path, monkeypatch
):
    every_three = ("--set", "training.save_steps=3")
    shutil.copytree(trained / "prompts", tmp_path / "prompts")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer._Trainer, "_end_epoch", interrupt)
        assert train(figures, tmp_path, "--stage", "encoder", *every_three) == 130
    learned = []
    learn = prompts_stage.train_prompts
    monkeypatch.setattr(prompts_stage, "train_prompts", lambda *a, **k: learned.append(1) or learn(*a, **k))
    assert train(figures, tmp_path) == 0
    assert not learned
    assert files_of(tmp_path) == files_of(trained)
    assert train(figures, tmp_path) == 0  # nothing is unfinished: both stages are done anew
    assert learned
    assert files_of(tmp_path) == files_of(trained)


def test_an_unfinished_training_of_other_parameters_is_refused_until_restart(trained, figures, tmp_path, capsys):
    assert train(figures, tmp_path, "--stage", "prompts") == 0
    other = ("--stage", "encoder", "--set", "training.save_steps=3")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer._Trainer, "_end_epoch", interrupt)
        assert train(figures, tmp_path, *other, "--set", "encoder.pad=1") == 130
    capsys.readouterr()
    assert train(figures, tmp_path, *other) == 2
    error = capsys.readouterr().err
    assert "an unfinished training of other parameters or inputs (parameters.pad: 1 there, 2 here)" in error
    assert f"remove {tmp_path / 'encoder.partial'}" in error
    assert train(figures, tmp_path, *other, "--restart") == 0


def test_a_collapsed_training_is_said_with_the_likeness_that_its_record_has(trained, figures, tmp_path, monkeypatch):
    """Against the features that `extract` writes: those of each identity's first training image, all pairs."""
    load = ["--params", str(figures.params), "--shards", str(figures.shards)]
    assert run(["extract", *load, "--checkpoint", str(trained / "encoder"), "--role", "train",
                "--out", str(tmp_path / "f.parquet"), "--quiet"]) == 0  # fmt: skip
    items, _ = read_features(tmp_path / "f.parquet")
    firsts = np.array(list({person: i for i, person in reversed(list(enumerate(items.person_id)))}.values()))
    features = items.normalised().features[firsts].astype(np.float64)
    cosines = features @ features.T
    expected = (cosines.sum() - np.trace(cosines)) / (len(firsts) * (len(firsts) - 1))
    record = read_json(trained / "encoder" / "record.json", "record")
    assert record["mean_cosine"] == pytest.approx(expected, abs=1e-5)
    shutil.copytree(trained / "prompts", tmp_path / "prompts")
    said = []
    monkeypatch.setattr(Console, "say", lambda self, text: said.append(text))
    assert train(figures, tmp_path, "--stage", "encoder") == 0
    assert not [text for text in said if "nearly the same" in text]
    monkeypatch.setattr(encoder_run, "COLLAPSED", expected - 1e-3)
    assert train(figures, tmp_path, "--stage", "encoder") == 0
    (warning,) = [text for text in said if "nearly the same" in text]
    assert f"mean cosine {expected:.3f}" in warning
    assert "lower encoder.learning_rate (" in warning


def test_a_training_is_kept_where_memory_does_not_suffice_for_the_likeness(trained, figures, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> float:
        raise WorkError("out of memory")

    said = []
    shutil.copytree(trained / "prompts", tmp_path / "prompts")
    monkeypatch.setattr(encoder_run, "likeness_of_people", fail)
    monkeypatch.setattr(Console, "say", lambda self, text: said.append(text))
    assert train(figures, tmp_path, "--stage", "encoder") == 0
    assert any(text.endswith("people are was not measured: out of memory") for text in said)
    assert read_json(tmp_path / "encoder" / "record.json", "record")["mean_cosine"] is None
    weights = "weights.safetensors"
    assert sha256_of_file(tmp_path / "encoder" / weights) == sha256_of_file(trained / "encoder" / weights)


def test_record_says_what_made_the_checkpoint_and_times_are_beside_it(trained, figures):
    record = read_json(trained / "encoder" / "record.json", "record")
    assert record["counts"] == {
        "images": 32, "identities": 4, "images_dropped": 0, "images_without_clothes": 0,
        "images_without_clothes_class": 0, "clothes_classes": 8,
    }  # fmt: skip
    assert record["made_of"]["shards_sha256"] == ShardReader(figures.shards).record_sha256
    assert record["made_of"]["prompts_sha256"] == sha256_of_file(trained / "prompts" / "weights.safetensors")
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["hardware"]["device"] == "cpu"
    assert record["parameters"]["encoder"]["epochs"] == 2
    assert record["compiled"] is False
    timings = read_json(trained / "encoder-timings.json", "timings")
    assert timings["steps"] == sum(row["steps"] for row in timings["epochs"]) > 0
    assert set(timings["share_of_step"]) == {"data", "forward", "backward", "optimizer"}
    assert sum(timings["share_of_step"].values()) == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(
    "features",
    [
        (),
        ("model.camera_embedding=2.0",),
        ("evaluate.flip=true",),
        ("model.camera_embedding=2.0", "evaluate.flip=true", "evaluate.feature=projected"),
    ],
    ids=["plain", "cameras", "flip", "all"],
)
def test_checks_between_epochs_keep_the_best_weights_by_the_features_that_extract_writes(
    trained, figures, tmp_path, features
):
    sets = [word for value in features for word in ("--set", value)]
    shutil.copytree(trained / "prompts", tmp_path / "prompts")
    every = ("--stage", "encoder", "--set", "training.evaluate_every=1", "--set", "encoder.epochs=3")
    assert train(figures, tmp_path, *every, "--set", "encoder.learning_rate=0.01", *sets) == 0
    rows = list(csv.DictReader((tmp_path / "encoder" / "validations.csv").open()))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    best = read_checkpoint(tmp_path / "encoder" / "best", "encoder", "").config
    assert best["best"]["mAP"] == pytest.approx(max(float(row["mAP"]) for row in rows))
    assert best["best_chosen_by"] == {"protocol": "cc", "split": "test", "metric": "mAP"}
    out, metrics = tmp_path / "f.parquet", tmp_path / "m.json"
    common = ("--params", str(figures.params), "--quiet", *sets)
    extract = ("extract", *common, "--shards", str(figures.shards), "--checkpoint", str(tmp_path / "encoder" / "best"))
    assert run([*extract, "--out", str(out)]) == 0
    assert run(["evaluate", *common, "--features", str(out), "--protocol", "cc", "--out", str(metrics)]) == 0
    scored = read_json(metrics, "metrics")["protocols"]["cc"]
    assert {name: scored[name] for name in FIGURES} == {name: best["best"][name] for name in FIGURES}  # to the last bit
    assert pq.read_table(out).schema.metadata.get(b"camera_embedding") == (
        b"2.0" if "camera" in str(features) else None
    )


def test_what_chooses_the_best_weights_decides_the_result_only_where_checks_are_on(trained, figures, tmp_path):
    """Flipping leaves trainings without checks, and checks without flipping, what they were to their states."""
    made_of = read_json(trained / "encoder" / "record.json", "record")["made_of"]
    assert not made_of.keys() & {"evaluate_feature", "evaluate_flip"}
    parameters = load_parameters(figures.params, ["training.evaluate_every=1"])
    flipped = load_parameters(figures.params, ["training.evaluate_every=1", "evaluate.flip=true"])
    places = Places(figures.shards, trained / "prompts", tmp_path / "encoder")
    with_checks, with_flip = (made_of_stage_2(given, places) for given in (parameters, flipped))
    training = {**made_of["training"], "evaluate_every": 1}
    assert with_checks == {**made_of, "training": training, "evaluate_feature": "concat"}
    assert with_flip == {**with_checks, "evaluate_flip": True}
    without = load_parameters(figures.params, ["evaluate.flip=true"])
    assert made_of_stage_2(without, places) == made_of


def test_training_with_checks_that_is_interrupted_ends_with_the_same_bytes(trained, figures, tmp_path):
    every = ("--stage", "encoder", "--set", "training.evaluate_every=1", "--set", "encoder.epochs=3")
    for name in ("whole", "broken"):
        assert train(figures, tmp_path / name, "--stage", "prompts") == 0
    assert train(figures, tmp_path / "whole", *every) == 0
    ended = trainer._Trainer._end_epoch

    def interrupted(self, rate):
        ended(self, rate)
        if self.epoch == 2:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer._Trainer, "_end_epoch", interrupted)
        assert train(figures, tmp_path / "broken", *every) == 130
    assert train(figures, tmp_path / "broken", *every) == 0
    assert files_of(tmp_path / "broken") == files_of(tmp_path / "whole")


def test_tensorboard_events_hold_the_curves(figures, tmp_path):
    wanted = ("--stage", "prompts", "--set", "training.tensorboard=true")
    assert train(figures, tmp_path, *wanted) == 0
    events = b"".join(path.read_bytes() for path in (tmp_path / "prompts-tensorboard").iterdir())
    assert events.count(b"i2t_clothes") == 3


def test_a_data_set_without_clothes_labels_gets_clusters(plain_figures, tmp_path, capsys):
    assert train(plain_figures, tmp_path, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["prompts"]["clothes_source"] == "cluster"
    assert result["prompts"]["clothes_classes"] >= 4
    assert result["encoder"]["clothes_feature_minimisation"] is True


def test_clothes_classes_none_trains_without_cfm(figures, tmp_path, capsys):
    assert train(figures, tmp_path, "--json", "--set", "prompts.clothes_classes=none") == 0
    assert json.loads(capsys.readouterr().out)["encoder"]["clothes_feature_minimisation"] is False
    assert "disentangle" not in (tmp_path / "encoder" / "curves.csv").read_text()


def test_a_cluster_is_refused_where_only_prompts_are_learned(figures, tmp_path, capsys):
    assert train(figures, tmp_path, "--stage", "prompts", "--address", "auto") == 2
    assert "error: --address auto: stage 1 runs in this process" in capsys.readouterr().err
    assert not (tmp_path / "prompts").exists()


def test_prompts_of_another_model_are_refused(trained, figures, tmp_path, capsys):
    code = train(figures, trained, "--stage", "encoder", "--seed", "3", "--set", "model.image_size=[128,64]")
    assert code == 2
    assert "run `ccaf-pipeline train --stage prompts` again" in capsys.readouterr().err


def test_prompts_of_another_version_are_refused(trained, figures, tmp_path, capsys):
    shutil.copytree(trained / "prompts", tmp_path / "prompts")
    config = read_json(tmp_path / "prompts" / "config.json", "config")
    del config["shards_sha256"]
    (tmp_path / "prompts" / "config.json").write_text(json.dumps(config))
    assert train(figures, tmp_path, "--stage", "encoder") == 2
    assert "are of another version (no shards_sha256): run `ccaf-pipeline train" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["--shards", "nowhere"], "ccaf-pipeline parse"),
    (["--dataset", "walkers"], "are of data set figures, not of walkers"),
    (["--dataset", "nosuch"], "data set 'nosuch' is not known"),
    (["--set", "encoder.epoch=3"], "did you mean encoder.epochs"),
    (["--set", "encoder.epochs=many"], "encoder.epochs = 'many'"),
    (["--set", "encoder.epochs"], "expected key=value"),
    (["--params", "nowhere.yaml"], "parameter file not found: nowhere.yaml"),
    (["--set", "device=cuda:7"], "device 'cuda:7' cannot be used here"),
    (["--set", "encoder.identities_per_batch=9"], "identities_per_batch = 9"),
    (["--set", "training.precision=fp16"], "training.precision: fp16 needs a CUDA device"),
    (["--stage", "encoder", "--prompts", "nowhere"], "run `ccaf-pipeline train --stage prompts` first"),
])  # fmt: skip
def test_user_errors_are_one_line_and_exit_code_2(figures, tmp_path, capsys, arguments, message):
    assert train(figures, tmp_path, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_data_set_with_an_unknown_protocol_is_refused_at_once(figures, tmp_path, capsys):
    wrong = tmp_path / "figures.yaml"
    wrong.write_text(figures.facts.read_text().replace("- sc", "- zz"))
    assert train(figures, tmp_path, "--dataset", str(wrong)) == 2
    assert "unknown protocol 'zz'" in capsys.readouterr().err


def test_the_next_command_of_train_finds_what_it_wrote(figures, tmp_path, capsys):
    places = ["--shards", str(figures.shards), "--params", str(figures.params)]
    prompts, out = str(tmp_path / "prompts"), str(tmp_path / "encoder")
    assert run(["train", "--stage", "prompts", *places, "--prompts", prompts]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == f"next: ccaf-pipeline train --stage encoder --shards {figures.shards} --prompts {prompts} " + (
        f"--params {figures.params}"
    )
    assert run(["train", "--stage", "encoder", *places, "--prompts", prompts, "--out", out]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert said == (
        f"next: ccaf-pipeline extract --shards {figures.shards} --checkpoint {out} --params {figures.params}"
    )


def test_a_folder_with_other_things_is_never_replaced(figures, tmp_path, capsys):
    mine = tmp_path / "encoder" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("precious")
    assert train(figures, tmp_path, "--stage", "prompts") == 0
    assert train(figures, tmp_path) == 2
    assert "encoder is there and is no encoder checkpoint that could be replaced" in capsys.readouterr().err
    assert train(figures, tmp_path, "--stage", "prompts", "--prompts", str(mine.parent)) == 2
    assert train(figures, tmp_path, "--stage", "encoder", "--out", str(tmp_path / "prompts")) == 2
    assert mine.read_text() == "precious"


def test_the_next_command_keeps_data_set_and_parameters(trained, figures, tmp_path, capsys):
    arguments = ["extract", "--params", str(figures.params), "--dataset", str(figures.facts)]
    arguments += ["--shards", str(figures.shards), "--checkpoint", str(trained / "encoder")]
    assert run([*arguments, "--out", str(tmp_path / "f.parquet")]) == 0
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"next: ccaf-pipeline evaluate --features {tmp_path / 'f.parquet'}")
    assert said.endswith(f"--dataset {figures.facts} --params {figures.params}")


def test_extract_writes_features_of_query_and_gallery(trained, figures, tmp_path):
    arguments = ["extract", "--params", str(figures.params), "--shards", str(figures.shards), "--quiet"]
    trained_file, frozen_file = tmp_path / "features.parquet", tmp_path / "frozen.parquet"
    assert run([*arguments, "--checkpoint", str(trained / "encoder"), "--out", str(trained_file)]) == 0
    assert run([*arguments, "--frozen", "--out", str(frozen_file)]) == 0
    table = pq.read_table(trained_file)
    assert set(table["role"].to_pylist()) == {"query", "gallery"}
    assert table.num_rows == 24
    assert len(table["feature"][0].as_py()) == 32 + 24
    assert table["feature"].to_pylist() != pq.read_table(frozen_file)["feature"].to_pylist()
