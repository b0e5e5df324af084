"""Renders planned images in chunks, in this process or in several, and describes each by a row of named values."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import cv2

from pipeline.datasets.walkers.captions import captions
from pipeline.datasets.walkers.population import (
    Purpose,
    Shot,
    make_cameras,
    make_generator,
    plan_pretraining,
    plan_walkers,
)
from pipeline.datasets.walkers.render import Rendering, render
from pipeline.datasets.walkers.settings import SynthSettings
from pipeline.images import RgbImage, encode_label_map
from pipeline.stopping import end_with_parent, interrupts_held

CHUNK: Final = 64
JPEG_QUALITY: Final = 95
MEASURES: Final = (
    "skin_tone", "head", "face_width", "brow", "shoulder", "hip", "girth", "leg", "stance", "swing", "arm_swing",
    "arm_spread", "lean",
)  # fmt: skip
"""Continuous factors of the identity, columns of the table."""


@dataclass(frozen=True)
class RenderedShot:
    """A rendered image.

    Attributes:
        shot: What it shows.
        image: JPEG.
        label_map: PNG of LIP labels.
        values: Factors, captions and circumstances by column name.
    """

    shot: Shot
    image: bytes
    label_map: bytes
    values: dict[str, Any]


def encode_jpeg(image: RgbImage) -> bytes:
    """JPEG at full colour resolution, so that clothes do not bleed over the borders of their labels."""
    options = [
        cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]  # fmt: skip
    done, buffer = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    if not done:
        raise ValueError(f"JPEG encoding failed for an image of shape {image.shape}")
    return buffer.tobytes()


def _describe(shot: Shot, rendering: Rendering) -> dict[str, Any]:
    factors = {**shot.identity.values(), **shot.outfit.values()}
    measures = {name: getattr(shot.identity, name) for name in MEASURES}
    circumstances = {"camera_id": shot.camera + 1, "view": rendering.view, "yaw": rendering.yaw}
    return {**circumstances, "occluded": rendering.occluded, **factors, **measures, **captions(factors)}


def render_shot(settings: SynthSettings, seed: int, shot: Shot) -> RenderedShot:
    """Render one planned image; the same settings, seed and shot give the same bytes."""
    purpose = Purpose.CAMERAS if shot.split else Purpose.PRETRAIN_CAMERAS
    camera = make_cameras(settings, seed, purpose)[shot.camera]
    generator = make_generator(seed, *shot.key)
    rendering = render(shot.identity, shot.outfit, camera, settings.height, settings.width, generator)
    values = _describe(shot, rendering)
    return RenderedShot(shot, encode_jpeg(rendering.image), encode_label_map(rendering.labels), values)


def _render_chunk(settings: SynthSettings, seed: int, pretraining: bool, start: int) -> list[RenderedShot]:
    if pretraining:
        indices = range(start, min(start + CHUNK, settings.pretrain_images))
        return [render_shot(settings, seed, plan_pretraining(seed, index)) for index in indices]
    return [render_shot(settings, seed, shot) for shot in plan_walkers(settings, seed)[start : start + CHUNK]]


def render_all(
    settings: SynthSettings, seed: int, pretraining: bool, workers: int, advance: Callable[[int], None]
) -> Iterator[RenderedShot]:
    """Render a whole population in its order.

    Args:
        settings: Size and variant.
        seed: Of everything random.
        pretraining: The population for pre-training; otherwise training and test.
        workers: Processes; the result does not depend on it.
        advance: Called with the number of images that were finished since the last call.
    """
    total = settings.pretrain_images if pretraining else len(plan_walkers(settings, seed))
    starts = range(0, total, CHUNK)
    work = partial(_render_chunk, settings, seed, pretraining)
    if workers <= 1:
        yield from _unpack(map(work, starts), advance)
        return
    spawn = multiprocessing.get_context("spawn")
    # images are small, and the processes share the cores: no threads within OpenCV
    with ProcessPoolExecutor(workers, spawn, initializer=_prepare_process) as pool:
        try:
            with interrupts_held():
                chunks = pool.map(work, starts)
            yield from _unpack(chunks, advance)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # what is not begun yet


def _prepare_process() -> None:
    end_with_parent()
    cv2.setNumThreads(0)


def _unpack(chunks: Iterator[list[RenderedShot]], advance: Callable[[int], None]) -> Iterator[RenderedShot]:
    for chunk in chunks:
        advance(len(chunk))
        yield from chunk
