"""The Python API: a handful of names, imported late, that give what the commands give."""

import json
import subprocess
import sys

import numpy as np
import pytest

import pipeline
from pipeline.errors import InputError
from pipeline.features.feature_set import read_features
from pipeline.files import read_json
from pipeline.shards.reader import ShardReader
from stages.cli import run


@pytest.fixture(scope="module")
def trained(figures, tmp_path_factory):
    """Encoder and features of a tiny data set."""
    folder = tmp_path_factory.mktemp("api")
    words = ["--params", str(figures.params), "--shards", str(figures.shards), "--quiet"]
    assert run(["train", *words, "--prompts", str(folder / "prompts"), "--out", str(folder / "encoder")]) == 0
    features = folder / "features.parquet"
    assert run(["extract", *words, "--score", "--checkpoint", str(folder / "encoder"), "--out", str(features)]) == 0
    return folder


def test_names_are_imported_when_they_are_used():
    code = "import sys, pipeline; print(sorted(pipeline.__all__), 'torch' in sys.modules); pipeline.load_encoder"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("]")[1].strip() == "False"
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = pipeline.nothing


def test_an_encoder_gives_the_features_of_extract(figures, trained, tmp_path):
    reader = pipeline.open_shards(figures.shards)
    assert isinstance(reader, ShardReader)
    expected, _ = read_features(trained / "features.parquet")
    places = [reader.ids.image_id.tolist().index(name) for name in expected.image_id]
    files = []
    for number, place in enumerate(places):
        files.append(tmp_path / f"{number}.png")
        files[-1].write_bytes(reader.encoded(place))
    encoder = pipeline.load_encoder(trained / "encoder", "cpu")
    found = encoder.embed(files)
    np.testing.assert_array_equal(found, expected.features)
    arrays = [np.zeros((90, 40, 3), np.uint8), str(files[0])]
    np.testing.assert_allclose(np.linalg.norm(encoder.embed(arrays), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(encoder.embed(arrays)[1], found[0], atol=1e-6)


def test_scores_are_those_of_evaluate(trained):
    report = read_json(trained / "metrics.json", "metrics")
    metrics = report["protocols"]
    scores = pipeline.score_features(
        trained / "features.parquet", protocols=list(metrics), bootstrap=report["bootstrap"], seed=report["seed"]
    )
    assert json.loads(json.dumps(scores)) == metrics


def test_the_record_is_that_of_the_shards(figures):
    assert pipeline.read_record(figures.shards).counts["images"] == len(pipeline.open_shards(figures.shards))


def test_what_is_no_image_is_refused(trained, tmp_path):
    encoder = pipeline.load_encoder(trained / "encoder", "cpu")
    (tmp_path / "text.jpg").write_text("no image")
    for wrong, reason in ((np.zeros((4, 4), np.uint8), "must be uint8"), (tmp_path / "text.jpg", r"text\.jpg cannot")):
        with pytest.raises(InputError, match=reason):
            encoder.embed([wrong])
    with pytest.raises(InputError, match="1 cameras were given for 2"):
        encoder.embed([np.zeros((4, 4, 3), np.uint8)] * 2, cameras=[1])
