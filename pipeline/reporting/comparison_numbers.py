"""The figures of a comparison of two parses: tiles, distributions, groups, and all of them for programs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from pipeline.parsing.scoring.agreement import AgreementTally, ImageAgreement
from pipeline.reporting.page import Tile
from pipeline.reporting.plots import histogram
from pipeline.shards.reader import NO_ID

LOW_IOU: Final = 0.5
"""Images whose clothes masks have less in common are counted."""
MOST_CONFUSIONS: Final = 12


@dataclass(frozen=True)
class GroupAgreement:
    """Figures of a split or a camera.

    Attributes:
        name: Of the group.
        images: In it.
        median: Of the images' clothes IoU.
        low: Its 5% quantile.
        under: Images below :data:`LOW_IOU`.
        differ: Median share of the pixels in exactly one mask.
    """

    name: str
    images: int
    median: float
    low: float
    under: int
    differ: float


def least_first(figures: Sequence[ImageAgreement]) -> NDArray[np.int64]:
    """Positions in the order of growing agreement: by clothes IoU, then by the pixels in exactly one mask, most first,
    then by the share of other labels, most first, then as they come.
    """
    columns = [np.array([getattr(each, name) for each in figures], dtype=np.float64) for name in (
        "clothes_iou", "clothes_differ", "labels_differ"
    )]  # fmt: skip
    return np.lexsort((np.arange(len(figures)), -np.nan_to_num(columns[2]), -columns[1], columns[0]))


def group_figures(figures: Sequence[ImageAgreement], names: NDArray[Any]) -> tuple[GroupAgreement, ...]:
    """Figures of each split or camera, by name; ``names`` of the images, (N,)."""
    iou = np.array([each.clothes_iou for each in figures])
    differ = np.array([each.clothes_differ for each in figures])
    found = []
    for name in np.unique(names):
        if name == NO_ID:
            continue
        mine = names == name
        found.append(
            GroupAgreement(
                str(name),
                int(mine.sum()),
                float(np.median(iou[mine])),
                float(np.quantile(iou[mine], 0.05)),
                int((iou[mine] < LOW_IOU).sum()),
                float(np.median(differ[mine])),
            )
        )
    return tuple(found)


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}\u00a0%"


def _iou(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def headline_tiles(figures: Sequence[ImageAgreement], tally: AgreementTally, all_images: int) -> tuple[Tile, ...]:
    """The large numbers; ``all_images`` are in both folders."""
    iou = np.array([each.clothes_iou for each in figures])
    under, differ = int((iou < LOW_IOU).sum()), float(np.mean([each.clothes_differ for each in figures]))
    low = f"5\u00a0% of images are below {np.quantile(iou, 0.05):.2f}, {under:,} below {LOW_IOU}"
    of_all = f"of {all_images:,} in both" if len(figures) < all_images else "all that are in both"
    return (
        Tile("Images compared", f"{len(figures):,}", of_all),
        Tile("Clothes IoU", _iou(tally.masks.iou), "of all pixels together"),
        Tile("Clothes IoU, median", _iou(float(np.median(iou))), low),
        Tile("Other clothes mask", _percent(differ), "of an image's pixels, on average"),
        Tile("Other label", _percent(tally.labels_differ), "of the pixels with labels that both have"),
    )  # fmt: skip


def distributions(figures: Sequence[ImageAgreement]) -> tuple[tuple[str, str, Markup], ...]:
    """Name, meaning and inline SVG of each distribution."""
    return tuple(
        (name, meaning, histogram(f"{name}: images by {meaning}", values))
        for name, meaning, values in (
            ("clothes IoU", "how much the two clothes masks have in common", [each.clothes_iou for each in figures]),
            ("other mask", "share of the pixels in exactly one mask", [each.clothes_differ for each in figures]),
            (
                "other label",
                "share of the pixels with another label",
                [each.labels_differ for each in figures if not np.isnan(each.labels_differ)],
            ),
        )
    )


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def summarise(
    figures: Sequence[ImageAgreement],
    tally: AgreementTally,
    only: tuple[int, int],
    sheets: Sequence[Sequence[tuple[str, ImageAgreement]]],
) -> dict[str, Any]:
    """All figures as JSON can hold them; ``only`` and the two ``sheets`` as on the page."""
    iou = np.array([each.clothes_iou for each in figures])
    listed = [
        [
            {"image_id": image_id, **{key: _number(value) for key, value in vars(agreement).items()}}
            for image_id, agreement in sheet
        ]
        for sheet in sheets
    ]
    return {
        "images": len(figures),
        "only_first": only[0],
        "only_second": only[1],
        "clothes_iou": _number(tally.masks.iou),
        "mean_image_iou": _number(float(iou.mean())),
        "median_image_iou": _number(float(np.median(iou))),
        "images_below_half": int((iou < LOW_IOU).sum()),
        "clothes_differ": _number(float(np.mean([each.clothes_differ for each in figures]))),
        "labels_differ": _number(tally.labels_differ),
        "labels": {
            each.name: {"iou": _number(each.iou), "first": _number(each.first), "second": _number(each.second)}
            for each in tally.by_label
        },
        "only_first_has": list(tally.only_one_has[0]),
        "only_second_has": list(tally.only_one_has[1]),
        "confusions": [
            {"first": each.first, "second": each.second, "share": _number(each.share)}
            for each in tally.confusions(MOST_CONFUSIONS)
        ],
        "worst": listed[0],
        "random": listed[1],
    }
