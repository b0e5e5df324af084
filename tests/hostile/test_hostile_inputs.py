"""Images, feature files and YAML that nobody made well: taken, quarantined or refused; never a traceback, none lost."""

import io
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import scipy.io
from hostile_samples import SEED, Place, Tally, call, command, spoil_bytes
from PIL import Image

from pipeline.images import decode_image, decode_label_map, decode_mask


def picture(kind: str, size: tuple[int, int] = (24, 40), mode: str = "RGB") -> bytes:
    rng = np.random.default_rng(SEED)
    stream = io.BytesIO()
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).convert(mode)
    image.save(stream, kind)
    return stream.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_images(kind: str, tally: Tally) -> None:
    for number, (label, data) in enumerate(spoil_bytes(picture(kind), 200, SEED + len(kind))):
        decode = (decode_image, decode_label_map, decode_mask)[0 if number % 5 else number // 5 % 3]
        outcome, told = call(lambda decode=decode, data=data: decode(data))  # type: ignore[misc]
        tally.add("images", f"{kind} {label}", outcome, told)
    for width, height in ((1, 1), (1, 4000), (4000, 1), (3, 1000)):
        data = picture(kind, (width, height))
        tally.add("images", f"{kind} {width}x{height}", *call(lambda data=data: decode_image(data)))  # type: ignore[misc]
    tally.check("images")


def feature_files(place: Place) -> dict[str, bytes]:
    table = pq.read_table(place.artifacts / "features.parquet")
    features = np.stack(table["feature"].to_pylist())
    people, cameras = (np.asarray(table[name].to_pylist()) for name in ("person_id", "camera_id"))
    roles = np.asarray(table["role"].to_pylist())
    matrices: dict[str, Any] = {}
    for side in ("query", "gallery"):
        rows = roles == side
        matrices |= {
            f"{side}_f": features[rows], f"{side}_label": people[rows], f"{side}_cam": cameras[rows],
        }  # fmt: skip
    found = {"features.parquet": (place.artifacts / "features.parquet").read_bytes()}
    stream = io.BytesIO()
    scipy.io.savemat(stream, matrices)
    found["features.mat"] = stream.getvalue()
    stream = io.BytesIO()
    np.savez(stream, **matrices)
    found["features.npz"] = stream.getvalue()
    return found


def test_feature_files(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    for name, data in feature_files(place).items():
        path = place.folder / name
        for label, changed in spoil_bytes(data, 60, SEED + len(name)):
            path.write_bytes(changed)
            words = ["evaluate", "--features", name, "--out", "scores.json", "--protocol", "general", *place.params]
            tally.add("feature files", f"{name} {label}", *command(capsys, *words))
    tally.check("feature files")


YAML = (
    "", "null", "[]", "7", "- a", "seed: [", "seed: {a: 1", "seed: 1e30", "seed: -1", "seed: 99999999999999999999",
    "seed: !!python/object/apply:os.system [\"true\"]", "seed: *nobody", "? [a, b]\n: c", "seed: 1\nseed: 2",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nmodel: *c", "model: {image_size: [0, 0]}", "model: 2024-02-31",
    "model: {image_size: [64, 32, 16]}", "model: {pixel_std: [0, 0, .nan]}", "training: {clip_gradients: .inf}",
    "evaluate: {bootstrap: -5}", "evaluate: {bootstrap: 1e400}", "data: {root: null, dataset: 5}", "\x00", "\t- a",
    "seed: " + "9" * 10_000, "[" * 5_000, "{a: " * 3_000, "data: {dataset: ../../etc/passwd}", "\ufeffseed: 1",
    "seed: 1:30:00", "seed: 0b2", "nobody: 1", "model: [name]", "%YAML 9.9\n---\nseed: 1", "--- a\n--- b",
)  # fmt: skip


def test_yaml(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "--features", str(place.artifacts / "features.parquet"), "--out", "scores.json"]
    words += ["--protocol", "general", "--params"]
    path = place.folder / "spoiled.yaml"
    for text in YAML:
        path.write_text(text)
        tally.add("YAML", repr(text[:60]), *command(capsys, *words, str(path)))
    for file, rest in (("params.yaml", [*words, str(path)]), ("figures.yaml", [])):
        whole = (place.folder / file).read_bytes()
        for label, data in spoil_bytes(whole, 60):
            path.write_bytes(data)
            full = rest or ["inspect", "--shards", str(place.shards), "--dataset", str(path), "--out", "page.html"]
            tally.add("YAML", f"{file} {label}", *command(capsys, *full))
    tally.check("YAML")
