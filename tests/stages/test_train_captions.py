"""Training on walkers with texts of single images, whose features the small CLIP's own text tower makes."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from pipeline.config import load_parameters
from pipeline.datasets.manifest import ManifestRow
from pipeline.datasets.walkers.attributes import image_ids, read_attributes
from pipeline.datasets.walkers.captions import captions
from pipeline.images import decode_image, decode_label_map
from pipeline.labels import LIP
from pipeline.models.clip import load_clip
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.shards.making.rows import make_row, write_rows
from stages.cli import run

SETTINGS = {
    "device": "cpu", "threads": 1, "data.dataset": "walkers", "synth.train_identities": 4, "synth.test_identities": 2,
    "synth.outfits": 2, "synth.images_per_outfit": 2, "model.name": "walker-clip",
    "model.pretrained": "builtin:walker-clip", "model.stem": "conv", "model.image_size": "[128,64]",
    "model.pixel_mean": "[0.5,0.5,0.5]", "model.pixel_std": "[0.5,0.5,0.5]", "prompts.epochs": 1,
    "encoder.method": "captions", "encoder.epochs": 4, "encoder.identities_per_batch": 4,
    "encoder.images_per_identity": 4, "encoder.learning_rate": 1e-3, "encoder.head_factor": 5.0,
}  # fmt: skip
WORDS = [word for key, value in SETTINGS.items() for word in ("--set", f"{key}={value}")]


@pytest.fixture(scope="module")
def walkers(tmp_path_factory):
    """A folder with shards of rendered people, and features of what they look like and wear."""
    folder = tmp_path_factory.mktemp("walkers")
    assert run(["synth", "--only", "walkers", "--out", str(folder), "--quiet", *WORDS]) == 0
    table = read_attributes(folder / "walkers")
    rows = []
    for listed in table.to_pylist():
        image = decode_image((folder / "walkers" / listed["path"]).read_bytes())
        labels = folder / "walkers" / "labels" / listed["path"]
        numbers = decode_label_map(labels.with_suffix(".png").read_bytes())
        mask = clothes_mask(numbers, LIP.clothes)
        row = ManifestRow(*(listed[name] for name in ("path", "split", "person_id", "camera_id", "clothes_id")))
        rows.append(make_row(row, image, numbers, mask, Quality(0.3, float(mask.mean()), 0.9, ())))
    write_rows(folder / "shards", "walkers", rows, [], parser="truth")
    parameters = load_parameters(None, WORDS[1::2])
    clip = load_clip(parameters.model).freeze()
    texts = {}
    with torch.inference_mode():
        for about in ("identity", "clothes"):
            said = [captions(listed)[f"caption_{about}"] for listed in table.to_pylist()]
            texts[about] = clip.text_encoder.encode_tokens(clip.tokenizer(said)).tolist()
    pq.write_table(pa.table({"image_id": image_ids(table), **texts}), folder / "texts.parquet")
    train = ["train", "--shards", str(folder / "shards"), "--prompts", str(folder / "prompts"), "--quiet", *WORDS]
    given = ["--set", f"encoder.captions={folder / 'texts.parquet'}"]
    assert run([*train, *given, "--stage", "prompts"]) == 0
    return folder, [*train, "--stage", "encoder"]


def test_the_text_is_taken_out_and_the_same_run_gives_the_same_weights(walkers, tmp_path, capsys):
    folder, train = walkers
    given = ["--set", f"encoder.captions={folder / 'texts.parquet'}"]
    assert run([*train, *given, "--out", str(tmp_path / "a")]) == 0
    assert run([*train, *given, "--out", str(tmp_path / "b")]) == 0
    weights = [(tmp_path / name / "weights.safetensors").read_bytes() for name in "ab"]
    assert weights[0] == weights[1]
    lines = (tmp_path / "a" / "curves.csv").read_text().splitlines()
    names = lines[0].split(",")
    curve = {name: [float(line.split(",")[place]) for line in lines[1:]] for place, name in enumerate(names)}
    assert curve["caption_align"][-1] < curve["caption_align"][0]
    assert curve["caption_examine"][-1] < curve["caption_examine"][0]
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    assert config["terms"] == dict.fromkeys(("identity", "caption_align", "caption_examine", "caption_orthogonal"), 1.0)
    assert len(config["captions_sha256"]) == 64


def test_other_texts_are_another_training(walkers, tmp_path, capsys):
    folder, train = walkers
    table = pq.read_table(folder / "texts.parquet")
    shuffled = table.set_column(2, "clothes", table["clothes"].take(pa.array(np.arange(len(table))[::-1])))
    pq.write_table(shuffled, tmp_path / "other.parquet")
    hashes = []
    for path in (folder / "texts.parquet", tmp_path / "other.parquet"):
        words = ["--set", f"encoder.captions={path}", "--set", "encoder.epochs=1", "--out", str(tmp_path / path.stem)]
        assert run([*train, *words]) == 0
        config = json.loads((tmp_path / path.stem / "config.json").read_text())
        hashes.append((config["captions_sha256"], (tmp_path / path.stem / "weights.safetensors").read_bytes()))
    assert hashes[0][0] != hashes[1][0]
    assert hashes[0][1] != hashes[1][1]


def test_a_file_that_does_not_fit_is_refused_before_anything_is_trained(walkers, tmp_path, capsys, monkeypatch):
    folder, train = walkers
    monkeypatch.setattr("stages.encoder_run.run", lambda *_, **__: pytest.fail("stage 2 began"))
    table = pq.read_table(folder / "texts.parquet")
    first = next(row for row, name in enumerate(table["image_id"].to_pylist()) if name.startswith("train/"))
    short = pa.concat_tables([table.slice(0, first), table.slice(first + 1)])
    pq.write_table(short, tmp_path / "short.parquet")
    for words, message in (
        ([], "method captions with these encoder.weights needs texts of single images: name a Parquet file"),
        (["--set", "encoder.captions=none.parquet"], "file of text features not found: none.parquet"),
        (
            ["--set", f"encoder.captions={tmp_path / 'short.parquet'}"],
            "1 of 16 training images have no row, such as train/",
        ),
    ):
        assert run([*train, *words, "--out", str(tmp_path / "e")]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1
