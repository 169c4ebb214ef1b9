"""The reporter that keeps the table `progress`: one small file per study, written again while a run goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from cluster.reporting.events import Event, StageEnded, StageStarted
from cluster.reporting.stage_state import PartState, StageState
from featurestore import FeatureStore
from featurestore.store.feature_store import rows_table

_EVERY_SECONDS = 10.0
_TABLE = "progress"
_KEY = ("stage", "model", "tap", "dataset", "split")

Row = dict[str, Any]


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
        self._saved = self._but_times()
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

    def _stored(self) -> dict[tuple[Any, ...], Row]:
        if not self._store.has_record(_TABLE, self._study):
            return {}
        return {_key(row): row for row in self._store.read_record(_TABLE, self._study).to_pylist()}

    def _forget(self, stage: str) -> None:
        """Drop parts that are no longer wanted. The others keep their rates."""
        kept = {_key(row) for row in self._rows_of(stage)}
        self._rows = {key: row for key, row in self._rows.items() if row["stage"] != stage or key in kept}

    def _rows_of(self, stage: str) -> Iterator[Row]:
        for part in self._stages[stage].parts():
            yield {"study": self._study, "stage": stage, **_columns(part), "updated_at": datetime.now(UTC)}

    def _publish(self, now: float, *stages: str) -> None:
        """Bring the rows of some stages up to date. Publish all rows unless only the time has changed."""
        for row in (row for stage in stages for row in self._rows_of(stage)):
            if row["images_per_second"] is None:
                row["images_per_second"] = self._rows.get(_key(row), {}).get("images_per_second")
            self._rows[_key(row)] = row
        self._published = now
        if (rows := self._but_times()) != self._saved:
            self._saved = rows
            self._store.publish(_TABLE, self._study, rows_table(_TABLE, self._rows.values()))

    def _but_times(self) -> list[Row]:
        return [{name: value for name, value in row.items() if name != "updated_at"} for row in self._rows.values()]


def _key(row: Row) -> tuple[Any, ...]:
    return tuple(row[name] for name in _KEY)


def _columns(state: PartState) -> Row:
    part = state.part
    return {
        "model": part.model,
        "tap": part.tap,
        "dataset": part.dataset,
        "split": part.split,
        "wanted": part.wanted,
        "done": state.done,
        "images_per_second": state.images_per_second,
    }
