"""The reporter that keeps the table `progress`: one small file per study, written again while a run goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import NamedTuple

import pyarrow as pa

from cluster.reporting.events import Event, StageEnded, StageStarted
from cluster.reporting.stage_state import StageState
from featurestore import FeatureStore
from featurestore.store import schema

_EVERY_SECONDS = 10.0
_TABLE = "progress"


class _Place(NamedTuple):
    """The columns that tell rows apart."""

    stage: str
    model: str
    tap: str
    dataset: str
    split: str | None


class _State(NamedTuple):
    """The other columns, without the study."""

    wanted: int
    done: int
    images_per_second: float | None
    updated_at: datetime

    def differs(self, former: _State | None) -> bool:
        """Whether more than the time is another."""
        return former is None or self[:-1] != former[:-1]


class ProgressTable:
    """A reporter that publishes the progress of a study: when a stage begins, every ten seconds, and when it ends.

    Stages that do not begin now, and rates that are not measured now, stay as an earlier run left them.

    Parameters
    ----------
    study : str
        Name of the study.
    store : FeatureStore
        Store whose table `progress` is written.
    """

    def __init__(self, study: str, store: FeatureStore) -> None:
        self._study = study
        self._store = store
        self._rows = self._stored()
        self._is_saved = True
        self._stages: dict[str, StageState] = {}
        self._published = 0.0

    def tell(self, event: Event) -> None:
        """Take an event into account.

        Raises
        ------
        StoreError
            If the store cannot be written.
        """
        now = time.monotonic()
        for state in self._stages.values():
            state.add(event, now)
        if isinstance(event, StageStarted):
            self._stages[event.stage] = StageState(event, now)
            self._forget(event.stage)
            self._publish(now, event.stage)
        elif isinstance(event, StageEnded) and event.stage in self._stages:
            self._publish(now, event.stage)
            self._stages.pop(event.stage)
        elif self._stages and now - self._published >= _EVERY_SECONDS:
            self._publish(now, *self._stages)

    def _stored(self) -> dict[_Place, _State]:
        if not self._store.has_record(_TABLE, self._study):
            return {}
        rows = self._store.read_record(_TABLE, self._study)
        places, states = (
            zip(*(rows[name].to_pylist() for name in kind._fields), strict=True) for kind in (_Place, _State)
        )
        return dict(zip(map(_Place._make, places), map(_State._make, states), strict=True))

    def _forget(self, stage: str) -> None:
        """Drop parts that are no longer wanted. The others keep their rates."""
        wanted = {place for place, _ in self._rows_of(stage)}
        kept = {place: row for place, row in self._rows.items() if place.stage != stage or place in wanted}
        self._is_saved &= len(kept) == len(self._rows)
        self._rows = kept

    def _rows_of(self, stage: str) -> Iterator[tuple[_Place, _State]]:
        now = datetime.now(UTC)
        for state in self._stages[stage].parts():
            yield (
                _Place(stage, *state.part.place),
                _State(state.part.wanted, state.done, state.images_per_second, now),
            )

    def _publish(self, now: float, *stages: str) -> None:
        """Bring the rows of some stages up to date. Publish all rows unless only the time has changed."""
        for place, state in (row for stage in stages for row in self._rows_of(stage)):
            former = self._rows.get(place)
            if state.images_per_second is None and former is not None:
                state = state._replace(images_per_second=former.images_per_second)
            self._is_saved &= not state.differs(former)
            self._rows[place] = state
        self._published = now
        if not self._is_saved:
            self._store.publish(_TABLE, self._study, self._table())
            self._is_saved = True

    def _table(self) -> pa.Table:
        values = [*zip(*self._rows, strict=True), *zip(*self._rows.values(), strict=True)]
        columns = dict(zip((*_Place._fields, *_State._fields), values, strict=bool(values)))
        return pa.Table.from_pydict({"study": [self._study] * len(self._rows), **columns}, schema=schema.PROGRESS)
