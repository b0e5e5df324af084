"""The quality figures of a shard folder, summed up: for all images, each split and each camera."""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pipeline.parsing.quality import FLAGS
from pipeline.shards.reader import NO_ID, ShardIds

QUANTILES: Final = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Spread:
    """How the values of one figure are spread: their mean, and the :data:`QUANTILES` (linear between values)."""

    mean: float
    quantiles: tuple[float, ...]

    @property
    def low(self) -> float:
        """The 5% quantile."""
        return self.quantiles[0]

    @property
    def median(self) -> float:
        """The median."""
        return self.quantiles[len(QUANTILES) // 2]

    @property
    def high(self) -> float:
        """The 95% quantile."""
        return self.quantiles[-1]

    def as_dict(self) -> dict[str, float]:
        """``mean``, ``q05``, ``q25``, ..."""
        named = {f"q{round(100 * at):02d}": value for at, value in zip(QUANTILES, self.quantiles, strict=True)}
        return {name: round(value, 6) for name, value in {"mean": self.mean, **named}.items()}


@dataclass(frozen=True)
class GroupSummary:
    """Figures of a group of images.

    Attributes:
        name: Of the split, number of the camera, or ``all``.
        images: Images in it.
        flagged: Images with any flag.
        flags: Images by flag, from the gravest to the mildest; those that never occur too.
        clothes_fraction: Share of the pixels in the clothes mask.
        person_fraction: Share of the pixels labelled as person.
        confidence: Of the parses.
    """

    name: str
    images: int
    flagged: int
    flags: dict[str, int]
    clothes_fraction: Spread
    person_fraction: Spread
    confidence: Spread

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "images": self.images,
            "flagged": self.flagged,
            "flags": self.flags,
            "clothes_fraction": self.clothes_fraction.as_dict(),
            "person_fraction": self.person_fraction.as_dict(),
            "confidence": self.confidence.as_dict(),
        }


@dataclass(frozen=True)
class QualitySummary:
    """Figures of all images, and by split and camera.

    Attributes:
        whole: Of all.
        splits: By split, sorted by name.
        cameras: By camera, sorted by number; empty if no image has one.
    """

    whole: GroupSummary
    splits: tuple[GroupSummary, ...]
    cameras: tuple[GroupSummary, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            **self.whole.as_dict(),
            "splits": {group.name: group.as_dict() for group in self.splits},
            "cameras": {group.name: group.as_dict() for group in self.cameras},
        }


def summarise(ids: ShardIds, rows: NDArray[np.int64] | None = None) -> QualitySummary:
    """Sum up the quality figures.

    Args:
        ids: Of the shards.
        rows: Which images; None: all.

    Raises:
        ValueError: There are no images.
    """
    rows = np.arange(len(ids.image_id), dtype=np.int64) if rows is None else rows
    if not len(rows):
        raise ValueError("no images to sum up")
    splits = ids.split[rows].astype(str)
    cameras = ids.camera_id[rows]
    known = [int(camera) for camera in np.unique(cameras) if camera != NO_ID]
    return QualitySummary(
        whole=_group("all", ids, rows),
        splits=tuple(_group(name, ids, rows[splits == name]) for name in sorted(set(splits.tolist()))),
        cameras=tuple(_group(str(camera), ids, rows[cameras == camera]) for camera in known),
    )


def _group(name: str, ids: ShardIds, rows: NDArray[np.int64]) -> GroupSummary:
    flags = [ids.flags[row] for row in rows]
    counts = Counter(flag for some in flags for flag in some)
    names = [*FLAGS, *sorted(set(counts) - set(FLAGS))]
    return GroupSummary(
        name=name,
        images=len(rows),
        flagged=sum(1 for some in flags if some),
        flags={flag: counts[flag] for flag in names},
        clothes_fraction=_spread(ids.clothes_fraction[rows]),
        person_fraction=_spread(ids.person_fraction[rows]),
        confidence=_spread(ids.confidence[rows]),
    )


def _spread(values: NDArray[np.float32]) -> Spread:
    exact = values.astype(np.float64)
    return Spread(float(exact.mean()), tuple(float(value) for value in np.quantile(exact, QUANTILES)))
