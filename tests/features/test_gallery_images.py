"""Pictures of a gallery's rows: which places a feature file, which may be a stranger's, makes the program read."""

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.features.gallery import open_gallery
from pipeline.features.gallery_images import GalleryImages
from pipeline.images import encode_image

REMOTE = "memory://crops/in"


@pytest.fixture
def picture():
    return encode_image(np.full((20, 10, 3), 90, dtype=np.uint8))


@pytest.fixture
def shown(tmp_path):
    """Which of some paths have a picture, and the note."""

    def look(paths, recorded=None, max_pixels=10**6, images=None):
        table = pa.table({"path": paths, "feature": [[1.0, 2.0]] * len(paths)})
        known = {} if recorded is None else {"images": str(recorded)}
        pq.write_table(table.replace_schema_metadata(known), tmp_path / "gallery.parquet")
        pictures = GalleryImages(open_gallery(tmp_path / "gallery.parquet"), max_pixels, images)
        return [path for row, path in enumerate(paths) if pictures.image(row) is not None], pictures.note

    return look


@pytest.fixture
def remote(picture):
    """Images in a file system that is asked by URIs, in the folder and beside it."""
    system = fsspec.filesystem("memory")
    for name in ("in/a.png", "in/deep/c.png", "out/b.png"):
        system.pipe(f"/crops/{name}", picture)
    yield REMOTE
    system.rm("/crops", recursive=True)


def test_local_paths_stay_in_the_folder_unless_they_are_absolute(shown, picture, remote, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/a.png", "in/deep/c.png", "b.png"):
        (tmp_path / name).write_bytes(picture)
    (tmp_path / "in" / "link").symlink_to(tmp_path / "in" / "deep")
    good = [
        "a.png",
        "deep/c.png",
        "deep/../a.png",
        "link/../a.png",
        str(tmp_path / "b.png"),
        (tmp_path / "b.png").as_uri(),
    ]
    bad = ["../b.png", "deep/../../b.png", "absent.png", "", ".", "..", f"{remote}/a.png", "a\0.png", "http://[/a.png"]
    bad += [f"file://elsewhere{tmp_path}/b.png"]
    assert shown([*good, *bad], tmp_path / "in") == (good, "")
    assert shown([*good, *bad], images=str(tmp_path / "in")) == (good, "")
    assert shown(["a.png"], tmp_path / "in", max_pixels=200)[0] == ["a.png"]
    assert shown(["a.png"], tmp_path / "in", max_pixels=199)[0] == []
    assert shown(good) == ([], "")
    found, note = shown(good, "file://elsewhere/in")
    assert (found, note.partition(";")[0]) == (
        [],
        "no picture is shown: file://elsewhere/in names the machine elsewhere",
    )


def test_remote_pictures_are_fetched_below_the_folder_that_the_user_names_alone(shown, remote):
    good = ["a.png", "deep/c.png", f"{remote}/a.png", f"{remote}/a.png?endpoint_override=evil.example"]
    bad = [
        "../out/b.png",
        "/crops/out/b.png",
        "memory://crops/out/b.png",
        f"{remote}/../out/b.png",
        f"{remote}/%2e%2e/out/b.png",
        "memory://other/in/a.png",
        "http://127.0.0.1:9/a.png",
    ]
    assert shown([*good, *bad], images=remote) == (good, "")
    assert shown([*good, *bad], recorded="memory://crops", images=remote) == (good, "")
    found, note = shown([*good, *bad], recorded=remote)
    assert found == []
    assert note == f"no picture is fetched from {remote} unless --images names it"
