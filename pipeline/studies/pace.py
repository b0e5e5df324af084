"""The time that a study still takes: from finished steps of the same kind, scaled by the estimated costs."""

import heapq
from collections.abc import Callable, Collection, Mapping

from pipeline.config.deciding import Kind
from pipeline.studies.schedule import Schedule
from pipeline.studies.steps import Step

Room = Callable[[Step], tuple[str, int]]
"""Which slots a step takes one of, by name, and how many of these there are."""

GUESSED = 0.05
"""Share of the work left that may be of kinds of which no step is finished, for the time left to be told."""
LEAST_OF_A_STEP = 0.05
"""Share of a running step that is expected to be left however long it has run."""


def _paces(schedule: Schedule) -> tuple[dict[Kind, float], float]:
    """Measured seconds for each estimated second: by kind, and of all finished steps together.

    Steps that an earlier call finished count only for kinds of which this one has finished none: it may have run on
    another machine, or with more or fewer steps at once.
    """
    sums: dict[tuple[Kind, bool], tuple[float, float]] = {}
    for name, note in schedule.notes.items():
        step = schedule.steps[name]
        key = step.kind, name in schedule.reused
        seconds, cost = sums.get(key, (0.0, 0.0))
        sums[key] = seconds + note.seconds, cost + step.cost
    kept = {key: sums[key] for key in sums if not key[1] or (key[0], False) not in sums}
    total = sum(seconds for seconds, _ in kept.values()), sum(cost for _, cost in kept.values())
    return {kind: seconds / cost for (kind, _), (seconds, cost) in kept.items()}, total[0] / total[1] if kept else 1.0


def expected_seconds(schedule: Schedule) -> dict[str, float] | None:
    """What each step that is to be done is expected to take in all, in the plan's order.

    Returns:
        Seconds by name; None as long as too much of the work is of kinds of which no step is finished.
    """
    paces, common = _paces(schedule)
    expected, guessed = {}, 0.0
    for name in schedule.left:
        step = schedule.steps[name]
        expected[name] = step.cost * paces.get(step.kind, common)
        if step.kind not in paces:
            guessed += expected[name]
    return None if guessed > GUESSED * sum(expected.values()) else expected


def time_left(schedule: Schedule, ran: Mapping[str, float], room: Room) -> float | None:
    """Seconds until all steps are done, by playing the rest of the work through with the expected times.

    Args:
        schedule: The work.
        ran: Seconds that each running step has run.
        room: Slots of a step.

    Returns:
        None where there is not enough to tell from.
    """
    expected = expected_seconds(schedule)
    if expected is None:
        return None
    rest = {
        name: max(seconds - ran[name], LEAST_OF_A_STEP * seconds) if name in ran else seconds
        for name, seconds in expected.items()
    }
    pools = {name: room(schedule.steps[name]) for name in rest}
    inputs = {name: {other for other in schedule.steps[name].inputs.values() if other in rest} for name in rest}
    return _play(rest, inputs, pools, ran.keys() & rest.keys())


def _play(
    rest: Mapping[str, float],
    inputs: Mapping[str, set[str]],
    pools: Mapping[str, tuple[str, int]],
    running: Collection[str],
) -> float:
    """Seconds until the last step ends if of the ready ones the one with the longest path behind it starts first.

    Args:
        rest: Seconds of the steps; every step comes after its inputs.
        inputs: Steps among them that each waits for.
        pools: Name and number of the slots that each takes one of.
        running: Those that have their slots already.
    """
    readers: dict[str, list[str]] = {name: [] for name in rest}
    path: dict[str, float] = {}
    for name in reversed(list(rest)):
        path[name] = rest[name] + max((path[reader] for reader in readers[name]), default=0.0)
        for needed in inputs[name]:
            readers[needed].append(name)
    free = dict(pools.values())
    ready: dict[str, list[tuple[float, str]]] = {pool: [] for pool in free}
    missing = {name: len(inputs[name]) for name in rest}
    ends: list[tuple[float, str]] = []
    for name in rest:
        if name in running:
            free[pools[name][0]] -= 1
            ends.append((rest[name], name))
        elif not missing[name]:
            ready[pools[name][0]].append((-path[name], name))
    for queue in (ends, *ready.values()):
        heapq.heapify(queue)
    now = 0.0
    while True:
        for pool, queue in ready.items():
            while queue and free[pool] > 0:
                name = heapq.heappop(queue)[1]
                free[pool] -= 1
                heapq.heappush(ends, (now + rest[name], name))
        if not ends:
            return now
        now, name = heapq.heappop(ends)
        free[pools[name][0]] += 1
        for reader in readers[name]:
            missing[reader] -= 1
            if not missing[reader]:
                heapq.heappush(ready[pools[reader][0]], (-path[reader], reader))
