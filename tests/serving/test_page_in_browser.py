"""The search page: the real application with a real gallery, hostile requests, the real command, a real browser."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from browser import chromium
from fastapi.testclient import TestClient

import pipeline
from pipeline.config import load_parameters
from pipeline.errors import InputError
from pipeline.features.feature_set import read_features
from pipeline.features.gallery import Gallery, open_gallery
from pipeline.features.gallery_conditions import choose_rows
from pipeline.features.gallery_images import GalleryImages
from pipeline.images import decode_image, encode_image
from pipeline.serving import desk as desk_module
from pipeline.serving.application import MOST_UPLOAD_BYTES, build_application
from pipeline.serving.desk import CONDITION_SECONDS, CONDITIONS_AT_ONCE, Desk
from pipeline.serving.guard import refusal
from pipeline.serving.server import bind
from stages.cli import run
from stages.console import Console
from stages.search import gallery_encoder

ADDRESS = "http://127.0.0.1:8765"
HITS = "#strip .hit:not(.query)"
STRIP = f"[...document.querySelectorAll('{HITS}')].map((hit) => Number(hit.dataset.row))"
ERROR = "document.getElementById('error').hidden ? '' : document.getElementById('error').textContent"


@pytest.fixture(scope="module")
def served(tiny_clip_config: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Images with labels, their features by a tiny network, and the options that name it."""
    folder = tmp_path_factory.mktemp("served")
    rng = np.random.default_rng(7)
    lines = ["path,role,person_id,camera_id,clothes_id"]
    (folder / "images").mkdir()
    for number in range(24):
        person, camera = number // 4, 1 + number % 3
        image = rng.integers(0, 60, (70, 30, 3), dtype=np.uint8)
        image[10:60, 5:25] += np.random.default_rng(person).integers(0, 190, 3, dtype=np.uint8)
        name = f"{person:02d}_c{camera}_{number}.png"
        (folder / "images" / name).write_bytes(encode_image(image))
        lines.append(f"{name},gallery,{person},{camera},{10 * person + number % 2}")
    (folder / "images" / "table.csv").write_text("\n".join(lines))
    model = {"name": str(tiny_clip_config), "pretrained": None, "image_size": [64, 32]}
    (folder / "params.yaml").write_text(yaml.safe_dump({"device": "cpu", "threads": 1, "model": model}))
    words = ["--params", str(folder / "params.yaml"), "--quiet", "--frozen"]
    out = folder / "gallery.parquet"
    assert run(["embed", str(folder / "images" / "table.csv"), *words, "--out", str(out)]) == 0
    return {"folder": folder, "gallery": out, "words": words, "images": folder / "images"}


def open_desk(served: dict[str, Any], where: str | None = None, encoder: bool = True, max_pixels: int = 10**6) -> Desk:
    gallery = open_gallery(served["gallery"])
    parameters = load_parameters(served["folder"] / "params.yaml", [])
    made = gallery_encoder(parameters, Console(quiet=True), gallery, None, True)
    base = None if where is None else choose_rows(gallery, where)
    reason = "" if encoder else "there is no encoder"
    images = GalleryImages(gallery, max_pixels)
    return Desk(gallery, images, made if encoder else None, reason, base, where or "", max_pixels, 5)


@pytest.fixture(scope="module")
def desk(served: dict[str, Any]) -> Desk:
    return open_desk(served)


@pytest.fixture(scope="module")
def client(desk: Desk) -> Iterator[TestClient]:
    with TestClient(build_application(desk), base_url=ADDRESS) as client:
        yield client


def check_nearest(found: list[int], features: np.ndarray, query: int, leave_out: bool = False, top: int = 10) -> None:
    """Hold rows to a plain sort of all cosines; those that differ by less than rounding may change places."""
    cosines = [float(np.dot(row.astype(np.float64), features[query].astype(np.float64))) for row in features]
    best = sorted((cosine for row, cosine in enumerate(cosines) if not leave_out or row != query), reverse=True)[:top]
    assert len(set(found)) == len(found) == len(best)
    assert query not in found or not leave_out
    np.testing.assert_allclose([cosines[row] for row in found], best, atol=2e-6)


def rows_of(answer: Any) -> list[int]:
    assert answer.status_code == 200, answer.text
    return [hit["row"] for hit in answer.json()["hits"]]


def error_of(answer: Any, status: int) -> str:
    assert answer.status_code == status, answer.text
    text = str(answer.json()["error"])
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def test_a_photo_and_a_row_are_ranked_as_by_a_plain_sort(
    client: TestClient, served: dict[str, Any], desk: Desk
) -> None:
    items, _ = read_features(served["gallery"])
    for row in (0, 13):
        photo = (served["images"] / items.image_id[row]).read_bytes()
        ranked = rows_of(client.post("/api/search?top=6", content=photo))
        check_nearest(ranked, items.features, row, top=6)
        assert ranked[0] == row
        found = client.get(f"/api/search/{row}?top=6")
        check_nearest(rows_of(found), items.features, row, leave_out=True, top=6)
        assert found.json()["query"]["person_id"] == items.person_id[row]
    hit = found.json()["hits"][0]
    assert hit["camera_id"] == items.camera_id[hit["row"]]
    assert hit["clothes_id"] == items.clothes_id[hit["row"]]
    assert len(rows_of(client.get("/api/search/3"))) == desk.top
    shown = client.post("/api/search", content=photo).json()["query"]["picture"]
    assert shown.startswith("data:image/jpeg;base64,")


def test_cameras_and_conditions_choose_what_is_shown_and_compared(client: TestClient, served: dict[str, Any]) -> None:
    items, _ = read_features(served["gallery"])
    assert client.get("/api/about").json()["cameras"] == [{"value": str(camera), "images": 8} for camera in (1, 2, 3)]
    for words, mask in (
        ("camera=2", items.camera_id == 2),
        ("camera=1&camera=3", items.camera_id != 2),
        ("where=person_id %3C 2 and split = 'gallery'", items.person_id < 2),
        ("camera=2&where=person_id %3C 2", (items.camera_id == 2) & (items.person_id < 2)),
    ):
        listed = client.get(f"/api/rows?count=200&{words}").json()
        assert [row["row"] for row in listed["rows"]] == np.flatnonzero(mask).tolist()
        assert sorted(rows_of(client.get(f"/api/search/5?top=200&{words}"))) == [
            row for row in np.flatnonzero(mask) if row != 5
        ]
    page = client.get("/api/rows?start=20&count=3").json()
    assert (page["total"], [row["row"] for row in page["rows"]]) == (24, [20, 21, 22])
    assert "columns: image_id" in error_of(client.get("/api/rows?where=shoes=1"), 400)
    assert "--where" in error_of(client.get("/api/search/1", params={"where": "1); copy x to 'y'"}), 400)
    assert "no image" in error_of(client.get("/api/search/1?camera=9"), 400)
    secret = error_of(client.get("/api/rows", params={"where": "(select count(*) from '/etc/passwd') > 0"}), 400)
    assert "root:" not in secret


def test_a_condition_of_the_command_holds_for_every_request(served: dict[str, Any]) -> None:
    with TestClient(build_application(open_desk(served, "camera_id != 2")), base_url=ADDRESS) as client:
        items, _ = read_features(served["gallery"])
        hidden = int(np.flatnonzero(items.camera_id == 2)[0])
        assert client.get("/api/rows").json()["total"] == 16
        assert "no image" in error_of(client.get("/api/rows?camera=2"), 400)
        for address in (f"/api/pictures/{hidden}", f"/api/search/{hidden}"):
            assert "the gallery has no image" in error_of(client.get(address), 404)
        assert hidden not in rows_of(client.get("/api/search/0?top=200"))


def test_pictures_are_those_of_the_rows_and_no_others_can_be_reached(
    client: TestClient, served: dict[str, Any]
) -> None:
    items, _ = read_features(served["gallery"])
    answer = client.get("/api/pictures/4")
    assert answer.headers["content-type"] == "image/jpeg"
    shown = decode_image(answer.content).astype(int)
    truths = [decode_image((served["images"] / name).read_bytes()).astype(int) for name in items.image_id]
    assert shown.shape == truths[4].shape
    assert np.argmin([np.abs(shown - truth).mean() for truth in truths]) == 4
    for row in ("24", "-1", "99999999999999999999"):
        assert "has no image" in error_of(client.get(f"/api/pictures/{row}"), 404)
        assert "has no image" in error_of(client.get(f"/api/search/{row}"), 404)
    for name in ("x", items.image_id[0], "..%2f..%2fetc%2fpasswd", "/etc/passwd", "%00"):
        assert client.get(f"/api/pictures/{name}").status_code in (404, 422)
    for address in (
        "/docs",
        "/openapi.json",
        "/static/page.js",
        "/page.css/../desk.py",
        "/%2e%2e/desk.py",
        "/gallery.parquet",
    ):
        assert client.get(address).status_code == 404, address
    (served["images"] / items.image_id[23]).rename(served["folder"] / "away.png")
    assert "cannot be reached" in error_of(client.get("/api/pictures/23"), 404)
    (served["folder"] / "away.png").rename(served["images"] / items.image_id[23])


def bomb(side: int) -> bytes:
    """A PNG that claims a square of so many pixels and has a few bytes."""

    def part(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = side.to_bytes(4, "big") * 2 + bytes([8, 2, 0, 0, 0])
    body = zlib.compress(bytes(100_000), 9)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", body) + part(b"IEND", b"")


def test_hostile_photos_are_refused_in_one_line_and_the_next_is_answered(
    client: TestClient, served: dict[str, Any]
) -> None:
    photo = next(served["images"].glob("*.png")).read_bytes()
    before = {path: path.stat().st_mtime_ns for path in served["folder"].rglob("*")}

    def parts() -> Iterator[bytes]:  # without a length that could be looked at first
        for _ in range(MOST_UPLOAD_BYTES // (1 << 20) + 1):
            yield bytes(1 << 20)

    for data, status, reason in (
        (b"", 400, "no bytes"),
        (b"who is this?", 400, "no known image format"),
        (photo[: len(photo) // 2], 400, "cannot be decoded"),
        (bomb(1 << 11), 400, "the limit is 1000000"),
        (bomb(1 << 15), 400, "cannot be used as an image"),
        (bomb(1 << 30), 400, "cannot be used as an image"),
        (b"GIF89a" + bytes(40), 400, "cannot be used as an image"),
        (bytes(MOST_UPLOAD_BYTES + 1), 413, "16 MiB"),
        (parts(), 413, "16 MiB"),
    ):
        assert reason in error_of(client.post("/api/search", content=data), status)
    for words in ("top=0", "top=201", "top=x", "camera=" + "&camera=".join("1" * 201), f"where={'x' * 2001}"):
        assert error_of(client.post(f"/api/search?{words}", content=photo), 422)
    assert rows_of(client.post("/api/search", content=photo))
    assert {path: path.stat().st_mtime_ns for path in served["folder"].rglob("*")} == before


def test_requests_of_other_hosts_and_pages_are_refused(client: TestClient) -> None:
    for headers in (
        {"host": "evil.example"},
        {"host": "evil.example:8765"},
        {"host": "127.0.0.1.evil.example"},
        {"host": "127.0.0.1@evil.example"},
        {"host": ""},
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:8080"},
        {"origin": "null"},
        {"origin": "http://["},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ):
        for address in ("/api/about", "/api/pictures/1", "/page.js"):
            answer = client.get(address, headers=headers)
            assert answer.status_code == 403, headers
            assert "gallery" not in answer.text
        assert client.post("/api/search", content=b"x", headers=headers).status_code == 403
    assert client.get("/", headers={"host": "localhost:1", "sec-fetch-site": "cross-site"}).status_code == 200
    own = {"origin": ADDRESS, "sec-fetch-site": "same-origin"}
    assert client.get("/api/about", headers=own).status_code == 200
    assert refusal({}, "/") is not None


def test_a_browser_is_told_to_keep_and_run_nothing(client: TestClient) -> None:
    for address in ("/", "/page.js", "/page.css", "/style.css", "/api/about", "/api/pictures/1", "/nothing"):
        headers = client.get(address).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")
        assert headers["cross-origin-resource-policy"] == "same-origin"
    page = client.get("/").text
    assert not re.findall(r"<script(?![^>]*src=\"/page.js\")|\son\w+=|style=|https?:", page)
    for address in ("/page.js", "/page.css"):
        assert "http" not in client.get(address).text
    assert "innerHTML" not in client.get("/page.js").text


def test_many_ask_at_once_and_each_gets_its_own_answer(client: TestClient, served: dict[str, Any]) -> None:
    items, _ = read_features(served["gallery"])
    photos = [(served["images"] / name).read_bytes() for name in items.image_id]
    found: dict[int, list[int]] = {}

    def ask(row: int) -> None:
        found[row] = rows_of(client.post("/api/search?top=3", content=photos[row]))
        assert client.get(f"/api/pictures/{row}").status_code == 200

    threads = [threading.Thread(target=ask, args=(row,)) for row in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(12))
    for row, ranked in found.items():
        check_nearest(ranked, items.features, row, top=3)


def test_without_an_encoder_images_of_the_gallery_are_searched_for(served: dict[str, Any]) -> None:
    with TestClient(build_application(open_desk(served, encoder=False)), base_url=ADDRESS) as client:
        assert client.get("/api/about").json()["photos"] is False
        assert rows_of(client.get("/api/search/3"))
        assert error_of(client.post("/api/search", content=b"x"), 400) == "there is no encoder"


def test_conditions_are_few_at_once_and_are_interrupted(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once, most, limits = 0, 0, set()
    lock, met = threading.Lock(), threading.Event()

    def slow(gallery: Gallery, where: str, seconds: float) -> np.ndarray:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
            if at_once == CONDITIONS_AT_ONCE:
                met.set()
        met.wait(60)
        time.sleep(0.05)  # for one too many to come in
        with lock:
            at_once -= 1
        limits.add(seconds)
        return choose_rows(gallery, where)

    monkeypatch.setattr(desk_module, "choose_rows", slow)
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(client.get, "/api/rows?where=camera_id=1") for _ in range(8)]
        assert {answer.result().json()["total"] for answer in asked} == {8}
    assert most == CONDITIONS_AT_ONCE
    assert limits == {CONDITION_SECONDS}
    monkeypatch.undo()
    monkeypatch.setattr(desk_module, "CONDITION_SECONDS", 0.2)
    endless = "(select count(*) from range(1000000) a, range(1000000) b) > person_id"
    assert "takes more than 0.2 s" in error_of(client.get("/api/rows", params={"where": endless}), 400)
    monkeypatch.undo()
    assert client.get("/api/rows?where=camera_id=1").json()["total"] == 8


def test_as_many_cameras_are_offered_as_may_be_asked_for(client: TestClient, desk: Desk) -> None:
    cameras = pa.table({"camera_id": range(300)})
    offered = [
        camera["value"] for camera in replace(desk, gallery=replace(desk.gallery, ids=cameras)).about()["cameras"]
    ]
    assert len(offered) == 200
    assert client.get("/api/rows", params={"camera": [*offered[1:], "1"]}).json()["total"] == 24


def test_a_gallery_that_is_replaced_while_it_is_served_is_refused(served: dict[str, Any], tmp_path: Path) -> None:
    place = tmp_path / "gallery.parquet"
    shutil.copy(served["gallery"], place)
    with TestClient(build_application(open_desk({**served, "gallery": place})), base_url=ADDRESS) as client:
        assert rows_of(client.get("/api/search/3"))
        table = pq.read_table(place)
        pq.write_table(pa.concat_tables([table.take(list(range(23, -1, -1))), table]), place)
        photo = next(served["images"].glob("*.png")).read_bytes()
        for answer in (client.get("/api/search/3"), client.post("/api/search", content=photo)):
            assert "has changed since it was opened: start again" in error_of(answer, 400)


def test_a_port_that_is_taken_is_said(served: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with bind(0) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=f"--port {port} cannot be used"):
            bind(port)
    for words, reason in (
        (["--serve", "--query", "x"], "chosen on the page"),
        (["--serve", "--html", "x.html"], "give one of the two"),
        (["--port", "1"], "which is not asked for"),
        (["--serve", "--top", "201"], "at most 200 images"),
        ([], "--query, or open a page by --serve"),
    ):
        assert run(["search", "--gallery", str(served["gallery"]), *served["words"], *words]) == 2
        assert reason in capsys.readouterr().err


@pytest.fixture(scope="module")
def command(served: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The real command in a process of its own."""
    words = ["search", "--gallery", str(served["gallery"]), *served["words"], "--serve", "--port", "0", "--json"]
    program = [sys.executable, "-m", "stages", *words]
    folder = Path(pipeline.__file__).parent.parent
    with subprocess.Popen(program, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.stderr.read() if process.stderr else ""
        yield {**json.loads(line), "process": process}
        process.kill()


def test_a_photo_is_dropped_and_an_image_clicked_in_a_browser(
    command: dict[str, Any], served: dict[str, Any], tmp_path: Path
) -> None:
    items, _ = read_features(served["gallery"])
    with chromium(tmp_path / "browser") as page:
        page.open(command["address"])
        page.wait("document.querySelectorAll('#grid .hit').length == 24")
        page.wait("[...document.querySelectorAll('#grid img')].every((image) => image.complete && image.naturalWidth)")
        assert page.value("document.getElementById('title').textContent") == "Search in gallery.parquet"
        page.drop(served["images"] / items.image_id[8], "#drop")
        page.wait("!document.getElementById('results').hidden")
        check_nearest(page.value(STRIP), items.features, 8)
        assert page.wait("document.querySelector('#strip .query img').naturalWidth") == 30
        page.value("document.querySelector('#grid .hit[data-row=\"17\"] button').click()")
        page.wait("document.querySelector('#strip .query').dataset.row == '17'")
        ranked = page.value(STRIP)
        check_nearest(ranked, items.features, 17, leave_out=True)
        marks = page.value(f"[...document.querySelectorAll('{HITS} .mark')].map((mark) => mark.textContent)")
        right = [items.person_id[row] == items.person_id[17] for row in ranked]
        assert marks == [f"{'✓' if good else '✗'} {rank}" for rank, good in enumerate(right, 1)]
        page.value("document.querySelector('.chip[data-camera=\"2\"]').click()")
        page.wait("document.querySelectorAll('#grid .hit').length == 8")
        page.wait(f"({STRIP}).every((row) => row % 3 == 1)")
        lines = page.value(f"[...document.querySelectorAll('{HITS} .lines')].map((part) => part.textContent)")
        assert all("camera 2" in line and "clothes " in line for line in lines)
        page.value("document.getElementById('where').value = 'shoes = 1'")
        page.value("document.getElementById('apply').click()")
        assert "shoes" in page.wait(
            "document.getElementById('error').hidden ? '' : document.getElementById('error').textContent"
        )
        (tmp_path / "text.png").write_text("no image")
        page.value("document.getElementById('where').value = ''")
        page.value("document.getElementById('apply').click()")
        page.wait("document.getElementById('error').hidden")
        page.drop(tmp_path / "text.png", "#drop")
        assert page.wait(
            "document.getElementById('error').hidden ? '' : document.getElementById('error').textContent"
        ) == ("this cannot be used as an image: no known image format")
        for width in (1000, 1600, 480):
            page.open(f"{command['address']}#row=3", width)
            page.wait("document.querySelectorAll('#strip .hit').length == 11")
            assert page.value("document.documentElement.scrollWidth") <= width
        page.screenshot(tmp_path / "page.png")
        assert min(decode_image((tmp_path / "page.png").read_bytes()).shape[:2]) == 480


def test_the_command_ends_cleanly_when_it_is_asked_to(command: dict[str, Any]) -> None:
    process, port = command["process"], int(re.findall(r":(\d+)/", command["address"])[0])
    with socket.create_connection(("127.0.0.1", port)) as half:
        half.sendall(b"POST /api/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n")  # and no more
        os.kill(process.pid, signal.SIGTERM)
        out, errors = process.communicate(timeout=60)
    assert (process.returncode, out) == (0, "")
    assert "Traceback" not in errors
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port))
