"""Strips of DLCR: how they are found, cut, described, and put into the table."""

import csv
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipeline.datasets.manifest import ManifestRow, build_manifest
from pipeline.errors import BadImageError, InputError
from pipeline.images import decode_image
from pipeline.redress.strips import (
    Cut,
    Naming,
    cut_strip,
    cut_strips,
    find_naming,
    read_descriptions,
    write_table,
    written_files,
)

PATHS = ["rgb/train/001/A_1.jpg", "rgb/train/001/B_1.jpg", "rgb/train/002/A_1.jpg"]


def strip(seed: int, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (20, 10 * width, 3), dtype=np.uint8)


def write(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[:, :, ::-1])


@pytest.mark.parametrize(
    ("name", "naming"),
    [
        ("rgb/train/001/B_1.png", Naming(0, False)),
        ("train/001/B_1.png", Naming(1, False)),
        ("001/B_1.png", Naming(2, False)),
        ("001/B_1.jpg.png", Naming(2, True)),
    ],
)
def test_strips_are_found_by_all_folders_or_the_last_ones(tmp_path: Path, name: str, naming: Naming) -> None:
    write(tmp_path / name, strip(0))
    assert find_naming(tmp_path, tmp_path / "images", PATHS) == naming
    assert naming.strip(PATHS[1]) == name


def test_a_naming_that_gives_two_pictures_one_strip_is_none(tmp_path: Path) -> None:
    write(tmp_path / "A_1.png", strip(0))  # of person 1 or of person 2?
    with pytest.raises(InputError, match=r"for rgb/train/001/A_1\.jpg it has none of rgb/train/001/A_1\.png, train/"):
        find_naming(tmp_path, tmp_path / "images", PATHS)


def test_strips_a_folder_further_down_are_named(tmp_path: Path) -> None:
    write(tmp_path / "DLCR/prcc/rgb/train/001/A_1.png", strip(0))
    with pytest.raises(InputError, match=r"no strips in .*: they are below .*/DLCR/prcc"):
        find_naming(tmp_path, tmp_path / "images", PATHS)


def test_pictures_that_are_png_files_are_not_taken_for_their_own_strips(tmp_path: Path) -> None:
    write(tmp_path / "ltcc/train/000_1_c1_1.png", strip(0))
    with pytest.raises(InputError, match=r"there are no strips in .*ltcc: for train/000_1_c1_1\.png it has none of"):
        find_naming(tmp_path / "ltcc", tmp_path / "ltcc", ["train/000_1_c1_1.png"])
    write(tmp_path / "strips/train/000_1_c1_1.png", strip(0))
    assert find_naming(tmp_path / "strips", tmp_path / "ltcc", ["train/000_1_c1_1.png"]) == Naming(0, False)


def test_a_strip_is_cut_into_ten_equal_parts() -> None:
    whole = strip(3)
    parts = cut_strip(whole)
    assert len(parts) == 10
    for number, part in enumerate(parts):
        np.testing.assert_array_equal(part, whole[:, 7 * number : 7 * number + 7])
    with pytest.raises(BadImageError, match="width of 69 pixels is not that of 10 pictures"):
        cut_strip(whole[:, :-1])


def test_descriptions_are_taken_where_there_is_one_a_variant(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert read_descriptions(path) == ("",) * 10
    path.write_text("\n".join(f"Gray  shirt| Blue jeans {number}" for number in range(10)) + "\n\n")
    assert read_descriptions(path) == tuple(f"Gray shirt| Blue jeans {number}" for number in range(10))
    path.write_text("one line\n")
    assert read_descriptions(path) == ("",) * 10
    path.write_bytes(b"\xff\n" * 10)
    assert read_descriptions(path) == ("",) * 10


def test_variants_are_written_without_loss_and_bad_strips_cost_themselves_alone(tmp_path: Path) -> None:
    for number, path in enumerate(PATHS[:2]):
        write(tmp_path / "in" / Naming(2, False).strip(path), strip(number, width=7 - number * 7 // 8))
    (tmp_path / "in/001/B_1.png").write_bytes(b"no picture")
    done = list(cut_strips(tmp_path / "out", tmp_path / "in", Naming(2, False), PATHS, 3, threads=2))
    assert [cut.source for cut in done] == PATHS
    assert done[0].paths == tuple(f"variant_{number:02d}/rgb/train/001/A_1.png" for number in (1, 2, 3))
    for number, path in enumerate(done[0].paths):
        found = decode_image((tmp_path / "out" / path).read_bytes())
        np.testing.assert_array_equal(found, strip(0)[:, 7 * number : 7 * number + 7])
    assert [bool(cut.problem) for cut in done] == [False, True, True]
    assert "no file at" in str(done[2].problem)


def test_variants_of_pictures_that_differ_in_their_ending_alone_are_kept_apart(tmp_path: Path) -> None:
    paths = ["001/a.jpg", "001/a.png"]
    for number, path in enumerate(paths):
        write(tmp_path / "in" / f"{path}.png", strip(number))
    naming = find_naming(tmp_path / "in", tmp_path / "images", paths)
    assert naming == Naming(0, True)
    done = list(cut_strips(tmp_path / "out", tmp_path / "in", naming, paths, 2))
    assert [cut.paths[0] for cut in done] == ["variant_01/001/a.jpg.png", "variant_01/001/a.png.png"]
    for number, cut in enumerate(done):
        found = decode_image((tmp_path / "out" / cut.paths[1]).read_bytes())
        np.testing.assert_array_equal(found, strip(number)[:, 7:14])


def manifest() -> pa.Table:
    return build_manifest(
        [
            ManifestRow(PATHS[0], "train", 1, 1, 4),
            ManifestRow(PATHS[1], "train", 1, 2, 4),
            ManifestRow(PATHS[2], "train", 2, 1, 5),
            ManifestRow("q.jpg", "query", 9, 3, 6),
        ]
    )


def test_variants_have_the_person_and_camera_of_their_picture_and_new_clothes(tmp_path: Path) -> None:
    cuts = [
        Cut(PATHS[0], ("a1.png", "a2.png"), ("red coat", "blue jeans")),
        Cut(PATHS[1], ("b1.png", "b2.png"), ("blue jeans", "")),
        Cut(PATHS[2], ("c1.png", "c2.png"), ("red coat", "")),
    ]
    counts = write_table(tmp_path, tmp_path / "images", manifest(), ("train",), cuts)
    assert (counts["images"], counts["generated"], counts["generated_clothes"]) == (10, 6, 5)
    assert (counts["pictures_with_variants"], counts["pictures_without_variants"]) == (3, 0)
    with (tmp_path / "table.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["path"] for row in rows[:4]] == [
        str(tmp_path / "images" / name) for name in ("q.jpg", PATHS[0], PATHS[1], PATHS[2])
    ]
    made = {row["path"]: (row["person_id"], row["camera_id"], row["clothes_id"], row["split"]) for row in rows[4:]}
    # by person and text, those without a text first: (1, -) 7, (1, blue) 8, (1, red) 9, (2, -) 10, (2, red) 11
    assert made == {
        "a1.png": ("1", "1", "9", "train"),
        "a2.png": ("1", "1", "8", "train"),
        "b1.png": ("1", "2", "8", "train"),
        "b2.png": ("1", "2", "7", "train"),
        "c1.png": ("2", "1", "11", "train"),
        "c2.png": ("2", "1", "10", "train"),
    }
    assert {row["variant"] for row in rows[:4]} == {""}


def test_without_a_record_nothing_is_ours(tmp_path: Path) -> None:
    write_table(tmp_path, tmp_path, manifest(), ("train",), [])
    assert written_files(tmp_path) == ()
    (tmp_path / "_record.json").write_text('{"made_by": "ccaf-pipeline redress"}')
    assert written_files(tmp_path) == ()
