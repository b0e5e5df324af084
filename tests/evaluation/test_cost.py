"""What a scoring costs is known before it begins."""

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.evaluation import cost
from pipeline.evaluation.protocols import GENERAL, PROTOCOLS, select
from pipeline.evaluation.settings import RerankSettings
from pipeline.evaluation.similarity import BLOCK_ROWS
from pipeline.features.feature_set import FeatureSet, normalise_rows


def sides(queries, gallery, role="query", gallery_role="gallery"):
    count = queries + gallery
    rng = np.random.default_rng(0)
    return FeatureSet(
        features=normalise_rows(rng.standard_normal((count, 3)).astype(np.float32)),
        image_id=np.array([str(number) for number in range(count)]),
        role=np.array([role] * queries + [gallery_role] * gallery),
        person_id=rng.integers(0, 20, count),
        camera_id=np.arange(count),
        clothes_id=np.zeros(count, np.int64),
        tracklet_id=np.arange(count),
    )


def test_a_trial_foretells_the_time(monkeypatch):
    query, gallery = select(sides(cost.SHARE * BLOCK_ROWS, 300), GENERAL)
    assert cost.expected_seconds(query.take(np.arange(len(query) - 1)), gallery, GENERAL) is None
    tried = []
    clock = iter([100.0, 103.0])
    monkeypatch.setattr(cost, "score", lambda sample, *_: tried.append(sample.image_id))
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    assert cost.expected_seconds(query, gallery, GENERAL) == pytest.approx(3.0 * cost.SHARE)
    assert len(set(tried[0])) == BLOCK_ROWS


def test_the_trial_is_the_real_ranking():
    query, gallery = select(sides(cost.SHARE * BLOCK_ROWS, 300), GENERAL)
    assert 0 < cost.expected_seconds(query, gallery, GENERAL) < 60


@pytest.mark.parametrize(("seconds", "rerank", "said"), [
    (None, True, []),
    (1.0, False, []),
    (90.0, False, ["protocol general: ranking 20 images for 10 queries will take about 01:30 here"]),
    (10.0, True, [
        "protocol general: ranking 20 images for 10 queries will take about 00:10 here, "
        "and re-ranking at least 00:55 more"  # 10 s again, and 30 x 30 pairs where it was 10 x 20
    ]),
])  # fmt: skip
def test_a_long_ranking_is_told_beforehand(monkeypatch, seconds, rerank, said):
    monkeypatch.setattr(cost, "expected_seconds", lambda *_: seconds)
    heard = []
    cost.tell_cost(*select(sides(10, 20), GENERAL), GENERAL, rerank, heard.append)
    assert heard == said


def test_memory_is_checked_for_the_items_that_are_ranked():
    items = sides(10, 4000, "test_c", "test_a")
    single, multi = PROTOCOLS["prcc:cc:single-shot"], PROTOCOLS["prcc:cc:multi-shot"]
    limit = RerankSettings(rerank_gigabytes=0.01)
    cost.check_reranking(items, [single], limit)  # one of 20 people each
    with pytest.raises(InputError, match="re-ranking 10 queries and 4000 gallery items may need"):
        cost.check_reranking(items, [single, multi], limit)
