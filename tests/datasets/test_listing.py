"""Listing: order, endings, links, unreadable folders."""

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.datasets.listing import ListingNotes, is_image_name, list_folders, list_images


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def listed(folder: Path, start: str) -> tuple[list[str], ListingNotes]:
    notes = ListingNotes()
    return list(list_images(folder, start, notes)), notes


@pytest.mark.parametrize("name", ["a.jpg", "a.JPG", "a.Jpeg", "a.png", "a.BMP", "a.webp", "a.b.tiff", "0001.PNG"])
def test_usual_endings_in_any_case_are_images(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.txt", "Thumbs.db", ".jpg", "._a.jpg", "jpg", "a.jpg.part", "a"])
def test_other_and_hidden_files_are_no_images(name: str) -> None:
    assert not is_image_name(name)


def test_whole_paths_are_sorted_by_bytes(tmp_path: Path) -> None:
    names = ["t/a-/1.jpg", "t/a/1.jpg", "t/a.jpg", "t/a0/1.jpg", "t/B.jpg", "t/é.jpg", "t/z.jpg", "t/a/b/1.jpg"]
    touch(tmp_path, *names)
    assert listed(tmp_path, "t")[0] == sorted(names, key=os.fsencode)


@settings(max_examples=40, deadline=None)
@given(paths=st.sets(st.text("aB0-_é/", min_size=1, max_size=7), max_size=12))
def test_order_and_completeness_for_any_tree(paths: set[str], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("tree")
    plain = {"/".join(filter(None, path.split("/"))) for path in paths}
    names = {f"t/{path}.jpg" for path in plain if path}
    touch(folder, *names)
    assert listed(folder, "t")[0] == sorted(names, key=os.fsencode)


def test_other_files_are_noted(tmp_path: Path) -> None:
    touch(tmp_path, "t/a.jpg", "t/Thumbs.db", "t/.DS_Store", "t/._a.jpg")
    images, notes = listed(tmp_path, "t")
    assert images == ["t/a.jpg"]
    assert notes.others == ["t/.DS_Store", "t/._a.jpg", "t/Thumbs.db"]
    assert notes.problems == []


def test_missing_start_yields_nothing(tmp_path: Path) -> None:
    assert listed(tmp_path, "t") == ([], ListingNotes())


def test_links_to_files_and_to_outside_folders_are_followed(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/x/1.jpg", "one.jpg", "data/t/a.jpg")
    data = tmp_path / "data"
    (data / "t/link.jpg").symlink_to(tmp_path / "one.jpg")
    (data / "t/out").symlink_to(tmp_path / "elsewhere")
    images, notes = listed(data, "t")
    assert images == ["t/a.jpg", "t/link.jpg", "t/out/x/1.jpg"]
    assert notes.problems == []


def test_start_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/1.jpg")
    (tmp_path / "data").mkdir()
    (tmp_path / "data/t").symlink_to(tmp_path / "elsewhere")
    assert listed(tmp_path / "data", "t")[0] == ["t/1.jpg"]


def test_an_outside_folder_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/x/1.jpg", "data/t/a.jpg")
    for name, target in [("l1", "elsewhere"), ("l2", "elsewhere"), ("l3", "elsewhere/x")]:
        (tmp_path / "data/t" / name).symlink_to(tmp_path / target)
    images, notes = listed(tmp_path / "data", "t")
    assert images == ["t/a.jpg", "t/l1/x/1.jpg"]
    assert len(notes.problems) == 2
    assert all("listed already" in problem for problem in notes.problems)


def test_a_link_inside_the_tree_does_not_repeat_images(tmp_path: Path) -> None:
    touch(tmp_path, "t/z/1.jpg")
    (tmp_path / "t/a").symlink_to(tmp_path / "t/z")
    images, notes = listed(tmp_path, "t")
    assert images == ["t/z/1.jpg"]
    assert notes.problems == ["link t/a leads to a folder that is listed already and was not followed"]


@pytest.mark.parametrize("target", [".", "..", "../..", "../../.."])
def test_loops_are_refused_and_said(tmp_path: Path, target: str) -> None:
    touch(tmp_path, "data/t/u/1.jpg")
    (tmp_path / "data/t/u/loop").symlink_to(target)
    images, notes = listed(tmp_path / "data", "t")
    assert images == ["t/u/1.jpg"]
    assert notes.problems == ["link t/u/loop leads back to a folder that contains it and was not followed"]


def test_a_loop_through_an_outside_folder_is_refused(tmp_path: Path) -> None:
    touch(tmp_path, "data/t/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "data/t/out").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "data/t")
    images, notes = listed(tmp_path / "data", "t")
    assert images == ["t/1.jpg", "t/out/2.jpg"]
    assert len(notes.problems) == 1


def test_broken_links_and_links_to_themselves_are_said(tmp_path: Path) -> None:
    touch(tmp_path, "t/1.jpg")
    (tmp_path / "t/broken.jpg").symlink_to("nothing.jpg")
    (tmp_path / "t/self").symlink_to("self")
    images, notes = listed(tmp_path, "t")
    assert images == ["t/1.jpg"]
    assert notes.problems == ["link t/broken.jpg leads nowhere", "link t/self leads nowhere"]


def test_unreadable_folders_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "t/a/1.jpg", "t/b/2.jpg")
    real = os.scandir

    def refuse(path: bytes | str) -> object:  # the tests may run as a user whom no permission stops
        if os.fsencode(path).endswith(b"/a"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    images, notes = listed(tmp_path, "t")
    assert images == ["t/b/2.jpg"]
    assert notes.problems == ["folder t/a cannot be read: Permission denied"]
    assert list_folders(tmp_path / "t/a") == []


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse names that are not UTF-8")
def test_names_that_are_not_utf8_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "t/a.jpg", os.fsdecode(b"t/\xff.jpg"))
    assert listed(tmp_path, "t")[0] == ["t/a.jpg", "t/\udcff.jpg"]
