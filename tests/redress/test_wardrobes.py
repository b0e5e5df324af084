"""Who wears what: outfits are shared, spread over cameras, and a tracklet wears one."""

from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.errors import InputError
from pipeline.redress.wardrobes import OWN, Worn, deal_outfits, number_clothes, number_tracklets, wardrobes


def _ids(persons: int = 12, cameras: int = 3, takes: int = 6, tracklets: bool = False) -> SimpleNamespace:
    rows = [
        (person, "train" if person < persons // 2 else "query" if take == 0 else "gallery", camera, take)
        for person in range(persons)
        for camera in range(cameras)
        for take in range(takes)
    ]
    count = len(rows)
    return SimpleNamespace(
        person_id=np.array([row[0] for row in rows], dtype=np.int64),
        split=np.array([row[1] for row in rows], dtype=np.object_),
        camera_id=np.array([row[2] for row in rows], dtype=np.int32),
        clothes_id=np.full(count, -1, dtype=np.int64),
        tracklet_id=np.array([10 * row[0] + row[2] for row in rows], dtype=np.int64)
        if tracklets
        else np.full(count, -1),
    )


def test_each_outfit_is_seen_by_several_cameras_and_shared_by_people() -> None:
    ids = _ids()
    worn = deal_outfits(ids, np.arange(len(ids.person_id)), 3, 8, seed=1)
    assert [item.row for item in worn] == list(range(len(ids.person_id)))
    outfit = np.array([item.outfit for item in worn])
    wearers: dict[int, set[int]] = {}
    for person in range(12):
        mine = ids.person_id == person
        found, counts = np.unique(outfit[mine & (ids.split != "query")], return_counts=True)
        assert len(found) == 3
        assert found[0] == OWN
        assert np.ptp(counts) <= 1
        for number in found:
            assert len(set(ids.camera_id[mine & (outfit == number)].tolist())) >= 2
            wearers.setdefault(int(number), set()).add(person)
    assert max(len(people) for number, people in wearers.items() if number != OWN) > 1
    queries = outfit[ids.split == "query"].reshape(-1, 3)
    assert all(len(set(some.tolist())) == 3 for some in queries)


def test_the_seed_decides() -> None:
    ids = _ids()
    rows = np.arange(len(ids.person_id))
    assert deal_outfits(ids, rows, 3, 8, seed=1) == deal_outfits(ids, rows, 3, 8, seed=1)
    assert deal_outfits(ids, rows, 3, 8, seed=1) != deal_outfits(ids, rows, 3, 8, seed=2)
    assert wardrobes(ids.person_id, 1, 5, 0) == dict.fromkeys(range(12), (OWN,))


def test_a_tracklet_wears_one_outfit() -> None:
    ids = _ids(tracklets=True)
    ids.split[:] = "train"
    worn = deal_outfits(ids, np.arange(len(ids.person_id)), 2, 4, seed=3)
    outfit = np.array([item.outfit for item in worn])
    for tracklet in np.unique(ids.tracklet_id):
        assert len(set(outfit[ids.tracklet_id == tracklet].tolist())) == 1
    assert len(set(outfit.tolist())) > 2
    assert number_tracklets(ids, worn, every=False) == ids.tracklet_id.tolist()


def test_all_wears_every_image_in_every_outfit() -> None:
    ids = _ids(persons=2, cameras=1, takes=2, tracklets=True)
    ids.clothes_id[:] = [5, 6, 7, 7]
    worn = deal_outfits(ids, np.arange(4), 3, 4, seed=0, every=True)
    assert len(worn) == 12
    clothes = number_clothes(ids, worn)
    owners: dict[int, set[int]] = {}
    for number, item in zip(clothes.tolist(), worn, strict=True):
        owners.setdefault(number, set()).add(int(ids.person_id[item.row]))
    assert all(len(people) == 1 for people in owners.values())
    assert len(owners) == 2 + 1 + 2 * 2  # own clothes that the labels tell apart, and two outfits of each
    tracklets = number_tracklets(ids, worn, every=True)
    assert len(set(tracklets)) == 6


@pytest.mark.parametrize("every", [False, True])
def test_nobody_gets_no_outfits_and_nobody_else_notices(every: bool) -> None:
    ids = _ids(persons=6)
    rows = np.arange(len(ids.person_id))
    nobody = ids.person_id == 0
    worn = deal_outfits(ids, rows, 3, 8, seed=1, every=every, nobody=(-1, 0))
    assert [item for item in worn if nobody[item.row]] == [Worn(int(row), OWN) for row in rows[nobody]]
    assert [item for item in worn if not nobody[item.row]] == deal_outfits(ids, rows[~nobody], 3, 8, 1, every)
    assert any(item.outfit != OWN for item in deal_outfits(ids, rows, 3, 8, seed=1) if nobody[item.row])


def test_a_pool_that_is_too_small_is_refused() -> None:
    ids = _ids()
    with pytest.raises(InputError, match="--pool 3 at least"):
        deal_outfits(ids, np.arange(4), 4, 2, seed=0)
