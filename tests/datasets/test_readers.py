"""Every reader on a small tree in the true format of its data set: each label, and what is left out."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.datasets.catalog import DatasetListing, load_facts, read_dataset
from pipeline.errors import InputError

Row = tuple[str, str, int, int | None, int | None, int | None]  # path, split, person, camera, clothes, tracklet


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def read(name: str, folder: Path) -> DatasetListing:
    return read_dataset(load_facts(name), folder)


def rows(listing: DatasetListing) -> set[Row]:
    table: list[dict[str, Any]] = listing.manifest.to_pylist()
    assert [row["image_id"] for row in table] == sorted(f"{row['split']}/{row['path']}" for row in table)
    columns = ("path", "split", "person_id", "camera_id", "clothes_id", "tracklet_id")
    return {tuple(row[column] for column in columns) for row in table}


def test_walkers(tmp_path: Path) -> None:
    touch(tmp_path, "train/3_0_c1_0.png", "train/3_2_c4_1.jpg", "query/12_1_c2_0.png", "gallery/0012_001_c03_7.PNG")
    touch(tmp_path, "labels/train/3_0_c1_0.png", "train/3_0_c1.png", "train/3_1000_c1_0.png", "train/x/3_0_c1_0.png")
    listing = read("walkers", tmp_path)
    assert rows(listing) == {
        ("train/3_0_c1_0.png", "train", 3, 1, 3000, None),
        ("train/3_2_c4_1.jpg", "train", 3, 4, 3002, None),
        ("query/12_1_c2_0.png", "query", 12, 2, 12001, None),
        ("gallery/0012_001_c03_7.PNG", "gallery", 12, 3, 12001, None),
    }
    assert listing.unmatched == ("train/3_0_c1.png", "train/3_1000_c1_0.png", "train/x/3_0_c1_0.png")
    assert listing.problems == ()


def test_prcc(tmp_path: Path) -> None:
    for pid in ("001", "020"):
        touch(tmp_path, *(f"rgb/train/{pid}/{camera}_cropped_rgb001.jpg" for camera in "ABC"))
    touch(tmp_path, "rgb/val/001/A_cropped_rgb002.jpg", "rgb/val/001/C_cropped_rgb009.jpg")
    touch(tmp_path, *(f"rgb/test/{camera}/005/cropped_rgb040.jpg" for camera in "ABC"))
    touch(tmp_path, "sketch/train/001/A_1.jpg", "rgb/train/001/D_1.jpg", "rgb/train/A_1.jpg", "rgb/test/A/x/1.jpg")
    listing = read("prcc", tmp_path)
    # pairs in sorted order: (1, AB) 0, (1, C) 1, (5, AB) 2, (5, C) 3, (20, AB) 4, (20, C) 5
    assert rows(listing) == {
        ("rgb/train/001/A_cropped_rgb001.jpg", "train", 1, 1, 0, None),
        ("rgb/train/001/B_cropped_rgb001.jpg", "train", 1, 2, 0, None),
        ("rgb/train/001/C_cropped_rgb001.jpg", "train", 1, 3, 1, None),
        ("rgb/train/020/A_cropped_rgb001.jpg", "train", 20, 1, 4, None),
        ("rgb/train/020/B_cropped_rgb001.jpg", "train", 20, 2, 4, None),
        ("rgb/train/020/C_cropped_rgb001.jpg", "train", 20, 3, 5, None),
        ("rgb/val/001/A_cropped_rgb002.jpg", "val", 1, 1, 0, None),
        ("rgb/val/001/C_cropped_rgb009.jpg", "val", 1, 3, 1, None),
        ("rgb/test/A/005/cropped_rgb040.jpg", "test_a", 5, 1, 2, None),
        ("rgb/test/B/005/cropped_rgb040.jpg", "test_b", 5, 2, 2, None),
        ("rgb/test/C/005/cropped_rgb040.jpg", "test_c", 5, 3, 3, None),
    }
    assert listing.unmatched == ("rgb/train/001/D_1.jpg", "rgb/train/A_1.jpg", "rgb/test/A/x/1.jpg")
    assert listing.problems == ()


def test_ltcc(tmp_path: Path) -> None:
    touch(tmp_path, "train/000_1_c11_015833.png", "train/000_2_c3_000001.png", "train/012_1_c11_1.png")
    touch(tmp_path, "query/094_10_c9_008982.png", "test/094_9_c12_008983.png", "info/cloth-change_id_test.txt")
    touch(tmp_path, "train/000_1_11_015833.png", "test/readme.txt")
    listing = read("ltcc", tmp_path)
    assert rows(listing) == {
        ("train/000_1_c11_015833.png", "train", 0, 11, 0, None),
        ("train/000_2_c3_000001.png", "train", 0, 3, 1, None),
        ("train/012_1_c11_1.png", "train", 12, 11, 2, None),
        ("query/094_10_c9_008982.png", "query", 94, 9, 4, None),
        ("test/094_9_c12_008983.png", "gallery", 94, 12, 3, None),
    }
    assert listing.unmatched == ("train/000_1_11_015833.png",)
    assert listing.others == ("test/readme.txt",)


def test_vcclothes(tmp_path: Path) -> None:
    touch(tmp_path, "train/0001-01-01-01.jpg", "train/0001-04-03-02.jpg", "query/0300_02_01_04.jpg")
    touch(tmp_path, "gallery/0300-03-01-11.jpg", "gallery/0300-03-01.jpg")
    listing = read("vcclothes", tmp_path)
    assert rows(listing) == {
        ("train/0001-01-01-01.jpg", "train", 1, 1, 0, None),
        ("train/0001-04-03-02.jpg", "train", 1, 4, 1, None),
        ("query/0300_02_01_04.jpg", "query", 300, 2, 2, None),
        ("gallery/0300-03-01-11.jpg", "gallery", 300, 3, 2, None),
    }
    assert listing.unmatched == ("gallery/0300-03-01.jpg",)


def test_vcclothes_names_of_real_images(real_images: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in (real_images / "vcclothes_figure").iterdir())
    touch(tmp_path, *(f"train/{name}" for name in names), "query/0009-01-01-01.jpg", "gallery/0009-02-01-01.jpg")
    listing = read("vcclothes", tmp_path)
    train = [row for row in rows(listing) if row[1] == "train"]
    assert listing.unmatched == ()
    assert len(train) == 16
    assert {row[2] for row in train} == {1, 2}
    assert {row[3] for row in train} == {1, 2, 3, 4}
    assert len({row[4] for row in train}) == 6
    # camera 1: outfit 1; cameras 2 and 3: outfit 2; camera 4: outfit 3 (the names of the figure)
    assert all({1: 0, 2: 1, 3: 1, 4: 2}[row[3] or 0] == (row[4] or 0) % 3 for row in train)


@pytest.mark.parametrize("name", ["celeb_reid", "celeb_reid_light"])
def test_celeb_reid(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "train/1_1_0.jpg", "train/632_20_0.jpg", "query/700_2_1.jpg", "gallery/700_3_0.jpg")
    touch(tmp_path, "query/7_2.jpg")
    listing = read(name, tmp_path)
    assert rows(listing) == {
        ("train/1_1_0.jpg", "train", 1, None, None, None),
        ("train/632_20_0.jpg", "train", 632, None, None, None),
        ("query/700_2_1.jpg", "query", 700, None, None, None),
        ("gallery/700_3_0.jpg", "gallery", 700, None, None, None),
    }
    assert listing.unmatched == ("query/7_2.jpg",)


def deepchange_tree(folder: Path) -> None:
    for part, lines in {
        "train-set": ["P1_C3_20200103_08_a.jpg,12", "P1_C4_20200103_09_a.jpg,13", "P1_C3_20200104_08_a.jpg,14"],
        "val-set-query": ["P7_C1_20200103_08_a.jpg,20"],
        "val-set-gallery": ["P7_C1_20200104_08_b.jpg,21"],
        "test-set-query": ["0009_02_20200103_08.jpg,30"],
        "test-set-gallery": ["0009_02_20200105_10.jpg,31"],
    }.items():
        touch(folder, *(f"{part}/{line.split(',')[0]}" for line in lines))
        write(folder, f"{part}-bbox.txt", "\n".join(lines) + "\n")


def test_deepchange(tmp_path: Path) -> None:
    deepchange_tree(tmp_path)
    touch(tmp_path, "train-set/P1_C3_20200105_08_z.jpg")
    listing = read("deepchange", tmp_path)
    assert rows(listing) == {
        ("train-set/P1_C3_20200103_08_a.jpg", "train", 1, 3, 0, 12),
        ("train-set/P1_C4_20200103_09_a.jpg", "train", 1, 4, 0, 13),
        ("train-set/P1_C3_20200104_08_a.jpg", "train", 1, 3, 1, 14),
        ("val-set-query/P7_C1_20200103_08_a.jpg", "val_query", 7, 1, 2, 20),
        ("val-set-gallery/P7_C1_20200104_08_b.jpg", "val_gallery", 7, 1, 3, 21),
        ("test-set-query/0009_02_20200103_08.jpg", "query", 9, 2, 4, 30),
        ("test-set-gallery/0009_02_20200105_10.jpg", "gallery", 9, 2, 5, 31),
    }
    assert listing.unmatched == ("train-set/P1_C3_20200105_08_z.jpg",)
    assert listing.problems == ()


def test_deepchange_says_what_the_list_names_and_the_folder_lacks(tmp_path: Path) -> None:
    deepchange_tree(tmp_path)
    (tmp_path / "train-set/P1_C4_20200103_09_a.jpg").unlink()
    assert read("deepchange", tmp_path).problems == (
        "train-set-bbox.txt names 1 images that are not in train-set, such as P1_C4_20200103_09_a.jpg",
    )


def test_deepchange_without_a_list_has_no_tracklets_and_says_so(tmp_path: Path) -> None:
    deepchange_tree(tmp_path)
    (tmp_path / "test-set-query-bbox.txt").unlink()
    listing = read("deepchange", tmp_path)
    assert listing.problems == ("test-set-query-bbox.txt is missing",)
    assert ("test-set-query/0009_02_20200103_08.jpg", "query", 9, 2, 4, None) in rows(listing)


@pytest.mark.parametrize(
    ("line", "said"),
    [("a.jpg", "line 4: expected name.jpg,tracklet and not 'a.jpg'"), ("a.jpg,x", "line 4: expected"),
     ("P1_C3_20200103_08_a.jpg,12", "line 4: P1_C3_20200103_08_a.jpg stands there twice")],
)  # fmt: skip
def test_deepchange_refuses_damaged_lists(tmp_path: Path, line: str, said: str) -> None:
    deepchange_tree(tmp_path)
    with (tmp_path / "train-set-bbox.txt").open("a") as stream:
        stream.write(line + "\n")
    with pytest.raises(InputError, match=said):
        read("deepchange", tmp_path)


def test_last(tmp_path: Path) -> None:
    touch(tmp_path, "train/000001/000001_0021_3_1.jpg", "train/000001/000001_0022_3_2.jpg", "train/000002/000002_1.jpg")
    touch(tmp_path, "val/query/9001_3_1.jpg", "val/gallery/9001/9001_4_1.jpg")
    touch(tmp_path, "test/query/9500_3_1.jpg", "test/gallery/9500/9500_4_2.jpg", "test/gallery/9501/frame.jpg")
    touch(tmp_path, "train/000003/photo.jpg", "test/query/photo.jpg", "test/gallery/9500_5_1.jpg")
    listing = read("last", tmp_path)
    assert rows(listing) == {
        ("train/000001/000001_0021_3_1.jpg", "train", 1, None, 0, None),
        ("train/000001/000001_0022_3_2.jpg", "train", 1, None, 1, None),
        ("train/000002/000002_1.jpg", "train", 2, None, 2, None),
        ("val/query/9001_3_1.jpg", "val_query", 9001, None, None, None),
        ("val/gallery/9001/9001_4_1.jpg", "val_gallery", 9001, None, None, None),
        ("test/query/9500_3_1.jpg", "query", 9500, None, None, None),
        ("test/gallery/9500/9500_4_2.jpg", "gallery", 9500, None, None, None),
        ("test/gallery/9501/frame.jpg", "gallery", 9501, None, None, None),
    }
    assert listing.unmatched == ("train/000003/photo.jpg", "test/query/photo.jpg", "test/gallery/9500_5_1.jpg")
    assert listing.problems == ()


def test_last_believes_the_name_and_says_when_the_folder_disagrees(tmp_path: Path) -> None:
    touch(tmp_path, "train/1/1_2_1.jpg", "val/query/5_1_1.jpg", "val/gallery/5/5_1_1.jpg", "test/query/8_1_1.jpg")
    touch(tmp_path, "test/gallery/8/9_1_1.jpg")
    listing = read("last", tmp_path)
    assert ("test/gallery/8/9_1_1.jpg", "gallery", 9, None, None, None) in rows(listing)
    assert listing.problems == (
        "1 files stand in the folder of another identity, such as test/gallery/8/9_1_1.jpg; "
        "the file names were believed",
    )


def ccvid_tree(folder: Path) -> None:
    lists = {
        "train": ["session1/010_02\t010\tu0_l0", "session1/002_01\t002\tu0_l0", "session2/002_01\t002\tu1_l0"],
        "query": ["session3/151_04 151 u1_l1_s1"],
        "gallery": ["session1/151_04 151 u0_l0_s0", "session3/151_12 151 u1_l1_s1"],
    }
    for split, lines in lists.items():
        write(folder, f"{split}.txt", "\n".join(lines) + "\n\n")
        for line in lines:
            touch(folder, f"{line.split()[0]}/00001.jpg", f"{line.split()[0]}/00002.jpg")


def test_ccvid(tmp_path: Path) -> None:
    ccvid_tree(tmp_path)
    listing = read("ccvid", tmp_path)
    # pairs: (2, u0_l0) 0, (2, u1_l0) 1, (10, u0_l0) 2, (151, u0_l0_s0) 3, (151, u1_l1_s1) 4
    expected = [
        ("session1/151_04", "gallery", 151, 4, 3, 0),
        ("session3/151_12", "gallery", 151, 24, 4, 1),
        ("session3/151_04", "query", 151, 16, 4, 2),
        ("session1/002_01", "train", 2, 1, 0, 3),
        ("session1/010_02", "train", 10, 2, 2, 4),
        ("session2/002_01", "train", 2, 1, 1, 5),
    ]
    assert rows(listing) == {
        (f"{path}/{frame}.jpg", *labels) for path, *labels in expected for frame in ("00001", "00002")
    }
    assert listing.manifest["tracklet_id"].to_pylist() == sorted(listing.manifest["tracklet_id"].to_pylist())
    assert listing.problems == ()


def test_ccvid_says_what_lists_and_folders_lack(tmp_path: Path) -> None:
    ccvid_tree(tmp_path)
    (tmp_path / "train.txt").write_text("session1/002_01 002 u0_l0\nsession1/099_01 099 u0_l0\n")
    assert read("ccvid", tmp_path).problems == (
        "tracklet session1/099_01 of train.txt has no frame",
        "1 tracklet folders are in no split file, such as session1/010_02",
    )


@pytest.mark.parametrize(
    "line",
    ["session1/002_01 002", "session1/002 002 u0", "other/002_01 002 u0", "session1/002_01 two u0", "../s/2_1 002 u0",
     "session1/../002_01 002 u0", "session1/002_01 002 u0 more"],
)  # fmt: skip
def test_ccvid_refuses_damaged_lists(tmp_path: Path, line: str) -> None:
    ccvid_tree(tmp_path)
    (tmp_path / "train.txt").write_text(f"session1/002_01 002 u0_l0\n\n{line}\n")
    with pytest.raises(InputError, match=r"train\.txt, line 3: expected session"):
        read("ccvid", tmp_path)


def test_ccvid_refuses_a_tracklet_that_is_named_twice(tmp_path: Path) -> None:
    ccvid_tree(tmp_path)
    (tmp_path / "train.txt").write_text("session1/002_01 002 u0_l0\nsession1/002_01 002 u0_l0\n")
    with pytest.raises(InputError, match=r"line 2: session1/002_01 stands there twice"):
        read("ccvid", tmp_path)


def test_market1501(tmp_path: Path) -> None:
    touch(tmp_path, "bounding_box_train/0002_c1s1_000451_03.jpg", "query/0003_c6s4_000451_00.jpg")
    touch(tmp_path, "bounding_box_test/-1_c1s1_000401_03.jpg", "bounding_box_test/0000_c2s1_000151_01.jpg")
    touch(tmp_path, "bounding_box_test/0003_c3s1_000151_01.jpg", "bounding_box_test/-2_c3s1_000151_01.jpg")
    touch(tmp_path, "bounding_box_test/Thumbs.db", "gt_bbox/0003_c3s1_000151_01.jpg")
    listing = read("market1501", tmp_path)
    assert rows(listing) == {
        ("bounding_box_train/0002_c1s1_000451_03.jpg", "train", 2, 1, None, None),
        ("query/0003_c6s4_000451_00.jpg", "query", 3, 6, None, None),
        ("bounding_box_test/-1_c1s1_000401_03.jpg", "gallery", -1, 1, None, None),
        ("bounding_box_test/0000_c2s1_000151_01.jpg", "gallery", 0, 2, None, None),
        ("bounding_box_test/0003_c3s1_000151_01.jpg", "gallery", 3, 3, None, None),
    }
    assert listing.unmatched == ("bounding_box_test/-2_c3s1_000151_01.jpg",)
    assert listing.others == ("bounding_box_test/Thumbs.db",)


def mevid_tree(folder: Path, lists: str = "") -> None:
    names = {
        "train": ["0007O001C505T001F00001.jpg", "0007O001C505T001F00003.jpg", "0007O002C330T002F00009.jpg"],
        "test": ["0201O003C330T004F00192.jpg", "0201O003C330T004F00193.jpg", "0201O004C329T001F00001.jpg",
                 "0201O003C508T002F00001.jpg", "0205O001C329T001F00007.jpg"],
    }  # fmt: skip
    tracklets = {
        "train": "0 1 7 1 505\n2.0e+00 2.0e+00 7.0e+00 2.0e+00 3.3e+02\n",
        "test": "0 1 201 3 330\n2 2 201 4 329\n3 3 201 3 508\n4 4 -1 1 329\n",
    }
    for part in ("train", "test"):
        write(folder / lists, f"{part}_name.txt", "\n".join(names[part]) + "\n")
        write(folder / lists, f"track_{part}_info.txt", tracklets[part])
        touch(folder, *(f"bbox_{part}/{name[:4]}/{name}" for name in names[part]))
    write(folder / lists, "query_IDX.txt", "1.0e+00\n")


@pytest.mark.parametrize("lists", ["", "mevid-v1-annotation-data"])
def test_mevid(tmp_path: Path, lists: str) -> None:
    mevid_tree(tmp_path, lists)
    listing = read("mevid", tmp_path)
    # pairs: (7, 1) 0, (7, 2) 1, (201, 3) 2, (201, 4) 3; tracklets by their lines, train after the four of test
    assert rows(listing) == {
        ("bbox_test/0201/0201O003C330T004F00192.jpg", "gallery", 201, 330, 2, 0),
        ("bbox_test/0201/0201O003C330T004F00193.jpg", "gallery", 201, 330, 2, 0),
        ("bbox_test/0201/0201O004C329T001F00001.jpg", "query", 201, 329, 3, 1),
        ("bbox_test/0201/0201O003C508T002F00001.jpg", "gallery", 201, 508, 2, 2),
        ("bbox_train/0007/0007O001C505T001F00001.jpg", "train", 7, 505, 0, 4),
        ("bbox_train/0007/0007O001C505T001F00003.jpg", "train", 7, 505, 0, 4),
        ("bbox_train/0007/0007O002C330T002F00009.jpg", "train", 7, 330, 1, 5),
    }
    assert listing.problems == listing.unmatched == ()


def test_mevid_says_what_lists_and_folders_lack(tmp_path: Path) -> None:
    mevid_tree(tmp_path)
    (tmp_path / "bbox_test/0201/0201O003C330T004F00193.jpg").unlink()
    (tmp_path / "bbox_train/0007/0007O002C330T002F00009.jpg").unlink()
    touch(tmp_path, "bbox_test/0201/0201O009C330T004F00192.jpg")
    listing = read("mevid", tmp_path)
    assert listing.problems == (
        "test_name.txt names 1 images that are not in bbox_test, such as 0201O003C330T004F00193.jpg",
        "1 tracklets of track_train_info.txt have no image in bbox_train, such as that of line 2",
    )
    assert listing.unmatched == ("bbox_test/0201/0201O009C330T004F00192.jpg",)


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("track_test_info.txt", "0 1 201 3\n", "line 1: expected 5 whole numbers and not '0 1 201 3'"),
        ("track_test_info.txt", "0 1 201 3 x\n", "line 1: expected 5 whole numbers"),
        ("track_test_info.txt", "0 1.5 201 3 330\n", "line 1: expected 5 whole numbers"),
        ("track_test_info.txt", "0 inf 201 3 330\n", "line 1: expected 5 whole numbers"),
        ("track_test_info.txt", "0 5 201 3 330\n", r"line 1: names 0 to 5 are not among the 5 of test_name\.txt"),
        (
            "track_test_info.txt",
            "\n1 2 201 3 330\n",
            "line 2: '0201O003.*F00193.jpg' to .* are not of person 201 at one",
        ),
        ("track_test_info.txt", "0 1 202 3 330\n", "line 1: '0201O.* are not of person 202 at one camera"),
        ("query_IDX.txt", "4\n", "line 1: 4 is none of the 4 test tracklets, which are counted from 0"),
        ("train_name.txt", None, "train_name.txt cannot be read"),
        ("track_test_info.txt", None, "no track_test_info.txt in .* annotations are a download of their own"),
    ],
)
def test_mevid_refuses_damaged_lists(tmp_path: Path, file: str, text: str | None, said: str) -> None:
    mevid_tree(tmp_path)
    (tmp_path / file).unlink()
    if text is not None:
        (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=said):
        read("mevid", tmp_path)


def test_iust_personreid(tmp_path: Path) -> None:
    touch(tmp_path, "bounding_box_train/0001_c1_s1_000151.jpg", "query/0900_c12_s1_000002.jpg")
    touch(tmp_path, "bounding_box_test/0900_c3s1_000151_01.jpg", "bounding_box_test/-1_c2_s1_000009.jpg")
    touch(tmp_path, "bounding_box_test/0900_3_s1_000151.jpg", "bounding_box_test/-2_c2_s1_000009.jpg")
    listing = read("iust_personreid", tmp_path)
    assert rows(listing) == {
        ("bounding_box_train/0001_c1_s1_000151.jpg", "train", 1, 1, None, None),
        ("query/0900_c12_s1_000002.jpg", "query", 900, 12, None, None),
        ("bounding_box_test/0900_c3s1_000151_01.jpg", "gallery", 900, 3, None, None),
        ("bounding_box_test/-1_c2_s1_000009.jpg", "gallery", -1, 2, None, None),
    }
    assert listing.unmatched == (
        "bounding_box_test/-2_c2_s1_000009.jpg", "bounding_box_test/0900_3_s1_000151.jpg",
    )  # fmt: skip


def test_real28(tmp_path: Path) -> None:
    touch(tmp_path, "query/1_1_1_7.jpg", "query/28_4_3_11.jpeg", "gallery/1_2_10_3.jpg", "gallery/1_3_2_3.jpg")
    touch(tmp_path, "gallery/1_2_3.jpg", "gallery/28-1-2-3.jpg")
    listing = read("real28", tmp_path)
    # pairs: (1, 1) 0, (1, 2) 1, (1, 10) 2, (28, 3) 3
    assert rows(listing) == {
        ("query/1_1_1_7.jpg", "query", 1, 1, 0, None),
        ("query/28_4_3_11.jpeg", "query", 28, 4, 3, None),
        ("gallery/1_2_10_3.jpg", "gallery", 1, 2, 2, None),
        ("gallery/1_3_2_3.jpg", "gallery", 1, 3, 1, None),
    }
    assert listing.unmatched == ("gallery/1_2_3.jpg", "gallery/28-1-2-3.jpg")
    assert listing.problems == ()


def test_nkup(tmp_path: Path) -> None:
    touch(tmp_path, "bounding_box_train/0005_D0912_C03S01_00151.jpg", "bounding_box_train/0005_D1009_C15S02_00026.jpg")
    touch(tmp_path, "query/0071_D0312_C01S01_00001.jpg", "bounding_box_test/0071_D1225_C01S01_00001.jpg")
    touch(tmp_path, "bounding_box_test/0071_1225_C01S01_00001.jpg", "query/0071_c1s1_000151_01.jpg")
    listing = read("nkup", tmp_path)
    # pairs: (5, 912) 0, (5, 1009) 1, (71, 312) 2, (71, 1225) 3
    assert rows(listing) == {
        ("bounding_box_train/0005_D0912_C03S01_00151.jpg", "train", 5, 3, 0, None),
        ("bounding_box_train/0005_D1009_C15S02_00026.jpg", "train", 5, 15, 1, None),
        ("query/0071_D0312_C01S01_00001.jpg", "query", 71, 1, 2, None),
        ("bounding_box_test/0071_D1225_C01S01_00001.jpg", "gallery", 71, 1, 3, None),
    }
    assert listing.unmatched == ("query/0071_c1s1_000151_01.jpg", "bounding_box_test/0071_1225_C01S01_00001.jpg")


def test_nkup_plus(tmp_path: Path) -> None:
    test = "bounding_box_test"
    touch(
        tmp_path,
        "bounding_box_train/0010/app1/0010_D0912_C29S01_00151.jpg",
        f"{test}/query/0300/1/0300_D0912_C04_1.jpg",
    )
    touch(tmp_path, f"{test}/gallery_sameapp/0300/1/0300_D0912_C05_2.jpg")
    touch(tmp_path, f"{test}/gallery_crossapp_moderate/0300/2/0300_D1001_C06_3.jpg")
    touch(tmp_path, f"{test}/gallery_crossapp_dramatic/0300/3/0300_D0401_C07_4.jpg")
    touch(tmp_path, f"{test}/query/0300_D0912_C04_1.jpg", f"{test}/query/0300/1/0300_C04_1.jpg")
    listing = read("nkup_plus", tmp_path)
    # pairs: (10, app1) 0, (300, 1) 1, (300, 2) 2, (300, 3) 3
    assert rows(listing) == {
        ("bounding_box_train/0010/app1/0010_D0912_C29S01_00151.jpg", "train", 10, 29, 0, None),
        (f"{test}/query/0300/1/0300_D0912_C04_1.jpg", "query", 300, 4, 1, None),
        (f"{test}/gallery_sameapp/0300/1/0300_D0912_C05_2.jpg", "gallery_same", 300, 5, 1, None),
        (f"{test}/gallery_crossapp_moderate/0300/2/0300_D1001_C06_3.jpg", "gallery_moderate", 300, 6, 2, None),
        (f"{test}/gallery_crossapp_dramatic/0300/3/0300_D0401_C07_4.jpg", "gallery_dramatic", 300, 7, 3, None),
    }
    assert listing.unmatched == (f"{test}/query/0300/1/0300_C04_1.jpg", f"{test}/query/0300_D0912_C04_1.jpg")


def test_vccr(tmp_path: Path) -> None:
    touch(tmp_path, "train/0007/0001/0007-c02-l01-x-f0001.jpg", "train/0007/0001/0007-c02-l01-x-f0002.jpg")
    touch(tmp_path, "train/0007/0002/0007-c12-l10-f0001.jpg", "train/0009/0001/0009-c02-l01-f0001.jpg")
    touch(tmp_path, "test_qg/query/0300/c1/0004/0300-c1-l2-f7.jpg", "test_qg/gallery/0300/c1/0004/0300-c1-l1-f7.jpg")
    touch(tmp_path, "train/0007/0007-c02-l01-f0001.jpg", "train/0007/0001/0007_c02_l01_f0001.jpg")
    listing = read("vccr", tmp_path)
    # pairs: (7, 1) 0, (7, 10) 1, (9, 1) 2, (300, 1) 3, (300, 2) 4; tracklets as they are met
    assert rows(listing) == {
        ("train/0007/0001/0007-c02-l01-x-f0001.jpg", "train", 7, 2, 0, 0),
        ("train/0007/0001/0007-c02-l01-x-f0002.jpg", "train", 7, 2, 0, 0),
        ("train/0007/0002/0007-c12-l10-f0001.jpg", "train", 7, 12, 1, 1),
        ("train/0009/0001/0009-c02-l01-f0001.jpg", "train", 9, 2, 2, 2),
        ("test_qg/query/0300/c1/0004/0300-c1-l2-f7.jpg", "query", 300, 1, 4, 3),
        ("test_qg/gallery/0300/c1/0004/0300-c1-l1-f7.jpg", "gallery", 300, 1, 3, 4),
    }
    assert listing.unmatched == ("train/0007/0001/0007_c02_l01_f0001.jpg", "train/0007/0007-c02-l01-f0001.jpg")


def test_ccpg(tmp_path: Path) -> None:
    touch(tmp_path, "000/U0_D0/01_0/00001.jpg", "000/U0_D0/01_0/00002.jpg", "000/U0_D0_BG/01_0/00001.jpg")
    touch(tmp_path, "099/U3_D3/10_2/00001.jpg")
    touch(tmp_path, *(f"100/{state}/02_1/00001.jpg" for state in ("U0_D0", "U0_D0_BG", "U1_D0", "U3_D3", "U0_D3")))
    touch(tmp_path, "100/U4_D4/02_1/00001.jpg", "100/U0_D0/00001.jpg", "200/U0_D0/02_1/00001.jpg", "readme.txt")
    listing = read("ccpg", tmp_path)
    # pairs: (0, U0_D0) 0, (99, U3_D3) 1, (100, U0_D0) 2, (100, U0_D3) 3, (100, U1_D0) 4, (100, U3_D3) 5
    assert rows(listing) == {
        ("000/U0_D0/01_0/00001.jpg", "train", 0, 1, 0, 0),
        ("000/U0_D0/01_0/00002.jpg", "train", 0, 1, 0, 0),
        ("000/U0_D0_BG/01_0/00001.jpg", "train", 0, 1, 0, 1),
        ("099/U3_D3/10_2/00001.jpg", "train", 99, 10, 1, 2),
        ("100/U0_D0/02_1/00001.jpg", "U0_D0", 100, 2, 2, 3),
        ("100/U0_D0_BG/02_1/00001.jpg", "U0_D0_BG", 100, 2, 2, 4),
        ("100/U0_D3/02_1/00001.jpg", "U0_D3", 100, 2, 3, 5),
        ("100/U1_D0/02_1/00001.jpg", "U1_D0", 100, 2, 4, 6),
        ("100/U3_D3/02_1/00001.jpg", "U3_D3", 100, 2, 5, 7),
    }
    assert listing.unmatched == (
        "100/U0_D0/00001.jpg", "100/U4_D4/02_1/00001.jpg", "200/U0_D0/02_1/00001.jpg",
    )  # fmt: skip
    assert listing.problems == ()


EARLY, LATE = "2023-07-26-13:21:40", "2023-12-05-12:12:13"
CHIRLA_ROWS = {
    "train": [f"train_0/seq_020/camera_1_{EARLY}/13/frame_6123"],
    "val": [f"test_0/seq_026/camera_1_{LATE}/13/frame_4294", f"test_0/seq_026/camera_1_{LATE}/-4/frame_1"],
    "gallery": [f"train_1/seq_020/camera_3_{EARLY}/13/frame_4102", f"train_2/seq_020/camera_4_{EARLY}/10/frame_7"],
    "query": [
        f"test_1/seq_026/camera_3_{LATE}/13/frame_5912",
        f"test_2/seq_026/camera_2_{LATE}/10/frame_3",
        f"test_2/seq_026/camera_2_{LATE}/-1/frame_3",
    ],
}


def chirla_tree(folder: Path) -> None:
    for part, entries in CHIRLA_ROWS.items():
        lines = ["image_path,id,camera,sequence,subset"]
        for entry in entries:
            subset, sequence, camera, person, frame = entry.split("/")
            path = f"reid/long_term/{subset.split('_')[0]}/{subset}/{sequence}/imgs/{camera}/{person}/{frame}.png"
            touch(folder / "benchmark", path)
            lines.append(f"{path},{person},{camera},{sequence},{subset}")
        write(folder / "benchmark/metadata", f"reid_long_term_{part}.csv", "\r\n".join(lines) + "\r\n")


def test_chirla(tmp_path: Path) -> None:
    chirla_tree(tmp_path)
    touch(tmp_path, "benchmark/reid/reappearance/test/test_1/seq_000/imgs/camera_1_x/5/frame_1.png")
    listing = read("chirla_long_term", tmp_path)
    base = "benchmark/reid/long_term"
    assert rows(listing) == {
        (f"{base}/train/train_0/seq_020/imgs/camera_1_{EARLY}/13/frame_6123.png", "val_gallery", 13, 1, None, None),
        (f"{base}/test/test_0/seq_026/imgs/camera_1_{LATE}/13/frame_4294.png", "val_query", 13, 1, None, None),
        (f"{base}/test/test_0/seq_026/imgs/camera_1_{LATE}/-4/frame_1.png", "val_query", -4, 1, None, None),
        (f"{base}/train/train_1/seq_020/imgs/camera_3_{EARLY}/13/frame_4102.png", "gallery_1", 13, 3, None, None),
        (f"{base}/train/train_2/seq_020/imgs/camera_4_{EARLY}/10/frame_7.png", "gallery_2", 10, 4, None, None),
        (f"{base}/test/test_1/seq_026/imgs/camera_3_{LATE}/13/frame_5912.png", "query_1", 13, 3, None, None),
        (f"{base}/test/test_2/seq_026/imgs/camera_2_{LATE}/10/frame_3.png", "query_2", 10, 2, None, None),
        (f"{base}/test/test_2/seq_026/imgs/camera_2_{LATE}/-1/frame_3.png", "query_2", -1, 2, None, None),
    }
    assert listing.problems == listing.unmatched == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (None, None, "no reid_long_term_query.csv in .* repository that is its home page; copy them there"),
        ("image_path,id", "path,id", "lacks the column image_path"),
        (",13,camera", ",x,camera", "row 1: id 'x' is not a whole number"),
        (",13,camera", ",,camera", "row 1: id is empty"),
        (",13,camera", ",12,camera", "row 1: path .* is not below reid/long_term/test/.*/12"),
        (",seq_026,test_1", ",seq_026,train_1", "row 1: subset 'train_1' does not belong into this list"),
        (",seq_026,test_1", ",seq_026,test_0", "row 1: subset 'test_0' does not belong into this list"),
        (",camera_3_2023-12-05-12:12:13,", ",three,", "row 1: camera 'three' is not camera_<number>_<time>"),
        ("13/frame_5912.png", "13/../../../../../x.png", "row 1: path .* is not below"),
        ("13/frame_5912.png", "13/frame_1.png", "row 1: no file at benchmark/reid/long_term/test/.*/frame_1.png"),
    ],
)
def test_chirla_refuses_damaged_lists(tmp_path: Path, old: str | None, new: str, said: str) -> None:
    chirla_tree(tmp_path)
    table = tmp_path / "benchmark/metadata/reid_long_term_query.csv"
    text = table.read_text()
    table.unlink()
    if old is not None:
        assert old in text
        table.write_text(text.replace(old, new, 1))
    with pytest.raises(InputError, match=said):
        read("chirla_long_term", tmp_path)


def test_chirla_refuses_an_image_that_is_named_twice(tmp_path: Path) -> None:
    chirla_tree(tmp_path)
    table = tmp_path / "benchmark/metadata/reid_long_term_query.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([*lines, lines[1]]) + "\n")
    with pytest.raises(InputError, match=r"row 4: benchmark/.* stands in row 1 already"):
        read("chirla_long_term", tmp_path)


TREES = {
    "walkers": ["train/3_0_c1_0.png", "query/4_1_c2_0.png", "gallery/4_2_c3_7.png"],
    "prcc": [
        "rgb/train/001/C_1.jpg", "rgb/val/001/A_2.jpg", "rgb/test/A/005/1.jpg", "rgb/test/B/005/1.jpg",
        "rgb/test/C/005/1.jpg",
    ],
    "ltcc": ["train/000_1_c11_015833.png", "query/094_10_c9_008982.png", "test/094_9_c12_008983.png"],
    "vcclothes": ["train/0001-01-01-01.jpg", "query/0300-02-01-04.jpg", "gallery/0300-03-02-11.jpg"],
    "celeb_reid": ["train/1_1_0.jpg", "query/700_2_1.jpg", "gallery/700_3_0.jpg"],
    "last": ["train/1/1_2_1.jpg", "val/query/5_1.jpg", "val/gallery/5/5_1.jpg", "test/query/8_1.jpg",
             "test/gallery/8/8_2.jpg"],
    "market1501": ["bounding_box_train/0002_c1s1_1_03.jpg", "query/0003_c6s4_1_00.jpg",
                   "bounding_box_test/0003_c3s1_1_01.jpg"],
    "iust_personreid": ["bounding_box_train/0001_c1_s1_1.jpg", "query/0009_c12_s1_2.jpg",
                        "bounding_box_test/0009_c3s1_1_01.jpg"],
    "real28": ["query/1_1_1_7.jpg", "gallery/1_2_10_3.jpg"],
    "nkup": ["bounding_box_train/0005_D0912_C03S01_1.jpg", "query/0071_D0312_C01S01_1.jpg",
             "bounding_box_test/0071_D1225_C01S01_1.jpg"],
    "nkup_plus": ["bounding_box_train/0010/1/0010_D0912_C29_1.jpg",
                  "bounding_box_test/query/0300/1/0300_D0912_C04_1.jpg",
                  "bounding_box_test/gallery_sameapp/0300/1/0300_D0912_C05_2.jpg",
                  "bounding_box_test/gallery_crossapp_moderate/0300/2/0300_D1001_C06_3.jpg",
                  "bounding_box_test/gallery_crossapp_dramatic/0300/3/0300_D0401_C07_4.jpg"],
    "vccr": ["train/0007/0001/0007-c02-l01-f1.jpg", "test_qg/query/0300/c1/0004/0300-c1-l2-f7.jpg",
             "test_qg/gallery/0300/c1/0004/0300-c1-l1-f7.jpg"],
    "ccpg": ["000/U0_D0/01_0/1.jpg", "100/U0_D0_BG/02_1/1.jpg", "100/U1_D1/03_1/1.jpg"],
}  # fmt: skip


MADE_TREES = {
    "deepchange": deepchange_tree,
    "ccvid": ccvid_tree,
    "mevid": mevid_tree,
    "chirla_long_term": chirla_tree,
}


@pytest.mark.parametrize("root", ["my_c1_data", "0007_3_c9_1", "B_data/query/train", "0005-04-03-02", "session3/9_9"])
@pytest.mark.parametrize("name", [*TREES, *MADE_TREES])
def test_the_root_changes_no_label(tmp_path: Path, name: str, root: str) -> None:
    for folder in (tmp_path / "plain", tmp_path / root):
        if name in TREES:
            touch(folder, *TREES[name])
        else:
            MADE_TREES[name](folder)
    assert read(name, tmp_path / root).manifest.equals(read(name, tmp_path / "plain").manifest)


@pytest.mark.parametrize("name", TREES)
def test_other_endings_give_the_same_labels(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "plain", *TREES[name])
    expected = {row[1:] for row in rows(read(name, tmp_path / "plain"))}
    for ending in ("JPG", "jpeg", "PNG", "bmp", "WebP"):
        touch(tmp_path / ending, *(f"{path.rpartition('.')[0]}.{ending}" for path in TREES[name]))
        assert {row[1:] for row in rows(read(name, tmp_path / ending))} == expected


@pytest.mark.parametrize("name", TREES)
def test_the_order_of_creation_does_not_matter(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "a", *TREES[name])
    touch(tmp_path / "b", *reversed(TREES[name]))
    assert read(name, tmp_path / "a").manifest.equals(read(name, tmp_path / "b").manifest)
