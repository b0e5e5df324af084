"""Figure 7 of the paper: test features of chosen identities in two dimensions, by t-SNE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.evaluation.features import NO_ID, FeatureSet, Floats, Integers
from pipeline.figures.drawing import MARKER_NAMES, identity_colours, scatter
from pipeline.figures.section import Plot, Section, Table, number
from pipeline.reporting.sheets import LegendEntry

FEWEST_POINTS = 5
EXACT_UP_TO = 500
"""So many points go through the exact algorithm, more through Barnes-Hut's approximation."""

START_SCALE = 1e-4
"""Standard deviation of the first coordinate at the start."""
TINY = 1e-12


@dataclass(frozen=True)
class Chosen:
    """Images of some identities.

    Attributes:
        rows: Positions in the features, ascending, (N,).
        identities: Person ids, those with the most images first.
        left_out: Images of them that were not drawn.
    """

    rows: Integers
    identities: tuple[int, ...]
    left_out: int


@dataclass(frozen=True)
class Embedding:
    """Points of one checkpoint.

    Attributes:
        points: (N, 2).
        identity_silhouette: Mean silhouette of the identities in the features' own space (cosine distance), in
            [-1, 1]; 1: every image is far nearer to its own person's images than to any other person's. None
            where nobody has two images.
        outfit_silhouette: The same of the outfits; None where no two outfits are known, or none has two images.
    """

    points: NDArray[np.float32]
    identity_silhouette: float | None
    outfit_silhouette: float | None


def choose_identities(items: FeatureSet, count: int, most_images: int, seed: int, wanted: Sequence[int] = ()) -> Chosen:
    """Choose images of some identities.

    Args:
        items: Features with their ids.
        count: Identities, those with the most images; of equal ones those with the smaller id.
        most_images: Images of all of them together; each identity has an equal share at the most, drawn at random.
        seed: Decides the draw.
        wanted: Person ids that are taken instead.

    Raises:
        InputError: A person is not there, or there are fewer than two people, or too few images.
    """
    people, counts = np.unique(items.person_id, return_counts=True)
    if wanted:
        absent = [person for person in wanted if person not in people]
        if absent:
            raise InputError(
                f"--identity {absent[0]}: no query or gallery image shows this person; the ids are {people[0]} to "
                f"{people[-1]}"
            )
        chosen = list(dict.fromkeys(wanted))
    else:
        chosen = people[np.argsort(-counts, kind="stable")[:count]].tolist()
    if len(chosen) < 2:
        raise InputError("a map needs at least two identities")
    generator = np.random.default_rng([seed, 33])
    each = max(1, most_images // len(chosen))
    drawn, left_out = [], 0
    for person in chosen:
        rows = np.flatnonzero(items.person_id == person)
        drawn.append(rows if len(rows) <= each else generator.choice(rows, each, replace=False))
        left_out += max(0, len(rows) - each)
    rows = np.sort(np.concatenate(drawn)).astype(np.int64)
    if len(rows) < FEWEST_POINTS:
        raise InputError(f"the chosen identities have {len(rows)} images; a map needs at least {FEWEST_POINTS}")
    return Chosen(rows, tuple(int(person) for person in chosen), left_out)


def _start(features: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    """Where the points begin: the first two principal components, tiny; random where all features are equal."""
    left, sizes, _ = np.linalg.svd(features - features.mean(axis=0), full_matrices=False)
    components = np.zeros((len(features), 2))
    found = min(2, len(sizes))
    signs = np.sign(left[np.abs(left[:, :found]).argmax(axis=0), np.arange(found)])
    components[:, :found] = left[:, :found] * sizes[:found] * signs
    scale = components[:, 0].std()
    if scale < TINY:
        return np.random.default_rng([seed, 37]).standard_normal(components.shape) * START_SCALE
    started: NDArray[np.float64] = components * (START_SCALE / scale)
    return started


def tsne(features: Floats, perplexity: float, seed: int) -> NDArray[np.float32]:
    """t-SNE of L2-normalised features (N, D) to (N, 2), from the first two principal components.

    Between normalised features the squared Euclidean distance is twice the cosine distance. The perplexity is lowered
    to (N - 1) / 3 where there are few points.

    One thread does it all: several would add up Barnes-Hut's sums in the order in which they end, and no two maps need
    then be alike.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    values = features.astype(np.float64)
    with threadpool_limits(1):
        engine = TSNE(
            perplexity=min(perplexity, (len(values) - 1) / 3),
            init=_start(values, seed),
            learning_rate="auto",
            method="exact" if len(values) <= EXACT_UP_TO else "barnes_hut",
            random_state=seed,
            n_jobs=1,
        )
        points: NDArray[np.float32] = engine.fit_transform(values).astype(np.float32)
    return points


def _silhouette(features: Floats, labels: Integers) -> float | None:
    """Mean silhouette by cosine distance; None where the labels make fewer than two groups, or no group at all."""
    from sklearn.metrics import silhouette_score
    from threadpoolctl import threadpool_limits

    groups = len(np.unique(labels))
    if not 2 <= groups < len(labels):
        return None
    with threadpool_limits(1):
        return float(silhouette_score(features, labels, metric="cosine"))


def embed(items: FeatureSet, chosen: Chosen, perplexity: float, seed: int) -> Embedding:
    """The map of one checkpoint's features.

    Args:
        items: L2-normalised features.
        chosen: Which images.
        perplexity: Of t-SNE: about how many neighbours count.
        seed: Of t-SNE.
    """
    some = items.take(chosen.rows)
    dressed = some.clothes_id != NO_ID
    outfits = np.unique(np.stack([some.person_id, some.clothes_id], axis=1)[dressed], axis=0, return_inverse=True)[1]
    return Embedding(
        points=tsne(some.features, perplexity, seed),
        identity_silhouette=_silhouette(some.features, some.person_id),
        outfit_silhouette=_silhouette(some.features[dressed], outfits.reshape(-1)),
    )


def outfit_numbers(person_id: Integers, clothes_id: Integers) -> Integers:
    """Of each image the number of its outfit among the outfits of its person, from 0; -1 where it is not known."""
    numbers = np.full(len(person_id), -1, dtype=np.int64)
    for person in np.unique(person_id):
        rows = np.flatnonzero((person_id == person) & (clothes_id != NO_ID))
        numbers[rows] = np.unique(clothes_id[rows], return_inverse=True)[1]
    return numbers


def embedding_section(of: Mapping[str, Embedding], items: FeatureSet, chosen: Chosen, perplexity: float) -> Section:
    """The figure: a map for each checkpoint.

    Args:
        of: By name of the checkpoint.
        items: Ids of the images.
        chosen: Images that are shown.
        perplexity: That was asked for.
    """
    some = items.take(chosen.rows)
    place = {person: position for position, person in enumerate(chosen.identities)}
    identities = np.array([place[person] for person in some.person_id.tolist()], dtype=np.int64)
    outfits = outfit_numbers(some.person_id, some.clothes_id)
    names = [f"person {person}" for person in chosen.identities]
    plots, files, rows = [], {}, []
    for position, (name, item) in enumerate(of.items()):
        drawing = scatter(f"{name}: t-SNE of test features", item.points, identities, outfits, names)
        plots.append(Plot(name, "one point an image", drawing.page))
        files[f"tsne-{position + 1}.svg"] = drawing.file
        rows.append((name, number(item.identity_silhouette), number(item.outfit_silhouette)))
    known = int(outfits.max()) + 1
    marks = ", ".join(MARKER_NAMES[:known]) if known else ""
    outfit_note = f" Marks: the outfits of a person ({marks})." if known > 1 else ""
    drawn = f" {chosen.left_out:,} more images of them were left out at random." if chosen.left_out else ""
    return Section(
        notes=(
            f"t-SNE (perplexity {perplexity:g}, cosine distance) of {len(some):,} query and gallery images. "
            f"Colours: identities.{outfit_note}{drawn}",
            "Silhouette, of the features themselves and not of the map: how much nearer images are to their own group "
            "than to the nearest other, from −1 to 1. Distances between far groups on a map mean little.",
        ),
        numbers={
            "perplexity": perplexity,
            "image_id": some.image_id.tolist(),
            "person_id": some.person_id.tolist(),
            "outfit": outfits.tolist(),
            "checkpoints": {
                name: {
                    "identity_silhouette": item.identity_silhouette,
                    "outfit_silhouette": item.outfit_silhouette,
                    "points": [[round(x, 4), round(y, 4)] for x, y in item.points.astype(float).tolist()],
                }
                for name, item in of.items()
            },
        },
        plots=tuple(plots),
        legend=tuple(
            LegendEntry(name, colour, covered=False)
            for name, colour in zip(names, identity_colours(len(names)), strict=True)
        ),
        tables=(Table(("checkpoint", "silhouette of identities", "silhouette of outfits"), tuple(rows)),),
        files=files,
    )
