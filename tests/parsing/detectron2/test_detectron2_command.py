"""The parser from the command line: shards made by Ray workers, scores, and what --trust allows."""

import json
import pickle

import d2_samples as samples
import numpy as np
import pytest
import yaml

from pipeline.images import encode_image, encode_label_map
from pipeline.labels import LIP
from pipeline.shards.reader import ShardReader
from stages.cli import run

CLASSES = ["shirt", "trousers", "tag"]
LABELS = {"shirt": "upper-clothes", "trousers": "pants", "tag": None}
UPPER, PANTS = LIP.labels.index("upper-clothes"), LIP.labels.index("pants")


@pytest.fixture
def parameters(tmp_path, library):
    """Six images of 28 x 24, and a network that puts a shirt on the upper half of each and trousers in a corner."""
    network = samples.built(tree := samples.mask_rcnn(3))
    samples.fix_instances(network, (0.5, 0.3, 0.1), ((0, 0, 1, 0.5), (0, 0.5, 0.5, 1), (0, 0, 1, 1)))
    settings = {**samples.saved(tmp_path, tree, network), "classes": CLASSES, "labels": LABELS, "score_threshold": 0.2}
    folder = tmp_path / "little"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for index in range(6):
        image = rng.integers(0, 256, (28, 24, 3), dtype=np.uint8)
        (folder / f"{index}.png").write_bytes(encode_image(image))
    rows = [f"{index}.png,{'train' if index < 4 else 'query'},{index // 2},0" for index in range(6)]
    (folder / "labels.csv").write_text("\n".join(["path,split,person_id,camera_id", *rows]) + "\n")
    facts = {
        "name": "little", "title": "Little", "reader": "custom", "home": "here", "access": "made by a test",
        "terms": "none", "layout": "a table", "markers": ["labels.csv"], "protocols": ["general"],
        "roles": {"train": ["train"], "query": ["query"]}, "settings": {"table": "labels.csv"},
    }  # fmt: skip
    (tmp_path / "little.yaml").write_text(yaml.safe_dump(facts))
    parse = {"parser": "detectron2", "settings": settings, "shard_rows": 3, "row_group_rows": 3}
    data = {"dataset": str(tmp_path / "little.yaml"), "root": str(tmp_path)}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"data": data, "device": "cpu", "parse": parse}))
    return tmp_path / "params.yaml"


def test_shards_hold_the_known_masks(parameters, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    out = tmp_path / "shards"
    assert run(["parse", "--params", str(parameters), "--out", str(out), "--workers", "1", "--json", "--quiet"]) == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["images"], counts["quarantined"], counts["flags"]) == (6, 0, {"low_confidence": 6})
    reader = ShardReader(out)
    assert reader.metadata.parser == "detectron2"
    assert reader.metadata.label_scheme == "lip"
    np.testing.assert_allclose(reader.ids.clothes_fraction, 0.75)
    expected = np.zeros((28, 24), np.uint8)
    expected[:14], expected[14:, :12] = UPPER, PANTS
    for index in range(6):
        np.testing.assert_array_equal(reader.label_map(index), expected)


def test_parse_score_measures_it(parameters, tmp_path, capsys):
    (tmp_path / "labels").mkdir()
    truth = np.zeros((28, 24), np.uint8)
    truth[:14] = UPPER
    for path in (tmp_path / "little").glob("*.png"):
        (tmp_path / "labels" / path.name).write_bytes(encode_label_map(truth))
    command = ["parse-score", "--images", str(tmp_path / "little"), "--labels", str(tmp_path / "labels"), "--json"]
    assert run([*command, "--params", str(parameters)]) == 0
    scores = json.loads(capsys.readouterr().out)
    assert scores["class_iou"]["upper-clothes"] == 1.0
    assert scores["clothes_iou"] == pytest.approx(2 / 3, abs=1e-4)

    network = samples.built(samples.mask_rcnn(3))
    state = {key: value.numpy() for key, value in network.state_dict().items()}
    (tmp_path / "model.pkl").write_bytes(pickle.dumps({"model": state, "__author__": "tests"}))
    pickled = [*command, "--params", str(parameters), "--set", f"parse.settings.weights={tmp_path / 'model.pkl'}"]
    assert run(pickled) == 2
    assert "--trust" in capsys.readouterr().err
    assert run([*pickled, "--trust"]) == 0


def test_trust_reaches_the_parser_of_a_parse(parameters, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "lazy.py").write_text("no = 'model'\n")
    command = ["parse", "--params", str(parameters), "--out", str(tmp_path / "shards"), "--quiet"]
    lazy = [*command, "--set", f"parse.settings.config={tmp_path / 'lazy.py'}"]
    assert run(lazy) == 2
    assert "LazyConfig, which executes code" in capsys.readouterr().err
    assert run([*lazy, "--trust"]) == 2
    assert "it has no `model`" in capsys.readouterr().err


def test_trust_is_refused_where_nothing_executes_code(parameters, tmp_path, capsys):
    folder = str(tmp_path / "little")
    lite = ["--params", str(parameters), "--set", "parse.parser=lite", "--set", "parse.settings={}", "--trust"]
    for command in (["parse", "--out", str(tmp_path / "out")], ["parse-score", "--images", folder, "--labels", folder]):
        assert run([*command, *lite, "--quiet"]) == 2
        assert "--trust is not for the parser lite: it has no setting trust" in capsys.readouterr().err
