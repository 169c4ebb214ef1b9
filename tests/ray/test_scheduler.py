import os
import time
from pathlib import Path
from queue import SimpleQueue

import pytest
import ray

from cluster.pool.dispatch import Dispatch, Team
from cluster.pool.nodes import alive_nodes, this_node
from cluster.pool.placement import Request
from cluster.pool.ray_workers import RayWorkers
from cluster.pool.task_queue import TaskQueue
from cluster.pool.units import Lane
from featurestore.errors import ConfigurationError, Failure

pytestmark = pytest.mark.usefixtures("started_ray")


@ray.remote(num_cpus=0)
class Worker:
    """Doubles numbers; a task that names a file kills its worker until the file counts `deaths` of them."""

    def ready(self):
        return this_node()

    def run(self, task):
        number, counter, deaths = task
        if counter:
            died = int(Path(counter).read_text() or 0)
            if died < deaths:
                Path(counter).write_text(str(died + 1))
                os.kill(os.getpid(), 9)
        time.sleep(0.01)
        return 2 * number


@ray.remote(num_cpus=0)
class Summing(Worker.__ray_metadata__.modified_class):
    """Adds numbers; minus one kills it."""

    def run(self, task):
        if -1 in task:
            os.kill(os.getpid(), 9)
        return sum(task)


@ray.remote(num_cpus=0)
class StillBorn:
    def __init__(self):
        os.kill(os.getpid(), 9)

    def ready(self):
        return this_node()


@ray.remote(num_cpus=0)
class Blind:
    def ready(self):
        raise ConfigurationError("This node does not see the store.")


def dispatch(lanes, n_workers=2, make_worker=Worker.remote, *, grows=False, notes=None):
    """Run lanes that share workers, at most so many."""
    answers = SimpleQueue()
    team = Team(Request(1), RayWorkers(lambda away_from: make_worker(), answers), grows=grows)
    team.lanes = lanes
    for own in lanes:
        own.max_running = n_workers
    try:
        Dispatch([team], answers, notes.append if notes is not None else print).run(lanes)
    finally:
        team.workers.close()


def lane(tasks, on_outcome, on_retry=lambda *_: None, *, kind="doubling", **options):
    source = iter(tasks)
    return Lane(kind, TaskQueue(lambda: source, **options), on_outcome, on_retry)


def run(tasks, n_workers=2, make_worker=Worker.remote, **options):
    results, retries = {}, []
    own = lane(
        tasks,
        lambda task, result, node: results.__setitem__(task[0], result),
        lambda task, reason, node: retries.append(task[0]),
        **options,
    )
    dispatch([own], n_workers, make_worker)
    return results, retries


@pytest.fixture(scope="module")
def started_ray(ray_pool):
    ray_pool.start()


@pytest.fixture
def counter(tmp_path):
    path = tmp_path / "deaths"
    path.write_text("")
    return str(path)


def test_every_task_is_run_once():
    results, retries = run([(number, None, 0) for number in range(20)])
    assert results == {number: 2 * number for number in range(20)}
    assert retries == []


def test_a_result_comes_with_the_name_of_its_node():
    names = set()
    dispatch([lane([(1, None, 0)], lambda task, result, node: names.add(node))], 1)
    assert names == {str(node) for node in alive_nodes()}


def test_tasks_are_taken_when_there_are_workers_for_them():
    taken, done = [], []

    def tasks():
        for number in range(50):
            assert len(taken) - len(done) <= 2 * 2  # in hand, and next
            taken.append(number)
            yield number, None, 0

    dispatch([lane(tasks(), lambda task, result, node: done.append(task))])
    assert len(done) == 50


def test_a_task_whose_worker_is_killed_is_tried_again(counter):
    results, retries = run([(0, None, 0), (1, counter, 2), (2, None, 0)])
    assert results == {0: 0, 1: 2, 2: 4}
    assert retries == [1, 1]


def test_a_task_that_kills_every_worker_is_given_up_and_the_others_go_on(counter):
    results, _ = run([(1, counter, 99), *((number, None, 0) for number in range(2, 8))], n_workers=1)
    assert isinstance(results[1], Failure)
    assert "3 workers died" in results[1].message
    assert "its worker process has died" in results[1].message
    assert {number: results[number] for number in range(2, 8)} == {number: 2 * number for number in range(2, 8)}


def test_a_task_that_kills_workers_is_done_in_parts():
    results, retries = run([(1, -1, 3), (4, 5)], make_worker=Summing.remote, split=lambda task: [(n,) for n in task])
    assert isinstance(results.pop(-1), Failure)
    assert results == {1: 1, 3: 3, 4: 9}
    assert retries == [1, 1, -1, -1]


def test_a_task_that_has_become_pointless_is_not_handed_out():
    results = {}
    tasks = ((number, None, 0) for number in range(9))
    own = lane(
        tasks,
        lambda task, result, node: results.__setitem__(task[0], result),
        skip=lambda task: task[0] % 2 == 1 or len(results) > 2,
    )
    dispatch([own], 1)
    assert set(results) == {0, 2, 4, 6}  # the fourth was handed out before the third result was looked at


def test_what_an_outcome_makes_possible_is_run_as_well():
    found, results = [(0, None, 0)], []
    queue = TaskQueue(lambda: iter([found.pop()] if found else []))

    def outcome(task, result, node):
        results.append(result)
        if task[0] < 5:
            found.append((task[0] + 1, None, 0))

    dispatch([Lane("growing", queue, outcome, lambda *_: None)])
    assert results == [0, 2, 4, 6, 8, 10]


def test_two_kinds_of_work_that_share_workers_take_turns():
    order = []
    first, second = (
        lane([(n, None, 0) for n in range(8)], lambda *_, kind=kind: order.append(kind), kind=kind) for kind in "ab"
    )
    dispatch([first, second], 1)
    assert sorted(order) == ["a"] * 8 + ["b"] * 8
    assert set(order[:4]) == {"a", "b"}, "none waits for the other to end"


def test_each_kind_of_work_has_its_own_limit_although_they_share_workers():
    together = set()

    def noting(*_):
        together.add((first.running, second.running))

    first, second = (lane([(n, None, 0) for n in range(12)], noting, kind=kind) for kind in "ab")
    dispatch([first, second], 1)
    assert max(map(max, together)) == 1
    assert (1, 1) in together or {(1, 0), (0, 1)} <= together


def test_workers_that_die_while_they_start_are_an_error_and_no_hang():
    with pytest.raises(ConfigurationError, match=r"3 died one after another at their start.*worker process has died"):
        run([(0, None, 0)], make_worker=StillBorn.remote)


def test_a_worker_that_cannot_work_where_it_is_says_why():
    with pytest.raises(ConfigurationError, match=r"^This node does not see the store\.$"):
        run([(0, None, 0)], make_worker=Blind.remote)


def test_workers_wait_for_nodes_to_come_only_while_there_are_tasks_for_them(monkeypatch):
    """Those beyond the first ask for what no node has yet, so that an autoscaler would see it."""
    made = []

    def make():
        made.append(Worker.options(resources={"of nodes to come": 1} if made else {}).remote())
        return made[-1]

    results = []
    tasks = [(number, None, 0) for number in range(3)]
    own = lane(tasks, lambda task, result, node: results.append(result))
    monkeypatch.setattr("cluster.pool.dispatch.divided", lambda *_: [1])
    dispatch([own], 5, make, grows=True)
    assert sorted(results) == [0, 2, 4]
    assert len(made) == 3
    for actor in made[1:]:
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(actor.ready.remote())
