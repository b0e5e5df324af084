"""The Python API: a handful of names, imported late, that give what the commands give."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

import pipeline
from pipeline.errors import InputError
from pipeline.features.embedding import rgb_pixels
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


def test_every_form_of_an_image_gives_the_feature_of_its_pixels(trained, tmp_path):
    encoder = pipeline.load_encoder(trained / "encoder", "cpu")
    assert encoder.size == (64, 32)
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    picture.save(tmp_path / "one.png")
    channels = torch.from_numpy(pixels).permute(2, 0, 1)
    forms = [pixels, picture, tmp_path / "one.png", str(tmp_path / "one.png"), channels, channels.double() / 255]
    found = encoder.embed(forms, batch_size=1)
    assert found.shape == (len(forms), encoder.dim)
    assert (found == found[0]).all()
    np.testing.assert_array_equal(encoder.embed(channels[None]), found[:1])
    assert encoder.embed([]).shape == (0, encoder.dim)
    for kind, numbers in (("concat", 32 + 24), ("projected", 24)):
        with pytest.raises(InputError, match="feature 'both' is none of: concat, projected"):
            pipeline.load_encoder(trained / "encoder", "cpu", feature="both")
        assert pipeline.load_encoder(trained / "encoder", "cpu", feature=kind).embed([pixels]).shape == (1, numbers)
    mirrored = pipeline.load_encoder(trained / "encoder", "cpu", flip=True).embed([pixels, pixels[:, ::-1]])
    np.testing.assert_allclose(mirrored[0], mirrored[1], atol=1e-6)


def test_pictures_of_pillow_are_read_as_the_decoder_reads_their_files(tmp_path):
    values = np.random.default_rng(1).integers(0, 65536, (20, 30))
    turned = Image.fromarray((values // 256).astype(np.uint8)).convert("RGB")
    turned.getexif()[0x0112] = 6
    pictures = [
        turned,
        Image.fromarray((values // 256).astype(np.uint8)),
        Image.fromarray(values.astype(np.uint16)),
        Image.fromarray((values // 256).astype(np.uint8)).convert("RGBA"),
        Image.fromarray((values // 256).astype(np.uint8)).convert("P"),
        Image.fromarray(values > 30000),
    ]
    for number, picture in enumerate(pictures):
        path = tmp_path / f"{number}.png"
        picture.save(path, exif=picture.getexif())
        np.testing.assert_array_equal(rgb_pixels(picture), rgb_pixels(path), err_msg=picture.mode)
    assert rgb_pixels(turned).shape == (30, 20, 3)


def test_threads_share_an_encoder(trained):
    encoder = pipeline.load_encoder(trained / "encoder", "cpu")
    rng = np.random.default_rng(2)
    lists = [[rng.integers(0, 256, (64, 32, 3), dtype=np.uint8) for _ in range(3)] for _ in range(24)]
    expected = [encoder.embed(images) for images in lists]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(encoder.embed, lists))
    np.testing.assert_array_equal(found, expected)
    assert not any(module.training for module in encoder.chosen.encoder.modules())


@pytest.mark.parametrize(
    ("images", "reason"),
    [
        ("one.jpg", "must be a list"),
        (torch.zeros(3, 8, 8), "must be a list"),
        ([torch.zeros(8, 8, 3)], r"must be \(3, H, W\)"),
        ([torch.full((3, 8, 8), 2.0)], "numbers from 0 to 1"),
        ([torch.full((3, 8, 8), float("nan"))], "numbers from 0 to 1"),
        ([torch.zeros(3, 8, 8, dtype=torch.int64)], "must be uint8"),
        ([Image.new("F", (4, 4))], "mode F"),
        ([object()], "must be a path"),
        (["absent.jpg"], "absent.jpg cannot be used"),
    ],
)
def test_other_forms_are_refused(trained, images, reason):
    with pytest.raises(InputError, match=reason):
        pipeline.load_encoder(trained / "encoder", "cpu").embed(images)
