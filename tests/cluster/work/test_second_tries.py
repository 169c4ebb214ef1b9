"""A unit that fails on one node is tried once on another; the pool here has nodes in name only."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
from silent import Silent

from cluster.pool.task_queue import Attempt, TaskQueue
from cluster.pool.units import Divided, Hands, Lane, Subject, run_unit, suspected_whole, take
from cluster.reporting.events import Event, Note, Part
from cluster.work.contract import Outcome, Work
from cluster.work.ledger import Ledger
from cluster.work.rounds import carry_out
from cluster.work.second_tries import SecondTries, SecondTry
from featurestore.errors import BackboneError, Failure, ProbeError


class Nodes:
    """A pool of so many nodes, which take a unit each in turn."""

    def __init__(self, *names: str, joined: bool = True) -> None:
        self.names = names
        self.joined = joined
        self.seen: list[tuple[str, str]] = []

    def run(self, lanes: Sequence[Lane], *, note: Callable[[str], None]) -> None:
        for lane in lanes:
            lane.nodes = frozenset(self.names if self.joined else ())
        while any(lane.queue.n_waiting(1) for lane in lanes):
            begun = [(node, *taken) for node in self.names if (taken := take(lanes, node))]
            assert begun, "no node may have what waits"
            for node, lane, attempt in begun:
                self.seen.append((node, str(attempt.task)))
                lane.on_outcome(attempt.task, run_unit(attempt.task, At(node)), node)


class At(Hands):
    """Hands on a node."""

    def __init__(self, node: str) -> None:
        super().__init__("cpu", 1)
        self.node = node


@dataclass(frozen=True)
class Fit:
    """A unit that raises on some nodes."""

    model: str
    bad: Collection[str]
    error: Exception
    number: int = 0
    amount: ClassVar[int] = 1

    def run(self, hands: Hands) -> str:
        if hands.node in self.bad:
            raise self.error
        return "done"

    def split_up(self) -> Sequence[Fit]:
        return [self]

    @property
    def subjects(self) -> list[Subject]:
        return [Subject("model", self.model)]

    def divided(self, outcome: Outcome) -> Divided:
        if isinstance(outcome, Failure):
            return suspected_whole(self, outcome, self.subjects[0])
        return (self, outcome), []

    def __str__(self) -> str:
        return f"{self.model} {self.number}"


class Fits(Work):
    UNIT = PIECES = "fits"

    def __init__(self, units: Sequence[Fit], ledger: Ledger) -> None:
        self.units, self.ledger, self.done = list(units), ledger, []

    total = 1

    def parts(self) -> Iterator[Part]:
        return iter(())

    def missing(self) -> Iterator[Fit]:
        while self.units:
            yield self.units.pop(0)

    def told(self, unit: Fit, outcome: Outcome, node: str) -> Iterator[Event]:
        if isinstance(outcome, Failure):
            self.ledger.fail("fits", outcome, model=unit.model, key="key")
        else:
            self.done.append((unit.model, unit.number))
        return iter(())


@dataclass
class Seen:
    done: list[Any]
    failures: list[Any]
    notes: list[str]


def run(units: Sequence[Fit], pool: Nodes) -> Seen:
    reporter = Silent()
    ledger = Ledger("study", None, reporter)
    work = Fits(units, ledger)
    carry_out([work], pool, ledger, reporter)
    return Seen(work.done, ledger.summary.failures, [e.text for e in reporter.events if isinstance(e, Note)])


GONE = BackboneError("no module.")


def several(model: str, count: int, bad: Collection[str], error: Exception = GONE) -> list[Fit]:
    return [Fit(model, bad, error, number) for number in range(count)]


def test_what_fails_on_one_node_is_done_by_another_and_the_node_gets_no_more_of_it():
    pool = Nodes("a", "b")
    seen = run([*several("net", 6, {"a"}), *several("other", 3, ())], pool)
    assert sorted(seen.done) == [("net", n) for n in range(6)] + [("other", n) for n in range(3)]
    assert not seen.failures
    assert [unit for node, unit in pool.seen if node == "a" and unit.startswith("net")] == ["net 0"]
    (note,) = seen.notes
    assert note.startswith("a failed at model net: no module. On b the same work succeeded")


def test_what_fails_on_two_nodes_is_recorded_with_both():
    pool = Nodes("a", "b", "c")
    seen = run([Fit("net", {"a", "b", "c"}, GONE)], pool)
    (failed,) = seen.failures
    assert failed.failure.message == "On a and on b: no module."
    assert failed.key == "key"
    assert not seen.notes


def test_a_node_that_is_in_doubt_itself_does_not_decide():
    pool = Nodes("a", "b", "c")
    seen = run(several("net", 5, {"a", "b"}), pool)
    assert len(seen.done) == 5
    assert not seen.failures
    assert len(seen.notes) == 2


def test_one_node_of_a_cluster_is_named_and_what_may_be_its_own_fault_is_not_remembered():
    (failed,) = run([Fit("net", {"a"}, ImportError("no module"))], Nodes("a")).failures
    assert failed.failure.message.startswith("On a: no module")
    assert failed.key is None


def test_without_a_cluster_a_failure_is_recorded_as_it_is():
    (failed,) = run([Fit("net", {"a"}, GONE)], Nodes("a", joined=False)).failures
    assert failed.failure.message == "no module."


def test_mathematics_needs_no_second_node():
    pool = Nodes("a", "b")
    (failed,) = run([Fit("net", {"a"}, ProbeError("no images."))], pool).failures
    assert failed.failure.message == "no images."
    assert len(pool.seen) == 1


def test_a_node_that_lacks_much_gets_no_more_of_that_kind():
    pool = Nodes("a", "b")
    models = [f"net_{n}" for n in range(9)]
    seen = run([unit for model in models for unit in several(model, 1, {"a"})], pool)
    assert len(seen.done) == 9
    assert seen.notes[-1] == "a failed so for 3 subjects of the kind model, and gets no more of that kind."
    assert len([node for node, _ in pool.seen if node == "a"]) < 6


def test_the_shunned_node_has_the_rest_when_all_others_are_gone():
    lane = Lane("fits", TaskQueue(lambda: iter(())), lambda *_: None, lambda *_: None, nodes=frozenset({"a", "b"}))
    tries = SecondTries(lane, lambda text: None)
    _, (second,) = tries.judge(Fit("net", {"a"}, GONE), Failure.of(GONE), "a")
    assert not tries.fits(Attempt(second), "a")
    lane.nodes = frozenset({"a"})
    assert tries.fits(Attempt(second), "a")
    told, _ = tries.judge(second, Failure.of(GONE), "a")
    assert told[0][1].message == "On a: no module."


@pytest.mark.parametrize("died_on", [frozenset(), frozenset({"a"})])
def test_a_task_whose_worker_died_goes_to_another_node_if_there_is_one(died_on: frozenset[str]):
    lane = Lane("fits", TaskQueue(lambda: iter(())), lambda *_: None, lambda *_: None, nodes=frozenset({"a", "b"}))
    tries = SecondTries(lane, lambda text: None)
    attempt = replace(Attempt(Fit("net", (), GONE)), died_on=died_on)
    assert tries.fits(attempt, "a") is not bool(died_on)
    assert tries.fits(attempt, "b")


def test_a_second_try_on_which_workers_die_accuses_nobody():
    lane = Lane("fits", TaskQueue(lambda: iter(())), lambda *_: None, lambda *_: None, nodes=frozenset({"a", "b"}))
    notes: list[str] = []
    tries = SecondTries(lane, notes.append)
    second = SecondTry(Fit("net", {"a"}, GONE), Subject("model", "net"), Failure.of(GONE), "a")
    told, again = tries.judge(second, Failure("WorkerDied", "3 workers died.", "passing"), "b")
    assert (len(told), again, notes) == (1, [], [])
