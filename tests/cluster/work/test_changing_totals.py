"""A kind of work whose total changes with every outcome: what the reporter is told, in small and large studies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest
from silent import Silent

from cluster.pool.local_pool import LocalPool
from cluster.pool.units import Hands
from cluster.reporting.events import Event, Part, StageChanged, StageEnded
from cluster.work.contract import Outcome, Work
from cluster.work.ledger import Ledger
from cluster.work.rounds import carry_out


@dataclass(frozen=True)
class Nothing:
    amount: ClassVar[int] = 1

    def run(self, hands: Hands) -> None:
        return None


class Shrinking(Work):
    UNIT = PIECES = "cells"
    kind = "probes"
    total = 0

    def __init__(self, n_parts: int, n_units: int) -> None:
        self.n_parts, self.left = n_parts, n_units
        self.total = n_units + n_parts

    def parts(self) -> Iterator[Part]:
        return (Part(f"net_{number}", "cls", "pets", None, 1, 0) for number in range(self.n_parts))

    def missing(self) -> Iterator[Nothing]:
        while self.left:
            self.left -= 1
            yield Nothing()

    def told(self, unit: Nothing, outcome: Outcome, node: str) -> Iterator[Event]:
        self.total -= 1
        return iter(())


@pytest.mark.parametrize(("n_parts", "n_changes"), [(3, 20), (5000, 1)])
def test_each_change_is_told_where_there_are_few_parts_and_the_last_one_always(n_parts, n_changes):
    reporter = Silent()
    carry_out([Shrinking(n_parts, 20)], LocalPool(), Ledger("study", None, reporter), reporter)
    changes = [event for event in reporter.events if isinstance(event, StageChanged)]
    assert (len(changes), changes[-1].total) == (n_changes, n_parts)
    assert isinstance(reporter.events[-1], StageEnded)
