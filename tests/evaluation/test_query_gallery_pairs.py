"""Protocols whose galleries differ: pairs of subsets (CHIRLA), states of clothing (CCPG), degrees of change (NKUP+)."""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation.metrics import METRICS, evaluate, evaluate_selected
from pipeline.evaluation.pairs import pairs_of
from pipeline.evaluation.protocols import PROTOCOLS, find_protocols, select
from pipeline.evaluation.settings import RerankSettings
from pipeline.features.feature_set import FeatureSet, concatenate, normalise_rows

CHIRLA = PROTOCOLS["chirla"]


def items(role: str, person: list[int], seed: int, camera: int = 1, tracklet: int = 0) -> FeatureSet:
    count = len(person)
    return FeatureSet(
        features=normalise_rows(np.random.default_rng(seed).standard_normal((count, 6)).astype(np.float32)),
        image_id=np.array([f"{role}/{seed}-{number}" for number in range(count)]),
        role=np.full(count, role),
        person_id=np.asarray(person),
        camera_id=np.full(count, camera),
        clothes_id=np.full(count, -1),
        tracklet_id=tracklet + np.arange(count),
    )


@pytest.fixture
def chirla() -> FeatureSet:
    return concatenate(
        [
            items("query_1", [1, 2, 2, -5], 1),
            items("query_2", [1, 3, 3, 3, 4], 2),
            items("query_7", [9], 3),  # no gallery of its own
            items("query_9", [-2, -3], 4),  # unknown persons alone
            items("val_query", [1, 2], 5),
            items("gallery_1", [2, 1, 3, 1, 2], 6),
            items("gallery_2", [3, 3, 1, 2, 3, 1], 7),
            items("gallery_3", [1, 2, 9], 8),  # no queries
            items("gallery_9", [1, 2], 9),
            items("val_gallery", [1, 2], 10),
        ]
    )


def naive(features: FeatureSet, pairs: list[tuple[str, str]]) -> dict[str, float]:
    """Each pair by sorting, one query after another; then the mean over pairs that have a query with a match."""
    means = []
    for asked, searched in pairs:
        query, gallery = features.with_role(asked), features.with_role(searched)
        values = []
        for feature, person in zip(query.features, query.person_id, strict=True):
            order = np.argsort(-(gallery.features @ feature), kind="stable")
            ranks = np.flatnonzero(gallery.person_id[order] == person) + 1
            if len(ranks):
                precision = np.mean(np.arange(1, len(ranks) + 1) / ranks)
                values.append([ranks[0] <= 1, ranks[0] <= 5, precision, len(ranks) / ranks[-1]])
        if values:
            means.append(np.mean(values, axis=0))
    return dict(zip(("rank1", "rank5", "mAP", "mINP"), 100 * np.mean(means, axis=0), strict=True))


def test_pairs_are_scored_apart_and_count_the_same(chirla: FeatureSet) -> None:
    entry, [retrieval] = evaluate(chirla, CHIRLA)
    for name, value in naive(chirla, [("query_1", "gallery_1"), ("query_2", "gallery_2")]).items():
        assert entry[name] == pytest.approx(value, abs=1e-3)
    assert (entry["pairs"], entry["n_query"], entry["n_gallery"]) == (2, 12, 16)
    assert entry["n_skipped"] == 5  # -5; 4, who is in no gallery; 9, whose gallery is missing; -2 and -3
    assert entry["mAP_sd"] > 0
    assert all(len(entry[f"{name}_interval"]) == 2 for name in METRICS)
    low, high = entry["mAP_interval"]
    assert low <= entry["mAP"] <= high
    assert retrieval.image_id[retrieval.valid].tolist() == [
        f"query_1/1-{number}" for number in range(3)
    ] + [f"query_2/2-{number}" for number in range(4)]  # fmt: skip


def test_the_best_items_of_a_query_are_of_its_own_gallery(chirla: FeatureSet) -> None:
    sides = select(chirla, CHIRLA)
    _, [retrieval] = evaluate_selected(*sides, CHIRLA, 0, depth=3)
    for row, (query, head) in enumerate(zip(retrieval.image_id, retrieval.head, strict=True)):
        names = retrieval.gallery_image_id[head[head >= 0]].tolist()
        own = f"gallery_{query.split('/')[0].removeprefix('query_')}/"
        assert all(name.startswith(own) for name in names)
        assert len(names) == {"gallery_1/": 3, "gallery_2/": 3, "gallery_7/": 0, "gallery_9/": 2}[own]
        persons = sides[1].person_id[head[head >= 0]]
        assert retrieval.head_good[row, : len(names)].tolist() == (persons == retrieval.person_id[row]).tolist()


def test_re_ranking_stays_within_a_pair(chirla: FeatureSet) -> None:
    query, gallery = select(chirla, CHIRLA)
    settings = RerankSettings(rerank_neighbours=3, rerank_averaged=2)
    whole, _ = evaluate_selected(query, gallery, CHIRLA, 0, reranking=settings)
    alone = []
    for rows, positions in pairs_of(query, gallery, CHIRLA)[:2]:
        entry, _ = evaluate_selected(
            query.take(rows), gallery.take(positions), PROTOCOLS["last"], 0, reranking=settings
        )
        alone.append(entry["mAP"])
    assert whole["mAP"] == pytest.approx(np.mean(alone), abs=1e-3)
    assert "re-ranked" in whole["meaning"]


def test_no_match_in_any_pair_is_one_clear_line() -> None:
    features = concatenate([items("query_1", [1], 1), items("gallery_1", [2], 2), items("gallery_2", [1], 3)])
    with pytest.raises(InputError, match="protocol chirla: no query has a good gallery item"):
        evaluate(features, CHIRLA)
    with pytest.raises(InputError, match=r"protocol chirla: no gallery rows \(role gallery_1 or gallery_2"):
        evaluate(items("query_1", [1], 1), CHIRLA)


CCPG = {"U0_D0_BG": 1, "U0_D0": 2, "U1_D0": 3, "U3_D3": 4, "U1_D1": 5, "U2_D2": 6, "U0_D3": 7}


@pytest.mark.parametrize(
    ("name", "asked", "searched"),
    [
        ("ccpg:cl", ["U0_D0", "U0_D0_BG"], ["U1_D1", "U2_D2", "U3_D3"]),
        ("ccpg:up", ["U3_D3"], ["U0_D3"]),
        ("ccpg:dn", ["U1_D0"], ["U1_D1"]),
        ("ccpg:bg", ["U0_D0_BG"], ["U0_D0"]),
    ],
)
def test_ccpg_chooses_by_what_is_worn_and_leaves_the_own_camera_out(
    name: str, asked: list[str], searched: list[str]
) -> None:
    parts = [
        items(state, [101, 102, 103], 10 * number + camera, camera, 100 * number + 10 * camera)
        for state, number in CCPG.items()
        for camera in (1, 2)
    ]
    [protocol] = find_protocols(name)
    query, gallery = select(concatenate(parts), protocol)
    assert sorted(set(query.role.tolist())) == asked
    assert sorted(set(gallery.role.tolist())) == searched
    _, [retrieval] = evaluate(concatenate(parts), protocol, resamples=0)
    assert retrieval.good.tolist() == [len(searched)] * len(query)  # one tracklet of the other camera in each state
    assert retrieval.junk.tolist() == [len(searched)] * len(query)


@pytest.mark.parametrize("kind", ["same", "moderate", "dramatic"])
def test_nkup_plus_has_a_gallery_for_each_degree_of_change(kind: str) -> None:
    parts = [items("query", [1, 2], 1)]
    parts += [
        items(f"gallery_{each}", [1, 2], 2 + n, camera=2) for n, each in enumerate(("same", "moderate", "dramatic"))
    ]
    entry, [retrieval] = evaluate(concatenate(parts), PROTOCOLS[f"nkup_plus:{kind}"], resamples=0)
    assert (entry["n_query"], entry["n_gallery"]) == (2, 2)
    assert {name.split("/")[0] for name in retrieval.gallery_image_id.tolist()} == {f"gallery_{kind}"}
