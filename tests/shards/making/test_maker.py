import io
import pickle
import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps

from pipeline.device_faults import describe_memory
from pipeline.errors import BadImageError, WorkError
from pipeline.images import decode_image, decode_label_map, decode_mask
from pipeline.labels import LIP
from pipeline.location import locate
from pipeline.parsing.parser import Parsing
from pipeline.shards.making import writer as writer_module
from pipeline.shards.making.batches import parse_images
from pipeline.shards.making.binding import bind_content
from pipeline.shards.making.faults import Suspicion, WorkerFaultError, device_fault
from pipeline.shards.making.maker import ShardMaker
from pipeline.shards.making.plan import plan_shards, rows_of
from pipeline.shards.making.settings import ShardSettings, WorkSettings
from pipeline.shards.making.worker import build_parser
from pipeline.shards.making.writer import ShardEntry, describe_shard

SETTINGS = ShardSettings(parser="tiles", row_group_rows=8, max_pixels=10_000, low_confidence=0.6)
WORK = WorkSettings(batch_size=4, bucket_batches=1)
WHOLE = WorkSettings(batch_size=64, bucket_batches=1)


def make_one(
    images: Any,
    path: Path,
    settings: ShardSettings = SETTINGS,
    failed: Collection[str] = (),
    work: WorkSettings = WORK,
) -> ShardEntry:
    parser = build_parser(settings, "cpu")
    _, provenance = bind_content("tiny", images.manifest, settings, parser)
    maker = ShardMaker(parser, settings, provenance, locate(images.folder), work)
    (spec,) = plan_shards(images.manifest.num_rows, 512, 64)
    entry = maker.make(rows_of(images.manifest, spec), path, failed=failed)
    assert maker.images_done == 0, "nothing is under way"
    maker.close()
    return entry


@pytest.fixture
def shard(image_folder: Any, plugin_parser: Path, tmp_path: Path) -> tuple[ShardEntry, list[dict[str, Any]]]:
    entry = make_one(image_folder, tmp_path / "part.parquet")
    return entry, pq.read_table(tmp_path / "part.parquet").to_pylist()


def test_every_image_is_in_the_shard_or_in_quarantine_with_the_right_reason(
    image_folder: Any, shard: tuple[ShardEntry, list[dict[str, Any]]]
) -> None:
    entry, rows = shard
    assert {row.image_id: row.reason for row in entry.quarantine} == image_folder.bad
    expected = [name for name in image_folder.manifest["image_id"].to_pylist() if name not in image_folder.bad]
    assert [row["image_id"] for row in rows] == expected
    assert entry.rows == len(expected)
    assert [row.image_id for row in entry.quarantine] == sorted(image_folder.bad)
    assert all(str(image_folder.folder) not in row.detail for row in entry.quarantine)


def test_pixels_agree_with_pillow(image_folder: Any, shard: tuple[ShardEntry, list[dict[str, Any]]]) -> None:
    for row in shard[1]:
        data = (image_folder.folder / row["path"]).read_bytes()
        assert row["image"] == data
        decoded = decode_image(row["image"]).astype(int)
        reference = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        if reference.mode.startswith("I"):  # Pillow clips 16 bits where it should scale
            scaled = np.asarray(reference, dtype=np.int64) // 256
            expected = np.repeat(scaled[..., None], 3, axis=2)
        else:
            expected = np.asarray(reference.convert("RGB")).astype(int)
        assert decoded.shape == (row["height"], row["width"], 3) == expected.shape
        assert np.abs(decoded - expected).max() <= (12 if row["path"].endswith("cmyk.jpg") else 3), row["path"]
    turned = next(row for row in shard[1] if row["path"].endswith("turned.jpg"))
    assert (turned["width"], turned["height"]) == (20, 10)


def test_masks_follow_from_the_label_map_pixel_by_pixel(shard: tuple[ShardEntry, list[dict[str, Any]]]) -> None:
    for row in shard[1]:
        image = decode_image(row["image"])
        labels = decode_label_map(row["label_map"])
        mask = decode_mask(row["clothes_mask"])
        shielded = decode_image(row["shielded_image"])
        clothes = 0
        for y in range(row["height"]):
            for x in range(row["width"]):
                assert labels[y, x] == int(image[y, x].sum()) // 40 % 20
                covered = int(labels[y, x]) in {5, 6, 7, 9, 10, 12}
                clothes += covered
                assert mask[y, x] == covered
                assert shielded[y, x].tolist() == ([255] * 3 if covered else image[y, x].tolist())
        assert row["clothes_fraction"] == pytest.approx(clothes / labels.size, rel=1e-6)
        assert row["person_fraction"] == pytest.approx(np.count_nonzero(labels) / labels.size, rel=1e-6)
        assert row["confidence"] == pytest.approx(float(image.mean() / 255), rel=1e-6)
        assert ("low_confidence" in row["flags"]) == (row["confidence"] < 0.6)


def test_columns_and_metadata_are_those_of_the_contract(
    image_folder: Any, shard: tuple[ShardEntry, list[dict[str, Any]]], tmp_path: Path
) -> None:
    parquet = pq.ParquetFile(tmp_path / "part.parquet")
    assert {field.name: str(field.type) for field in parquet.schema_arrow} == {
        "image_id": "string", "path": "string", "split": "string", "person_id": "int64", "camera_id": "int32",
        "clothes_id": "int64", "tracklet_id": "int64", "width": "int32", "height": "int32", "image": "binary",
        "label_map": "binary", "clothes_mask": "binary", "shielded_image": "binary", "clothes_fraction": "float",
        "person_fraction": "float", "confidence": "float", "flags": "list<element: string not null>",
    }  # fmt: skip
    groups = [parquet.metadata.row_group(group) for group in range(parquet.num_row_groups)]
    assert [group.num_rows for group in groups] == [8, 8, 8, 8, 1]
    for column in (groups[0].column(index) for index in range(groups[0].num_columns)):
        if column.path_in_schema in {"image", "label_map", "clothes_mask", "shielded_image"}:
            assert column.compression == "UNCOMPRESSED"
        if column.path_in_schema in {"split", "person_id", "camera_id", "clothes_id", "tracklet_id"}:
            assert column.has_dictionary_page
    metadata = parquet.schema_arrow.metadata
    assert metadata[b"ccaf.parser"] == b"tiles"
    assert metadata[b"ccaf.weights_sha256"] == b"w1"
    assert metadata[b"ccaf.label_scheme"] == b"lip"
    assert metadata[b"ccaf.clothes_labels"] == b'["upper-clothes", "dress", "coat", "pants", "jumpsuits", "skirt"]'
    assert metadata[b"ccaf.fill"] == b"white"
    assert len(metadata[b"ccaf.fingerprint"]) == 64


@pytest.mark.parametrize(("batch_size", "bucket_batches", "io_threads"), [(1, 1, 1), (3, 5, 5), (64, 1, 2), (4, 3, 1)])
def test_bytes_do_not_depend_on_batches_and_threads(
    image_folder: Any, plugin_parser: Path, tmp_path: Path, batch_size: int, bucket_batches: int, io_threads: int
) -> None:
    first = make_one(image_folder, tmp_path / "a" / "part.parquet")
    work = WorkSettings(batch_size=batch_size, bucket_batches=bucket_batches, io_threads=io_threads)
    second = make_one(image_folder, tmp_path / "b" / "part.parquet", work=work)
    assert first == second
    assert describe_shard(tmp_path / "b" / "part.parquet") == second


def test_another_fill_changes_the_shielding_image_only(image_folder: Any, plugin_parser: Path, tmp_path: Path) -> None:
    make_one(image_folder, tmp_path / "a.parquet")
    make_one(image_folder, tmp_path / "b.parquet", SETTINGS.model_copy(update={"fill": "black"}))
    white, black = (pq.read_table(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    changed = [name for name in white.column_names if white[name] != black[name]]
    assert changed == ["shielded_image"]


class Picky:
    """Fails on any batch with a black image; counts its calls."""

    name = "picky"
    scheme = LIP
    weights_sha256 = ""

    def __init__(self, error: Exception) -> None:
        self.error = error
        self.calls: list[int] = []

    def parse(self, images: Any, paths: Any = None) -> list[Parsing]:
        assert len(paths) == len(images)
        self.calls.append(len(images))
        if any(not image.any() for image in images):
            raise self.error
        return [Parsing(np.zeros(image.shape[:2], np.uint8), 0.5) for image in images]


BLACK, WHITE = np.zeros((2, 2, 3), np.uint8), np.full((2, 2, 3), 255, np.uint8)


def test_only_the_image_that_a_parser_fails_on_is_lost() -> None:
    parser = Picky(RuntimeError("no such luck\nmore"))
    outcomes = parse_images(parser, [WHITE, BLACK, WHITE], ["a", "b", "c"])
    assert [isinstance(outcome, Parsing) for outcome in outcomes] == [True, False, True]
    bad = outcomes[1]
    assert isinstance(bad, BadImageError)
    assert (bad.reason, bad.detail) == ("parser_failed", "RuntimeError: no such luck")
    assert parser.calls == [3, 1, 1, 1]


DEVICE_FAULTS = [
    MemoryError(),
    RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
    RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with TORCH_USE_CUDA_DSA"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", DEVICE_FAULTS, ids=str)
def test_a_fault_of_the_device_is_not_the_images_fault(error: Exception) -> None:
    for images, paths in (([WHITE, BLACK], ["a", "b"]), ([BLACK], ["b"])):
        with pytest.raises(type(error)) as raised:
            parse_images(Picky(error), images, paths)
        assert raised.value is error


@pytest.mark.parametrize("error", DEVICE_FAULTS, ids=str)
def test_a_fault_of_the_device_costs_the_worker_in_one_line_and_nothing_is_committed(
    image_folder: Any, plugin_parser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("pipeline.shards.making.batches.parse_images", fail)
    with pytest.raises(WorkerFaultError, match="parser tiles") as raised:
        make_one(image_folder, tmp_path / "part.parquet")
    assert "\n" not in str(raised.value)
    assert ("out of memory" in str(raised.value)) == (
        "memory." in str(error) or "ALLOC" in str(error) or not str(error)
    )
    assert raised.value.failed == frozenset()
    assert not (tmp_path / "part.parquet").exists()


def test_a_line_about_memory_says_what_was_tried_how_much_there_is_and_what_needs_less() -> None:
    error = torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has\nmore lines")
    settings = {"weights": "w", "batch_size": 16, "precision": "fp32", "variant": "lip"}
    images = [np.zeros((90, 40, 3), np.uint8), np.zeros((80, 50, 3), np.uint8)]
    line = str(device_fault(error, "schp", settings, "cuda", images))
    for part in (
        "out of memory: parser schp (variant lip, batch_size 16, precision fp32), 2 images of up to 90 x 50 pixels: ",
        "2.00 GiB more were asked for, ",
        describe_memory("cuda"),
        "a parse.settings.batch_size below 16",
        "parse.settings.precision=bf16",
        "parse.gpus_per_worker",
    ):
        assert part in line
    assert "\n" not in line
    assert "building the parser schp" in str(device_fault(error, "schp", settings, "cuda"))


A, B = "ValueError: a", "ValueError: b"


@pytest.mark.parametrize(
    ("batches", "known", "failed"),
    [
        ([[A, A, A, None]], "", "012"),
        ([[A, A, None, None]], "", ""),
        ([[A, A, B, B]], "", ""),
        ([[A, A, A]], "", ""),
        ([[A, A], [A, None]], "", "012"),
        ([[None] * 8, [A, A, A, None]], "", "89a"),
        ([[None, None, A, A], [A]], "", "234"),
        ([[A, A, A, None]], "012", ""),
        ([[A, A, A, None], [A, A, A, A]], "0124", "567"),
        ([[A, A, A, None], [A, A, A, A]], "012", "4567"),
        ([], "", ""),
    ],
)
def test_a_worker_is_suspected_if_more_than_half_of_a_batch_fail_alike(
    batches: list[list[str | None]], known: str, failed: str
) -> None:
    """Ids are hexadecimal digits in the order of the images; too few images are judged with the next batch."""
    suspicion = Suspicion(known)
    count = 0
    for batch in batches:
        suspicion.add([(f"{count + place:x}", error) for place, error in enumerate(batch)])
        count += len(batch)
    suspicion.finish()
    assert suspicion.failed == set(failed)


def test_images_that_fail_in_masses_are_left_to_another_worker_and_quarantined_only_if_they_fail_there(
    image_folder: Any, plugin_parser: Path, faults: Path, tmp_path: Path
) -> None:
    good = [row["path"] for row in image_folder.manifest.to_pylist() if "_good" in row["path"]][:20]
    (faults / "refuse").write_text("\n".join(good))
    try:
        with pytest.raises(WorkerFaultError, match=r"2\d images failed alike \(tiles: ValueError: refused\)") as raised:
            make_one(image_folder, tmp_path / "part.parquet", work=WHOLE)
        assert not (tmp_path / "part.parquet").exists()
        copied = pickle.loads(pickle.dumps(raised.value))
        assert (str(copied), copied.failed) == (str(raised.value), raised.value.failed)
        entry = make_one(
            image_folder,
            tmp_path / "part.parquet",
            failed=copied.failed,
            work=WHOLE,
        )
        assert sum(row.detail == "ValueError: refused" for row in entry.quarantine) == 20
    finally:
        (faults / "refuse").unlink()
    entry = make_one(image_folder, tmp_path / "healthy.parquet", failed=copied.failed)
    assert {row.image_id: row.reason for row in entry.quarantine} == image_folder.bad


@pytest.mark.parametrize(
    ("parsings", "message"),
    [
        ([], "gave 0 results for 1 images"),
        ([Parsing(np.zeros((2, 3), np.uint8), 0.5)], "image's own size"),
        ([Parsing(np.zeros((2, 2), np.int64), 0.5)], "must be uint8"),
        ([Parsing(np.full((2, 2), 20, np.uint8), 0.5)], "label number 20; its scheme lip has 20 labels"),
    ],
)
def test_a_parser_that_breaks_its_contract_stops_the_run(
    parsings: list[Parsing], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    parser = Picky(RuntimeError())
    monkeypatch.setattr(parser, "parse", lambda images, paths: parsings)
    with pytest.raises(WorkError, match=message):
        parse_images(parser, [WHITE], ["a"])


def test_nothing_is_left_of_a_shard_that_fails(
    image_folder: Any, plugin_parser: Path, faults: Path, tmp_path: Path
) -> None:
    (faults / "contract").touch()
    with pytest.raises(WorkError, match="gave 0 results"):
        make_one(image_folder, tmp_path / "shards" / "part.parquet")
    assert list((tmp_path / "shards").iterdir()) == []


def test_an_image_that_a_parser_refuses_costs_its_batch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    parser = Picky(RuntimeError())
    refused = BadImageError("no_label_map", "there is none for b")
    answers = [Parsing(np.zeros((2, 2), np.uint8), 0.5), refused]
    monkeypatch.setattr(parser, "parse", lambda images, paths: answers)
    assert parse_images(parser, [WHITE, WHITE], ["a", "b"]) == answers


def test_the_next_shard_is_parsed_while_the_last_one_is_finished(
    image_folder: Any, plugin_parser: Path, tmp_path: Path
) -> None:
    parser = build_parser(SETTINGS, "cpu")
    _, provenance = bind_content("tiny", image_folder.manifest, SETTINGS, parser)
    maker = ShardMaker(
        parser, SETTINGS, provenance, locate(image_folder.folder), WorkSettings(batch_size=4, bucket_batches=2)
    )
    (spec,) = plan_shards(image_folder.manifest.num_rows, 512, 64)
    rows = rows_of(image_folder.manifest, spec)
    second_is_parsed = threading.Event()

    def finish_first(_: Any) -> None:
        assert second_is_parsed.wait(60), "the second shard waits for the first to be written"

    def finish_second(_: Any) -> None:
        second_is_parsed.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(maker.make, rows, tmp_path / "a" / "part.parquet", finish_first)
        second = pool.submit(maker.make, rows, tmp_path / "b" / "part.parquet", finish_second)
        assert first.result() == second.result()
    maker.close()


def test_a_shard_that_fails_lets_the_next_one_have_the_parser(
    image_folder: Any, plugin_parser: Path, tmp_path: Path
) -> None:
    def refuse(_: Any) -> None:
        raise WorkError("the folder went away")

    parser = build_parser(SETTINGS, "cpu")
    _, provenance = bind_content("tiny", image_folder.manifest, SETTINGS, parser)
    maker = ShardMaker(parser, SETTINGS, provenance, locate(image_folder.folder), WORK)
    rows = rows_of(image_folder.manifest, plan_shards(image_folder.manifest.num_rows, 512, 64)[0])
    with pytest.raises(WorkError, match="went away"):
        maker.make(rows, tmp_path / "part.parquet", refuse)
    assert list(tmp_path.iterdir()) == []
    assert maker.make(rows, tmp_path / "part.parquet").rows == 33
    maker.close()


def test_a_row_group_of_large_pictures_ends_early(
    image_folder: Any, plugin_parser: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "ROW_GROUP_BYTES", 2000)
    make_one(image_folder, tmp_path / "part.parquet")
    metadata = pq.ParquetFile(tmp_path / "part.parquet").metadata
    sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert sum(sizes) == 33
    assert len(sizes) > 5
    assert min(sizes) < 8
