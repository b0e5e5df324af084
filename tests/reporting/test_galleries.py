"""Ranked galleries against a naive ranking, and which queries and protocol are chosen."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.evaluation.per_query import ScoredQueries, write_per_query
from pipeline.evaluation.protocols import CLOTHES_CHANGING, GENERAL, select
from pipeline.evaluation.ranking import score
from pipeline.features.feature_set import FeatureSet, normalise_rows
from pipeline.reporting.ranked import (
    choose_protocol,
    choose_queries,
    make_galleries,
    rank_queries,
    read_per_query,
)


@pytest.fixture(scope="module")
def features(people):
    """Random features of the queries and the gallery."""
    rows = people.select(["query", "gallery"])
    values = np.random.default_rng(8).standard_normal((len(rows), 6)).astype(np.float32)
    ids = people.ids
    return FeatureSet(
        features=normalise_rows(values),
        image_id=ids.image_id[rows].astype(str),
        role=ids.split[rows].astype(str),
        person_id=ids.person_id[rows],
        camera_id=ids.camera_id[rows].astype(np.int64),
        clothes_id=ids.clothes_id[rows],
        tracklet_id=ids.tracklet_id[rows],
    )


def naive_ranking(features, name, changing):
    """Gallery ids and marks for a query, its junk left out, and how much junk there was."""
    query = features.image_id.tolist().index(name)
    ranked, junk = [], 0
    for row in np.argsort(-(features.features @ features.features[query]), kind="stable"):
        if features.role[row] != "gallery":
            continue
        same = features.person_id[row] == features.person_id[query]
        bad = features.camera_id[row] == features.camera_id[query]
        bad |= changing and features.clothes_id[row] == features.clothes_id[query]
        if same and bad:
            junk += 1
        else:
            ranked.append((str(features.image_id[row]), bool(same)))
    return ranked, junk


def galleries_of(people, features, protocol, queries, depth):
    return make_galleries(people, rank_queries(features, protocol, depth), protocol, queries, seed=0)


@pytest.mark.parametrize("protocol", [GENERAL, CLOTHES_CHANGING], ids=["general", "cc"])
def test_rankings_are_the_naive_ones(people, features, protocol):
    galleries = galleries_of(people, features, protocol, 6, 4)
    assert galleries.protocol == protocol.name
    shown = [*galleries.random, *galleries.worst]
    assert len({ranking.query.card.image_id for ranking in shown}) == 6
    for ranking in shown:
        expected, junk = naive_ranking(features, ranking.query.card.image_id, protocol is CLOTHES_CHANGING)
        assert [(hit.card.image_id, hit.right) for hit in ranking.hits] == expected[:4]
        marks = [right for _, right in expected]
        assert ranking.result.junk_count == junk > 0
        assert ranking.result.right_count == sum(marks)
        assert ranking.result.first_right == marks.index(True) + 1
        hits = [rank for rank, right in enumerate(marks, 1) if right]
        assert ranking.result.average_precision == pytest.approx(np.mean([n / rank for n, rank in enumerate(hits, 1)]))


def test_pictures_are_those_of_the_named_images(people, features, pixels_of):
    galleries = galleries_of(people, features, GENERAL, 2, 3)
    rows = {name: row for row, name in enumerate(people.ids.image_id)}
    for ranking in [*galleries.random, *galleries.worst]:
        shown = [(ranking.query.card, ranking.query.picture), *((hit.card, hit.picture) for hit in ranking.hits)]
        for card, picture in shown:
            expected = people.image(rows[card.image_id]).astype(int)
            assert np.abs(pixels_of(picture.uri) - expected).mean() < 6
            assert f"person {people.ids.person_id[rows[card.image_id]]}" in card.lines


def test_the_worst_are_the_lowest_and_the_gallery_may_be_short(people, features):
    galleries = galleries_of(people, features, GENERAL, 6, 99)
    worst = [ranking.result.average_precision for ranking in galleries.worst]
    assert worst == sorted(worst)
    assert max(worst) <= min(ranking.result.average_precision for ranking in galleries.random)
    assert {len(ranking.hits) for ranking in galleries.worst} == {10}


def test_features_of_other_shards_are_refused(people, features):
    renamed = replace(features, image_id=np.array([f"other/{name}" for name in features.image_id]))
    with pytest.raises(InputError, match="run ccaf-pipeline extract and evaluate again"):
        galleries_of(people, renamed, GENERAL, 2, 2)


def test_the_table_of_evaluate_gives_the_same_galleries(people, features, tmp_path):
    query, gallery = select(features, GENERAL)
    found = score(query, gallery, GENERAL, depth=10)
    other = replace(found, average_precision=found.average_precision / 2)
    path = tmp_path / "queries.parquet"
    scored = [
        ScoredQueries("general", False, found),
        ScoredQueries("general", True, other),
        ScoredQueries("cc", False, other),
    ]
    write_per_query(path, scored)
    results = read_per_query(path, "general", 4)
    assert results == rank_queries(features, GENERAL, 4)
    assert make_galleries(people, results, GENERAL, 6, 0) == galleries_of(people, features, GENERAL, 6, 4)


def test_queries_that_the_protocol_skips_are_left_out(features, tmp_path):
    lonely = features.take((features.person_id != 4) | (features.role == "query"))
    names = [name for name, person in zip(lonely.image_id, lonely.person_id, strict=True) if person == 4]
    assert len(names) == 2
    assert not set(names) & {result.image_id for result in rank_queries(lonely, GENERAL, 3)}
    query, gallery = select(lonely, GENERAL)
    write_per_query(tmp_path / "q", [ScoredQueries("general", False, score(query, gallery, GENERAL, depth=3))])
    assert read_per_query(tmp_path / "q", "general", 3) == rank_queries(lonely, GENERAL, 3)


def test_other_tables_are_refused(tmp_path):
    path = tmp_path / "queries.parquet"
    with pytest.raises(InputError, match="run `ccaf-pipeline evaluate --per-query"):
        read_per_query(path, "cc", 3)
    path.write_text("no Parquet")
    with pytest.raises(InputError, match="is no table of evaluate --per-query"):
        read_per_query(path, "cc", 3)
    pq.write_table(pa.table({"protocol": ["cc"], "reranked": [3.5]}), path)
    with pytest.raises(InputError, match=r"queries\.parquet"):
        read_per_query(path, "cc", 3)
    write_per_query(path, [])
    with pytest.raises(InputError, match="has no query of protocol cc"):
        read_per_query(path, "cc", 3)


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(1, 12), st.integers(0, 3))
def test_chosen_queries_are_distinct_and_half_the_worst(precision, count, seed):
    random, worst = choose_queries(precision, count, seed)
    chosen = [*random, *worst]
    assert len(chosen) == len(set(chosen)) == min(count, len(precision))
    assert len(worst) == len(chosen) // 2
    assert random == sorted(random)
    rest = [value for query, value in enumerate(precision) if query not in worst]
    assert all(precision[query] <= value for query in worst for value in rest)
    assert choose_queries(precision, count, seed) == (random, worst)


def test_another_seed_draws_other_queries():
    precision = np.linspace(0, 1, 300).tolist()
    assert choose_queries(precision, 8, 0)[0] != choose_queries(precision, 8, 1)[0]


@pytest.mark.parametrize(("names", "expected"), [
    (["general", "cc", "sc"], "cc"),
    (["market1501"], "market1501"),
    (["prcc:cc:single-shot", "prcc:sc:multi-shot", "prcc:cc:multi-shot"], "prcc:cc:multi-shot"),
    (["vcclothes:general", "vcclothes:cc"], "vcclothes:cc"),
    (["sc", "general"], "sc"),
    (["prcc:sc:single-shot"], None),
])  # fmt: skip
def test_the_protocol_that_changes_clothes_is_preferred(names, expected):
    chosen = choose_protocol(names)
    assert (chosen.name if chosen else None) == expected
