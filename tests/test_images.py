"""The one decoder: every kind of good image gives Pillow's pixels, every kind of bad one a reason."""

import errno
import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from pipeline import limited_reading
from pipeline.errors import BadImageError
from pipeline.images import MAX_SIDES_RATIO, decode_image, encode_image, max_bytes, read_bytes, resize_image
from pipeline.limited_reading import FileTooLargeError, read_limited
from pipeline.parsing.lite.backend import squeeze
from pipeline.parsing.schp.transform import warp_to_input
from pipeline.reporting.pictures import Box, mask_outline, shrink_image

RNG = np.random.default_rng(0)
BASE = Image.fromarray(RNG.integers(0, 256, (4, 3, 3), dtype=np.uint8)).resize((30, 40), Image.Resampling.BICUBIC)
DEEP = RNG.integers(0, 65536, (9, 5, 3), dtype=np.uint16)


def saved(image: "Image.Image", kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})]
)
def test_every_exif_orientation_is_applied(kind: str, options: dict[str, object], orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(BASE, kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    assert expected.shape == ((40, 30, 3) if orientation < 5 else (30, 40, 3))
    assert np.array_equal(decode_image(data), expected)


KINDS = {
    "progressive": (saved(BASE, "JPEG", quality=95, progressive=True), 0),
    "CMYK": (saved(BASE.convert("CMYK"), "JPEG", quality=95), 1),
    "grey": (saved(BASE.convert("L"), "JPEG", quality=95), 0),
    "grey with alpha": (saved(BASE.convert("LA"), "PNG"), 0),
    "alpha": (saved(BASE.convert("RGBA"), "PNG"), 0),
    "palette": (saved(BASE.convert("P"), "PNG"), 0),
    "palette with transparency": (saved(BASE.convert("P"), "PNG", transparency=3), 0),
    "one bit": (saved(BASE.convert("1"), "PNG"), 0),
    "16 bits a channel": (cv2.imencode(".png", DEEP)[1].tobytes(), 0),
    "TIFF of 16 bits": (cv2.imencode(".tiff", DEEP)[1].tobytes(), 1),
    "animated GIF": (saved(BASE, "GIF", save_all=True, append_images=[BASE.rotate(180)]), 0),
    "animated PNG": (saved(BASE, "PNG", save_all=True, append_images=[BASE.rotate(180)]), 0),
    "animated WebP": (saved(BASE, "WEBP", lossless=True, save_all=True, append_images=[BASE.rotate(180)]), 0),
    "bitmap": (saved(BASE, "BMP"), 0),
    "one pixel": (saved(BASE.resize((1, 1)), "PNG"), 0),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_image_gives_pillows_pixels(kind: str) -> None:
    data, tolerance = KINDS[kind]
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    decoded = decode_image(data)
    assert decoded.dtype == np.uint8
    assert decoded.shape == expected.shape
    assert np.abs(decoded - expected).max() <= tolerance


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"GIF89a", "not_an_image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not_an_image"),
        (saved(BASE, "TGA"), "unsupported"),
        (saved(Image.fromarray(RNG.random((9, 5), dtype=np.float32)), "TIFF"), "unsupported"),
    ],
)
def test_what_cannot_be_used_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(BadImageError) as caught:
        decode_image(data)
    assert caught.value.reason == reason


WHOLE = {
    kind: saved(BASE.resize((120, 160)), kind, **options)
    for kind, options in (("JPEG", {"quality": 95}), ("PNG", {}), ("WEBP", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}))
}


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1))
def test_a_truncated_image_is_never_taken_for_a_whole_one(kind: str, share: float) -> None:
    data = WHOLE[kind]
    cut = data[: min(int(len(data) * share), len(data) - 1)]
    reason, decoded = None, None
    try:
        decoded = decode_image(cut)
    except BadImageError as error:
        reason = error.reason
    assert reason in {"truncated", "not_an_image", "empty"} or np.array_equal(decoded, decode_image(data))


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF", b"BM"]))
def test_no_bytes_whatever_do_more_than_be_refused(data: bytes, start: bytes) -> None:
    with pytest.raises(BadImageError):
        decode_image(start + data)


BOMB_SIDE = 8000


def bomb() -> bytes:
    """A grey PNG of 64 million pixels in some 60 kB."""
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(BOMB_SIDE + 1)) for _ in range(BOMB_SIDE)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = BOMB_SIDE.to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


MEASURE = """
import re, sys
from pathlib import Path
from pipeline.datasets.manifest import ManifestRow
from pipeline.shards.making.sources import decode_source, open_source
from pipeline.location import locate
folder, limit = sys.argv[1], int(sys.argv[2])
row = ManifestRow("bomb.png", "train", 1)
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = peak()
source = decode_source(open_source(locate(folder), row, limit))
print(source.bad.reason if source.bad else "decoded", (peak() - before) // 1024)
"""


def test_a_decompression_bomb_takes_no_memory(tmp_path: Path) -> None:
    data = bomb()
    assert len(data) < 100_000
    (tmp_path / "bomb.png").write_bytes(data)
    outcomes = []
    for limit in (10_000_000, BOMB_SIDE**2):
        command = [sys.executable, "-c", MEASURE, str(tmp_path), str(limit)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        reason, megabytes = done.stdout.split()
        outcomes.append((reason, int(megabytes)))
    (refused, little), (decoded, much) = outcomes
    assert (refused, decoded) == ("too_large", "decoded")
    assert little < 20, f"{little} MB for an image that is refused"
    assert much > 150, "the measurement sees the memory of an image that is decoded"


def test_files_that_are_no_images_of_ours_have_a_reason_and_never_block(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").write_bytes(b"x")
    expected = {
        "folder": "unreadable", "loop": "unreadable", "pipe": "unreadable", "n" * 300: "unreadable",
        "dangling": "missing", "nothing": "missing", "file/below": "missing", "null\0byte": "missing",
    }  # fmt: skip
    found = {}
    for name in expected:
        with pytest.raises(BadImageError) as caught:
            read_bytes(tmp_path / name)
        found[name] = caught.value.reason
    assert found == expected


def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    """Root reads everything, so another user tries, in a process of its own."""
    path = tmp_path / "secret.png"
    path.write_bytes(encode_image(np.zeros((2, 2, 3), np.uint8)))
    path.chmod(0)
    child = os.fork()
    if child == 0:
        code = 9
        try:
            os.chdir(tmp_path)
            if os.getuid() == 0:
                os.setuid(65534)
            read_bytes(Path("secret.png"))
        except BadImageError as error:
            code = 0 if error.reason == "unreadable" and "Permission denied" in error.detail else 8
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ESTALE, errno.ETIMEDOUT])
def test_a_machine_that_cannot_read_just_now_is_no_fault_of_the_image(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(limited_reading.os, "open", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        read_bytes(tmp_path / "a.png")


def png(width: int, height: int) -> bytes:
    return encode_image(np.zeros((height, width, 3), np.uint8))


LIMITS = [(1, MAX_SIDES_RATIO), (MAX_SIDES_RATIO, 1), (7, 700), (80, 8000), (8000, 80), (640, 64_000), (64_000, 640)]


@pytest.mark.parametrize(("width", "height"), LIMITS)
def test_whatever_is_accepted_can_be_resized_by_all_that_comes_after(width: int, height: int) -> None:
    image = decode_image(png(width, height))
    for size in ((256, 128), (64, 32), (1, 1), (4096, 4)):
        assert resize_image(image, size).shape == (*size, 3)
    assert squeeze(image, (256, 128)).shape == (256, 128, 3)
    assert warp_to_input(image, 473).shape == (473, 473, 3)
    assert shrink_image(image, Box(200, 100)).size > 0
    assert mask_outline(image, np.ones((height, width), dtype=bool), Box(200, 100)).size > 0


@pytest.mark.parametrize(("width", "height"), [(1, 101), (101, 1), (3, 3000), (9000, 2), (60_000, 5)])
def test_an_image_that_is_too_thin_has_its_own_reason_by_its_header(width: int, height: int) -> None:
    with pytest.raises(BadImageError) as caught:
        decode_image(png(width, height))
    assert caught.value.reason == "too_thin"
    assert caught.value.detail == f"{width} x {height} pixels; one side may be at most 100 times the other"


def test_an_enormous_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png(3, 4))
    with path.open("ab") as stream:
        stream.truncate(200 * 1024**3)  # sparse: it takes no room
    with pytest.raises(BadImageError) as caught:
        read_bytes(path)
    assert caught.value.reason == "too_large"
    assert "214,748,364,800 bytes exceeds the limit of 272,777,216 bytes" in caught.value.detail
    with path.open("ab") as stream:
        stream.truncate(max_bytes(1000))
    assert decode_image(read_bytes(path, 1000)).shape == (4, 3, 3), "what is within the limit is read"
    with pytest.raises(BadImageError, match="too_large"):
        read_bytes(path, 999)


def test_a_file_of_unknown_size_is_read_up_to_the_limit() -> None:
    """Files of /proc say that they have no bytes."""
    with pytest.raises(FileTooLargeError, match="the file exceeds the limit of 10 bytes"):
        read_limited(Path("/proc/self/status"), 10)
    assert b"python" in read_limited(Path("/proc/self/status"), 100_000)


def test_no_reason_is_empty() -> None:
    assert str(BadImageError("unreadable", "")) == "unreadable: no more is known"
