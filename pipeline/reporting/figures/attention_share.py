"""How much of an encoder's attention or gradient falls on clothes, on the rest of the person, and on the background."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.evaluation.bootstrap import bootstrap_intervals
from pipeline.evaluation.protocols import Protocol as RetrievalProtocol
from pipeline.evaluation.protocols import good_items
from pipeline.evaluation.ranking import IdentityIndex
from pipeline.features.feature_set import FeatureSet, Floats, Integers, normalise_rows
from pipeline.images import LabelMap, Mask
from pipeline.models.image_encoder import FeatureKind, ImageEncoder, ImageFeatures
from pipeline.models.preprocess import normalise
from pipeline.progress import Progress
from pipeline.reporting.figures.maps import MapKind, Score, attention_maps, coverage, gradient_maps, layout_of, mass_on

REGIONS = {"clothes": "clothes", "body": "rest of the person", "background": "background"}
"""Parts of an image and their names; they add up to the whole image."""

_REGIONS = tuple(REGIONS)
_ATTENTION: tuple[MapKind, ...] = ("attention", "rollout")


class LabelSource(Protocol):
    """Random access to parses, as a shard reader gives it."""

    def mask(self, index: int) -> Mask:
        """The clothes mask, boolean (height, width)."""

    def label_map(self, index: int) -> LabelMap:
        """Label numbers, 0 is the background, uint8 (height, width)."""


@dataclass(frozen=True)
class MapModel:
    """An encoder and how its images are made.

    Attributes:
        encoder: In evaluation mode, on ``device``.
        load: Indices in the shards -> uint8 images (B, H, W, 3) at the encoder's size.
        image_size: Height and width.
        mean: See :func:`normalise`.
        std: See :func:`normalise`.
        feature: Feature that is compared.
        device: Where the encoder is.
    """

    encoder: ImageEncoder
    load: Callable[[Sequence[int]], Tensor]
    image_size: tuple[int, int]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    feature: FeatureKind
    device: str

    def maps(
        self, indices: Sequence[int], cameras: Sequence[int], references: Floats, kinds: Sequence[MapKind]
    ) -> dict[MapKind, Tensor]:
        """Maps of some images, (B, rows, columns) each, on the CPU.

        Args:
            indices: In the shards, (B,).
            cameras: Camera id of each.
            references: Feature that each is compared with, (B, D): gradients are those of the cosine to it.
            kinds: Which maps.
        """
        images = normalise(self.load(indices).to(self.device), self.mean, self.std)
        places = None if self.encoder.camera_embedding is None else torch.tensor(cameras, device=self.device)
        found: dict[MapKind, Tensor] = {}
        if set(kinds) & set(_ATTENTION):
            found |= attention_maps(self.encoder, images, places, kinds)
        if set(kinds) - set(_ATTENTION):
            target = torch.from_numpy(references).to(self.device)
            found |= gradient_maps(
                self.encoder, images, places, similarity_to(target, self.encoder, self.feature), kinds
            )
        return {kind: found[kind].cpu() for kind in kinds}


def similarity_to(reference: Tensor, encoder: ImageEncoder, feature: FeatureKind) -> Score:
    """Cosine of each image's test feature by an encoder with a fixed one, (B, D)."""

    def score(features: ImageFeatures) -> Tensor:
        return (encoder.compared(features, feature) * reference).sum(dim=1)

    return score


@dataclass(frozen=True)
class References:
    """Queries and what each should be found by.

    Attributes:
        image_id: Of the queries that have a right gallery item, (Q,).
        person_id: (Q,).
        features: Normalised mean of the features of the query's right gallery items, (Q, D).
    """

    image_id: NDArray[np.str_]
    person_id: Integers
    features: Floats


def right_references(query: FeatureSet, gallery: FeatureSet, protocol: RetrievalProtocol) -> References:
    """Of each query the mean of what it should find; queries that have nothing right are left out."""
    index = IdentityIndex(gallery.person_id)
    means = np.zeros_like(query.features)
    valid = np.zeros(len(query), dtype=np.bool_)
    for row, person in enumerate(query.person_id.tolist()):
        same = index.positions(person)
        right = same[good_items(query, row, gallery, same, protocol)]
        if len(right):
            means[row], valid[row] = gallery.features[right].mean(axis=0), True
    return References(query.image_id[valid], query.person_id[valid], normalise_rows(means[valid]))


def _resized(mask: Mask, size: tuple[int, int]) -> NDArray[np.float32]:
    """A mask at (height, width) as the share of each pixel that it covers."""
    height, width = size
    shrinks = mask.shape[0] * mask.shape[1] > height * width
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    resized: NDArray[np.float32] = cv2.resize(mask.astype(np.float32), (width, height), interpolation=way)
    return resized.clip(0, 1)


def regions(source: LabelSource, index: int, size: tuple[int, int]) -> NDArray[np.float32]:
    """The three :data:`REGIONS` of an image at (height, width), (3, height, width), adding up to 1 everywhere."""
    mask = source.mask(index)
    person = (source.label_map(index) > 0) | mask
    clothes, whole = _resized(mask, size), _resized(person, size)
    return np.stack([clothes, whole - clothes, 1 - whole]).clip(0, 1)


@dataclass(frozen=True)
class Share:
    """Where the mass of one kind of map lies, over many images.

    Attributes:
        mass: By region, the mean share of the mass.
        area: By region, the mean share of the area: what a map that is equal everywhere would have.
        interval: 95% interval of the clothes' share of the mass, by resampling people; None if it was not asked for.
        images: Images; those whose mask is empty, or whose map has no mass, are not counted.
    """

    mass: dict[str, float]
    area: dict[str, float]
    interval: tuple[float, float] | None
    images: int


@dataclass(frozen=True)
class Difference:
    """Mass on clothes with one encoder less that with another, on the same images.

    Attributes:
        mean: Of the differences.
        interval: Its 95% interval, by resampling people; None if it was not asked for.
        images: Images that count with both.
    """

    mean: float
    interval: tuple[float, float] | None
    images: int


@dataclass(frozen=True)
class ImageShares:
    """Shares of each image: (Q, 3) in the order of :data:`REGIONS`; rows that do not count are NaN."""

    mass: NDArray[np.float64]
    area: NDArray[np.float64]


def measure(
    model: MapModel,
    source: LabelSource,
    indices: Sequence[int],
    cameras: Sequence[int],
    references: Floats,
    kinds: Sequence[MapKind],
    *,
    batch_size: int = 16,
    quiet: bool = True,
) -> dict[MapKind, ImageShares]:
    """Shares of mass and area of many images, batch by batch.

    Args:
        model: The encoder.
        source: Parses of the images.
        indices: Images, (Q,).
        cameras: Camera id of each.
        references: See :meth:`MapModel.maps`, (Q, D).
        kinds: Which maps.
        batch_size: Images at once.
        quiet: No progress line.
    """
    layouts = {kind: layout_of(kind, model.encoder, model.image_size) for kind in kinds}
    parts: dict[MapKind, list[tuple[Tensor, Tensor]]] = {kind: [] for kind in kinds}
    with Progress(len(indices), "maps", "image", quiet) as progress:
        for start in range(0, len(indices), batch_size):
            part = slice(start, start + batch_size)
            maps = model.maps(indices[part], cameras[part], references[part], kinds)
            parsed = torch.from_numpy(np.stack([regions(source, index, model.image_size) for index in indices[part]]))
            empty = parsed[:, 0].sum(dim=(1, 2)) == 0
            for kind, mass in maps.items():
                layout = layouts[kind]
                on = torch.stack([mass_on(mass.double(), region, layout) for region in parsed.unbind(1)], dim=1)
                area = torch.stack([coverage(region, layout).mean(dim=(1, 2)) for region in parsed.unbind(1)], dim=1)
                on[empty] = torch.nan
                parts[kind].append((on, area.double()))
            progress.advance(len(indices[part]))
    return {
        kind: ImageShares(*(torch.cat([pair[n] for pair in pairs]).numpy() for n in range(2)))
        for kind, pairs in parts.items()
    }


def _interval(
    values: NDArray[np.float64], valid: NDArray[np.bool_], person_id: Integers, resamples: int, seed: int
) -> tuple[float, float] | None:
    if not resamples:
        return None
    low, high = bootstrap_intervals(np.nan_to_num(values)[None, None], valid[None], person_id, resamples, seed)[0]
    return float(low), float(high)


def _counted(shares: ImageShares) -> NDArray[np.bool_]:
    finite: NDArray[np.bool_] = np.asarray(np.isfinite(shares.mass).all(axis=1))
    return finite


def summarise(shares: ImageShares, person_id: Integers, resamples: int, seed: int) -> Share | None:
    """Means over the images that count; None where there are none.

    Args:
        shares: Of each image.
        person_id: Of each image, (Q,).
        resamples: Of the interval; 0: none.
        seed: Of the resampling.
    """
    valid = _counted(shares)
    if not valid.any():
        return None
    mass, area = shares.mass[valid].mean(axis=0), shares.area[valid].mean(axis=0)
    return Share(
        mass=dict(zip(_REGIONS, mass.tolist(), strict=True)),
        area=dict(zip(_REGIONS, area.tolist(), strict=True)),
        interval=_interval(shares.mass[:, 0], valid, person_id, resamples, seed),
        images=int(valid.sum()),
    )


def compare(
    first: ImageShares, second: ImageShares, person_id: Integers, resamples: int, seed: int
) -> Difference | None:
    """How much more of the first's mass is on clothes; None where no image counts. Arguments as for summarise."""
    valid = _counted(first) & _counted(second)
    if not valid.any():
        return None
    values = first.mass[:, 0] - second.mass[:, 0]
    interval = _interval(values, valid, person_id, resamples, seed)
    return Difference(float(values[valid].mean()), interval, int(valid.sum()))
