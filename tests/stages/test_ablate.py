"""A tiny study from end to end on real Ray: killed, gone on with, failing; on walkers and on another data set."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipeline.ray_session import ray_session
from pipeline.shards.reader import ShardReader
from stages.cli import run

REPOSITORY = Path(__file__).resolve().parents[2]

STUDY = {
    "title": "Tiny",
    "source": "A test.",
    "parameters": {
        "device": "cpu",
        "data": {"dataset": "walkers"},
        "synth": {
            "height": 64, "train_identities": 4, "test_identities": 4, "outfits": 2, "images_per_outfit": 4,
            "pretrain_images": 48,
        },
        "model": {"image_size": [64, 32]},
        "pretrain": {"epochs": 1, "batch_size": 32},
        "parse": {"parser": "precomputed"},
        "prompts": {"epochs": 2, "tokens": 2, "similarity": "cosine"},
        "encoder": {
            "epochs": 1, "identities_per_batch": 2, "images_per_identity": 2, "learning_rate": 0.0004,
            "similarity": "cosine", "pad": 2,
        },
        "evaluate": {"bootstrap": 0},
        "leakage": {"folds": 2},
    },
    "seeds": [0, 1],
    "reference": "baseline",
    "protocols": ["cc", "sc"],
    "methods": {"baseline": None, "ccaf": None},
    "tuned": {"ccaf": {"encoder.lambda_con": 0.3}},
    "tuning": {"seeds": [100], "grid": {"encoder.learning_rate": [0.0004, 1.0e-9]}, "methods": ["baseline"]},
}  # fmt: skip


@pytest.fixture(scope="module")
def study_file(tmp_path_factory, tiny_clip_config):
    folder = tmp_path_factory.mktemp("study")
    study = {**STUDY, "parameters": {**STUDY["parameters"], "model": {
        "name": str(tiny_clip_config), "image_size": [64, 32]}}}  # fmt: skip
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(study))
    return path


@pytest.fixture(scope="module")
def cluster():
    with ray_session(None, 2):
        yield


def files_of(folder: Path, *endings: str) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name.endswith(endings)
    }


def ablate(study: Path, out: Path, *words: str) -> int:
    return run(["ablate", "--study", str(study), "--out", str(out), "--workers", "2", *words])


@pytest.fixture(scope="module")
def killed(study_file, tmp_path_factory):
    """A study that was killed after its first encoder was trained."""
    out = tmp_path_factory.mktemp("killed") / "out"
    words = ["ablate", "--study", str(study_file), "--out", str(out), "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-m", "stages", *words], env=environment, start_new_session=True)
    while process.poll() is None and not list(out.glob("seed-*/methods/*/encoder.step.json")):
        time.sleep(0.05)
    assert process.poll() is None, "the study ended before it could be killed"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not (out / "table.json").exists()
    # its workers may still be at it: their temporary files, with a dot, come and go
    shutil.copytree(out, out.with_name("as killed"), ignore=shutil.ignore_patterns(".*"))
    return out


def test_runs_that_are_finished_can_be_read_before_the_others_are(killed):
    """The killed study had trained one encoder; the rows without training were there by then."""
    out = killed.with_name("as killed")
    table = json.loads((out / "table-incomplete.json").read_text())
    assert not table["complete"]
    assert re.fullmatch(r"\d+ of 10 runs are not finished", table["failures"][-1])
    rows = {row["name"]: row for row in table["rows"]}
    assert 0 not in rows["oracle-clothes"]["missing_seeds"]
    for row in table["rows"]:
        for seed in {0, 1} - set(row["missing_seeds"]):
            place = {"oracle": f"oracles/{row['name'][7:]}", "method": f"methods/{row['name']}"}.get(
                row["kind"], "frozen"
            )
            metrics = json.loads((out / f"seed-{seed}/{place}/metrics.json").read_text())["protocols"]
            assert row["figures"]["cc"]["mAP"]["values"][str(seed)] == metrics["cc"]["mAP"]
    assert "are not finished" in (out / "table-incomplete.html").read_text()


@pytest.fixture(scope="module")
def finished(study_file, killed, cluster):
    """The same study, gone on with."""
    before = files_of(killed, ".step.json")
    assert ablate(study_file, killed, "--quiet") == 0
    after = files_of(killed, ".step.json")
    assert before.items() <= after.items()  # what was finished was not done again
    assert len(after) > len(before)
    return killed


def test_a_killed_study_goes_on_and_writes_its_table(finished):
    table = json.loads((finished / "table.json").read_text())
    assert table["complete"]
    assert [row["name"] for row in table["rows"]] == ["oracle-clothes", "oracle-visible", "frozen", "baseline", "ccaf"]
    for row in table["rows"]:
        name, oracle = row["name"], row["name"].removeprefix("oracle-")
        place = name if name == "frozen" else f"methods/{name}" if name == oracle else f"oracles/{oracle}"
        for seed in (0, 1):
            metrics = json.loads((finished / f"seed-{seed}/{place}/metrics.json").read_text())["protocols"]
            for protocol in ("cc", "sc"):
                for name in ("rank1", "mAP"):
                    assert row["figures"][protocol][name]["values"][str(seed)] == metrics[protocol][name]
        leakage = json.loads((finished / f"seed-1/{place}/leakage.json").read_text())["headline"]
        assert row["figures"]["leakage"]["upper_colour"]["values"]["1"] == leakage["upper_colour"]["accuracy"]
    assert table["rows"][4]["parameters"] == {"encoder.method": "ccaf", "encoder.lambda_con": 0.3}
    clip = json.loads((finished / "clip/config.json").read_text())
    assert table["made_by"]["clip"] == clip["weights_sha256"]


def test_each_run_is_an_ordinary_training_with_its_own_seed(finished):
    config = json.loads((finished / "seed-1/methods/ccaf/encoder/config.json").read_text())
    assert (config["seed"], config["method"], config["parameters"]["lambda_con"]) == (1, "ccaf", 0.3)
    assert (finished / "seed-1/methods/ccaf/encoder.log").read_text().startswith("encoder seed-1/methods/ccaf/encoder")
    images = [(finished / f"seed-{seed}/data/walkers/attributes.parquet").read_bytes() for seed in (0, 1)]
    assert images[0] != images[1]
    assert not list(finished.glob("seed-*/.cache"))  # decoded images are no use any more


def test_a_second_call_does_nothing_and_writes_the_same_bytes(finished, study_file, capsys):
    endings = (".json", ".csv", ".md", ".html", ".safetensors", ".parquet")
    before = files_of(finished, *endings)
    capsys.readouterr()
    assert ablate(study_file, finished) == 0
    assert re.search(r"^(\d+) of \1 steps are finished already$", capsys.readouterr().err, flags=re.MULTILINE)
    assert files_of(finished, *endings) == before


def test_a_run_from_nothing_gives_the_same_bytes(finished, study_file, cluster, tmp_path):
    assert ablate(study_file, tmp_path, "--methods", "baseline", "--seeds", "1", "--quiet") == 0
    for name in ("encoder/weights.safetensors", "metrics.json", "leakage.json"):
        path = f"seed-1/methods/baseline/{name}"
        assert (tmp_path / path).read_bytes() == (finished / path).read_bytes()


def test_a_run_that_fails_does_not_stop_the_others_and_the_table_says_so(finished, study_file, cluster, capsys):
    study = yaml.safe_load(study_file.read_text())
    study["methods"] = {"broken": {"encoder.method": "ccaf", "encoder.identities_per_batch": 99}, **study["methods"]}
    study["methods"]["other"] = {"encoder.method": "i2t"}
    path = study_file.with_name("broken.yaml")
    path.write_text(yaml.safe_dump(study))
    table = (finished / "table.json").read_bytes()
    assert ablate(path, finished, "--seeds", "0", "--json") == 1
    output = capsys.readouterr()
    value = json.loads(output.out)
    assert not value["complete"]
    rows = {row["name"]: row for row in value["rows"]}
    assert (rows["broken"]["missing_seeds"], rows["broken"]["figures"]) == ([0], {})
    assert rows["other"]["figures"]["cc"]["rank1"]["n"] == 1
    assert output.err.count("seed-0/methods/broken/encoder") >= 1
    assert "error: 1 steps of study broken failed" in output.err
    metrics = json.loads((finished / "seed-0/methods/other/metrics.json").read_text())["protocols"]["cc"]
    line = f"other, seed 0: cc Rank-1 {metrics['rank1']:.1f}, mAP {metrics['mAP']:.1f}"
    assert line in output.err.splitlines()  # as soon as the run was finished
    assert "Traceback" not in output.err
    assert not (finished / "table.json").exists()
    assert "Incomplete" in (finished / "table-incomplete.md").read_text()
    assert ablate(study_file, finished, "--quiet") == 0  # the study without it is whole as before
    assert (finished / "table.json").read_bytes() == table
    assert not (finished / "table-incomplete.json").exists()


def test_tuning_runs_on_its_own_people_and_prints_what_to_paste(finished, study_file, cluster, capsys):
    assert ablate(study_file, finished, "--tune", "--quiet") == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    value = json.loads((finished / "tuning.json").read_text())
    scores = {score["values"]["encoder.learning_rate"]: score["mean"] for score in value["scores"]}
    assert printed == {"tuned": {"baseline": {"encoder.learning_rate": max(scores, key=scores.get)}}}
    for score in value["scores"]:
        row = f"baseline@encoder.learning_rate={score['values']['encoder.learning_rate']}"
        metrics = json.loads((finished / "tuning/seed-100/methods" / row / "metrics.json").read_text())
        assert score["mean"] == metrics["protocols"]["cc"]["mAP"]
    assert (finished / "tuning.md").read_text().count("**") == 2


def test_any_other_data_set_runs_with_parameters_of_its_own(figures, study_file, cluster, tmp_path, capsys):
    words = ["--dataset", str(figures.facts), "--params", str(figures.params), "--shards", str(figures.shards)]
    assert ablate(study_file, tmp_path / "out", "--methods", "baseline", "--seeds", "0,1", "--json", *words) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["dataset"] == "figures"
    assert [row["name"] for row in value["rows"]] == ["frozen", "baseline"]
    assert value["made_by"]["clip"] == "random weights"
    assert not (tmp_path / "out" / "clip").exists()
    config = json.loads((tmp_path / "out/seed-1/methods/baseline/encoder/config.json").read_text())
    assert (config["seed"], config["parameters"]["learning_rate"]) == (1, 0.0001)
    assert value["chance"]["leakage"]["within_identity"] > 0  # the outfits of figures have ids


def write_label_maps(shards: Path, table: Path, folder: Path) -> None:
    """Of redressed images: those of the images that they were made of."""
    reader = ShardReader(shards)
    places = {name: row for row, name in enumerate(reader.ids.image_id)}
    for row in csv.DictReader(table.read_text().splitlines()):
        path = folder / Path(row["path"]).with_suffix(".npy")
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, reader.label_map(places[row["source"]]))


def test_redressed_people_go_through_the_study_of_photographs(figures, cluster, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shards = ["--shards", str(figures.shards), "--dataset", str(figures.facts)]
    assert run(["redress", *shards, "--out", "data/figures-redressed", "--seed", "3", "--quiet"]) == 0
    capsys.readouterr()
    words = ["--dataset", "data/figures-redressed/dataset.yaml", "--root", "data", "--params", str(figures.params)]
    chosen = ["--quick", "--methods", "clip-reid,ccaf+redress", "--set", "parse.parser=precomputed"]
    write_label_maps(figures.shards, tmp_path / "data/figures-redressed/table.csv", tmp_path / "maps")
    parser = ["--set", f"parse.settings.root={tmp_path / 'maps'}"]
    assert run(["ablate", "--study", "redressed", *words, *chosen, *parser, "--json", "--workers", "2"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["dataset"], value["seeds"], value["complete"]) == ("figures-redressed", [0], True)
    rows = {row["name"]: row for row in value["rows"]}
    assert list(rows) == ["frozen", "clip-reid", "ccaf+redress"]
    assert rows["ccaf+redress"]["parameters"] == {"encoder.method": "ccaf", "encoder.redress": 0.5}
    assert set(rows["ccaf+redress"]["figures"]) >= {"cc", "sc", "general"}
    folder = tmp_path / "artifacts/studies/redressed-figures-redressed-quick"
    config = json.loads((folder / "seed-0/methods/ccaf+redress/encoder/config.json").read_text())
    assert config["parameters"]["redress"] == 0.5
    assert "cc against sc mAP" in (folder / "table.svg").read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a study by --study"),
        (["--study", "table9"], "study 'table9' is not known"),
        (["--study", "walkers", "--seeds", "0;1"], "--seeds 0;1: expected whole numbers"),
        (["--study", "walkers", "--seeds", "100"], "seed 100 is in both seeds and tuning.seeds"),
        (["--study", "walkers", "--methods", "ccfa"], "ccfa is none of the study's methods"),
        (["--study", "walkers", "--dataset", "prcc"], "the parameters of study walkers are for walkers"),
        (["--study", "walkers", "--out", "/proc/nope"], "cannot write /proc/nope"),
        (["--study", "walkers", "--dataset", "prcc", "--params", "preset:prcc", "--root", "."], "neither shards in"),
        (["--study", "walkers", "--params", "nope.yaml"], "parameter file not found: nope.yaml"),
        (["--study", "walkers", "--set", "data.dataset=prcc"], "the parameters of study walkers are for walkers"),
        (["--study", "redressed"], "redressed is for a data set of photographs and renders none: name it by --dataset"),
        (["--study", "walkers", "--root", "x"], "walkers are rendered by the study"),
        (["--study", "walkers", "--set", "data.root=x"], "walkers are rendered by the study"),
        (["--study", "walkers", "--set", "seed=3"], "give them by --seeds"),
        (["--study", "walkers", "--set", "model.pretrained=openai"], "the study pre-trains the CLIP for walkers"),
        (["--study", "walkers", "--set", "encoder.epoch=3"], "did you mean encoder.epochs"),
        (["--study", "walkers", "--set", "synth.height=8"], "synth.height"),
    ],
)
def test_what_the_user_gets_wrong_is_told_in_one_line(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run(["ablate", *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_tuning_by_a_protocol_that_walkers_lack_is_told_before_any_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    tuning = {"seeds": [100], "grid": {"encoder.learning_rate": [0.1]}, "protocol": "prcc:cc:multi-shot"}
    tree = {"title": "Mine", "source": "a test", "like": "walkers", "reference": [], "tuning": tuning}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**tree, "methods": {"baseline": None}, "tuned": {}}))
    assert run(["ablate", "--study", "mine.yaml", "--tune"]) == 2
    assert "tuning.protocol prcc:cc:multi-shot is not among general, cc, sc" in capsys.readouterr().err


def test_seeds_are_refused_where_a_study_is_tuned_on_its_own(capsys):
    assert run(["ablate", "--study", "walkers", "--tune", "--seeds", "1,2"]) == 2
    assert "--seeds 1,2: --tune runs the grid on the seeds that the study names" in capsys.readouterr().err


def test_studies_are_listed_with_their_titles(capsys):
    assert run(["ablate", "--list", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["table3"].startswith("Table 3")


def test_two_commands_do_not_work_in_one_folder(study_file, tmp_path, capsys):
    from stages.study.run import study_lock

    with study_lock(tmp_path / "out"):
        assert ablate(study_file, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert f"another run is using {tmp_path / 'out'} (process {os.getpid()} on " in error
    assert "wait for it, or give another --out" in error
