"""The pool in this process works as the one on Ray does, without it."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from silent import Silent

from cluster.pool import task_queue
from cluster.pool.local_pool import LocalPool
from cluster.pool.placement import place
from cluster.pool.task_queue import TaskQueue
from cluster.pool.units import Hands, Lane
from cluster.runs.study_run import run_study
from cluster.study.cluster_settings import ClusterSettings, WorkerSettings
from cluster.study.study_file import read_study
from featurestore import FeatureStore
from featurestore.errors import Failure
from featurestore.machine import available_cpus


@dataclass
class Job:
    """A unit that says what it finds, or raises."""

    work: Callable[[Hands], object]
    amount: int = 1

    def run(self, hands: Hands) -> object:
        return self.work(hands)

    def split_up(self) -> list[Job]:
        return [self]


def run(*works: Callable[[Hands], object], cluster: ClusterSettings | None = None) -> tuple[list[object], list[str]]:
    outcomes, retries = [], []
    source = iter([Job(work) for work in works])
    queue: TaskQueue[Job] = TaskQueue(lambda: source)
    lane = Lane("features", queue, lambda _, found, __: outcomes.append(found), lambda _, why, __: retries.append(why))
    with LocalPool(cluster=cluster) as pool:
        pool.run([lane])
    return outcomes, retries


def test_a_unit_gets_the_threads_that_a_worker_on_ray_would_have_and_leaves_them_as_they_were():
    before = torch.get_num_threads()
    (threads,), _ = run(lambda hands: (hands.threads, torch.get_num_threads()))
    expected = place([{"CPU": available_cpus(), "GPU": torch.cuda.device_count()}]).cpus
    assert threads == (expected, expected)
    (threads,), _ = run(
        lambda hands: (hands.threads, torch.get_num_threads()),
        cluster=ClusterSettings(workers={"features": WorkerSettings(cpus=2)}),
    )
    assert threads == (2, 2)
    assert torch.get_num_threads() == before


def test_units_share_what_was_dear_to_load():
    made = []
    outcomes, _ = run(*[lambda hands: hands.held("network", lambda: made.append(1) or "loaded")] * 3)
    assert (outcomes, made) == (["loaded"] * 3, [1])


def test_an_error_of_a_unit_is_its_failure_and_the_others_go_on():
    def raising(hands: Hands) -> None:
        raise ValueError("no")

    outcomes, retries = run(raising, lambda hands: "fine")
    assert isinstance(outcomes[0], Failure)
    assert (outcomes[0].error, outcomes[1], retries) == ("ValueError", "fine", [])


def test_an_error_of_the_machine_is_tried_again_and_given_up_in_the_end(monkeypatch):
    monkeypatch.setattr(task_queue, "_BACK_OFF_SECONDS", 0.0)
    tries = []

    def stale(hands: Hands) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise OSError(errno.ESTALE, "stale file handle")
        return "at last"

    def full(hands: Hands) -> None:
        raise MemoryError

    outcomes, retries = run(stale, full)
    assert "at last" in outcomes
    (given_up,) = [found for found in outcomes if isinstance(found, Failure)]
    assert (given_up.error, given_up.verdict) == ("WorkerDied", "passing")
    assert len(retries) == 2 + 2


def test_an_interrupt_ends_the_run_and_the_next_one_carries_on(study_file, store: FeatureStore, monkeypatch):
    study = read_study(study_file(1))
    seen = []
    wait = LocalPool._run

    def interrupted(self, lane, attempt, request):
        seen.append(str(attempt.task))
        if len(seen) == 1 + 3:  # the trial of the model, and the third shard
            raise KeyboardInterrupt
        wait(self, lane, attempt, request)

    monkeypatch.setattr(LocalPool, "_run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_study(study, store, pool=LocalPool(), reporter=Silent())
    monkeypatch.undo()
    summary = run_study(study, store, pool=LocalPool(), reporter=Silent())
    assert summary.counts["passes"] == 40 - 2 * 8
    assert summary.counts["cells"] == 1


@pytest.mark.slow
def test_a_study_runs_from_the_command_line_without_ray(study_file, tmp_path: Path):
    """In a process of its own, as a user would run it."""
    code = (
        "import atexit, sys; atexit.register(lambda: print('ray' in sys.modules, file=sys.stderr)); "
        "from cluster.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "run", study_file(1), "--local", "--store", tmp_path / "store"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "Computed 40 image features and 1 new cell" in done.stderr
    assert done.stderr.splitlines()[-1] == "False"
