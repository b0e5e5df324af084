"""The logic of a job with workers in this process; jobs on a real Ray are in test_faults.py."""

import errno
import fcntl
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from shard_jobs import InlinePool, content, run_inline

from pipeline.datasets.catalog import check_facts, load_facts
from pipeline.errors import InputError, WorkError
from pipeline.location import Location, Place, locate
from pipeline.shards.making import folder as folder_module
from pipeline.shards.making import job as job_module
from pipeline.shards.making import writer as writer_module
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.folder import open_folder
from pipeline.shards.making.job import JobResult, run_job
from pipeline.shards.making.run import RunSettings
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import ShardWorker, WorkerSetup, build_parser
from pipeline.shards.record import read_record
from pipeline.shards.schema import shard_name
from pipeline.shards.verify import verify_folder
from pipeline.storage import copy_file, list_folders, list_names, read_bytes

SETTINGS = ShardSettings(parser="tiles", shard_rows=8, row_group_rows=4, max_pixels=10_000, low_confidence=0.6)
NO_FP16 = r"parse\.settings\.precision: fp16 needs a CUDA device, the device here is cpu; use bf16 or fp32"


@pytest.fixture
def run(
    image_folder: Any, plugin_parser: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., JobResult]:
    run_inline(monkeypatch)

    def run_here(
        out: Place, settings: ShardSettings = SETTINGS, images: Path | None = None, **options: Any
    ) -> JobResult:
        InlinePool.made.clear()
        folder = images or image_folder.folder
        return run_job("tiny", image_folder.manifest, folder, out, settings, RunSettings(), quiet=True, **options)

    return run_here


def test_a_run_gives_shards_quarantine_record_and_nothing_else(
    run: Callable[..., JobResult], image_folder: Any, tmp_path: Path
) -> None:
    result = run(tmp_path / "out")
    names = [f"part-{index:05d}-of-00010.parquet" for index in range(10)]
    assert sorted(content(tmp_path / "out")) == ["_plan.json", "_record.json", *names, "quarantine.parquet"]
    counts = result.record.counts
    assert counts["quarantined"] == len(image_folder.bad) == 7
    assert counts["images"] == 33
    assert counts["reasons"] == {reason: list(image_folder.bad.values()).count(reason) for reason in counts["reasons"]}
    quarantine = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert {row["image_id"]: row["reason"] for row in quarantine} == image_folder.bad
    assert [row["image_id"] for row in quarantine] == sorted(image_folder.bad)
    assert (result.timings.images, result.timings.shards_made, result.timings.shards_reused) == (40, 10, 0)
    assert verify_folder(tmp_path / "out", threads=2) == []


def test_an_interrupted_run_goes_on_and_gives_the_same_bytes(run: Callable[..., JobResult], tmp_path: Path) -> None:
    run(tmp_path / "whole")
    remarks: list[str] = []
    InlinePool.interrupt_after = 4
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out", say=remarks.append)
    assert remarks == [f"stopped: 4 of 10 shards are committed in {tmp_path / 'out'}"]
    assert not (tmp_path / "out" / "_record.json").exists()
    (tmp_path / "out" / ".part-00003-of-00010.parquet.x1y2.tmp").write_bytes(b"half")
    (tmp_path / "out" / "part-00003-of-00099.parquet").write_bytes(b"of another plan")
    (tmp_path / "out" / "part-00007-of-00010.parquet").write_bytes(b"damaged")
    InlinePool.interrupt_after = None
    result = run(tmp_path / "out", say=remarks.append)
    assert remarks[1] == f"reusing 3 of 10 shards in {tmp_path / 'out'}"
    assert (result.timings.shards_made, result.timings.shards_reused) == (7, 3)
    assert InlinePool.closed == 3, "the workers are stopped, in the interrupted run too"
    assert (tmp_path / "out" / "part-00003-of-00099.parquet").read_bytes() == b"of another plan", "no record lists it"
    (tmp_path / "out" / "part-00003-of-00099.parquet").unlink()
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_second_run_changes_no_byte_and_no_time(run: Callable[..., JobResult], tmp_path: Path) -> None:
    run(tmp_path / "out")
    before = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "out").iterdir()}
    assert run(tmp_path / "out").timings.shards_made == 0
    after = {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in (tmp_path / "out").iterdir()}
    before.pop("quarantine.parquet")
    assert after.pop("quarantine.parquet")
    assert after == before


def test_the_record_remembers_the_data_set_and_keeps_the_rest_when_it_changes(
    run: Callable[..., JobResult], tmp_path: Path
) -> None:
    path = tmp_path / "out" / "_record.json"
    facts = load_facts("ltcc")
    without = run(tmp_path / "out")
    assert without.record.facts is None
    earlier = json.loads(path.read_text())
    path.write_text(json.dumps(earlier | {"versions": earlier["versions"] | {"ray": "1.0"}}))
    of_earlier = read_record(tmp_path / "out")
    found = run(tmp_path / "out", facts=facts).record
    assert check_facts(found.facts, "here") == facts
    assert (found.sha256, found.timings, found.versions) == (
        of_earlier.sha256, of_earlier.timings, of_earlier.versions,
    )  # fmt: skip
    corrected = facts.model_copy(update={"protocols": ("general",)})
    assert run(tmp_path / "out", facts=corrected).record.facts == corrected.model_dump(mode="json")
    assert run(tmp_path / "out").record.facts == corrected.model_dump(mode="json")


def test_shards_of_changed_images_are_made_again(
    run: Callable[..., JobResult], image_folder: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    shutil.copytree(image_folder.folder, images)
    run(tmp_path / "out", images=images)
    path = next(images.glob("*_good.png"))
    (images / "08_missing.jpg").write_bytes(path.read_bytes())
    result = run(tmp_path / "out", images=images)
    manifest = image_folder.manifest["path"].to_pylist()
    assert InlinePool.made == [f"part-{manifest.index('08_missing.jpg') // 4:05d}-of-00010.parquet"]
    assert result.record.counts["images"] == 34
    assert "missing" not in result.record.counts["reasons"]
    run(tmp_path / "fresh", images=images)
    assert content(tmp_path / "out") == content(tmp_path / "fresh")


def test_a_damaged_shard_of_a_finished_folder_is_made_again(run: Callable[..., JobResult], tmp_path: Path) -> None:
    run(tmp_path / "out")
    before = content(tmp_path / "out")
    part = tmp_path / "out" / "part-00002-of-00010.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    assert verify_folder(tmp_path / "out", threads=1) == [f"{part.name}: its hash is not that of the record"]
    run(tmp_path / "out")
    assert InlinePool.made == [part.name]
    assert content(tmp_path / "out") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fill": "black"}, "fill was white, is black"),
        ({"settings": {"weights": "w2"}}, r"parser_settings was \{\}.*weights_sha256 differs"),
        ({"clothes_labels": ["hat"]}, r"clothes_labels was \['upper-clothes'.*is \['hat'\]"),
        ({"shard_rows": 3}, "shard_rows was 8, is 3"),
    ],
)
def test_shards_of_other_content_are_refused_and_replaced_only_when_asked(
    run: Callable[..., JobResult], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    out = tmp_path / "out"
    run(out)
    before = content(out)
    other = SETTINGS.model_copy(update=change)
    with pytest.raises(InputError, match=rf"other content \({message}.*--overwrite"):
        run(out, other)
    InlinePool.interrupt_after = 2
    with pytest.raises(KeyboardInterrupt):
        run(out, other, overwrite=True)
    assert content(out) == before, "the old shards stay until the new ones are complete"
    InlinePool.interrupt_after = None
    result = run(out, other, overwrite=True)
    assert result.timings.shards_reused == 2
    run(tmp_path / "fresh", other)
    assert content(out) == content(tmp_path / "fresh")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fresh", "out"], "nothing is left beside"


def test_a_folder_that_was_bound_but_never_filled_takes_other_content(
    run: Callable[..., JobResult], tmp_path: Path
) -> None:
    InlinePool.interrupt_after = 0
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "out")
    InlinePool.interrupt_after = None
    assert run(tmp_path / "out", SETTINGS.model_copy(update={"fill": "mean"})).record.parameters["fill"] == "mean"
    assert json.loads((tmp_path / "out" / "_plan.json").read_text())["content"]["fill"] == "mean"


def test_overwrite_keeps_shards_of_the_same_content(run: Callable[..., JobResult], tmp_path: Path) -> None:
    run(tmp_path / "out")
    assert run(tmp_path / "out", overwrite=True).timings.shards_reused == 10


def test_overwrite_makes_shards_of_another_program_again(run: Callable[..., JobResult], tmp_path: Path) -> None:
    out, said = tmp_path / "out", list[str]()
    run(out, program="one")
    before = content(out)
    assert run(out, overwrite=True, program="one").timings.shards_reused == 10
    assert run(out, program="other", say=said.append).timings.shards_reused == 10  # it was not asked to
    assert any("another version of the program; --overwrite" in line for line in said)
    assert json.loads((out / "_plan.json").read_text())["program"] == "one"

    InlinePool.interrupt_after = 3
    with pytest.raises(KeyboardInterrupt):
        run(out, overwrite=True, program="other")
    InlinePool.interrupt_after = None
    assert content(out) == before  # until the new ones are complete
    assert run(out, overwrite=True, program="other").timings.shards_reused == 3  # of this program's own
    assert json.loads((out / "_plan.json").read_text())["program"] == "other"
    assert run(out, overwrite=True, program="other").timings.shards_reused == 10
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_replacement_that_another_program_began_is_begun_again(run: Callable[..., JobResult], tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(out, program="one")
    InlinePool.interrupt_after = 3
    with pytest.raises(KeyboardInterrupt):
        run(out, overwrite=True, program="two")
    InlinePool.interrupt_after = None
    assert run(out, overwrite=True, program="three").timings.shards_reused == 0


def test_shards_of_an_unknown_program_are_kept(run: Callable[..., JobResult], tmp_path: Path) -> None:
    run(tmp_path / "out")
    assert run(tmp_path / "out", overwrite=True, program="one").timings.shards_reused == 10


def test_a_replacement_that_was_complete_is_adopted(run: Callable[..., JobResult], tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run(out)
    out.rename(tmp_path / f".out.{result.record.fingerprint[:16]}.partial")
    assert run(out).timings.shards_reused == 10


def test_a_parser_that_breaks_its_contract_fails_the_run_and_keeps_what_is_done(
    run: Callable[..., JobResult], faults: Path, tmp_path: Path
) -> None:
    run(tmp_path / "out")
    for path in list((tmp_path / "out").glob("part-0000[0-3]*")):
        path.unlink()
    (faults / "contract").touch()
    with pytest.raises(WorkError, match="gave 0 results"):
        run(tmp_path / "out")
    assert not (tmp_path / "out" / "_record.json").exists()
    assert len(list((tmp_path / "out").glob("part-*"))) == 6


def test_other_folders_and_files_are_never_touched(run: Callable[..., JobResult], tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="holds no shards of ccaf-pipeline"):
            run(tmp_path / "full", overwrite=overwrite)
        with pytest.raises(InputError, match="is a file"):
            run(tmp_path / "file", overwrite=overwrite)
        with pytest.raises(InputError, match="cannot be written"):
            run(tmp_path / "file" / "below", overwrite=overwrite)
    assert (tmp_path / "full" / "thesis.tex").read_text() == "x"


def test_two_runs_do_not_write_one_folder(run: Callable[..., JobResult], tmp_path: Path) -> None:
    fingerprint = run(tmp_path / "out").record.fingerprint
    with (
        open_folder(tmp_path / "out", fingerprint, {}, [], overwrite=False),
        pytest.raises(InputError, match="another run is writing"),
    ):
        run(tmp_path / "out")


def test_a_run_that_was_killed_before_it_had_bound_the_folder_is_in_nobodys_way(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "._plan.json.a1b2c3d4.tmp").write_text('{"finger')
    with open_folder(out, "a" * 64, {}, [], overwrite=False):
        assert json.loads((out / "_plan.json").read_text())["fingerprint"] == "a" * 64
    assert [path.name for path in out.iterdir()] == ["_plan.json"]


def test_a_file_system_without_locks_is_written_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", fail)
    with open_folder(tmp_path / "out", "a" * 64, {}, [], overwrite=False):
        assert (tmp_path / "out" / "_plan.json").exists()


def test_shards_of_a_plan_with_more_than_five_digits_are_found_again(tmp_path: Path) -> None:
    names = [shard_name(number, 123_456) for number in (7, 123_455)]
    with open_folder(tmp_path / "out", "a" * 64, {}, names, overwrite=False) as folder:
        for name in names:
            (tmp_path / "out" / name).write_bytes(b"")
        assert folder.committed(names) == names


def test_a_run_that_is_refused_leaves_the_folder_of_the_other_one_bound(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with open_folder(out, "a" * 64, {"fill": "white"}, [], overwrite=False):
        for overwrite in (False, True):
            with (
                pytest.raises(InputError, match="another run is writing"),
                open_folder(out, "b" * 64, {"fill": "black"}, [], overwrite=overwrite),
            ):
                pass
        assert json.loads((out / "_plan.json").read_text())["fingerprint"] == "a" * 64


def test_replacements_of_folders_with_a_longer_name_are_not_removed(
    run: Callable[..., JobResult], tmp_path: Path
) -> None:
    other = tmp_path / f".out.v2.{'0' * 16}.partial"
    own = tmp_path / f".out.{'0' * 16}.partial"
    other.mkdir()
    own.mkdir()
    run(tmp_path / "out")
    assert other.is_dir()
    assert not own.exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (SETTINGS.model_copy(update={"parser": "nobody"}), r"unknown parser 'nobody'; known: .*tiles"),
        (SETTINGS.model_copy(update={"settings": {"depth": 1}}), "depth is not one of its settings"),
        (SETTINGS.model_copy(update={"clothes_labels": ["sock"]}), "has no label sock"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    run: Callable[..., JobResult], tmp_path: Path, settings: ShardSettings, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_a_run_of_bad_images_only(run: Callable[..., JobResult], tmp_path: Path) -> None:
    result = run(tmp_path / "out", images=tmp_path)
    assert result.record.counts["images"] == 0
    assert result.record.counts["reasons"] == {"missing": 40}
    assert verify_folder(tmp_path / "out", threads=1) == []


def test_what_a_device_cannot_do_is_refused_before_a_cluster_is_started(
    image_folder: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The weights need not be read for it: the file is checked later, on whatever device."""

    def start(*_: Any) -> None:
        raise AssertionError("a cluster was started")

    monkeypatch.setattr(job_module, "ray_session", start)
    monkeypatch.setattr(
        job_module, "identify", lambda _: build_parser(SETTINGS.model_copy(update={"parser": "lite"}), "cpu")
    )
    settings = ShardSettings(parser="schp", settings={"weights": "w.pth", "precision": "fp16"})
    with pytest.raises(InputError, match=NO_FP16):
        run_job(
            "tiny", image_folder.manifest, image_folder.folder, tmp_path / "out", settings, RunSettings(device="cpu")
        )
    assert not (tmp_path / "out").exists()


def test_images_that_a_parser_failed_on_are_tried_again_by_the_next_run(
    run: Callable[..., JobResult], image_folder: Any, faults: Path, tmp_path: Path
) -> None:
    """As after a fault of a worker that was taken for the images': those shards alone are made again."""
    run(tmp_path / "whole")
    paths = [path for path in image_folder.manifest["path"].to_pylist() if "_good" in path]
    (faults / "refuse").write_text("\n".join(paths[:2]))
    result = run(tmp_path / "out")
    assert result.record.counts["reasons"]["parser_failed"] == 3
    assert run(tmp_path / "out").timings.shards_made == 0, "they fail again, and no byte changes"
    (faults / "refuse").unlink()
    result = run(tmp_path / "out")
    assert 1 <= result.timings.shards_made <= 2
    assert result.timings.shards_made + result.timings.shards_reused == 10
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_folder_of_images_that_goes_away_is_no_fault_of_the_images(
    run: Callable[..., JobResult], image_folder: Any, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    with pytest.raises(WorkError, match=rf"does not see the folder of the images {images}"):
        run(tmp_path / "out", images=images)
    shutil.copytree(image_folder.folder, images)
    checked = ShardWorker._check_images

    def go_away(worker: ShardWorker) -> None:
        checked(worker)
        shutil.rmtree(images, ignore_errors=True)  # after the worker has looked

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardWorker, "_check_images", go_away)
        with pytest.raises(WorkError, match="does not see the folder of the images"):
            run(tmp_path / "out", images=images)
    assert not list((tmp_path / "out").glob("part-*")), "nothing of missing images only was committed"


def test_a_worker_that_does_not_see_the_output_is_refused(
    run: Callable[..., JobResult], image_folder: Any, tmp_path: Path
) -> None:
    run(tmp_path / "out")
    (tmp_path / "out" / "_plan.json").write_text("{}")
    parser = build_parser(SETTINGS, "cpu")
    _, provenance = bind_content("tiny", image_folder.manifest, SETTINGS, parser)
    setup = WorkerSetup(
        SETTINGS,
        provenance,
        locate(image_folder.folder),
        locate(tmp_path / "out"),
        1,
        WorkSettings(io_threads=1, batch_size=4),
    )
    with pytest.raises(WorkError, match=r"does not see the output folder .*--out must lie on a file system that all"):
        ShardWorker(setup).prepare()


def test_the_record_tells_of_shards_that_were_made_with_other_versions(
    run: Callable[..., JobResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = run(tmp_path / "out").record.versions
    assert own["numpy"] == np.__version__
    (tmp_path / "out" / "part-00001-of-00010.parquet").unlink()
    versions = writer_module.library_versions
    monkeypatch.setattr(writer_module, "library_versions", lambda *more: {**versions(*more), "numpy": "0.9"})
    result = run(tmp_path / "out")
    assert result.timings.shards_made == 1
    assert result.record.versions == {**own, "numpy": f"0.9, {np.__version__}"}


def test_a_disk_that_is_full_at_the_end_is_a_clear_error(
    run: Callable[..., JobResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(job_module, "write_quarantine", fail)
        with pytest.raises(WorkError, match=r"cannot be written: No space left on device; shards .* are kept"):
            run(tmp_path / "out")
    assert run(tmp_path / "out").timings.shards_reused == 10


def remote_content(folder: Location) -> dict[str, bytes]:
    files = {name: read_bytes(folder / name) for name in list_names(folder)}
    record = json.loads(files["_record.json"])
    del record["timings"]
    return {**files, "_record.json": json.dumps(record, sort_keys=True).encode()}


def test_shards_in_an_object_store_are_replaced_only_by_complete_ones(
    run: Callable[..., JobResult], s3_bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = locate(f"{s3_bucket}/{tmp_path.name}")
    out = folder / "shards"
    run(out)
    before = remote_content(out)
    run(tmp_path / "out")
    assert before == content(tmp_path / "out"), "as on a local disk"
    other = SETTINGS.model_copy(update={"fill": "black", "shard_rows": 3})
    with pytest.raises(InputError, match="replace them by --overwrite"):
        run(out, other)
    InlinePool.interrupt_after = 2
    with pytest.raises(KeyboardInterrupt):
        run(out, other, overwrite=True)
    assert remote_content(out) == before, "the old shards stay until the new ones are complete"
    InlinePool.interrupt_after = None
    copies = 0

    def end_in_between(source: Location, target: Location) -> None:
        nonlocal copies
        copies += 1
        if copies == 5:
            raise KeyboardInterrupt
        copy_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(folder_module, "copy_file", end_in_between)
        with pytest.raises(KeyboardInterrupt):
            run(out, other, overwrite=True)
    assert "_record.json" not in list_names(out), "half replaced is not finished"
    assert run(out, other).timings.shards_made == 0, "the complete replacement is adopted"
    run(tmp_path / "fresh", other)
    assert remote_content(out) == content(tmp_path / "fresh")
    assert list_folders(folder) == ["shards"], "nothing is left beside"
    assert verify_folder(out, threads=2) == []


@pytest.mark.parametrize("name", ["notes.txt", "part-notes.parquet", "part-00003-of-00099.parquet", "mine/x.txt"])
def test_a_folder_with_somebodys_own_files_is_not_replaced(
    name: str, run: Callable[..., JobResult], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    run(out)
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).write_text("mine")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    other = SETTINGS.model_copy(update={"fill": "mean"})
    with pytest.raises(InputError, match=r"out holds what ccaf-pipeline did not write \(.*move it elsewhere"):
        run(out, other, overwrite=True)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    run(out)
    assert (out / name).read_text() == "mine", "what is not replaced is left alone"


def test_replacements_with_somebodys_own_files_keep_them(run: Callable[..., JobResult], tmp_path: Path) -> None:
    for name in (f".out.{'0' * 16}.partial", ".out.20260101.old"):
        (tmp_path / name / "out").mkdir(parents=True)
        (tmp_path / name / "out" / "thesis.tex").write_text("mine")
    run(tmp_path / "out")
    for name in (f".out.{'0' * 16}.partial", ".out.20260101.old"):
        assert (tmp_path / name / "out" / "thesis.tex").read_text() == "mine"
