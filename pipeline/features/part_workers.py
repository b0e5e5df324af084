"""Features of a list of images by the workers of a Ray cluster: the same parts, made by the pool that parse uses."""

import platform
import secrets
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Final

import torch

from pipeline.device_faults import describe_fault, is_device_fault
from pipeline.errors import WorkError
from pipeline.features.embedding import Encoder
from pipeline.features.encoders import ChosenEncoder, frozen_encoder, trained_encoder
from pipeline.features.image_list import ImageList
from pipeline.features.part_maker import FeaturePart, PartMaker
from pipeline.features.parts import PART_BATCHES, RUN_FILE, Embedded, Parts, join_parts, open_parts
from pipeline.features.settings import FeatureSettings
from pipeline.files import atomic_file
from pipeline.location import Location
from pipeline.models.builtin import builtin_weights, weights_on_disk
from pipeline.models.checkpoint import read_config
from pipeline.models.clip import ClipSpec
from pipeline.models.settings import ModelSettings
from pipeline.progress import Progress
from pipeline.ray_session import check_reachable, ray_session
from pipeline.shards.making.faults import WorkerFaultError
from pipeline.shards.making.members import Words
from pipeline.shards.making.placement import choose_workers
from pipeline.shards.making.pool import WorkerPool
from pipeline.shards.making.run import RunSettings, least_cpus
from pipeline.storage import is_folder

PART_WORDS: Final = Words(
    "part",
    "is there too little memory? fewer --workers or a smaller evaluate.batch_size need less",
    "parts that are complete are kept, so the same command goes on from them",
)


@dataclass(frozen=True)
class EncoderSource:
    """Where every worker gets the encoder from.

    Attributes:
        checkpoint: Folder of a checkpoint, which all machines must see; None: the CLIP of ``model``.
        model: The section ``model``.
        seed: Of random weights.
        settings: Which feature is made, and how.
        name: Name of the model as it was given, which counts among what made the features; empty: that of ``model``.
        configuration: See :func:`pipeline.features.encoders.trained_encoder`.
    """

    checkpoint: Path | None
    model: ModelSettings
    seed: int
    settings: FeatureSettings
    name: str = ""
    configuration: str | None = None

    def choose(self) -> ChosenEncoder:
        """Read it.

        Raises:
            InputError: It is missing or damaged.
        """
        if self.checkpoint is not None:
            return trained_encoder(self.checkpoint, self.configuration)
        chosen = frozen_encoder(self.model, self.seed)
        return replace(chosen, spec=replace(chosen.spec, name=self.name or self.model.name))

    def absolute(self) -> "EncoderSource":
        """The same encoder for a process with another current folder: paths that exist here are written out.

        Raises:
            InputError: The checkpoint is missing or damaged.
        """
        model = self.model
        if self.checkpoint is not None:
            named = ClipSpec.from_dict(read_config(self.checkpoint, "encoder", "ccaf-pipeline train")["model"]).name
            configuration = str(Path(named).absolute()) if named.endswith(".json") else None
            return replace(self, checkpoint=self.checkpoint.resolve(), configuration=configuration)
        weights = None if model.pretrained is None else weights_on_disk(model.pretrained)
        given = {
            "name": model.name if model.name.endswith(".json") else None,
            "pretrained": None if weights is None or model.pretrained in builtin_weights() else model.pretrained,
            "tokenizer": model.tokenizer,
        }
        paths = {key: str(Path(path).absolute()) for key, path in given.items() if path is not None}
        return replace(self, model=model.model_copy(update=paths), name=self.name or model.name)


@dataclass(frozen=True)
class PartSetup:
    """What a worker is told when it starts.

    Attributes:
        source: The encoder.
        weights_sha256: Hash of the weights where the run was started.
        images: Folder that paths are relative to; None: nobody needs it.
        folder: Where the parts belong.
        run: Content of the folder's :data:`RUN_FILE`: it tells the folder of this run from another of its name.
        content: See :class:`Parts`.
        max_pixels: Larger images are not decoded.
        threads: CPU threads of the network.
        device: Torch device string.
    """

    source: EncoderSource
    weights_sha256: str
    images: Location | None
    folder: Path
    run: str
    content: str
    max_pixels: int
    threads: int
    device: str = "cpu"


class PartWorker:
    """Checks and makes parts; see :class:`pipeline.shards.making.pool.WorkerPool`."""

    def __init__(self, setup: PartSetup) -> None:
        torch.set_num_threads(setup.threads)
        self._setup = setup
        self._turn = Lock()
        self._maker: PartMaker | None = None
        self._done: dict[str, int] = {}

    def prepare(self) -> None:
        """Check that this machine sees what the run was started with, and read the encoder.

        Raises:
            InputError: The checkpoint or the model is wrong here.
            WorkError: The images, the folder of the parts or the same weights are not here.
            WorkerFaultError: The device failed.
        """
        setup, here = self._setup, platform.node()
        if setup.images is not None and not is_folder(setup.images):
            raise WorkError(f"{here} does not see the folder of the images {setup.images}: all machines must")
        try:
            seen = (setup.folder / RUN_FILE).read_text()
        except OSError:
            seen = ""
        if seen != setup.run:
            raise WorkError(f"{here} does not see {setup.folder} of this run: --out must be where all machines see it")
        chosen = setup.source.choose()
        if chosen.sha256 != setup.weights_sha256:
            raise WorkError(
                f"{here} has weights {chosen.sha256[:12]}, and {setup.weights_sha256[:12]} are where the run was "
                "started: every machine needs the same"
            )
        with _Faults(setup.device):
            encoder = Encoder(chosen, setup.device, setup.source.settings)
        self._maker = PartMaker(encoder, setup.content, setup.max_pixels, setup.threads + 1, self._turn)

    def check(self, part: FeaturePart) -> bool:
        """Whether a part that is there can be kept."""
        return self._get_maker().is_whole(self._setup.folder / part.name, part)

    def make(self, part: FeaturePart) -> bool:
        """Make a part.

        Raises:
            WorkError: Memory does not suffice, or a remote file system does not answer.
            WorkerFaultError: The device failed.
        """

        def report(images: int) -> None:
            self._done[part.name] = self._done.get(part.name, 0) + images

        try:
            with _Faults(self._setup.device):
                self._get_maker().make(self._setup.folder / part.name, part, report)
        finally:
            self._done.pop(part.name, None)
        return True

    def images_done(self) -> int:
        """Images finished of the parts that are being made."""
        return sum(list(self._done.values()))

    def _get_maker(self) -> PartMaker:
        if self._maker is None:
            self.prepare()
        assert self._maker is not None, "it was prepared"
        return self._maker


class _Faults:
    """Turns a fault of the device into one that costs the worker and no image."""

    def __init__(self, device: str) -> None:
        self._device = device

    def __enter__(self) -> None:
        return None

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if error is not None and is_device_fault(error):
            raise WorkerFaultError(f"the device {self._device} failed: {describe_fault(error)}") from error


def embed_on_ray(
    source: EncoderSource,
    images: ImageList,
    out: Path,
    run: RunSettings,
    *,
    max_pixels: int,
    part_batches: int = PART_BATCHES,
    quiet: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Embedded:
    """As :func:`pipeline.features.parts.embed_list`, by the workers of a Ray cluster; with the same bytes.

    Args:
        source: The encoder.
        images: The list.
        out: Feature file; its folder must be seen by all machines.
        run: Where and how: address, workers, device, threads of a worker, and what a lost worker costs.
        max_pixels: Larger images are not decoded.
        part_batches: Forward passes of a part.
        quiet: No progress line.
        say: Receives remarks for the user.

    Raises:
        InputError: No image can be used, the encoder or the cluster is wrong, or another run writes the same file.
        WorkError: A worker could not do its work; what is complete is kept.
    """
    check_reachable(run.address)
    source, images = source.absolute(), images.absolute()
    chosen = source.choose()
    if chosen.note:
        say(chosen.note)
    with open_parts(images, out.resolve(), source.settings.batch_size, part_batches, max_pixels) as parts:
        token = secrets.token_hex(16)
        with atomic_file(parts.folder / RUN_FILE) as temporary:
            temporary.write_text(token)
        folder = images.folder if images.needs_folder else None
        setup = PartSetup(source, chosen.sha256, folder, parts.folder, token, parts.content, max_pixels, run.threads)
        with ray_session(run.address, least_cpus(run)) as resources:
            placement = choose_workers(resources, run, len(parts))
            setup = replace(setup, device=placement.device)
            work = run.work
            pool = WorkerPool(
                setup,
                placement.workers,
                placement.gpus,
                work.restarts,
                work.shard_timeout,
                say,
                worker=PartWorker,
                words=PART_WORDS,
            )
            with closing(pool):
                pool.wait()
                reused = _make_all(pool, parts, quiet)
        return join_parts(parts, out, reused, pool.lost)


def _make_all(pool: WorkerPool, parts: Parts, quiet: bool) -> int:
    """Make what is missing; how many parts were there."""
    there = {path.name for path in parts.folder.iterdir()}
    kept: set[str] = set()
    with Progress(len(parts.images), "embed", "image", quiet) as progress:
        for part, whole in pool.run("check", (part for part in parts if part.name in there), lambda _: None):
            if whole:
                kept.add(part.name)
                progress.advance(len(part.images))
        finished = shown = 0

        def report(under_way: int) -> None:
            nonlocal shown
            step = max(0, finished + under_way - shown)
            shown += step
            progress.advance(step)

        for part, _ in pool.run("make", (part for part in parts if part.name not in kept), report):
            finished += len(part.images)
            report(0)
    return len(kept)
