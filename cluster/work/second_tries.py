"""What failed on one node is tried once on another: a node may lack a module, an image, a weights file or a library.

If it works there, the first node is named and gets no more of that subject. If it fails there, too, it is no fault of a
node, and both are named. Where there is no other node, the failure stands.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from cluster.pool.task_queue import Attempt
from cluster.pool.units import DivisibleUnit, Hands, Lane, Subject, Unit
from featurestore.errors import Failure

_ALL = ""  # name that stands for every subject of a kind
_MANY = 3  # subjects of one kind, after which a node gets no more of that kind

Told = tuple[Unit, Any]
"""A unit and its outcome."""


@dataclass(frozen=True)
class SecondTry:
    """A unit that failed on one node, on its way to another."""

    unit: Unit
    subject: Subject
    failure: Failure
    node: str

    @property
    def amount(self) -> int:
        """Amount of the unit."""
        return self.unit.amount

    def run(self, hands: Hands) -> Any:
        """Run the unit."""
        return self.unit.run(hands)

    def split_up(self) -> Sequence[SecondTry]:
        """Return the parts of the unit, each as a second try."""
        return [replace(self, unit=part) for part in self.unit.split_up()]

    def __str__(self) -> str:
        return str(self.unit)


class SecondTries:
    """The second tries of one kind of work.

    Parameters
    ----------
    lane : Lane
        Lane of its units; it knows the nodes.
    say : callable
        Receiver of a sentence for every node that is found to be unfit for something.
    """

    def __init__(self, lane: Lane, say: Callable[[str], None]) -> None:
        self._lane = lane
        self._say = say
        self._open: dict[Subject, Counter[str]] = {}  # nodes with tries elsewhere that are not over
        self._unfit: dict[Subject, set[str]] = {}  # nodes

    def fits(self, attempt: Attempt[Any], node: str) -> bool:
        """Whether a node may have an attempt. One that is shunned may, where there is no other."""
        first = attempt.task.node if isinstance(attempt.task, SecondTry) else None
        if not (first or attempt.died_on or self._open or self._unfit):
            return True
        hard = attempt.died_on.union([first] if first else [])
        if node in hard:
            return not self._lane.nodes - hard
        shunned = {other for subject in _subjects(attempt.task) for other in self._shunned(subject)}
        return node not in shunned or not self._lane.nodes - hard - shunned

    def judge(self, unit: Unit, outcome: Any, node: str) -> tuple[list[Told], list[SecondTry]]:
        """Return what is to be recorded of an outcome, and what is tried on another node first."""
        first = unit if isinstance(unit, SecondTry) else None
        inner = unit.unit if isinstance(unit, SecondTry) else unit
        if not self._lane.nodes or not isinstance(inner, DivisibleUnit):
            return [(inner, outcome)], []
        rest, suspects = inner.divided(outcome)
        told, again = [rest] if rest else [], []
        if first:
            failed = isinstance(outcome, Failure) or first.subject in [suspect.subject for suspect in suspects]
            self._close(first, node, failed=failed)
        for suspect in suspects:
            if first and suspect.subject == first.subject:
                told.append((suspect.unit, suspect.outcome(_namer(first, node))))
            elif self._lane.nodes - {node}:
                again.append(SecondTry(suspect.unit, suspect.subject, suspect.failure, node))
                self._open.setdefault(suspect.subject, Counter())[node] += 1
            else:
                told.append((suspect.unit, suspect.outcome(_on(node))))
        return told, again

    def drop(self, unit: Unit) -> None:
        """Forget that a unit was to be tried again, if it was."""
        if isinstance(unit, SecondTry):
            self._end(unit)

    def _close(self, first: SecondTry, node: str, *, failed: bool) -> None:
        self._end(first)
        of_all = Subject(first.subject.kind, _ALL)
        if failed or node == first.node or self._is_unfit(first.node, first.subject, of_all):
            return
        self._unfit.setdefault(first.subject, set()).add(first.node)
        self._say(
            f"{first.node} failed at {first.subject}: {first.failure.message} On {node} the same work succeeded, so "
            f"{first.node} gets no more work on {first.subject} in this run, and no failure is recorded."
        )
        kind = first.subject.kind
        unfit = sum(subject.kind == kind and first.node in nodes for subject, nodes in self._unfit.items())
        if unfit == _MANY:
            self._unfit.setdefault(of_all, set()).add(first.node)
            self._say(f"{first.node} failed so for {_MANY} subjects of the kind {kind}, and gets no more of that kind.")

    def _end(self, first: SecondTry) -> None:
        nodes = self._open.get(first.subject, Counter())
        nodes[first.node] -= 1  # a try that was split up ends several times
        if nodes[first.node] <= 0:
            del nodes[first.node]
        if not nodes:
            self._open.pop(first.subject, None)

    def _is_unfit(self, node: str, *subjects: Subject) -> bool:
        return any(node in self._unfit.get(subject, ()) for subject in subjects)

    def _shunned(self, subject: Subject) -> Iterator[str]:
        for alike in (subject, Subject(subject.kind, _ALL)):
            yield from self._open.get(alike, ())
            yield from self._unfit.get(alike, ())


def _subjects(task: Any) -> Sequence[Subject]:
    unit = task.unit if isinstance(task, SecondTry) else task
    return tuple(unit.subjects) if isinstance(unit, DivisibleUnit) else ()


def _on(node: str) -> Callable[[Failure], Failure]:
    """Return what names the only node in a failure."""
    return lambda failure: replace(failure, message=f"On {node}: {failure.message}")


def _namer(first: SecondTry, node: str) -> Callable[[Failure], Failure]:
    """Return what names both nodes in a failure, which may pass if one of them may have been to blame."""
    if node == first.node:  # no other came
        return _on(node)

    def name(failure: Failure) -> Failure:
        alike = failure.message == first.failure.message
        before = f"On {first.node}" if alike else f"On {first.node}: {first.failure.message}"
        text = f"{before} and on {node}: {failure.message}" if alike else f"{before} On {node}: {failure.message}"
        verdict = first.failure.verdict if first.failure.passing else failure.verdict
        return replace(failure, message=text, verdict=verdict)

    return name
