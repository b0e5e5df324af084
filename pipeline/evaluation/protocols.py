"""Protocols by name: which images are queries and gallery, and which gallery items are good, junk or distractors.

For a query an item of another identity is always a distractor. Among the items of its own identity a protocol tells the
good ones from the junk, which is removed before ranking.
"""

from dataclasses import dataclass, fields, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.features.feature_set import NO_ID, FeatureSet, Integers, normalise_rows

Clothes = Literal["any", "other", "same"]
Camera = Literal["camera", "tracklet", "image"]

QUERY_ROLES = ("query",)
GALLERY_ROLES = ("gallery",)
SINGLE_SHOT_DRAWS = 10
CHIRLA_PAIRS = 9
FRAME_ROWS = 4096


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
        average_tracklets: One feature a tracklet, the mean of its frames' normalised features (CCVID, CCPG).
        single_shot: One random gallery image an identity, several draws (PRCC).
        left_out: Person ids that are taken out (Market-1501's junk).
        paired: Queries of the first of the query roles are searched among the first of the gallery roles alone, and so
            on; each pair of roles counts the same (CHIRLA).
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
    paired: bool = False


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


def _ccpg() -> list[Protocol]:
    """Probe and gallery by what is worn: ``evaluate_CCPG`` of OpenGait, the general rule over averaged tracklets."""
    return [
        replace(
            GENERAL,
            name=f"ccpg:{kind}",
            meaning=f"tracklets; {meaning}, other camera",
            query_roles=query_roles,
            gallery_roles=gallery_roles,
            average_tracklets=True,
        )
        for kind, meaning, query_roles, gallery_roles in (
            ("cl", "other clothes", ("U0_D0_BG", "U0_D0"), ("U1_D1", "U2_D2", "U3_D3")),
            ("up", "another upper garment", ("U3_D3",), ("U0_D3",)),
            ("dn", "another lower garment", ("U1_D0",), ("U1_D1",)),
            ("bg", "the same clothes with and without a bag", ("U0_D0_BG",), ("U0_D0",)),
        )
    ]


def _nkup_plus() -> list[Protocol]:
    """One gallery for each degree of change."""
    return [
        replace(
            GENERAL,
            name=f"nkup_plus:{kind}",
            meaning=f"{meaning}, the general rule",
            gallery_roles=(f"gallery_{kind}",),
        )
        for kind, meaning in (
            ("same", "gallery: the query's appearance"),
            ("moderate", "gallery: other clothes, within three months"),
            ("dramatic", "gallery: other clothes, more than three months apart"),
        )
    ]


def _tracklets(dataset: str) -> list[Protocol]:
    return [
        replace(rule, name=f"{dataset}:{kind}", meaning=f"tracklets; {meaning}", average_tracklets=True)
        for kind, rule, meaning in (
            ("general", GENERAL, "same person, other camera"),
            ("cc", CLOTHES_CHANGING, "same person, other camera, other clothes"),
            ("sc", SAME_CLOTHES, "same person, other camera, same clothes"),
        )
    ]


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
    *_tracklets("ccvid"),
    replace(GENERAL, name="market1501", meaning="same person, other camera; id -1 removed, 0 kept", left_out=(-1,)),
    *_tracklets("mevid"),
    *_tracklets("vccr"),
    *_ccpg(),
    *_nkup_plus(),
    Protocol(
        "chirla",
        "same person; nothing is junk; queries of test_k among train_k, and the mean over these pairs",
        camera="image",
        query_roles=tuple(f"query_{number}" for number in range(1, CHIRLA_PAIRS + 1)),
        gallery_roles=tuple(f"gallery_{number}" for number in range(1, CHIRLA_PAIRS + 1)),
        paired=True,
    ),
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


def _average_tracklets(items: FeatureSet, rows: Integers, protocol: str) -> FeatureSet:
    """One row a tracklet, in the order of tracklet ids: the mean of its frames' normalised features."""
    tracklets, first, members = np.unique(items.tracklet_id[rows], return_index=True, return_inverse=True)
    for name in ("person_id", "camera_id", "clothes_id"):
        ids = getattr(items, name)[rows]
        mixed = tracklets[members[ids != ids[first][members]]]
        if len(mixed):
            raise InputError(f"protocol {protocol}: tracklet {mixed[0]} has frames with different {name}")
    sums = torch.zeros(len(tracklets), items.features.shape[1], dtype=torch.float64)
    for start in range(0, len(rows), FRAME_ROWS):
        part = slice(start, start + FRAME_ROWS)
        frames = torch.from_numpy(items.features[rows[part]]).double()
        sums.index_add_(0, torch.from_numpy(members[part]), frames)
    means = (sums.numpy() / np.bincount(members)[:, None]).astype(np.float32)
    labels = {
        field.name: getattr(items, field.name)[rows[first]] for field in fields(FeatureSet) if field.name != "features"
    }
    return FeatureSet(features=normalise_rows(means), **labels)


def _number_cameras(query: FeatureSet, gallery: FeatureSet, kind: Camera) -> tuple[Integers, Integers]:
    """What counts as the camera; an image without one gets a number of its own, so that it makes nothing junk."""
    name = "tracklet_id" if kind == "tracklet" else "camera_id"
    ids = np.concatenate([getattr(query, name), getattr(gallery, name)])
    alone = np.full(len(ids), True) if kind == "image" else ids == NO_ID
    numbers = np.unique(ids, return_inverse=True)[1].astype(np.int64)
    numbers[alone] = len(ids) + np.arange(np.count_nonzero(alone))
    return numbers[: len(query)], numbers[len(query) :]


def _side(features: FeatureSet, protocol: Protocol, kind: str, roles: tuple[str, ...]) -> FeatureSet:
    chosen = np.isin(features.role, roles) & ~np.isin(features.person_id, protocol.left_out)
    if protocol.cameras:
        chosen &= np.isin(features.camera_id, protocol.cameras)
    if not chosen.any():
        wanted = " or ".join(roles)
        if protocol.cameras:
            wanted += f", camera {' or '.join(map(str, protocol.cameras))}"
        found = ", ".join(np.unique(features.role).tolist())
        raise InputError(f"protocol {protocol.name}: no {kind} rows (role {wanted}); the features have roles {found}")
    needed = {
        "clothes_id": protocol.clothes != "any",
        "tracklet_id": protocol.camera == "tracklet" or protocol.average_tracklets,
    }
    for name in (name for name, is_needed in needed.items() if is_needed):
        missing = int((getattr(features, name)[chosen] == NO_ID).sum())
        if missing:
            what = name.replace("_id", " ids")
            raise InputError(f"protocol {protocol.name} needs {what}, but {missing} {kind} rows have none")
    if protocol.average_tracklets:
        return _average_tracklets(features, np.flatnonzero(chosen), protocol.name)
    return features.take(chosen)


def select(features: FeatureSet, protocol: Protocol) -> tuple[FeatureSet, FeatureSet]:
    """Queries and gallery of a protocol, each in the order of the features (tracklets: of their ids).

    Their ``camera_id`` is what the protocol counts as the camera, numbered anew over both.

    Raises:
        InputError: There is no query or no gallery item, or an id that the protocol needs is missing.
    """
    query = _side(features, protocol, "query", protocol.query_roles)
    gallery = _side(features, protocol, "gallery", protocol.gallery_roles)
    of_query, of_gallery = _number_cameras(query, gallery, protocol.camera)
    return replace(query, camera_id=of_query), replace(gallery, camera_id=of_gallery)


def _distinct(items: FeatureSet) -> FeatureSet:
    """One row of those that have the same person, camera and clothes."""
    labels = np.stack([items.person_id, items.camera_id, items.clothes_id])
    _, first = np.unique(labels, axis=1, return_index=True)
    return replace(items, features=items.features[:, :0]).take(first)


def has_good_items(query: FeatureSet, gallery: FeatureSet, protocol: Protocol) -> bool:
    """Whether any query has a good item."""
    query, gallery = _distinct(query), _distinct(gallery)
    order = np.argsort(gallery.person_id, kind="stable")
    persons = gallery.person_id[order]
    for row, person in enumerate(query.person_id.tolist()):
        start, end = np.searchsorted(persons, [person, person + 1])
        if good_items(query, row, gallery, order[start:end], protocol).any():
            return True
    return False


def why_no_good_items(query: FeatureSet, gallery: FeatureSet, protocol: Protocol) -> str:
    """Why no query has a good item, where :func:`has_good_items` says so: the first condition that none fulfils.

    Args:
        query: As :func:`select` gives it.
        gallery: Likewise.
        protocol: The protocol.
    """
    shared = np.intersect1d(query.person_id, gallery.person_id)
    if not len(shared):
        return (
            f"no query has a good gallery item: none of the {len(np.unique(query.person_id))} identities of the "
            f"queries is among the {len(np.unique(gallery.person_id))} of the gallery; are these the right files, "
            f"numbered alike?"
        )
    known = f"no query has a good gallery item: {len(shared)} identities are on both sides, but"
    if protocol.clothes == "any" or not has_good_items(query, gallery, replace(protocol, clothes="any")):
        cameras = len(np.unique(np.concatenate([query.camera_id, gallery.camera_id])))
        if protocol.camera == "tracklet":
            return f"{known} each of their gallery images is of the query's own tracklet, which the protocol leaves out"
        only = "all images have the same camera" if cameras == 1 else "none is seen by a second camera"
        return f"{known} {only}, and the protocol leaves out the images of the query's own camera"
    return (
        f"{known} in another camera none of them wears {'the same' if protocol.clothes == 'same' else 'other'} clothes"
    )


def good_items(
    query: FeatureSet, row: int | Integers, gallery: FeatureSet, same: Integers, protocol: Protocol
) -> NDArray[np.bool_]:
    """Which of the gallery items ``same`` (all of the query's identity) are good: boolean (len(same),).

    Args:
        query: All queries.
        row: Number of the query, or of the query of each item (len(same),).
        gallery: All gallery items.
        same: Their positions.
        protocol: Tells.
    """
    good: NDArray[np.bool_] = gallery.camera_id[same] != query.camera_id[row]
    if protocol.clothes == "any":
        return good
    equal = gallery.clothes_id[same] == query.clothes_id[row]
    good &= equal if protocol.clothes == "same" else ~equal
    return good
