"""embed: features of images that are in no shards, by the real command, against extract and a plain loop."""

import contextlib
import io
import json
import os
import pickle
import shutil
import signal
from dataclasses import astuple, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import open_clip
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

import pipeline
from pipeline.errors import InputError, WorkError
from pipeline.features import part_workers
from pipeline.features.embedding import Encoder
from pipeline.features.encoders import trained_encoder
from pipeline.features.feature_set import read_features
from pipeline.features.image_list import list_inputs
from pipeline.features.image_tables import read_held
from pipeline.features.part_maker import FeaturePart, PartMaker
from pipeline.features.part_workers import EncoderSource, PartSetup, PartWorker, embed_on_ray
from pipeline.features.parts import RUN_FILE, embed_list
from pipeline.features.settings import FeatureSettings
from pipeline.images import max_bytes
from pipeline.location import Location
from pipeline.models.settings import ModelSettings
from pipeline.ray_session import Resources, ray_session
from pipeline.shards.making.pool import WorkerPool
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import WorkSettings
from stages.cli import run

LABELS = ["person_id", "camera_id", "clothes_id", "tracklet_id"]


@pytest.fixture(scope="module")
def trained(figures, tmp_path_factory):
    """A checkpoint, features and scores of extract, and the images of query and gallery as files with a manifest."""
    folder = tmp_path_factory.mktemp("embed")
    words = ["--params", str(figures.params), "--shards", str(figures.shards), "--quiet"]
    sets = ["--set", "evaluate.batch_size=5", "--set", "model.camera_embedding=1.0"]
    encoder = ["--prompts", str(folder / "prompts"), "--out", str(folder / "encoder")]
    assert run(["train", *words, *sets, *encoder]) == 0
    features = ["--checkpoint", str(folder / "encoder"), "--out", str(folder / "features.parquet")]
    assert run(["extract", *words, *sets, "--score", *features]) == 0
    reader = pipeline.open_shards(figures.shards)
    rows = []
    for row, (name, path, split) in enumerate(zip(reader.ids.image_id, reader.ids.path, reader.ids.split, strict=True)):
        place = folder / "images" / path
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(reader.encoded(row))
        ids = {label: int(getattr(reader.ids, label)[row]) for label in LABELS}
        rows.append(
            {"image_id": name, "path": path, "split": split, **{k: None if v < 0 else v for k, v in ids.items()}}
        )
    types = {"camera_id": pa.int32(), **{label: pa.int64() for label in LABELS if label != "camera_id"}}
    table = pa.Table.from_pylist(rows)
    for label, kind in types.items():
        table = table.set_column(table.column_names.index(label), label, table[label].cast(kind))
    pq.write_table(table, folder / "manifest.parquet")
    return folder


@pytest.fixture
def embed(figures, trained, tmp_path, capsys):
    """Run the command; its exit code, what it printed and said, and its file."""

    def command(*words, code=0, out=tmp_path / "features.parquet"):
        options = ["--params", str(figures.params), "--checkpoint", str(trained / "encoder"), "--out", str(out)]
        capsys.readouterr()
        assert run(["embed", *options, *map(str, words), "--set", "evaluate.batch_size=5", "--json"]) == code
        printed = capsys.readouterr()
        return json.loads(printed.out) if printed.out else None, printed.err

    return command


def quarantine(path):
    return {row["image_id"]: row["reason"] for row in pq.read_table(path).to_pylist()}


def test_embed_and_evaluate_give_the_bits_of_extract_and_evaluate(embed, trained, figures, tmp_path):
    words = ["--images", trained / "images", "--role", "query", "--role", "gallery"]
    result, _ = embed(trained / "manifest.parquet", *words)
    mine, theirs = (pq.read_table(folder / "features.parquet") for folder in (tmp_path, trained))
    assert result["images"] == mine.num_rows == theirs.num_rows > 10
    assert mine["path"].to_pylist() == [name.partition("/")[2] for name in theirs["image_id"].to_pylist()]
    assert mine.drop_columns("path").equals(theirs)
    known = mine.schema.metadata
    assert known[b"images"] == str(trained / "images").encode()
    assert {key: known[key] for key in (b"checkpoint_sha256", b"feature", b"flip", b"camera_embedding")}.items() <= (
        theirs.schema.metadata.items()
    )
    scores = ["--params", str(figures.params), "--quiet", "--features", str(tmp_path / "features.parquet")]
    assert run(["evaluate", *scores]) == 0
    metrics = [json.loads((folder / "metrics.json").read_text())["protocols"] for folder in (tmp_path, trained)]
    assert metrics[0] == metrics[1]
    assert metrics[0]


def test_forms_of_one_list_give_one_table(embed, trained, tmp_path):
    """A CSV file with other names, Parquet with bytes (plain and as Hugging Face's), a list, a folder, a pattern."""
    manifest = pq.read_table(trained / "manifest.parquet")
    renamed = manifest.drop_columns(["image_id", "tracklet_id"]).rename_columns({"path": "file", "person_id": "who"})
    pacsv.write_csv(renamed, trained / "images" / "table.csv")
    embed(trained / "images" / "table.csv", "--column", "path=file", "--column", "person_id=who")
    expected, _ = read_features(tmp_path / "features.parquet")
    assert expected.person_id.tolist() == manifest["person_id"].to_pylist()
    assert expected.image_id.tolist() == manifest["image_id"].to_pylist()
    data = [(trained / "images" / path).read_bytes() for path in manifest["path"].to_pylist()]
    pairs = [{"bytes": one, "path": None} for one in data]
    for number, values in enumerate((pa.array(data, pa.binary()), pa.array(pairs))):
        place = tmp_path / f"bytes-{number}.parquet"
        pq.write_table(manifest.append_column("image", values), place, row_group_size=7)
        embed(place)
        found, _ = read_features(tmp_path / "features.parquet")
        for name in ("features", "image_id", "role", "person_id", "camera_id", "clothes_id"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), err_msg=name)
    paths = sorted(set(manifest["path"].to_pylist()))
    (tmp_path / "list.txt").write_text("\n".join(paths))
    (tmp_path / "uris.txt").write_text("\n".join((trained / "images" / path).as_uri() for path in paths))
    found = []
    for words in (
        [tmp_path / "list.txt", "--images", trained / "images"],
        [trained / "images"],
        [trained / "images" / "*.png"],
        [trained / "images" / path for path in paths],
        [tmp_path / "uris.txt"],
    ):
        result, _ = embed(*words, "--as", "query")
        assert result["images"] == len(paths)
        found.append(read_features(tmp_path / "features.parquet")[0])
        np.testing.assert_array_equal(found[-1].features, found[0].features)
        assert set(found[-1].role) == {"query"}
        assert (found[-1].person_id == -1).all()
    assert found[0].image_id.tolist() == found[1].image_id.tolist() == paths


def test_any_image_has_a_feature_or_a_reason_in_the_order_given(embed, trained, tmp_path):
    folder = tmp_path / "mixed"
    (folder / "deep").mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (90, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(pixels)
    turned = Image.fromarray(np.ascontiguousarray(np.rot90(pixels)))
    exif = turned.getexif()
    exif[0x0112] = 6  # to be turned clockwise
    turned.save(folder / "b.png", exif=exif)
    picture.save(folder / "a.png")
    picture.convert("L").save(folder / "deep" / "c.png")
    picture.convert("RGBA").save(folder / "deep" / "d.png")
    stream = io.BytesIO()
    picture.save(stream, "JPEG")
    (folder / "e.jpg").write_bytes(stream.getvalue()[: -len(stream.getvalue()) // 2])
    (folder / "f.jpg").write_text("text")
    (folder / "notes.md").write_text("no image by its name")
    result, said = embed(folder, code=1)
    assert result["reasons"] == {"not_an_image": 1, "truncated": 1}
    assert "2 of 6 images cannot be used" in said
    found, _ = read_features(tmp_path / "features.parquet")
    assert found.image_id.tolist() == ["a.png", "b.png", "deep/c.png", "deep/d.png"]
    np.testing.assert_array_equal(found.features[0], found.features[1])
    np.testing.assert_allclose(found.features[0], found.features[3], atol=1e-6)
    assert quarantine(tmp_path / "features.quarantine.parquet") == {"e.jpg": "truncated", "f.jpg": "not_an_image"}
    embed(folder, "--max-bad", "0.5")
    embed(folder / "a.png")
    assert quarantine(tmp_path / "features.quarantine.parquet") == {}
    assert {path.name for path in tmp_path.iterdir()} == {"mixed", "features.parquet", "features.quarantine.parquet"}


def test_a_killed_run_goes_on_and_sees_what_changed(trained, tmp_path, monkeypatch):
    shutil.copytree(trained / "images", tmp_path / "images")
    encoder = pipeline.load_encoder(trained / "encoder", "cpu")
    encoder = type(encoder)(encoder.chosen, "cpu", encoder.settings.model_copy(update={"batch_size": 4}))
    images = list_inputs([str(tmp_path / "images")])
    how = {"max_pixels": 10**6, "part_batches": 2, "quiet": True}
    whole = embed_list(encoder, images, tmp_path / "whole.parquet", **how)
    assert whole.parts == -(-len(images) // 8) > 3
    calls = []
    launch = type(encoder).launch

    def counting(self, pixels, cameras, stop_at=None):
        calls.append(len(pixels))
        if len(calls) == stop:
            raise KeyboardInterrupt
        return launch(self, pixels, cameras)

    monkeypatch.setattr(type(encoder), "launch", counting)
    stop = 6
    with pytest.raises(KeyboardInterrupt):
        embed_list(encoder, images, tmp_path / "f.parquet", **how)
    assert not (tmp_path / "f.parquet").exists()
    calls, stop = [], None
    changed = sorted((tmp_path / "images").iterdir())[9]  # of the second part
    changed.write_bytes(sorted((tmp_path / "images").iterdir())[0].read_bytes())
    done = embed_list(encoder, images, tmp_path / "f.parquet", **how)
    assert done.reused == 1
    assert sum(calls) == len(images) - 8
    again = embed_list(encoder, images, tmp_path / "again.parquet", **how)
    assert again.reused == 0
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "f.parquet").read_bytes()
    assert (tmp_path / "again.parquet").read_bytes() != (tmp_path / "whole.parquet").read_bytes()


@contextlib.contextmanager
def no_session(address, cpus=None):
    yield Resources(cpus=2, gpus=0, node_cpus=2)


class KillingPool(WorkerPool):
    """After the third part one of the workers is killed by the system's own means."""

    killed: ClassVar[list[int]] = []

    def run(self, method, tasks, report):
        import ray

        for number, done in enumerate(super().run(method, tasks, report)):
            if (method, number) == ("make", 2):
                worker = next(iter(self._members)).actor
                self.killed.append(ray.get(worker.__ray_call__.remote(lambda _: os.getpid())))
                os.kill(self.killed[0], signal.SIGKILL)
            yield done


def test_workers_of_ray_one_of_which_is_killed_write_the_same_bytes(embed, trained, tmp_path, monkeypatch):
    """Bytes of images in a table, so that what is held is cut into parts as well; one image is bad."""
    names = sorted(path.name for path in (trained / "images").glob("*.png"))
    data = [(trained / "images" / name).read_bytes() for name in names]
    data[7] = b"no image"
    table = pa.table({"image": data, "path": names, "camera_id": pa.array([n % 3 for n in range(len(names))])})
    pq.write_table(table, tmp_path / "held.parquet", row_group_size=13)
    chosen = trained_encoder(trained / "encoder")
    settings = FeatureSettings(batch_size=2)
    images = list_inputs([str(tmp_path / "held.parquet")])
    how = {"max_pixels": 10**6, "part_batches": 1, "quiet": True}
    torch.set_num_threads(1)
    (tmp_path / ".local.parquet.parts").mkdir()
    (tmp_path / ".local.parquet.parts" / ".part-000003.parquet.0a1b2c3d.tmp").touch()  # half written by a killed run
    local = embed_list(Encoder(chosen, "cpu", settings), images, tmp_path / "local.parquet", **how)
    assert local.parts == len(names) // 2 > 15
    source = EncoderSource(trained / "encoder", ModelSettings(), 0, settings)
    run_settings = RunSettings(workers=2, device="cpu", threads=1, work=WorkSettings())
    monkeypatch.setattr(part_workers, "WorkerPool", KillingPool)
    with ray_session(None, 2):
        done = embed_on_ray(source, images, tmp_path / "ray.parquet", run_settings, **how)
        monkeypatch.undo()
        assert len(KillingPool.killed) == 1
        assert done == replace(local, lost=done.lost)
        assert done.lost >= 1
        assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "local.parquet").read_bytes()
        for name in ("ray", "local"):
            assert quarantine(tmp_path / f"{name}.quarantine.parquet") == {names[7]: "not_an_image"}
            assert not (tmp_path / f".{name}.parquet.parts").exists()
        table = trained / "manifest.parquet"
        words = [table, "--images", trained / "images", "--set", "threads=1"]
        embed(*words)
        result, _ = embed(*words, "--workers", "2", out=tmp_path / "command.parquet")
        assert result["quarantined"] == 0
        assert (tmp_path / "command.parquet").read_bytes() == (tmp_path / "features.parquet").read_bytes()
        embed(*words, "--workers", "1", "--checkpoint", trained / "prompts", code=2, out=tmp_path / "command.parquet")


def elsewhere_pool(folder, seen):
    """A class like :class:`WorkerPool` with one worker, in this process, whose current folder is another one."""

    class ElsewherePool:
        lost = 0

        def __init__(self, setup, *_, worker, words, **__):
            seen.append((setup, words))
            self.worker = worker(pickle.loads(pickle.dumps(setup)))

        def wait(self):
            with contextlib.chdir(folder):
                self.worker.prepare()

        def close(self):
            pass

        def run(self, method, tasks, report):
            for task in tasks:
                with contextlib.chdir(folder):
                    result = getattr(self.worker, method)(pickle.loads(pickle.dumps(task)))
                yield task, result

    return ElsewherePool


def test_workers_with_another_current_folder_write_the_bytes_of_this_process(
    trained, tiny_clip_config, tmp_path, monkeypatch
):
    """Images by relative paths of every kind; a model whose configuration, weights and tokenizer are relative too."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    shutil.copytree(trained / "images", "crops")
    shutil.copytree(trained / "encoder", "encoder")
    shutil.copy(tiny_clip_config, "tiny-clip.json")
    config = json.loads(Path("encoder/config.json").read_text())
    config["model"]["name"] = "tiny-clip.json"
    Path("encoder/config.json").write_text(json.dumps(config))
    open_clip.add_model_config(tiny_clip_config)
    network = open_clip.create_model("tiny-clip", pretrained=None, force_custom_text=True)
    torch.save(network.state_dict(), "weights.pt")
    (tmp_path / "crops" / "zz.png").write_bytes(b"no image")
    names = sorted(path.name for path in (tmp_path / "crops").glob("*.png"))
    data = [(tmp_path / "crops" / name).read_bytes() for name in names]
    pq.write_table(pa.table({"image": data}), "held.parquet")
    settings = FeatureSettings(batch_size=8)
    model = ModelSettings(name="tiny-clip.json", pretrained="weights.pt", tokenizer="words", image_size=(64, 32))
    frozen = EncoderSource(None, model, 0, settings)
    checkpoint = EncoderSource(Path("encoder"), ModelSettings(), 0, settings)
    seen = []
    monkeypatch.setattr(part_workers, "WorkerPool", elsewhere_pool(tmp_path / "elsewhere", seen))
    monkeypatch.setattr(part_workers, "ray_session", no_session)
    run_settings = RunSettings(workers=1, device="cpu", threads=1, work=WorkSettings())
    how = {"max_pixels": 10**6, "part_batches": 1, "quiet": True}
    torch.set_num_threads(1)
    for source, inputs in (
        (checkpoint, ["crops"]),
        (frozen, ["held.parquet"]),
        (frozen, [f"crops/{name}" for name in names[-3:]]),
    ):
        images = list_inputs(inputs)
        encoder = Encoder(source.choose(), "cpu", settings)
        local = embed_list(encoder, images, Path("local.parquet"), **how)
        assert local.images == min(len(images), len(names)) - 1
        assert embed_on_ray(source, images, Path("ray.parquet"), run_settings, **how) == local
        for end in ("parquet", "quarantine.parquet"):
            assert Path(f"ray.{end}").read_bytes() == Path(f"local.{end}").read_bytes()
    setup, words = seen[-1]
    assert setup.source.model.tokenizer == str(tmp_path / "words")
    assert setup.source.model.pretrained == str(tmp_path / "weights.pt")
    assert not any("shard" in text or "parse." in text for text in astuple(words))
    named = replace(frozen, model=model.model_copy(update={"name": "ViT-B-16", "pretrained": "openai"}))
    (tmp_path / "openai").mkdir()  # a tag stays a tag, and a name a name
    (tmp_path / "ViT-B-16").mkdir()
    assert (named.absolute().model.name, named.absolute().model.pretrained) == ("ViT-B-16", "openai")
    built_in = replace(frozen, model=ModelSettings(name="walker-clip", pretrained="builtin:walker-clip"))
    assert built_in.absolute().model == built_in.model


def test_parts_of_an_earlier_run_serve_workers_of_ray_and_the_other_way_round(trained, tmp_path):
    """The worker's own class, called in this process."""
    images = list_inputs([str(trained / "images")])
    settings = FeatureSettings(batch_size=4)
    chosen = trained_encoder(trained / "encoder")
    maker = PartMaker(Encoder(chosen, "cpu", settings), "content", 10**6, 2)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / RUN_FILE).write_text("token")
    source = EncoderSource(trained / "encoder", ModelSettings(), 0, settings)
    setup = PartSetup(source, chosen.sha256, images.folder, tmp_path / "parts", "token", "content", 10**6, 1)
    worker = PartWorker(setup)
    worker.prepare()
    first, second = FeaturePart("one.parquet", 0, images.part(0, 6)), FeaturePart("two.parquet", 6, images.part(6, 12))
    maker.make(tmp_path / "parts" / first.name, first, lambda _: None)
    assert worker.check(first)
    assert not worker.check(second)
    assert worker.make(second)
    assert maker.is_whole(tmp_path / "parts" / second.name, second)
    assert not worker.check(replace(second, start=7))
    assert worker.images_done() == 0
    for other, reason in (
        (replace(setup, run="another"), "--out must be where all machines see it"),
        (replace(setup, weights_sha256="0" * 64), "every machine needs the same"),
        (replace(setup, images=Location(str(tmp_path / "absent"))), "does not see the folder of the images"),
    ):
        with pytest.raises(WorkError, match=reason):
            PartWorker(other).prepare()


def test_what_a_table_unpacks_to_is_bounded(embed, trained, tmp_path):
    """An image of hundreds of megabytes in a file of kilobytes is not unpacked; those beside it are used."""
    photo = next((trained / "images").glob("*.png")).read_bytes()
    limit = max_bytes(100)  # sixteen megabytes and little more
    bomb = bytes(2 * limit)
    for name, data, group, options in (
        ("alone", [photo, bomb, photo], 1, {}),
        ("together", [photo, bomb, photo], 3, {}),
        ("repeated", [photo, *[bomb] * 6, photo], 8, {"use_dictionary": True, "dictionary_pagesize_limit": 1 << 30}),
    ):
        place = tmp_path / f"{name}.parquet"
        pq.write_table(
            pa.table({"image": pa.array(data, pa.binary())}), place, row_group_size=group, compression="zstd", **options
        )
        assert place.stat().st_size < 100_000
        result, _ = embed(place, "--set", "parse.max_pixels=4096", "--max-bad", "1", out=tmp_path / "f.parquet")
        assert result["reasons"] == {"too_large": len(data) - 2}, name
        assert result["images"] == 2
    many = [bytes([number]) * (2 * limit) for number in range(3)]
    pq.write_table(pa.table({"image": pa.array(many, pa.binary())}), tmp_path / "many.parquet", compression="zstd")
    found = list(read_held(Location(str(tmp_path / "many.parquet")), "image", 0, 3, limit))
    assert [error.reason for error in found] == ["too_large"] * 3
    assert all("row group unpacks to" in error.detail for error in found)


def test_patterns_of_remote_folders_mean_what_they_mean_for_local_ones(s3_bucket, tmp_path):
    from pyarrow.fs import FileSystem

    system, bucket = FileSystem.from_uri(s3_bucket)
    names = ("a.png", "x/b.png", "x/y/c.png", "x/y/d.jpg", "z1/e.png", ".hidden/f.png", "x/.g.png")
    for name in names:
        (tmp_path / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / name).write_bytes(b"x")
        with system.open_output_stream(f"{bucket}/tree/{name}") as stream:
            stream.write(b"x")
    for pattern in (
        "*.png",
        "*/*.png",
        "x/*/*.png",
        "**/*.png",
        "x/**/*.png",
        "**/y/*",
        "z[0-9]/*.png",
        "**/**/c.png",
        "**",
    ):
        local = list_inputs([f"{tmp_path}/tree/{pattern}"]).rows["path"].to_pylist()
        remote = list_inputs([f"{s3_bucket}/tree/{pattern}"]).rows["path"].to_pylist()
        assert sorted(path.partition("/tree/")[2] for path in remote) == sorted(
            path.partition("/tree/")[2] for path in local
        ), pattern
    options = "?region=us-east-1"
    assert len(list_inputs([f"{s3_bucket}/tree/x/*.png{options}"])) == 1
    with pytest.raises(InputError, match="nothing fits the pattern"):
        list_inputs([f"{s3_bucket}/tree/*.tiff{options}"])


def test_a_bucket_is_read_as_a_folder_is(embed, trained, s3_bucket, tmp_path):
    from pyarrow.fs import FileSystem

    system, bucket = FileSystem.from_uri(s3_bucket)
    paths = sorted((trained / "images").glob("*.png"))[:6]
    for number, path in enumerate(paths):
        with system.open_output_stream(f"{bucket}/crops/{number % 2}/{path.name}") as stream:
            stream.write(path.read_bytes())
    order = [path for half in (0, 1) for path in paths[half::2]]
    embed(*order)
    expected, _ = read_features(tmp_path / "features.parquet")
    for words in ([f"{s3_bucket}/crops"], [f"{s3_bucket}/crops/*/*.png"]):
        result, _ = embed(*words)
        assert result["images"] == 6
        np.testing.assert_array_equal(read_features(tmp_path / "features.parquet")[0].features, expected.features)
    table = pa.table({"path": [f"{s3_bucket}/crops/{row % 2}/{path.name}" for row, path in enumerate(paths)]})
    pq.write_table(table, tmp_path / "table.parquet")
    assert embed(tmp_path / "table.parquet")[0]["images"] == 6


def test_workers_that_see_none_of_this_machines_folders_read_uris(trained, s3_bucket, tmp_path, monkeypatch):
    from pyarrow.fs import FileSystem

    system, bucket = FileSystem.from_uri(s3_bucket)
    paths = sorted((trained / "images").glob("*.png"))[:2]
    for path in paths:
        with system.open_output_stream(f"{bucket}/{path.name}") as stream:
            stream.write(path.read_bytes())
    pq.write_table(pa.table({"path": [f"{s3_bucket}/{path.name}" for path in paths]}), tmp_path / "uris.parquet")
    monkeypatch.setattr(part_workers, "WorkerPool", elsewhere_pool(tmp_path, []))
    monkeypatch.setattr(part_workers, "ray_session", no_session)
    monkeypatch.setattr(part_workers, "is_folder", lambda place: place.local is None)
    source = EncoderSource(trained / "encoder", ModelSettings(), 0, FeatureSettings(batch_size=2))
    how = [RunSettings(workers=1, device="cpu", threads=1, work=WorkSettings())]
    for inputs in ([f"{s3_bucket}/{path.name}" for path in paths], [str(tmp_path / "uris.parquet")]):
        done = embed_on_ray(source, list_inputs(inputs), tmp_path / "f.parquet", *how, max_pixels=10**6, quiet=True)
        assert done.images == 2
    pq.write_table(pa.table({"path": [path.as_uri() for path in paths]}), tmp_path / "here.parquet")
    for inputs in (
        [str(path) for path in paths],
        [f"{s3_bucket}/{paths[0].name}", str(paths[1])],
        [str(tmp_path / "here.parquet")],
    ):
        with pytest.raises(WorkError, match="does not see the folder of the images"):
            embed_on_ray(source, list_inputs(inputs), tmp_path / "f.parquet", *how, max_pixels=10**6, quiet=True)


def test_the_name_of_the_feature_file_tells_its_form(embed, trained, tmp_path):
    _, said = embed(trained / "images", "--quiet", code=2, out=tmp_path / "features.npz")
    assert "the name must end in .parquet" in said
    assert not list(tmp_path.iterdir())


def test_a_list_may_begin_with_a_byte_order_mark(embed, trained):
    name = next(path for path in sorted((trained / "images").rglob("*")) if path.is_file())
    (trained / "images" / "list.txt").write_text(f"{name.relative_to(trained / 'images')}\n", encoding="utf-8-sig")
    assert embed(trained / "images" / "list.txt")[0]["images"] == 1
    (trained / "images" / "list.txt").unlink()


def test_what_is_wrong_is_said_in_one_line(embed, trained, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.jpg").write_text("no image")
    (tmp_path / "bare").mkdir()
    shutil.copy(trained / "encoder" / "weights.safetensors", tmp_path / "bare")
    (tmp_path / "empty.txt").write_text("\n")
    pq.write_table(pa.table({"file": ["a.jpg"]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"path": ["a.jpg"], "person_id": ["Ann"]}), tmp_path / "names.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no more")
    (tmp_path / "twice.csv").write_text("path,path\na.jpg,b.jpg\n")
    manifest, images = trained / "manifest.parquet", trained / "images"
    for words, reason in (
        ([tmp_path / "empty"], "holds no image"),
        ([tmp_path / "absent"], "no such file or folder"),
        ([tmp_path / "*.jpg"], "nothing fits the pattern"),
        ([tmp_path / "empty.txt"], "names no image"),
        ([tmp_path / "other.parquet"], "has no column path; it has: file"),
        ([tmp_path / "names.parquet"], "person_id must hold whole numbers"),
        ([tmp_path / "broken.parquet"], "cannot be read"),
        ([tmp_path / "twice.csv"], "has the column path more than once"),
        ([manifest, images], "either tables or images"),
        ([images, "--images", images], "goes with a table or a list"),
        ([images, "--column", "path=x"], "no table is given"),
        ([manifest, "--column", "shoe=x"], "no column shoe"),
        ([manifest, "--column", "path"], "as OURS=NAME"),
        ([manifest, "--role", "probe"], "there are: gallery, query, train"),
        ([tmp_path / "text"], "none of the 1 images can be used"),
        ([images, "--frozen"], "give one of the two"),
        ([images, "--checkpoint", tmp_path / "bare"], "no encoder checkpoint"),
        ([images, "--checkpoint", trained / "prompts"], "is no encoder checkpoint"),
    ):
        _, said = embed(*words, "--quiet", code=2)
        assert said.startswith("error: "), said
        assert reason in said
        assert said.count("\n") == 1
        assert not list(tmp_path.glob("*features.parquet*"))
