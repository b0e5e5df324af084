"""Mistakes that change published numbers, caught before or after scoring."""

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.chance import expected_average_precision, harmonic_numbers
from pipeline.evaluation.protocols import Protocol, good_items
from pipeline.evaluation.ranking import Retrieval
from pipeline.features.feature_set import NO_ID, FeatureSet, Integers

SHOWN = 5
SAME_FEATURE = 1 - 1e-5
FEWEST_QUERIES = 5
STANDARD_ERRORS = 4


def _without_role(items: FeatureSet) -> NDArray[np.str_]:
    """Names without a leading ``role/``, as the names of a manifest have it."""
    names = [
        name.removeprefix(f"{role}/") for name, role in zip(items.image_id.tolist(), items.role.tolist(), strict=True)
    ]
    return np.asarray(names, dtype=np.str_)


def _pairs_of_one_name(query: NDArray[np.str_], gallery: NDArray[np.str_]) -> tuple[Integers, Integers]:
    """All pairs of a query and a gallery item that have one name, which is not empty: positions of both, (pairs,)."""
    order = np.argsort(gallery, kind="stable")
    names = gallery[order]
    start, end = np.searchsorted(names, query, side="left"), np.searchsorted(names, query, side="right")
    count = np.where(query == "", 0, end - start)
    of_query = np.repeat(np.arange(len(query)), count)
    offset = np.arange(len(of_query)) - np.repeat(np.cumsum(count) - count, count)
    return of_query, order[start[of_query] + offset]


def _pairs_of_one_image(query: FeatureSet, gallery: FeatureSet) -> tuple[Integers, Integers]:
    """Pairs of one image: with one name, or with one name but for the leading role and with equal features."""
    of_query, of_gallery = _pairs_of_one_name(query.image_id, gallery.image_id)
    if len(of_query):
        return of_query, of_gallery
    of_query, of_gallery = _pairs_of_one_name(_without_role(query), _without_role(gallery))
    cosine = np.einsum("nd,nd->n", query.features[of_query], gallery.features[of_gallery])
    equal = cosine > SAME_FEATURE
    return of_query[equal], of_gallery[equal]


def check_shared_images(query: FeatureSet, gallery: FeatureSet, protocol: Protocol) -> Integers:
    """Refuse a gallery in which a query would find its own image, which would rank first.

    A protocol that removes images of the query's person and camera removes the query's own image with them: there the
    copies do no harm, and the gallery can be scored without them.

    Args:
        query: As :func:`pipeline.evaluation.protocols.select` gives it.
        gallery: Likewise.
        protocol: Of both.

    Returns:
        Ascending gallery positions of the copies of queries, each of which its query's junk has.

    Raises:
        InputError: Images are shared and not removed.
    """
    of_query, of_gallery = _pairs_of_one_image(query, gallery)
    one_person = query.person_id[of_query] == gallery.person_id[of_gallery]
    ranked = ~one_person | good_items(query, of_query, gallery, of_gallery, protocol)
    if ranked.any():
        names = np.unique(_without_role(query.take(of_query[ranked])))
        raise InputError(
            f"protocol {protocol.name}: {len(np.unique(of_query[ranked]))} images are both query and gallery "
            f"(such as {', '.join(names[:SHOWN])}), and the protocol would rank them; "
            f"an image must not be searched among itself"
        )
    return np.unique(of_gallery)


def copies_warning(copies: Integers, protocol: Protocol) -> str | None:
    """A sentence if copies of queries were left out of the gallery."""
    if not len(copies):
        return None
    return (
        f"protocol {protocol.name}: {len(copies)} gallery images are queries as well; they were left out of the "
        f"gallery, so that no query meets a copy of itself or of another one"
    )


def training_identities_warning(query: FeatureSet, train: FeatureSet, protocol: Protocol) -> str | None:
    """A sentence if query identities of the protocol are in the training rows as well."""
    scored = np.unique(query.person_id)
    shared = np.intersect1d(scored, train.person_id)
    if not len(shared):
        return None
    names = ", ".join(map(str, shared[:SHOWN]))
    return (
        f"protocol {protocol.name}: {len(shared)} of {len(scored)} query identities are in the training set "
        f"(such as {names}): the numbers flatter"
    )


def missing_cameras_warning(features: FeatureSet, protocol: Protocol) -> str | None:
    """A sentence if a protocol that removes images of the query's camera meets images without a camera."""
    if protocol.camera != "camera":
        return None
    scored = np.isin(features.role, (*protocol.query_roles, *protocol.gallery_roles))
    missing = int((features.camera_id[scored] == NO_ID).sum())
    if not missing:
        return None
    return (
        f"protocol {protocol.name}: {missing} of {int(scored.sum())} images have no camera_id; "
        "each counts as taken by a camera of its own, so that none is removed as junk"
    )


def repeated_names_warning(gallery: FeatureSet, protocol: Protocol) -> str | None:
    """A sentence if an image stands in the gallery more than once."""
    names = gallery.image_id
    repeated = len(names) - len(np.unique(names)) if (names != "").all() else 0
    if not repeated:
        return None
    return f"protocol {protocol.name}: {repeated} gallery rows repeat the image_id of another; each was counted"


def chance_and_worst(good: Integers, kept: int) -> tuple[float, float]:
    """Mean over queries of the expected AP of a random ranking, and of the AP with all good items ranked last.

    Args:
        good: Good items of each query, each at least 1, (Q,).
        kept: Gallery items that are ranked.
    """
    harmonic = harmonic_numbers(kept)
    worst = 1 - (kept - good) / good * (harmonic[kept] - harmonic[kept - good])
    return float(expected_average_precision(good, kept).mean()), float(worst.mean())


def swapped_warning(name: str, retrieval: Retrieval) -> str | None:
    """A sentence if the ranking is clearly worse than chance, as when distance and similarity were swapped.

    Clearly: the mean AP is nearer to that of the worst ranking than to that of a random one, and below the latter by
    more than four standard errors.
    """
    valid = retrieval.valid
    if valid.sum() < FEWEST_QUERIES:
        return None
    precision = retrieval.average_precision[valid]
    kept = len(retrieval.gallery_image_id) - int(retrieval.junk[valid].max())
    chance, worst = chance_and_worst(np.minimum(retrieval.good[valid], kept), kept)
    error = precision.std(ddof=1) / np.sqrt(len(precision))
    if precision.mean() > (chance + worst) / 2 or precision.mean() > chance - STANDARD_ERRORS * error:
        return None
    return (
        f"protocol {name}: mAP {100 * precision.mean():.2f} is far below that of a random ranking, "
        f"{100 * chance:.2f}; were similarity and distance swapped, or distances written as features?"
    )
