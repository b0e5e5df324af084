"""The export stage: ONNX files of the test-time image encoder, each measured against the features of extract."""

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pipeline import __version__
from pipeline.config import Parameters
from pipeline.datasets.catalog import DatasetFacts
from pipeline.device import choose_device, set_threads
from pipeline.errors import InputError, WorkError
from pipeline.export.graph import ExportedNetwork, ExportForm, check_cameras
from pipeline.export.measure import (
    TOLERANCE,
    Difference,
    features_of_file,
    losses,
    random_images,
    scores_of,
    spread_rows,
)
from pipeline.export.record import KIND, RECORD_NAME, check_replaceable, export_files
from pipeline.export.runtime import OnnxEncoder, check_loads, check_packages, write_int8, write_onnx
from pipeline.features.builder import FeatureImages, build_features, images_of_shards, open_raw_store
from pipeline.features.encoders import ChosenEncoder, frozen_encoder, trained_encoder
from pipeline.features.feature_set import NO_ID, Floats
from pipeline.features.rows import TEST_ROLES, FeatureRows, feature_rows
from pipeline.files import atomic_folder, sha256_of_file, write_json
from pipeline.locks import hold
from pipeline.onnx_packages import OPSET
from pipeline.outputs import check_writable
from pipeline.shards.dataset import open_shards
from pipeline.shards.reader import ShardReader
from stages.console import Console

FILE_NAMES = {"fp32": "reid.onnx", "fp16": "reid-fp16.onnx", "int8": "reid-int8.onnx"}


@dataclass(frozen=True)
class Wanted:
    """What to export.

    Attributes:
        form: Input and output of the files.
        lossy: Of ``fp16`` and ``int8``, those wanted beside float32.
        score: Score the lossy ones, where shards have query and gallery.
    """

    form: ExportForm
    lossy: tuple[str, ...] = ()
    score: bool = True


@dataclass(frozen=True)
class _Samples:
    """Images on which the files are measured, each with the features of extract.

    Attributes:
        random: Noise.
        shards: Real images; None: no shards were given.
        test: Query and gallery; None: not wanted, or there are none.
        facts: Of the shards' data set.
    """

    random: tuple[FeatureImages, Floats]
    shards: tuple[FeatureImages, Floats] | None
    test: tuple[FeatureImages, Floats] | None
    facts: DatasetFacts | None


class _Exporter:
    """One export: what it is made of, and the samples on which its files are measured."""

    def __init__(self, parameters: Parameters, console: Console, chosen: ChosenEncoder, wanted: Wanted) -> None:
        self.parameters, self.console, self.chosen, self.wanted = parameters, console, chosen, wanted
        form = wanted.form
        # the file is in float32, whatever extract would choose on this device
        exact = {"feature": form.feature, "flip": form.flip, "precision": "fp32"}
        self.settings = parameters.evaluate.model_copy(update=exact)
        self.device = choose_device(parameters.device)

    def reference(self, images: FeatureImages, cameras: bool = False, quiet: bool = True) -> Floats:
        """Features as extract computes them; without ``cameras``, those of cameras that are not known."""
        if not cameras:
            unknown = images.camera_id * 0 + NO_ID
            images = FeatureImages(**{**vars(images), "camera_id": unknown})
        spec, encoder = self.chosen.spec, self.chosen.encoder
        return build_features(encoder, spec, images, self.settings, device=self.device, quiet=quiet).features

    def images(self, reader: ShardReader, rows: FeatureRows) -> FeatureImages:
        """Images of the shards at the encoder's size."""
        store = open_raw_store(self.chosen.spec, reader, rows, self.parameters.loading, self.console.quiet)
        return images_of_shards(reader, rows, store)

    def samples(self, opened: tuple[ShardReader, DatasetFacts] | None) -> _Samples:
        """The images on which the files are measured."""
        noise = random_images(self.chosen.spec, self.parameters.seed)
        shards = test = None
        if opened is not None:
            real = self.images(opened[0], spread_rows(opened[0]))
            shards = real, self.reference(real)
            if self.wanted.score and self.wanted.lossy:
                test = self._test(*opened)
        return _Samples((noise, self.reference(noise)), shards, test, None if opened is None else opened[1])

    def _test(self, reader: ShardReader, facts: DatasetFacts) -> tuple[FeatureImages, Floats] | None:
        try:
            rows = feature_rows(reader, facts, TEST_ROLES)
        except InputError as error:
            self.console.say(f"Rank-1 and mAP are not measured: {error}")
            return None
        images = self.images(reader, rows)
        return images, self.reference(images, quiet=self.console.quiet)

    def write(self, name: str, folder: Path) -> Path:
        """Write one of the files."""
        target, form, chosen = folder / FILE_NAMES[name], self.wanted.form, self.chosen
        if name == "int8":
            write_int8(folder / FILE_NAMES["fp32"], target)
            return target
        network = ExportedNetwork(chosen.encoder, chosen.spec, form, half=name == "fp16")
        write_onnx(network, form.shape(chosen.spec), target, self.notes())
        return target

    def notes(self) -> dict[str, str]:
        """What every file says of itself."""
        height, width = self.chosen.spec.image_size
        return {
            "ccaf.input": self.wanted.form.input.value,
            "ccaf.height": str(height),
            "ccaf.width": str(width),
            "ccaf.feature": self.wanted.form.feature,
            "ccaf.checkpoint_sha256": self.chosen.sha256,
            "ccaf.version": __version__,
        }

    def measure(self, name: str, path: Path, samples: _Samples) -> dict[str, Any]:
        """Compare one of the files with extract.

        Raises:
            WorkError: The file in float32 is further from it than :data:`TOLERANCE`.
        """
        if name != "fp32":
            check_loads(path)
        file = OnnxEncoder(path, self.parameters.threads)
        measured: dict[str, Any] = {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of_file(path)}
        for what, sample in (("random", samples.random), ("shards", samples.shards)):
            if sample is None:
                continue
            difference = Difference.between(sample[1], self._features(file, sample[0], path.name))
            if name == "fp32" and difference.largest > TOLERANCE:
                raise WorkError(
                    f"the exported file differs from the encoder by {difference.largest:.1e} on {difference.images} "
                    f"images ({what}), more than {TOLERANCE:.0e}; nothing was written. Another release of torch or of "
                    "onnxruntime may do better"
                )
            measured[what] = difference.to_dict()
        return measured

    def _features(self, file: OnnxEncoder, images: FeatureImages, what: str, quiet: bool = True) -> Floats:
        return features_of_file(file, self.wanted.form, images, self.settings.batch_size, what, quiet)

    def score(self, entries: dict[str, dict[str, Any]], folder: Path, samples: _Samples) -> dict[str, Any]:
        """Score the lossy files into their entries; returns the scores that they are compared with."""
        if samples.test is None or samples.facts is None:
            return {}
        images, expected = samples.test
        facts, seed = samples.facts, self.parameters.seed
        before = scores_of(images, expected, facts, self.settings, seed)
        found: dict[str, Any] = {"images": len(images), "scores": before}
        if self.chosen.encoder.camera_embedding is not None:
            known = self.reference(images, cameras=True)
            found["scores_with_cameras"] = scores_of(images, known, facts, self.settings, seed)
        for name in self.wanted.lossy:
            path = folder / FILE_NAMES[name]
            file = OnnxEncoder(path, self.parameters.threads)
            features = self._features(file, images, path.name, self.console.quiet)
            after = scores_of(images, features, facts, self.settings, seed)
            entries[name] |= {"scores": after, "lost": losses(before, after)}
        return found


def run(
    parameters: Parameters,
    console: Console,
    checkpoint: Path | None,
    out: Path,
    wanted: Wanted,
    shards: Path | None = None,
) -> dict[str, Any]:
    """Write the files and ``export.json`` into a folder; returns the record.

    Args:
        parameters: All of them.
        console: For remarks.
        checkpoint: The encoder; None: the CLIP of the parameters, before any training.
        out: The folder; an earlier export is replaced once the new one is complete and near enough.
        wanted: What to export.
        shards: Of a parsed data set, on whose images the files are measured as well.

    Raises:
        InputError: The checkpoint, the shards, ``out`` or a parameter is wrong, a package of the extra is missing, or
            the encoder has a camera embedding that the form refuses.
        WorkError: The network cannot be exported, or the file differs from it.
    """
    check_packages()
    check_replaceable(out)
    check_writable(out)
    set_threads(parameters.threads)
    opened = None if shards is None else open_shards(shards, parameters.data.dataset)
    chosen = frozen_encoder(parameters.model, parameters.seed) if checkpoint is None else trained_encoder(checkpoint)
    check_cameras(chosen.encoder, wanted.form.cameras)
    if chosen.note:
        console.say(chosen.note)
    exporter = _Exporter(parameters, console, chosen, wanted)
    samples = exporter.samples(opened)
    with hold(out, advice="wait for it, or choose another --out"), atomic_folder(out, export_files) as folder:
        entries = {}
        for name in ("fp32", *wanted.lossy):
            console.say(f"exporting {FILE_NAMES[name]}")
            entries[name] = exporter.measure(name, exporter.write(name, folder), samples)
        test = exporter.score(entries, folder, samples)
        record = _record(exporter, entries, test, samples, None if opened is None else opened[0])
        record["files"] = sorted([RECORD_NAME, *(path.name for path in folder.iterdir())])
        write_json(folder / RECORD_NAME, record)
    return record


def _record(
    exporter: _Exporter,
    entries: dict[str, dict[str, Any]],
    test: dict[str, Any],
    samples: _Samples,
    reader: ShardReader | None,
) -> dict[str, Any]:
    chosen, form = exporter.chosen, exporter.wanted.form
    record = {
        "kind": KIND,
        "version": __version__,
        "checkpoint_sha256": chosen.sha256,
        "method": chosen.method,
        "model": chosen.spec.to_dict(),
        "opset": OPSET,
        "input": {"type": form.input.value, "shape": ["batch", *form.shape(chosen.spec)], "colours": "RGB"},
        "output": {"feature": form.feature, "dimension": samples.random[1].shape[1], "flip": form.flip, "length": 1},
        "cameras": "none" if chosen.encoder.camera_embedding is None else form.cameras.value,
        "tolerance": TOLERANCE,
        "forms": entries,
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxscript", "onnxruntime")},
    }
    if reader is not None:
        record["shards"] = {"dataset": reader.metadata.dataset, "sha256": reader.record_sha256, **test}
    return record
