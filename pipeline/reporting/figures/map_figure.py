"""Attention and gradient maps over some images, and where their mass lies over all queries, of each checkpoint."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.features.feature_set import Floats
from pipeline.images import RgbImage
from pipeline.reporting.cards import image_card
from pipeline.reporting.figures.attention_share import REGIONS, Difference, MapModel, Share
from pipeline.reporting.figures.maps import MEANINGS, Layout, MapKind, layout_of
from pipeline.reporting.figures.mosaic import Tile, mosaic
from pipeline.reporting.figures.section import MapRow, Section, Table, number, percent
from pipeline.reporting.pictures import Box, mask_outline, photo, shrink_image, shrink_labels
from pipeline.shards.reader import ShardReader

MAP_BOX = Box(height=208, width=156)
OPACITY = 0.6
BRIGHTEST = 0.995
"""Quantile of a map that has the brightest colour."""
_BLUR = 64
"""Maps of single pixels are blurred by the image's height divided by this, to be seen."""


def heat(mass: NDArray[np.float32], layout: Layout, image_size: tuple[int, int]) -> NDArray[np.float32]:
    """A map on its image, for the eye: smooth, in [0, 1]; what no cell covers is 0.

    Args:
        mass: (rows, columns).
        layout: Of the cells.
        image_size: Height and width of the image in the encoder's pixels.
    """
    spans = [(cells - 1) * step + cell for cells, step, cell in zip(mass.shape, layout.step, layout.cell, strict=True)]
    smooth = cv2.resize(mass, (spans[1], spans[0]), interpolation=cv2.INTER_LINEAR)
    if layout.cell == (1, 1):
        smooth = cv2.GaussianBlur(smooth, (0, 0), max(1.0, image_size[0] / _BLUR))
    full = np.zeros(image_size, dtype=np.float32)
    full[: spans[0], : spans[1]] = smooth
    top = float(np.quantile(full, BRIGHTEST)) or float(full.max())
    return (full / top).clip(0, 1) if top > 0 else full


def overlay(image: RgbImage, warmth: NDArray[np.float32]) -> RgbImage:
    """The image in grey under a map in colours, both (height, width)."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32)
    sized = cv2.resize(warmth, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_LINEAR)
    colours = matplotlib.colormaps["inferno"](sized)[..., :3].astype(np.float32) * 255
    blended: RgbImage = np.round(grey * (1 - OPACITY) + colours * OPACITY).astype(np.uint8)
    return blended


def map_rows(
    reader: ShardReader,
    models: Mapping[str, MapModel],
    indices: Sequence[int],
    references: Mapping[str, Floats],
    kinds: Sequence[MapKind],
) -> tuple[MapRow, ...]:
    """Overlays of some images, the clothes mask as an outline.

    Args:
        reader: The shards.
        models: By name of the checkpoint.
        indices: Images in the shards.
        references: Of each checkpoint, see :meth:`MapModel.maps`, rows as in ``indices``.
        kinds: Which maps.
    """
    rows = []
    for position, index in enumerate(indices):  # one by one, so that memory does not grow with their number
        part, cameras = slice(position, position + 1), [int(reader.ids.camera_id[index])]
        found = {name: model.maps([index], cameras, references[name][part], kinds) for name, model in models.items()}
        rows.append(_row(reader, models, found, index))
    return tuple(rows)


def _row(
    reader: ShardReader,
    models: Mapping[str, MapModel],
    found: Mapping[str, Mapping[MapKind, Tensor]],
    index: int,
) -> MapRow:
    card = image_card(reader.ids, index)
    image = shrink_image(reader.image(index), MAP_BOX)
    mask = shrink_labels(reader.mask(index).astype(np.uint8), MAP_BOX).astype(np.bool_)
    pictures = [(photo(mask_outline(image, mask, MAP_BOX), f"{card.image_id}, {card.text}"), "image", "")]
    for name, model in models.items():
        for kind, mass in found[name].items():
            layout = layout_of(kind, model.encoder, model.image_size)
            warmth = heat(mass[0].float().numpy(), layout, model.image_size)
            drawn = mask_outline(overlay(image, warmth), mask, MAP_BOX)
            pictures.append((photo(drawn, f"{kind} of {name}"), name, kind))
    return MapRow(card.image_id, card.text, tuple(pictures))


def map_section(
    shares: Mapping[str, Mapping[MapKind, Share | None]],
    differences: Mapping[MapKind, Difference | None],
    rows: Sequence[MapRow],
    queries: int,
    all_queries: int,
) -> Section:
    """The figure.

    Args:
        shares: By checkpoint and kind of map, over many queries.
        differences: By kind of map, the first checkpoint less the second; empty where there is only one.
        rows: Overlays of some images.
        queries: Queries that were measured.
        all_queries: Queries that have a right gallery item.
    """
    kinds = list(dict.fromkeys(kind for of_kind in shares.values() for kind in of_kind))
    table = []
    for name, of_kind in shares.items():
        for kind, share in of_kind.items():
            if share is None:
                table.append((name, kind, "–", "–", "–", "–", "–", "0"))
                continue
            table.append(
                (
                    name, kind, percent(share.mass["clothes"]) + _ends(share.interval),
                    percent(share.area["clothes"]),
                    number(share.mass["clothes"] / share.area["clothes"], 2) if share.area["clothes"] else "–",
                    percent(share.mass["body"]), percent(share.mass["background"]), f"{share.images:,}",
                )
            )  # fmt: skip
    head = ("checkpoint", "map", "mass on clothes", "area of clothes", "mass / area",
            *list(REGIONS.values())[1:], "images")  # fmt: skip
    tables = [Table(head, tuple(table), words=2)]
    if differences:
        both = " − ".join(shares)
        lines = [(kind, "–" if item is None else _points(item)) for kind, item in differences.items()]
        tables.append(Table(("map", f"mass on clothes, {both}, points"), tuple(lines)))
    some = "all" if queries == all_queries else f"{queries:,} of"
    files = {"maps.png": _file(rows)} if rows else {}
    return Section(
        notes=(
            f"Maps of {some} {all_queries:,} queries that have a right gallery item. Gradients are those of the cosine "
            f"between the query's feature and the mean feature of its right gallery items.",
            " ".join(f"{kind}: {MEANINGS[kind]}." for kind in kinds),
            "Mass on clothes: the share of a map that falls on the clothes mask, mean over the images whose mask is "
            "not empty, and its 95% interval over people. A map that is equal everywhere has the share that clothes "
            "have of the area; 1 in the column mass / area is that level.",
        ),
        numbers={
            "queries": queries,
            "checkpoints": {
                name: {kind: None if share is None else asdict(share) for kind, share in of_kind.items()}
                for name, of_kind in shares.items()
            },
            "differences": {kind: None if item is None else asdict(item) for kind, item in differences.items()},
            "shown": [row.name for row in rows],
        },
        tables=tuple(tables),
        maps=tuple(rows),
        files=files,
    )


def _ends(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f" ({100 * interval[0]:.1f}–{100 * interval[1]:.1f})"


def _points(difference: Difference) -> str:
    """Signed points with their interval."""
    signed = f"{100 * difference.mean:+.1f}"
    ends = (
        "" if difference.interval is None else " ({:+.1f} to {:+.1f})".format(*(100 * e for e in difference.interval))
    )
    return (signed + ends).replace("-", "\u2212")


def _file(rows: Sequence[MapRow]) -> bytes:
    head = ["\n".join(part for part in (name, kind) if part) for _, name, kind in rows[0].pictures]
    return mosaic(head, [[Tile(picture, "") for picture, _, _ in row.pictures] for row in rows])
