"""What is a worker's fault and no image's: faults of its device, and images that fail in masses and all alike.

An image is never quarantined for what its worker did. Either kind of fault ends the worker's process and gives its
shard back to the queue (see :mod:`pipeline.shards.pool`). A fault of the device, such as a CUDA error, is known by the
error itself. A worker is *suspected* if more than half of a batch fail with one and the same error. Images that the
parser really cannot parse look the same, so a fresh worker tries them again, and only those that it fails on too are
quarantined.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pipeline.device_faults import describe_fault, is_out_of_memory, out_of_memory_line
from pipeline.errors import PipelineError
from pipeline.images import RgbImage

PARSER_FAILED = "parser_failed"
"""Reason of quarantine of an image that the parser raised an error on."""

SUSPICIOUS_IMAGES = 4
"""Fewer images than these say nothing about their worker."""

_SIZE_SETTINGS = ("variant", "batch_size", "precision", "test_size", "max_size")
"""Settings of parsers that decide how much memory they need."""


class WorkerFaultError(PipelineError):
    """A worker cannot be trusted any more; what it was doing belongs to another one.

    Attributes:
        failed: Ids of images that it could not parse, although they may be good; empty after a fault of its device.
    """

    def __init__(self, message: str, failed: Collection[str] = ()) -> None:
        super().__init__(message)
        self.failed = frozenset(failed)

    def __reduce__(self) -> tuple[type["WorkerFaultError"], tuple[str, frozenset[str]]]:
        return type(self), (str(self), self.failed)


class Suspicion:
    """Watches the outcomes of a shard's images, in the order in which they are parsed.

    Args:
        known: Ids of images that another worker failed on already; that they fail again says nothing about this one.

    Attributes:
        failed: Ids of the images for whose failure the worker is suspected.
        error: What most of them failed with.
    """

    def __init__(self, known: Collection[str] = ()) -> None:
        self._known = frozenset(known)
        self._outcomes: list[tuple[str, str | None]] = []
        self._judged = 0
        self.failed: set[str] = set()
        self.error = ""

    def add(self, outcomes: Sequence[tuple[str, str | None]]) -> None:
        """Take a batch: the id of each image, and the error that it failed with (None: it was parsed)."""
        self._outcomes += [pair for pair in outcomes if pair[0] not in self._known]
        if len(self._outcomes) - self._judged >= SUSPICIOUS_IMAGES:  # batches may be small
            self._judge(self._outcomes[self._judged :])
            self._judged = len(self._outcomes)

    def finish(self) -> None:
        """Judge the shard as a whole, after its last batch."""
        self._judge(self._outcomes)

    def _judge(self, outcomes: Sequence[tuple[str, str | None]]) -> None:
        errors = Counter(error for _, error in outcomes if error is not None)
        error, count = errors.most_common(1)[0] if errors else ("", 0)
        if len(outcomes) >= SUSPICIOUS_IMAGES and 2 * count > len(outcomes):
            self.failed.update(image_id for image_id, found in outcomes if found == error)
            self.error = error


def suspect(parser: str, suspicion: Suspicion) -> WorkerFaultError:
    """The error of a worker that is suspected."""
    count = len(suspicion.failed)
    return WorkerFaultError(f"{count} images failed alike ({parser}: {suspicion.error})", suspicion.failed)


def device_fault(
    error: BaseException, parser: str, settings: Mapping[str, Any], device: str, images: Sequence[RgbImage] = ()
) -> WorkerFaultError:
    """The error of a worker whose device failed, in one line.

    Args:
        error: One of :func:`pipeline.device_faults.is_device_fault`.
        parser: Name of the parser.
        settings: The parser's settings, the defaults included.
        device: Torch device string.
        images: That were parsed; none: the parser was being built.
    """
    if not is_out_of_memory(error):
        return WorkerFaultError(f"the device {device} failed under the parser {parser}: {describe_fault(error)}")
    sizes = ", ".join(f"{name} {settings[name]}" for name in _SIZE_SETTINGS if settings.get(name) is not None)
    tried = f"parser {parser}" + (f" ({sizes})" if sizes else "")
    if images:
        height, width = (max(image.shape[side] for image in images) for side in (0, 1))
        tried = f"{tried}, {len(images)} images of up to {height} x {width} pixels"
    else:
        tried = f"building the {tried}"
    return WorkerFaultError(out_of_memory_line(error, tried, device, _lower(settings, device)))


def _lower(settings: Mapping[str, Any], device: str) -> list[str]:
    """What needs less memory, each with its parameter."""
    if device == "cpu":
        return ["fewer --workers", "a smaller parse.batch_size"]
    lower = []
    if settings.get("batch_size", 1) > 1:
        lower.append(f"a parse.settings.batch_size below {settings['batch_size']}")
    if settings.get("test_size") is not None:
        lower.append(f"a parse.settings.test_size below {settings['test_size']}")
    if settings.get("precision") == "fp32":
        lower.append("parse.settings.precision=bf16")
    return [*lower, "fewer workers on a GPU (--workers, or a larger parse.gpus_per_worker)"]
