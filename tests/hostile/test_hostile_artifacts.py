"""Every field of every artifact, spoiled: what is not taken is refused with exit code 2 and one line."""

import json
import shutil
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hostile_samples import Place, Tally, as_json, call, command, spoil, spoil_bytes
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from pipeline.files import sha256_of_file
from pipeline.parsing.lite.checkpoint import LiteDescription, load_lite, save_lite
from pipeline.parsing.lite.network import LiteNetwork
from pipeline.parsing.lite.targets import CLASSES
from pipeline.shards.record import RecordArtifact
from pipeline.shards.schema import SHARD_SCHEMA
from pipeline.studies.table import read_leakage, read_protocols
from pipeline.trainer import gradients
from stages.cli import run


def inspect(place: Place) -> list[str]:
    return ["inspect", "--shards", str(place.shards), "--out", "page.html", "--images", "1", *place.params]


def extract(place: Place, *more: str) -> list[str]:
    return ["extract", "--shards", str(place.shards), "--out", "features.parquet", *more, *place.params]


def try_json(
    tally: Tally,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    path: Path,
    words: list[str],
    most: int,
    each: int = 1,
) -> set[str]:
    """Spoil a JSON file in many ways, of which every ``each``-th is tried; gives what was refused."""
    whole = path.read_text()
    refused = set()
    for label, value in spoil(json.loads(whole), most)[::each]:
        path.write_text(as_json(value))
        outcome, told = command(capsys, *words)
        tally.add(kind, f"{path.name} {label}", outcome, told)
        if outcome == "refused":
            refused.add(label)
    for label, data in spoil_bytes(whole.encode(), 12):
        path.write_bytes(data)
        tally.add(kind, f"{path.name} {label}", *command(capsys, *words))
    path.write_text(whole)
    tally.check(kind)
    return refused


def test_the_record_of_shards(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    refused = try_json(tally, capsys, "record of shards", place.shards / "_record.json", inspect(place), 150)
    for name in RecordArtifact.model_fields.keys() - {"facts"}:
        assert {f"{name}: null", f"{name}: removed"} <= refused


def rewrite(place: Place, table: pa.Table) -> None:
    """Put a table in the place of the first shard; the record agrees."""
    path, part = place.shards / "_record.json", place.shards / "part-00000-of-00002.parquet"
    pq.write_table(table, part)
    record = json.loads(path.read_text())
    record["shards"][0] |= {"bytes": part.stat().st_size, "sha256": sha256_of_file(part)}
    path.write_text(json.dumps(record))


def test_metadata_of_shards(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "metadata of shards"
    whole = pq.read_table(place.shards / "part-00000-of-00002.parquet")
    metadata = dict(whole.schema.metadata)
    values = [b"", b"null", b"{", b"[" * 100_000, b"\xff\xfe", b'"x"', b"-1", b"1e999", b"9" * 5000, b"../../x", None]
    for key in [name for name in metadata if name.startswith(b"ccaf.")]:
        for value in values:
            changed = {name: text for name, text in {**metadata, key: value}.items() if text is not None}
            rewrite(place, whole.replace_schema_metadata(changed))
            tally.add(kind, f"{key!r} {value!r:.40}", *command(capsys, *inspect(place)))
    tally.check(kind)


def test_columns_of_shards(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "columns of shards"
    whole = pq.read_table(place.shards / "part-00000-of-00002.parquet")

    def column(table: pa.Table, name: str, values: Any, kind: pa.DataType) -> pa.Table:
        made = pa.array(values, kind)
        return table.set_column(table.schema.get_field_index(name), pa.field(name, made.type), made)

    for number, name in enumerate(SHARD_SCHEMA.names):
        rows = whole.num_rows
        for label, table in {
            "missing": whole.drop_columns([name]),
            "text": column(whole, name, ["x"] * rows, pa.string()),
            "wide": column(whole, name, [2**62] * rows, pa.int64()),
            "nulls": column(whole, name, [None] * rows, SHARD_SCHEMA.field(name).type),
            "no type": column(whole, name, [None] * rows, pa.null()),
            "renamed": whole.rename_columns([f"{other}x" if other == name else other for other in whole.column_names]),
        }.items():
            rewrite(place, table)
            words = inspect(place) if number % 2 else extract(place, "--frozen")
            outcome, told = command(capsys, *words)
            fits = table.schema.equals(SHARD_SCHEMA)  # such as a data set none of whose cameras is known
            tally.add(kind, f"{name} {label}", "lost" if outcome == "taken" and not fits else outcome, told)
    tally.check(kind)


def test_bytes_of_shards(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "bytes of shards"
    part = place.shards / "part-00001-of-00002.parquet"
    for label, data in spoil_bytes(part.read_bytes(), 80):
        part.write_bytes(data)
        outcome, told = command(capsys, *extract(place, "--frozen"))
        tally.add(kind, label, "lost" if outcome == "taken" else outcome, told)  # no damaged shard may be used
    tally.check(kind)


def test_quarantine(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "quarantine table"
    path = place.shards / "quarantine.parquet"
    whole, data = pq.read_table(path), path.read_bytes()
    for name in whole.column_names:
        position = whole.column_names.index(name)
        for label, table in {
            "missing": whole.drop_columns([name]),
            "number": whole.set_column(position, name, pa.array([5] * whole.num_rows)),
            "null": whole.set_column(position, name, pa.array([None] * whole.num_rows, pa.string())),
            "bytes": whole.set_column(position, name, pa.array([b"\xff"] * whole.num_rows)),
        }.items():
            pq.write_table(table, path)
            tally.add(kind, f"{name} {label}", *command(capsys, *inspect(place)))
    for label, changed in spoil_bytes(data, 40):
        path.write_bytes(changed)
        tally.add(kind, label, *command(capsys, *inspect(place)))
    tally.check(kind)


def test_configuration_of_encoders(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    kind = "configuration of encoders"
    refused = try_json(tally, capsys, kind, place.artifacts / "encoder" / "config.json", extract(place), 130)
    assert {f"{name}: null" for name in ("kind", "weights_sha256", "model", "parameters")} <= refused


def test_configuration_of_prompts(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    path = place.artifacts / "prompts" / "config.json"
    words = ["train", "--stage", "encoder", "--out", "other", *place.params]
    try_json(tally, capsys, "configuration of prompts", path, words, 60)


def test_what_the_report_reads(place: Place, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["report", "--out", "report.html", *place.params]
    for kind, name, each in (  # a page takes its time
        ("configuration of encoders", "encoder/config.json", 7),
        ("configuration of prompts", "prompts/config.json", 7),
        ("metrics", "metrics.json", 3),
    ):
        try_json(tally, capsys, kind, place.artifacts / name, words, 1, each)
    path = place.artifacts / "encoder" / "curves.csv"
    for label, data in spoil_bytes(path.read_bytes(), 24):
        path.write_bytes(data)
        tally.add("curves", label, *command(capsys, *words))
    tally.check("curves")


def test_training_states(
    place: Place, tally: Tally, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, steps = gradients.GradientMaker.losses, count(1)

    def interrupted(self: Any, batch: Any) -> Any:
        if next(steps) == 2:
            raise KeyboardInterrupt
        return whole(self, batch)

    words = ["train", "--stage", "encoder", "--out", "other", *place.params]
    words += ["--set", "encoder.epochs=2", "--set", "training.save_steps=1"]
    with monkeypatch.context() as patch:
        patch.setattr(gradients.GradientMaker, "losses", interrupted)
        assert run([*words, "--quiet"]) == 130
    kept, partial = place.folder / "kept", place.folder / "other.partial"
    partial.rename(kept)
    (state,) = kept.glob("step-*/state.json")
    relative, text = state.relative_to(kept), state.read_text()
    spoiled = [(label, as_json(value).encode()) for label, value in spoil(json.loads(text), 1)]
    for label, data in [*spoiled, *spoil_bytes(text.encode(), 8)]:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(place.folder / "other", ignore_errors=True)
        shutil.copytree(kept, partial)
        (partial / relative).write_bytes(data)
        tally.add("training states", label, *command(capsys, *words))
    tally.check("training states")


def test_what_a_study_reads(tmp_path: Path, tally: Tally) -> None:
    kind = "metrics and leakage of studies"
    metrics = {"protocols": {"cc": {"rank1": 20.5, "mAP": 10.0, "n_query": 3}}, "dataset": "figures"}
    leakage = {"headline": {"clothes": {"mAP": 30.0, "chance": 10.0}, "identity": {"accuracy": 5, "chance": 1}}}
    path = tmp_path / "file.json"
    for value, read in ((metrics, read_protocols), (leakage, read_leakage)):
        for label, changed in spoil(value, 150):
            path.write_text(as_json(changed))
            tally.add(kind, label, *call(lambda read=read: read(path)))  # type: ignore[misc]
    tally.check(kind)


def test_weights_of_the_embedded_parser(tmp_path: Path, tally: Tally) -> None:
    kind = "description of the parser lite"
    path = tmp_path / "weights.safetensors"
    network = LiteNetwork(CLASSES, stages=6, widths=(8, 8, 8, 8, 8))
    save_lite(path, network, LiteDescription(stages=6, widths=(8, 8, 8, 8, 8), size=(64, 32)))
    with safe_open(path, framework="pt") as file:
        about = json.loads(file.metadata()["ccaf"])
    tensors = load_file(path)
    for label, changed in spoil(about, 60):
        save_file(tensors, path, metadata={"ccaf": as_json(changed)})
        tally.add(kind, label, *call(lambda: load_lite(path)))
    tally.check(kind)
