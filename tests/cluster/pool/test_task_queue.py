import pytest

from cluster.pool import task_queue
from cluster.pool.task_queue import MAX_ATTEMPTS, MAX_LOSSES, TaskQueue


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time that passes when it is told to."""
    now = [0.0]
    monkeypatch.setattr(task_queue.time, "monotonic", lambda: now[0])
    return now


def queue_of(tasks, **options):
    """Return a queue of these tasks and no more."""
    source = iter(tasks)
    return TaskQueue(lambda: source, **options)


def taken(queue):
    return [attempt.task for attempt in iter(queue.take, None)]


def lose(queue, times, *, node_lost, clock):
    """Take one attempt after another and lose it; what is said of the last."""
    for _ in range(times):
        said = queue.again(queue.take(), "gone.", node_lost=node_lost)
        clock[0] += 100
    return said


def test_no_more_is_pulled_than_asked_for():
    source = iter(range(10))
    queue = TaskQueue(lambda: source)
    assert queue.n_waiting(3) == 3
    assert queue.take().task == 0
    assert next(source) == 3
    assert taken(queue) == [1, 2, 4, 5, 6, 7, 8, 9]
    assert queue.n_waiting(3) == 0


def test_a_lost_task_waits_longer_every_time_and_goes_behind_the_others(clock):
    queue = queue_of([0, 1, 2])
    first = queue.take()
    assert queue.again(first, "", node_lost=False) is None
    assert queue.seconds_to_wait() == 1
    assert queue.n_waiting(9) == 3
    clock[0] += 1
    assert queue.n_waiting(9) == 3
    assert [queue.take().task for _ in range(2)] == [1, 2]
    again = queue.take()
    assert (again.task, again.deaths) == (0, 1)
    queue.again(again, "", node_lost=False)
    assert queue.seconds_to_wait() == 2
    assert queue.take() is None


def test_a_task_that_takes_its_workers_along_is_given_up(clock):
    queue = queue_of(["bad"])
    assert lose(queue, MAX_ATTEMPTS - 1, node_lost=False, clock=clock) is None
    failure = lose(queue, 1, node_lost=False, clock=clock)
    assert (failure.error, queue.n_waiting(1)) == ("WorkerDied", 0)
    assert failure.message.startswith("3 workers died one after another on this task. The last said: gone.")


def test_a_lost_node_is_not_the_fault_of_its_task(clock):
    queue = queue_of(["good"])
    assert lose(queue, MAX_LOSSES - 1, node_lost=True, clock=clock) is None
    assert lose(queue, MAX_ATTEMPTS - 1, node_lost=False, clock=clock) is None
    assert queue.take().losses == MAX_LOSSES - 1


def test_a_task_does_not_go_round_for_ever(clock):
    assert "30 nodes were lost" in lose(queue_of(["good"]), MAX_LOSSES, node_lost=True, clock=clock).message


def test_what_took_two_workers_along_is_done_in_parts_that_begin_anew(clock):
    queue = queue_of(["ab"], split=list)
    assert lose(queue, 2, node_lost=False, clock=clock) is None
    parts = [queue.take(), queue.take()]
    assert [(part.task, part.deaths) for part in parts] == [("a", 0), ("b", 0)]
    assert queue.again(parts[0], "", node_lost=False) is None
    clock[0] += 100
    assert lose(queue, 2, node_lost=False, clock=clock).error == "WorkerDied"


def test_a_pointless_task_is_passed_over():
    assert taken(queue_of(range(5), skip=lambda task: task % 2)) == [0, 2, 4]


def test_a_source_that_has_run_dry_is_asked_again():
    found = []
    queue = TaskQueue(lambda: iter([found.pop()] if found else []))
    assert queue.take() is None
    found.append("later")
    assert queue.n_waiting(1) == 1
    assert taken(queue) == ["later"]
