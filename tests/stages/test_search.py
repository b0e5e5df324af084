"""search by the real command: photos, tables, image ids and features against a gallery of embed."""

import json
import re
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pipeline
from pipeline.features.feature_set import read_features
from stages.cli import run


@pytest.fixture(scope="module")
def gallery(figures, tmp_path_factory):
    """A checkpoint, images, and the features of those that are no query."""
    folder = tmp_path_factory.mktemp("search")
    words = ["--params", str(figures.params), "--quiet"]
    shards = ["--shards", str(figures.shards), "--prompts", str(folder / "prompts"), "--out", str(folder / "encoder")]
    assert run(["train", *words, *shards]) == 0
    reader = pipeline.open_shards(figures.shards)
    (folder / "images").mkdir()
    rows = []
    for row, path in enumerate(reader.ids.path):
        (folder / "images" / path).write_bytes(reader.encoded(row))
        names = ("split", "person_id", "camera_id", "clothes_id")
        rows.append({"path": path, **{name: getattr(reader.ids, name)[row] for name in names}})
    pq.write_table(pa.Table.from_pylist(rows), folder / "table.parquet")
    for role in ("query", "gallery"):
        options = ["--images", str(folder / "images"), "--role", role, "--checkpoint", str(folder / "encoder")]
        table = str(folder / "table.parquet")
        assert run(["embed", table, *words, *options, "--out", str(folder / f"{role}.parquet")]) == 0
    return folder


@pytest.fixture
def find(figures, gallery, capsys):
    """Run the command on the gallery; its result, or what it said."""

    def command(*words, code=0, json_wanted=True, features=gallery / "gallery.parquet", checkpoint=True):
        options = ["--checkpoint", str(gallery / "encoder")] * checkpoint
        options += ["--params", str(figures.params), "--gallery", str(features), "--quiet"]
        capsys.readouterr()
        assert run(["search", *options, *map(str, words), *["--json"] * json_wanted]) == code
        printed = capsys.readouterr()
        if code:
            assert printed.err.startswith("error: ")
            assert printed.err.count("\n") == 1
            return printed.err
        return json.loads(printed.out) if json_wanted else printed.out

    return command


def nearest(queries, items, top):
    """Names of the nearest items of each query, by a plain sort."""
    cosines = queries.astype(np.float64) @ items.features.astype(np.float64).T
    return [[items.image_id[row] for row in np.argsort(-line, kind="stable")[:top]] for line in cosines]


def names(result):
    return [[hit["image_id"] for hit in entry["hits"]] for entry in result["results"]]


def test_photos_tables_and_features_find_the_same(find, gallery):
    items, _ = read_features(gallery / "gallery.parquet")
    queries, _ = read_features(gallery / "query.parquet")
    expected = nearest(queries.features, items, 4)
    result = find("--query", gallery / "query.parquet", "--top", "4")
    assert names(result) == expected
    assert (result["images"], result["searched"]) == (len(items), len(items))
    photos = [gallery / "images" / name.partition("/")[2] for name in queries.image_id]
    words = [word for photo in photos for word in ("--query", photo)]
    assert names(find(*words, "--top", "4")) == expected
    rows = pq.read_table(gallery / "table.parquet").to_pylist()
    asked = [row for row in rows if row["split"] == "query"]
    pq.write_table(pa.Table.from_pylist(asked), gallery / "images" / "asked.parquet")
    found = find("--query", gallery / "images" / "asked.parquet", "--top", "4")
    assert names(found) == expected
    assert [entry["query"]["person_id"] for entry in found["results"]] == [row["person_id"] for row in asked]
    first = found["results"][0]["hits"][0]
    assert first["rank"] == 1
    assert first["person_id"] == items.person_id[items.image_id.tolist().index(first["image_id"])]


def test_an_image_of_the_gallery_is_not_found_by_itself(find, gallery):
    items, _ = read_features(gallery / "gallery.parquet")
    name = items.image_id[3]
    (expected,) = nearest(items.features[3:4], items, 4)
    assert name in expected
    assert names(find("--query", name, "--top", "3")) == [[other for other in expected if other != name]]


def test_a_condition_chooses_who_is_compared(find, gallery):
    items, _ = read_features(gallery / "gallery.parquet")
    photo = next((gallery / "images").glob("005_*_c1_1.png"))
    result = find("--query", photo, "--where", "camera_id == 2 and split = 'gallery'", "--top", "1000")
    assert sorted(names(result)[0]) == sorted(items.image_id[items.camera_id == 2])
    assert result["searched"] == (items.camera_id == 2).sum()
    lines = find("--query", photo, "--top", "2", json_wanted=False).splitlines()
    assert lines[0] == str(photo)
    assert lines[1].split() == ["rank", "similarity", "person", "camera", "clothes", "role", "image"]
    assert re.fullmatch(r"1 +[01]\.\d{4} +\d+ +\d +\d+ +gallery +gallery/\S+", lines[2])
    assert len(lines) == 4


def test_the_page_shows_the_query_and_what_was_found(find, gallery, figures, tmp_path, cut_parts):
    page = tmp_path / "search.html"
    queries = ["--query", gallery / "images" / "asked.parquet"]
    shutil.copy(gallery / "table.parquet", gallery / "images" / "asked.parquet")
    find(*queries, "--top", "5", "--html", page)
    text = page.read_text()
    shown = len(pq.read_table(gallery / "table.parquet"))
    assert text.count('class="hit query"') == shown
    assert text.count("data:image/jpeg;base64,") == 6 * shown
    assert 'class="hit right"' in text
    assert 'class="hit wrong"' in text
    assert "http" not in text.replace("http-equiv", "")
    for width in (1200, 500):
        assert cut_parts(page, width) == []
    moved = tmp_path / "moved.parquet"
    table = pq.read_table(gallery / "gallery.parquet").drop_columns("path")
    pq.write_table(table, moved)
    photo = next((gallery / "images").glob("005_*.png"))
    find("--query", photo, "--top", "5", "--html", page, features=moved)
    assert page.read_text().count("data:image/jpeg;base64,") == 1
    assert "5 images have no picture here" in page.read_text()
    find("--query", photo, "--top", "5", "--html", page, "--shards", figures.shards, features=moved)
    assert page.read_text().count("data:image/jpeg;base64,") == 6


def test_text_from_outside_is_escaped_on_the_page(find, gallery, tmp_path):
    table = pq.read_table(gallery / "gallery.parquet")
    hostile = pa.array(["<script>alert(1)</script>"] * len(table))
    pq.write_table(table.set_column(0, "image_id", hostile), tmp_path / "hostile.parquet")
    photo = next((gallery / "images").glob("005_*.png"))
    find("--query", photo, "--html", tmp_path / "page.html", features=tmp_path / "hostile.parquet")
    assert "<script" not in (tmp_path / "page.html").read_text()


def test_features_of_another_encoder_are_refused(find, gallery, figures, tmp_path):
    photo = next((gallery / "images").glob("005_*.png"))
    other = tmp_path / "encoder"
    words = ["--params", str(figures.params), "--shards", str(figures.shards), "--quiet", "--seed", "5"]
    assert run(["train", *words, "--prompts", str(tmp_path / "prompts"), "--out", str(other)]) == 0
    assert "cannot be compared with the gallery" in find("--query", photo, "--checkpoint", other, code=2)
    assert "cannot be compared" in find("--query", photo, "--frozen", code=2, checkpoint=False)
    projected = ["--set", "evaluate.feature=projected", "--out", str(tmp_path / "projected.parquet")]
    words = ["--params", str(figures.params), "--checkpoint", str(gallery / "encoder"), "--quiet"]
    assert run(["embed", str(photo), *words, *projected]) == 0
    assert "feature projected, not concat" in find("--query", tmp_path / "projected.parquet", code=2)
    assert find("--query", photo, features=tmp_path / "projected.parquet")["results"][0]["hits"][0]["similarity"] == 1
    table = pq.read_table(tmp_path / "projected.parquet").replace_schema_metadata(None)
    pq.write_table(table, tmp_path / "bare.parquet")
    assert "56 numbers and the query one of 24" in find("--query", tmp_path / "bare.parquet", code=2)
    said = find("--query", photo, features=tmp_path / "bare.parquet", checkpoint=False, code=2)
    assert "does not say which encoder made it" in said
    oracle = table.replace_schema_metadata({"feature": "oracle-identity", "checkpoint_sha256": "0"})
    pq.write_table(oracle, tmp_path / "oracle.parquet")
    assert "made by no encoder" in find("--query", photo, features=tmp_path / "oracle.parquet", code=2)
    frozen = ["--frozen", "--out", str(tmp_path / "frozen.parquet")]
    assert run(["embed", str(photo), "--params", str(figures.params), "--quiet", *frozen]) == 0
    found = find("--query", photo, "--frozen", features=tmp_path / "frozen.parquet", checkpoint=False)
    assert found["results"][0]["hits"][0]["similarity"] == 1


def test_features_of_another_model_need_no_labels_to_be_compared(find, gallery, tmp_path, capsys):
    """Features alone, of a model that is not known: only the hash of another model refuses them."""
    items, _ = read_features(gallery / "gallery.parquet")
    queries, _ = read_features(gallery / "query.parquet")
    expected = nearest(queries.features, items, 4)
    bare = pa.table({"feature": pa.array(list(3 * queries.features))})
    pq.write_table(bare, tmp_path / "bare.parquet")
    found = find("--query", tmp_path / "bare.parquet", "--top", "4")
    assert names(found) == expected
    assert found["results"][1]["query"] == {"name": "row 1", "person_id": None}
    named = bare.append_column("person_id", pa.array(["Ann"] * len(queries.features)))
    pq.write_table(named, tmp_path / "named.parquet")
    assert find("--query", tmp_path / "named.parquet")["results"][0]["query"]["person_id"] == "Ann"
    np.savez(tmp_path / "bare.npz", feature=queries.features)
    assert names(find("--query", tmp_path / "bare.npz", "--top", "4")) == expected
    pq.write_table(bare.replace_schema_metadata({"checkpoint_sha256": "0" * 64}), tmp_path / "other.parquet")
    assert "cannot be compared" in find("--query", tmp_path / "other.parquet", code=2)


def test_what_is_wrong_is_said_in_one_line(find, gallery, tmp_path):
    photo = next((gallery / "images").glob("005_*.png"))
    (tmp_path / "text.jpg").write_text("no image")
    (tmp_path / "empty").mkdir()
    (tmp_path / "mine.html").write_text("mine")
    for words, reason in (
        (["--query", "nobody"], "no file or folder, and no image_id"),
        (["--query", tmp_path / "text.jpg"], "text.jpg cannot be used as an image"),
        (["--query", tmp_path / "empty"], "holds no image"),
        (["--query", photo, "--where", "shoes = 1"], "columns: image_id, role"),
        (["--query", photo, "--gallery", tmp_path / "absent.parquet"], "not found"),
        (["--query", photo, "--checkpoint", gallery / "images"], "no encoder checkpoint"),
        (["--query", photo, "--html", tmp_path / "mine.html"], "is not what this command writes"),
        (["--query", photo, "--frozen"], "give the one of the two"),
        (["--query", photo, "--images", "x"], "for the pictures of --html"),
    ):
        assert reason in find(*words, code=2)
