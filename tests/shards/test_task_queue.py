"""The order in which shards are handed out; workers that are lost for real are in test_faults.py."""

from dataclasses import replace

from pipeline.shards.task_queue import TaskQueue
from pipeline.shards.worker import ShardTask

A, B, C, D = (ShardTask(name, ()) for name in "abcd")


def test_tasks_come_in_their_order_and_those_given_back_first() -> None:
    queue = TaskQueue(iter([A, B, C, D]))
    assert [queue.take(), queue.take_second()] == [A, B]
    queue.give_back([A, B])
    assert queue.alone == {"a", "b"}
    assert queue.take_second() is None
    assert [queue.take() for _ in range(4)] == [A, B, C, D]
    assert not queue
    assert queue.take() is None


def test_images_that_a_worker_failed_on_are_for_a_fresh_worker() -> None:
    queue = TaskQueue(iter([A, B]))
    taken = queue.take()
    assert taken is not None
    suspected = replace(taken, failed=frozenset({"x"}))
    queue.give_back([suspected])
    assert queue.take(fresh=False) is B, "the others need not wait for it"
    assert queue.take(fresh=False) is None
    assert queue, "it is still there"
    assert queue.take(fresh=True) is suspected
    assert not queue
