"""Protocols by name: which images are queries and gallery, and which gallery items are good, junk or distractors.

For a query an item of another identity is always a distractor. Among the items of its own identity a protocol tells the
good ones from the junk, which is removed before ranking.
"""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.features import NO_ID, FeatureSet, Integers, normalise_rows

Clothes = Literal["any", "other", "same"]
Camera = Literal["camera", "tracklet", "image"]

QUERY_ROLES = ("query",)
GALLERY_ROLES = ("gallery",)
SINGLE_SHOT_DRAWS = 10


@dataclass(frozen=True)
class Protocol:
    """One way of scoring a data set.

    Attributes:
        name: As in metrics.json.
        meaning: One sentence for the report.
        clothes: A good item wears any, other or the same clothes; items of the query's identity with the wrong clothes
            are junk.
        camera: What counts as the camera, whose own items are junk: the camera itself, the tracklet (DeepChange), or
            the image, so that nothing is junk (LaST, Celeb-reID).
        cameras: Only images of these cameras take part; empty: of all.
        query_roles: Roles of the queries.
        gallery_roles: Roles of the gallery.
        average_tracklets: One feature a tracklet, the mean of its frames' normalised features (CCVID).
        single_shot: One random gallery image an identity, several draws (PRCC).
        left_out: Person ids that are taken out (Market-1501's junk).
    """

    name: str
    meaning: str
    clothes: Clothes = "any"
    camera: Camera = "camera"
    cameras: tuple[int, ...] = ()
    query_roles: tuple[str, ...] = QUERY_ROLES
    gallery_roles: tuple[str, ...] = GALLERY_ROLES
    average_tracklets: bool = False
    single_shot: bool = False
    left_out: tuple[int, ...] = ()


GENERAL = Protocol("general", "same person, other camera; clothes do not matter")
CLOTHES_CHANGING = Protocol(
    "cc", "same person, other camera, other clothes; the same clothes are junk", clothes="other"
)
SAME_CLOTHES = Protocol("sc", "same person, other camera, same clothes; other clothes are junk", clothes="same")

_PRCC_GALLERY = ("gallery", "test_a")


def _prcc(kind: str, query_roles: tuple[str, ...], clothes: str) -> list[Protocol]:
    multi = Protocol(
        f"prcc:{kind}:multi-shot",
        f"gallery: all images of camera A; query: {clothes}",
        query_roles=query_roles,
        gallery_roles=_PRCC_GALLERY,
    )
    single = replace(
        multi,
        name=f"prcc:{kind}:single-shot",
        meaning=f"gallery: one random image of camera A an identity, {SINGLE_SHOT_DRAWS} draws; query: {clothes}",
        single_shot=True,
    )
    return [multi, single]


_ALL = [
    GENERAL,
    CLOTHES_CHANGING,
    SAME_CLOTHES,
    *_prcc("sc", ("query_sc", "test_b"), "camera B, the same clothes"),
    *_prcc("cc", ("query_cc", "test_c"), "camera C, other clothes"),
    replace(GENERAL, name="vcclothes:general", meaning="all four cameras, the general rule"),
    replace(GENERAL, name="vcclothes:sc", meaning="cameras 2 and 3 (same clothes), the general rule", cameras=(2, 3)),
    replace(GENERAL, name="vcclothes:cc", meaning="cameras 3 and 4 (other clothes), the general rule", cameras=(3, 4)),
    replace(GENERAL, name="deepchange", meaning="same person, other tracklet, of any camera", camera="tracklet"),
    replace(GENERAL, name="last", meaning="same person; nothing is junk", camera="image"),
    replace(GENERAL, name="celeb", meaning="same person; nothing is junk", camera="image"),
    replace(GENERAL, name="ccvid:general", meaning="tracklets; same person, other camera", average_tracklets=True),
    replace(
        CLOTHES_CHANGING,
        name="ccvid:cc",
        meaning="tracklets; same person, other camera, other clothes",
        average_tracklets=True,
    ),
    replace(GENERAL, name="market1501", meaning="same person, other camera; id -1 removed, 0 kept", left_out=(-1,)),
]
PROTOCOLS = {protocol.name: protocol for protocol in _ALL}


def find_protocols(name: str) -> list[Protocol]:
    """The protocol of a name; ``prcc:sc`` and ``prcc:cc`` stand for both multi-shot and single-shot.

    Raises:
        InputError: There is none.
    """
    found = [protocol for key, protocol in PROTOCOLS.items() if key == name or key.startswith(f"{name}:")]
    if not found or (":" not in name and name not in PROTOCOLS):
        raise InputError(f"unknown protocol {name!r}; known: {', '.join(PROTOCOLS)}")
    return found


def _average_tracklets(items: FeatureSet) -> FeatureSet:
    """One row a tracklet: the mean of its frames' normalised features, ids of its first frame."""
    if (items.tracklet_id == NO_ID).any():
        raise InputError("this protocol averages tracklets, but the features have rows without a tracklet_id")
    tracklets, first, members = np.unique(items.tracklet_id, return_index=True, return_inverse=True)
    sums = np.zeros((len(tracklets), items.features.shape[1]), dtype=np.float64)
    np.add.at(sums, members, items.features)
    means = sums / np.bincount(members)[:, None]
    return replace(items.take(first), features=normalise_rows(means.astype(np.float32)))


def _cameras_of(items: FeatureSet, kind: Camera) -> Integers:
    """What counts as the camera; an image without one has a camera of its own, so that it makes nothing junk."""
    if kind == "image":
        return -2 - np.arange(len(items), dtype=np.int64)
    ids = items.camera_id if kind == "camera" else items.tracklet_id
    if kind == "tracklet" and (ids == NO_ID).any():
        raise InputError("this protocol compares tracklets, but the features have rows without a tracklet_id")
    return np.where(ids == NO_ID, -2 - np.arange(len(items), dtype=np.int64), ids)


def select(features: FeatureSet, protocol: Protocol) -> tuple[FeatureSet, FeatureSet]:
    """Queries and gallery of a protocol; their ``camera_id`` is what the protocol counts as the camera.

    Raises:
        InputError: There is no query or no gallery item, or an id that the protocol needs is missing.
    """
    sides = []
    for kind, roles in (("query", protocol.query_roles), ("gallery", protocol.gallery_roles)):
        side = features.with_role(*roles)
        side = side.take(~np.isin(side.person_id, protocol.left_out))
        if protocol.cameras:
            side = side.take(np.isin(side.camera_id, protocol.cameras))
        if not len(side):
            wanted = " or ".join(roles) + (f" and camera {protocol.cameras}" if protocol.cameras else "")
            found = ", ".join(sorted(set(features.role.tolist())))
            raise InputError(
                f"protocol {protocol.name}: no {kind} rows (role {wanted}); the features have roles {found}"
            )
        if protocol.clothes != "any" and (side.clothes_id == NO_ID).any():
            missing = int((side.clothes_id == NO_ID).sum())
            raise InputError(f"protocol {protocol.name} needs clothes ids, but {missing} {kind} rows have none")
        side = _average_tracklets(side) if protocol.average_tracklets else side
        sides.append(replace(side, camera_id=_cameras_of(side, protocol.camera)))
    query, gallery = sides
    if protocol.camera == "image" or (query.camera_id < NO_ID).any():
        # own cameras of queries must not meet those of gallery items by number
        query = replace(
            query, camera_id=np.where(query.camera_id < NO_ID, query.camera_id - len(gallery), query.camera_id)
        )
    return query, gallery


def good_items(
    query: FeatureSet, row: int, gallery: FeatureSet, same: Integers, protocol: Protocol
) -> NDArray[np.bool_]:
    """Which of the gallery items ``same`` (all of the query's identity) are good: boolean (len(same),)."""
    good: NDArray[np.bool_] = gallery.camera_id[same] != query.camera_id[row]
    if protocol.clothes == "any":
        return good
    equal = gallery.clothes_id[same] == query.clothes_id[row]
    good &= equal if protocol.clothes == "same" else ~equal
    return good
