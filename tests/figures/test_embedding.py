"""t-SNE of chosen identities: clusters stay together, choices and seeds hold, silhouettes are those of a plain loop."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest
from sklearn.manifold import TSNE
from threadpoolctl import threadpool_info, threadpool_limits

from pipeline.errors import InputError
from pipeline.evaluation.features import NO_ID, FeatureSet, normalise_rows
from pipeline.figures.embedding import choose_identities, embed, embedding_section, outfit_numbers, tsne


def people(person, clothes=None, features=None) -> FeatureSet:
    person = np.asarray(person)
    count = len(person)
    if features is None:
        features = normalise_rows(np.random.default_rng(0).standard_normal((count, 6)).astype(np.float32))
    none = np.full(count, NO_ID)
    return FeatureSet(
        features, np.array([f"i{n}" for n in range(count)]), np.full(count, "query"), person, none,
        none if clothes is None else np.asarray(clothes), none,
    )  # fmt: skip


@pytest.fixture(scope="module")
def clusters() -> FeatureSet:
    """Four people of 15 images each, far apart from each other."""
    person = np.repeat([3, 5, 7, 9], 15)
    centres = np.random.default_rng(0).standard_normal((10, 16))
    noise = np.random.default_rng(1).standard_normal((60, 16)) * 0.1
    return people(person, np.tile([0, 1, 2], 20), normalise_rows((centres[person] + noise).astype(np.float32)))


def test_separable_clusters_stay_apart_on_the_map(clusters):
    points = tsne(clusters.features, perplexity=10, seed=0)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    nearest = np.argsort(distances, axis=1)[:, :5]
    assert (clusters.person_id[nearest] == clusters.person_id[:, None]).all()


def test_the_same_seed_gives_the_same_map(clusters):
    one, again = (tsne(clusters.features, perplexity=10, seed=4) for _ in range(2))
    assert np.array_equal(one, again)


def test_one_thread_makes_the_map_and_then_there_are_as_many_as_before(clusters, monkeypatch):
    """With three threads or more Barnes-Hut's sums are added up in another order each time."""
    original, seen = TSNE.fit_transform, []

    def numbers():
        return [library["num_threads"] for library in threadpool_info()]

    def watched(engine, values):
        seen.append(set(numbers()))
        return original(engine, values)

    monkeypatch.setattr(TSNE, "fit_transform", watched)
    with threadpool_limits(3):
        before = numbers()
        tsne(clusters.features, perplexity=10, seed=0)
        assert numbers() == before
    assert seen == [{1}]
    assert 3 in before


def test_few_points_and_equal_features_still_give_a_map():
    assert tsne(np.eye(5, dtype=np.float32), perplexity=30, seed=0).shape == (5, 2)
    assert np.isfinite(tsne(np.ones((6, 3), dtype=np.float32), perplexity=30, seed=0)).all()


def test_the_identities_with_the_most_images_are_chosen_and_shares_are_equal():
    items = people(np.repeat([1, 2, 3, 4], [3, 9, 5, 5]))
    assert choose_identities(items, 3, 1000, 0).identities == (2, 3, 4)
    chosen = choose_identities(items, 3, 12, 0)
    assert np.unique(items.person_id[chosen.rows], return_counts=True)[1].tolist() == [4, 4, 4]
    assert chosen.left_out == 5 + 1 + 1
    assert np.array_equal(chosen.rows, choose_identities(items, 3, 12, 0).rows)
    assert choose_identities(items, 3, 1000, 0, wanted=[4, 1, 4]).identities == (4, 1)


def test_people_that_are_not_there_and_too_few_images_are_refused():
    items = people([1, 1, 2, 2, 2])
    with pytest.raises(InputError, match="--identity 7: no query or gallery image shows this person"):
        choose_identities(items, 3, 100, 0, wanted=[1, 7])
    with pytest.raises(InputError, match="at least two identities"):
        choose_identities(items, 3, 100, 0, wanted=[1])
    with pytest.raises(InputError, match="have 4 images"):
        choose_identities(items.take(np.arange(4)), 3, 100, 0)


def naive_silhouette(features, labels) -> float:
    values = []
    for i, label in enumerate(labels):

        def mean(rows, i=i):
            return np.mean([1 - features[i] @ features[j] for j in rows])

        own = [j for j in range(len(labels)) if labels[j] == label and j != i]
        if not own:
            values.append(0.0)
            continue
        a = mean(own)
        b = min(mean([j for j in range(len(labels)) if labels[j] == other]) for other in set(labels) - {label})
        values.append((b - a) / max(a, b))
    return float(np.mean(values))


def test_silhouettes_are_those_of_a_plain_loop(clusters):
    items = people(np.repeat([1, 2, 3], 5), [0, 0, 1, 1, -1] * 3)
    found = embed(items, choose_identities(items, 3, 100, 0), 5, 0)
    assert found.identity_silhouette == pytest.approx(naive_silhouette(items.features, items.person_id.tolist()), 1e-4)
    dressed = items.take(items.clothes_id >= 0)
    outfits = list(zip(dressed.person_id.tolist(), dressed.clothes_id.tolist(), strict=True))
    assert found.outfit_silhouette == pytest.approx(naive_silhouette(dressed.features, outfits), 1e-4)
    assert embed(clusters, choose_identities(clusters, 4, 100, 0), 5, 0).identity_silhouette > 0.8
    singles = people([1, 2, 3, 4, 5])
    assert embed(singles, choose_identities(singles, 5, 100, 0), 5, 0).identity_silhouette is None
    bare = people(np.repeat([1, 2], 4))
    assert embed(bare, choose_identities(bare, 2, 100, 0), 5, 0).outfit_silhouette is None


def test_outfits_are_numbered_within_their_person():
    numbers = outfit_numbers(np.array([1, 1, 1, 2, 2]), np.array([40, -1, 30, 40, 40]))
    assert numbers.tolist() == [1, -1, 0, 0, 0]


def test_the_section_has_a_well_formed_file_and_the_points(clusters):
    chosen = choose_identities(clusters, 4, 20, 0)
    maps = {"a$\\b$<c>": embed(clusters, chosen, 5, 0)}
    section = embedding_section(maps, clusters, chosen, 5)
    root = ET.fromstring(section.files["tsne-1.svg"])
    assert "a$\\b$<c>: t-SNE" in "".join(root.itertext())
    assert len(section.numbers["checkpoints"]["a$\\b$<c>"]["points"]) == len(section.numbers["person_id"]) == 20
    assert len(section.legend) == 4
