"""Small pictures, good and bad ones; finished shard folders; and a parser of "another package"."""

import io
import os
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from pipeline.datasets.manifest import ManifestRow, build_manifest
from pipeline.labels import LIP
from pipeline.parsing.masks import clothes_mask
from pipeline.parsing.quality import Quality
from pipeline.shards.making.rows import make_row, write_rows
from pipeline.shards.making.writer import QuarantineRow, ShardRow


def noise_row(index: int, rng: np.random.Generator) -> ShardRow:
    """A row whose pictures are noise of a size of its own."""
    height, width = int(rng.integers(5, 20)), int(rng.integers(3, 12))
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    label_map = rng.integers(0, 20, (height, width), dtype=np.uint8)
    mask = clothes_mask(label_map, LIP.clothes)
    split = ("gallery", "query", "train")[index % 3]
    row = ManifestRow(
        f"{index:03d}.png", split, 1000 + index // 2, index if index % 4 else None, 10 * index if index % 5 else None
    )
    quality = Quality(0.5, float(mask.mean()), 0.25 * (index % 4), ("no_person", "fragmented")[: index % 3])
    return make_row(row, image, label_map, mask, quality)


def write_folder(folder: Path, rows: list[ShardRow], shards: int, quarantine: list[QuarantineRow]) -> None:
    """A finished folder of ``rows`` in equal shards; the quarantined are the first shard's."""
    folder.mkdir(parents=True, exist_ok=True)
    write_rows(
        folder, "tiny", rows, quarantine, parser_settings={"level": 3}, fingerprint="f" * 64, versions={"test": "1"},
        shards=shards, row_group_rows=4,
    )  # fmt: skip


@pytest.fixture
def sample_rows() -> list[ShardRow]:
    rng = np.random.default_rng(5)
    return sorted((noise_row(index, rng) for index in range(23)), key=lambda row: row.image_id)


@pytest.fixture
def finished_folder(tmp_path: Path, sample_rows: list[ShardRow]) -> Path:
    folder = tmp_path / "data" / "shards"
    write_folder(folder, sample_rows, 3, [QuarantineRow("train/zz.png", "train/zz.png", "missing", "no file")])
    return folder


@pytest.fixture
def write_finished_folder() -> Callable[..., None]:
    return write_folder


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images with its manifest.

    Attributes:
        folder: Where the images are.
        manifest: Its rows; one of them names a file that does not exist.
        bad: Expected reason of quarantine of each bad image_id.
    """

    folder: Path
    manifest: pa.Table
    bad: dict[str, str]


def noise(rng: np.random.Generator, height: int, width: int) -> "Image.Image":
    """Smooth noise, so that JPEG keeps it roughly."""
    small = Image.fromarray(rng.integers(0, 256, (3, 2, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def saved(image: "Image.Image", kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def odd_files(rng: np.random.Generator) -> dict[str, tuple[bytes | None, str | None]]:
    """Name to bytes (None: no such file) and the reason of quarantine (None: it is fine)."""
    base = noise(rng, 20, 10)
    jpeg = saved(noise(rng, 90, 90), "JPEG", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter
    huge = bytearray(saved(base, "PNG"))
    huge[16:24] = (100_000).to_bytes(4, "big") * 2  # width and height in the header, whose checksum follows
    huge[29:33] = zlib.crc32(huge[12:29]).to_bytes(4, "big")
    return {
        "truncated.jpg": (jpeg[: len(jpeg) * 2 // 3], "truncated"),
        "truncated.png": (saved(base, "PNG")[:-30], "truncated"),
        "empty.jpg": (b"", "empty"),
        "text.jpg": (b"this is no image", "not_an_image"),
        "missing.jpg": (None, "missing"),
        "huge.png": (bytes(huge), "too_large"),
        "odd.png": (saved(Image.new("RGB", (6, 8), (13, 13, 13)), "PNG"), "parser_failed"),
        "one.png": (saved(Image.new("RGB", (1, 1), (200, 3, 77)), "PNG"), None),
        "cmyk.jpg": (saved(base.convert("CMYK"), "JPEG", quality=95), None),
        "palette.png": (saved(base.convert("P"), "PNG"), None),
        "grey.png": (saved(base.convert("L"), "PNG"), None),
        "alpha.png": (saved(base.convert("RGBA"), "PNG"), None),
        "deep.png": (saved(Image.fromarray(rng.integers(0, 65536, (9, 5), dtype=np.uint16)), "PNG"), None),
        "turned.jpg": (saved(base, "JPEG", exif=exif), None),
        "named_wrongly.jpg": (saved(base, "PNG"), None),
        "animated.gif": (saved(base, "GIF", save_all=True, append_images=[noise(rng, 20, 10)]), None),
        "web.webp": (saved(base, "WEBP"), None),
    }


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory: pytest.TempPathFactory) -> ImageFolder:
    """40 images, among them every odd kind; the bad ones are spread over the shards by their names."""
    rng = np.random.default_rng(11)
    folder = tmp_path_factory.mktemp("images")
    files: dict[str, tuple[bytes | None, str | None]] = {}
    for index, (name, value) in enumerate(odd_files(rng).items()):
        files[f"{2 * index:02d}_{name}"] = value
    for index in range(23):
        image = noise(rng, int(rng.integers(8, 30)), int(rng.integers(6, 16)))
        files[f"{index:02d}_good.{'jpg' if index % 2 else 'png'}"] = (
            saved(image, "JPEG" if index % 2 else "PNG"),
            None,
        )
    rows = []
    bad = {}
    for index, (name, (data, reason)) in enumerate(sorted(files.items())):
        row = ManifestRow(name, ("train", "query")[index % 2], index // 3, index % 4, index % 5 or None, None)
        rows.append(row)
        if data is not None:
            (folder / name).write_bytes(data)
        if reason is not None:
            bad[row.image_id] = reason
    return ImageFolder(folder, build_manifest(rows), bad)


PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="session")
def plugin_parser() -> Iterator[Path]:
    """Make the parser ``tiles`` of another package known here and in every process that is started from here."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = f"{PLUGIN}{os.pathsep}{before}" if before else str(PLUGIN)
    sys.path.insert(0, str(PLUGIN))
    yield PLUGIN
    sys.path.remove(str(PLUGIN))
    if before is None:
        del os.environ["PYTHONPATH"]
    else:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="session")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Folder whose files make the parser ``tiles`` fail once; see its module."""
    folder = tmp_path_factory.mktemp("faults")
    os.environ["CCAF_TEST_FAULTS"] = str(folder)
    yield folder
    del os.environ["CCAF_TEST_FAULTS"]
