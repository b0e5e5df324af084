"""Ranked galleries against a naive ranking, and which queries and protocol are chosen."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.evaluation.features import FeatureSet, normalise_rows
from pipeline.evaluation.protocols import CLOTHES_CHANGING, GENERAL
from pipeline.reporting.ranked import choose_protocol, choose_queries, make_galleries


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


@pytest.mark.parametrize("protocol", [GENERAL, CLOTHES_CHANGING], ids=["general", "cc"])
def test_rankings_are_the_naive_ones(people, features, protocol):
    galleries = make_galleries(people, features, protocol, queries=6, depth=4, seed=0)
    assert galleries.protocol == protocol.name
    shown = [*galleries.random, *galleries.worst]
    assert len({ranking.query.card.image_id for ranking in shown}) == 6
    for ranking in shown:
        expected, junk = naive_ranking(features, ranking.query.card.image_id, protocol is CLOTHES_CHANGING)
        assert [(hit.card.image_id, hit.right) for hit in ranking.hits] == expected[:4]
        marks = [right for _, right in expected]
        assert ranking.junk_count == junk > 0
        assert ranking.right_count == sum(marks)
        assert ranking.first_right == marks.index(True) + 1
        hits = [rank for rank, right in enumerate(marks, 1) if right]
        assert ranking.average_precision == pytest.approx(np.mean([n / rank for n, rank in enumerate(hits, 1)]))


def test_pictures_are_those_of_the_named_images(people, features, pixels_of):
    galleries = make_galleries(people, features, GENERAL, queries=2, depth=3, seed=0)
    rows = {name: row for row, name in enumerate(people.ids.image_id)}
    for ranking in [*galleries.random, *galleries.worst]:
        shown = [(ranking.query.card, ranking.query.picture), *((hit.card, hit.picture) for hit in ranking.hits)]
        for card, picture in shown:
            expected = people.image(rows[card.image_id]).astype(int)
            assert np.abs(pixels_of(picture.uri) - expected).mean() < 6
            assert f"person {people.ids.person_id[rows[card.image_id]]}" in card.lines


def test_the_worst_are_the_lowest_and_the_gallery_may_be_short(people, features):
    galleries = make_galleries(people, features, GENERAL, queries=6, depth=99, seed=0)
    worst = [ranking.average_precision for ranking in galleries.worst]
    assert worst == sorted(worst)
    assert max(worst) <= min(ranking.average_precision for ranking in galleries.random)
    assert {len(ranking.hits) for ranking in galleries.worst} == {10}


def test_features_of_other_shards_are_refused(people, features):
    renamed = features.take(np.arange(len(features)))
    renamed.image_id[:] = [f"other/{name}" for name in features.image_id]
    with pytest.raises(InputError, match="run ccaf-pipeline extract and evaluate again"):
        make_galleries(people, renamed, GENERAL, queries=2, depth=2, seed=0)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), max_size=40), st.integers(1, 12), st.integers(0, 3))
def test_chosen_queries_are_valid_distinct_and_half_the_worst(queries, count, seed):
    precision = np.array([value for value, _ in queries], dtype=np.float64)
    valid = np.array([usable for _, usable in queries], dtype=np.bool_)
    random, worst = choose_queries(precision, valid, count, seed)
    chosen = [*random, *worst]
    assert all(valid[query] for query in chosen)
    assert len(chosen) == len(set(chosen)) == min(count, valid.sum())
    assert len(worst) == len(chosen) // 2
    assert random == sorted(random)
    rest = [precision[query] for query in np.flatnonzero(valid) if query not in worst]
    assert all(precision[query] <= value for query in worst for value in rest)
    assert choose_queries(precision, valid, count, seed) == (random, worst)


def test_another_seed_draws_other_queries():
    precision, valid = np.linspace(0, 1, 300), np.ones(300, dtype=np.bool_)
    assert choose_queries(precision, valid, 8, 0)[0] != choose_queries(precision, valid, 8, 1)[0]


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
