"""Figure 5 of the paper: distances between learned prompts and the images of their own and of other classes.

Identity prompts should be near the shielding images of their person and should not know the clothes images; clothes
prompts should know the clothes images. All features are those of the frozen encoders, in whose space prompts are
learned.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np

from pipeline.features.feature_set import Floats, Integers, normalise_rows
from pipeline.reporting.figures.drawing import distributions
from pipeline.reporting.figures.section import Plot, Section, Table, distance, number
from pipeline.reporting.figures.separation import Distances, Separation, Spread, separation, spread

SUBJECTS = {
    "identity_shielding": "identity prompt and shielding image",
    "identity_clothes": "identity prompt and clothes image",
    "clothes_clothes": "clothes prompt and clothes image",
}
"""What is compared with what, in the order of the picture."""

CHUNK = 512


@dataclass(frozen=True)
class PromptFeatures:
    """Text features of learned prompts and the classes of some images.

    Attributes:
        identity_texts: (K, D).
        identities: Class number of each image, (N,).
        clothes_texts: (K_c, D); None where there are no clothes prompts.
        clothes: Clothes class of each image, (N,), negative where it has none.
    """

    identity_texts: Floats
    identities: Integers
    clothes_texts: Floats | None
    clothes: Integers


@dataclass(frozen=True)
class PromptDistances:
    """Distances of one subject.

    Attributes:
        matched: Of each image with the prompt of its own class.
        mismatched: With prompts of other classes.
        matched_spread: Summary.
        mismatched_spread: Summary.
        separation: How the two lie to each other.
    """

    matched: Distances
    mismatched: Distances
    matched_spread: Spread
    mismatched_spread: Spread
    separation: Separation


def _others(labels: Integers, classes: int, each: int, generator: np.random.Generator) -> Integers:
    """For each label ``each`` distinct other classes, (N, each)."""
    if each == classes - 1:
        drawn = np.broadcast_to(np.arange(each), (len(labels), each))
    else:
        drawn = np.stack([generator.choice(classes - 1, each, replace=False) for _ in labels])
    return drawn + (drawn >= labels[:, None])


def compare(images: Floats, texts: Floats, labels: Integers, wanted: int, seed: int) -> PromptDistances | None:
    """Distances of images with their own prompt and with others.

    Args:
        images: Features, (N, D).
        texts: Features of the prompts, (K, D).
        labels: Class of each image, (N,); images with a negative one are left out.
        wanted: Most mismatched pairs; every image has the same number of them, at least one.
        seed: Decides which.

    Returns:
        None where no image has a class, or there is only one class.
    """
    rows = np.flatnonzero(labels >= 0)
    if not len(rows) or len(texts) < 2:
        return None
    images, texts, labels = normalise_rows(images[rows]), normalise_rows(texts), labels[rows]
    each = min(len(texts) - 1, max(1, wanted // len(rows)))
    others = _others(labels, len(texts), each, np.random.default_rng([seed, 32]))
    matched = np.empty(len(rows), dtype=np.float32)
    mismatched = np.empty((len(rows), each), dtype=np.float32)
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        distances = 1 - images[part] @ texts.T
        matched[part] = np.take_along_axis(distances, labels[part, None], axis=1)[:, 0]
        mismatched[part] = np.take_along_axis(distances, others[part], axis=1)
    flat = mismatched.ravel()
    return PromptDistances(matched, flat, spread(matched), spread(flat), separation(matched, flat))


def prompt_distances(
    prompts: PromptFeatures, shielding: Floats, clothes: Floats, wanted: int, seed: int
) -> Mapping[str, PromptDistances]:
    """All subjects of :data:`SUBJECTS` that there are prompts for.

    Args:
        prompts: Prompts, and the classes of the images.
        shielding: Features of the shielding images, (N, D).
        clothes: Features of the clothes images of the same rows, (N, D).
        wanted: Most mismatched pairs a subject.
        seed: Decides which.
    """
    found = {
        "identity_shielding": compare(shielding, prompts.identity_texts, prompts.identities, wanted, seed),
        "identity_clothes": compare(clothes, prompts.identity_texts, prompts.identities, wanted, seed),
    }
    if prompts.clothes_texts is not None:
        found["clothes_clothes"] = compare(clothes, prompts.clothes_texts, prompts.clothes, wanted, seed)
    return {subject: distances for subject, distances in found.items() if distances is not None}


def prompt_section(of: Mapping[str, Mapping[str, PromptDistances]], images: int) -> Section:
    """The figure: a plot for each prompts checkpoint and subject.

    Args:
        of: By name of the prompts checkpoint, its subjects.
        images: Training images that were used.
    """
    plots, files, rows = [], {}, []
    for subject, meaning in SUBJECTS.items():
        found = [(position, name, item[subject]) for position, (name, item) in enumerate(of.items()) if subject in item]
        every = [values for _, _, item in found for values in (item.matched, item.mismatched)]
        low, high = min(map(np.min, every), default=0.0), max(map(np.max, every), default=1.0)
        limits = (float(low), float(high))
        for position, name, item in found:
            series = [("own class", item.matched), ("other classes", item.mismatched)]
            drawing = distributions(f"{name}: {meaning}", series, limits, "cosine distance")
            plots.append(Plot(name, meaning, drawing.page))
            files[f"prompt-distances-{position + 1}-{subject.replace('_', '-')}.svg"] = drawing.file
            rows.append(_row(name, meaning, item))
    head = ("prompts", "distance of", "own class", "other classes", "AUC", "d′", "overlap")
    return Section(
        notes=(
            f"Cosine distances between learned prompts and {images:,} training images, all encoded by the frozen CLIP, "
            f"in whose space the prompts were learned.",
            "AUC: chance that the prompt of an image's own class is nearer than another's. Identity prompts that know "
            "the person and not the clothes have a high AUC with shielding images and near 0.5 with clothes images.",
        ),
        numbers={
            name: {
                subject: {
                    "matched": asdict(value.matched_spread),
                    "mismatched": asdict(value.mismatched_spread),
                    "separation": asdict(value.separation),
                }
                for subject, value in item.items()
            }
            for name, item in of.items()
        },
        plots=tuple(plots),
        tables=(Table(head, tuple(rows), words=2),),
        files=files,
    )


def _row(name: str, meaning: str, item: PromptDistances) -> tuple[str, ...]:
    apart = item.separation
    return (
        name,
        meaning,
        distance(item.matched_spread.mean),
        distance(item.mismatched_spread.mean),
        number(apart.auc),
        number(apart.d_prime, 2),
        number(apart.overlap, 2),
    )
