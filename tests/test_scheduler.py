import os
import time
from pathlib import Path

import pytest
import ray

from cluster.scheduler import WorkerPool
from featurestore.errors import Failure

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("runtime")]


@ray.remote
class Worker:
    """Doubles numbers; a task that names a file kills its worker until the file counts `deaths` of them."""

    def run(self, task):
        number, counter, deaths = task
        if counter:
            died = int(Path(counter).read_text() or 0)
            if died < deaths:
                Path(counter).write_text(str(died + 1))
                os.kill(os.getpid(), 9)
        time.sleep(0.01)
        return 2 * number


def run(tasks, n_workers=2):
    results, retries = {}, []
    pool = WorkerPool(lambda: Worker.options(num_cpus=0).remote(), n_workers)
    pool.run(
        tasks,
        on_result=lambda task, result: results.__setitem__(task[0], result),
        on_retry=lambda task, reason: retries.append(task[0]),
    )
    pool.close()
    return results, retries


def test_every_task_is_run_once():
    results, retries = run([(number, None, 0) for number in range(20)])
    assert results == {number: 2 * number for number in range(20)}
    assert retries == []


def test_a_task_whose_worker_is_killed_is_tried_again(tmp_path):
    counter = tmp_path / "deaths"
    counter.write_text("")
    results, retries = run([(0, None, 0), (1, str(counter), 2), (2, None, 0)])
    assert results == {0: 0, 1: 2, 2: 4}
    assert retries == [1, 1]


def test_a_task_that_kills_every_worker_is_given_up_and_the_others_go_on(tmp_path):
    counter = tmp_path / "deaths"
    counter.write_text("")
    results, _ = run([(1, str(counter), 99), *((number, None, 0) for number in range(2, 8))], n_workers=1)
    assert isinstance(results[1], Failure)
    assert "3 workers died" in results[1].message
    assert {number: results[number] for number in range(2, 8)} == {number: 2 * number for number in range(2, 8)}
